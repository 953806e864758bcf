//! SIGKILL in the middle of recording, of a checkpoint, of the setting up of a new file: what a
//! receipt called durable is there, the file opens cleanly, open requests are marked.
//!
//! A binary of its own: the test runs itself again as the process that is killed.
//! `AUDITLITE_CRASH_ROUNDS` says how often, `AUDITLITE_CRASH_SEED` replays a run's choices (when
//! exactly the kill strikes is the machine's to decide).
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/random.rs"]
mod random;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/seeds.rs"]
mod seeds;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auditlite::{ListOptions, Overflow, ReadOnlyStore, RequestFilter, Store};

use oracle::{Accounts, Ledger, Promise, Promises, examine, recover};
use random::Random;

const CHILD: &str = "AUDITLITE_CRASH_CHILD";
/// Prefix of the child's request ids: each child has its own.
const NAME: &str = "AUDITLITE_CRASH_NAME";
const PRODUCERS: u64 = 4;
/// Rounds on one file before a new one is begun.
const ROUNDS_EACH: u64 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// The process that is killed: records, and prints each id once its receipt is durable.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let name = std::env::var(NAME).unwrap();
    say("opening");
    // Checkpoints come often: the kill is to strike them too.
    let store = Store::builder(path)
        .overflow(Overflow::Wait(PATIENCE))
        .wal_checkpoint_bytes(64 * 1024)
        .open()
        .unwrap();
    let ledger = Ledger::default();
    std::thread::scope(|scope| {
        let reader = store.reader();
        scope.spawn(move || {
            loop {
                let page = reader
                    .list(&RequestFilter::default(), &ListOptions::new().limit(50))
                    .unwrap();
                std::thread::sleep(Duration::from_micros(200));
                drop(page);
            }
        });
        for producer in 0..PRODUCERS {
            let (recorder, ledger, name) = (store.recorder(), &ledger, &name);
            scope.spawn(move || {
                let mut held = Vec::new();
                for number in 0.. {
                    let id = format!("{name}.{producer}-{number}");
                    let audit = ledger.open(&recorder, &id).unwrap();
                    if number % 7 == 0 {
                        // Left open; the opening is durable.
                        audit.opened_receipt().wait(PATIENCE).unwrap();
                        say(&format!("opened {id}"));
                        held.push(audit);
                    } else {
                        let receipt = ledger.complete(&id, audit).unwrap();
                        if number % 3 == 0 {
                            receipt.wait(PATIENCE).unwrap();
                            say(&format!("durable {id}"));
                        }
                    }
                }
            });
        }
    });
}

/// One whole line, or nothing of it: a single write to the pipe.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("\n{line}\n").as_bytes());
    let _ = out.flush();
}

/// When the child is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after it began to open the file: while it is set up, brought to this version, or
    /// recovered.
    Opening(Duration),
    /// After so many reports, and so long after the last of them.
    Working(u64, Duration),
}

#[test]
fn what_a_receipt_called_durable_survives_sigkill() {
    let rounds = seeds::number("AUDITLITE_CRASH_ROUNDS", 40);
    let seed = seeds::seed("AUDITLITE_CRASH_SEED");
    let begun = std::time::Instant::now();
    let next = std::sync::atomic::AtomicU64::new(0);
    let durable = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let file = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let begin = file * ROUNDS_EACH;
                    if begin >= rounds {
                        break;
                    }
                    let count = ROUNDS_EACH.min(rounds - begin);
                    let found = one_file(seed.wrapping_add(file), count);
                    durable.fetch_add(found, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    let durable = durable.into_inner();
    eprintln!(
        "{rounds} kills, {durable} durable lifecycles, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(
        durable as u64 >= rounds,
        "the children did record: {durable}"
    );
}

/// Kills several children in a row on one file.
fn one_file(seed: u64, rounds: u64) -> usize {
    let folder = scene::folder();
    let path = folder.path().join("audit.db");
    let mut promises = Promises::default();
    promises.expect_others();
    let mut random = Random(seed);
    for round in 0..rounds {
        let moment = if round == 0 || random.below(4) == 0 {
            Moment::Opening(Duration::from_micros(random.below(12_000)))
        } else {
            let pause = Duration::from_micros(random.below(1500));
            Moment::Working(1 + random.below(60), pause)
        };
        kill_one(&path, &format!("k{round}"), moment, &mut promises);
        let what = format!("AUDITLITE_CRASH_SEED={seed}, round {round}, {moment:?}");
        // Readers can look before anybody repairs anything.
        let violations = examine(&path, &promises, Accounts::Open);
        assert_eq!(violations, [""; 0], "{what}");
        let probe = format!("probe{round}-1");
        let violations = recover(&path, &promises, Accounts::Open, &probe);
        assert_eq!(violations, [""; 0], "{what}");
        promises.add(&probe, Promise::Ended);
    }
    let report = ReadOnlyStore::open(&path).unwrap().doctor().unwrap();
    assert!(report.openings >= rounds, "{report:?}");
    promises.durable()
}

fn spawn(path: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, path)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Runs a child until the moment has come, kills it, and notes what it reported.
fn kill_one(path: &Path, name: &str, moment: Moment, promises: &mut Promises) {
    let mut child = spawn(path, name);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reports = 0;
    let mut is_killed = false;
    let mut kill = |child: &mut Child, pause: Duration| {
        std::thread::sleep(pause);
        child.kill().unwrap();
        is_killed = true;
    };
    while let Some(Ok(line)) = lines.next() {
        if line == "opening"
            && let Moment::Opening(pause) = moment
        {
            kill(&mut child, pause);
        }
        let (id, promise) = match line.split_once(' ') {
            Some(("durable", id)) => (id, Promise::Ended),
            Some(("opened", id)) => (id, Promise::Opened),
            _ => continue,
        };
        // What is in the pipe was said before the kill, and counts.
        promises.add(id, promise);
        reports += 1;
        if let Moment::Working(count, pause) = moment
            && reports == count
        {
            kill(&mut child, pause);
        }
    }
    let status = child.wait().unwrap();
    assert!(is_killed, "the child ended by itself: {status}");
    assert_eq!(status.signal(), Some(9), "{status}");
}
