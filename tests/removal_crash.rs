//! SIGKILL in the middle of erasing and pruning, while others record: the file opens, the trail
//! verifies, what remains reads back exactly, and of what an erasure reported as gone no byte is
//! left in the store's files.
//!
//! A binary of its own: the test runs itself again as the process that is killed.
//! `AUDITLITE_REMOVAL_CRASH_ROUNDS` says how often, `AUDITLITE_REMOVAL_CRASH_SEED` replays a run's
//! choices (when exactly the kill strikes is the machine's to decide).
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

#[path = "support/random.rs"]
mod random;
#[path = "support/seeds.rs"]
mod seeds;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auditlite::{
    Completion, EraseSelector, ListOptions, Overflow, PayloadSide, ReadError, ReadOnlyStore,
    RequestContext, RequestFilter, RequestRecord, Retention, Store, Timestamp, VerifyOptions,
};
use random::Random;

const CHILD: &str = "AUDITLITE_REMOVAL_CRASH_CHILD";
/// Which child of its file this is.
const NUMBER: &str = "AUDITLITE_REMOVAL_CRASH_NUMBER";
/// Rounds on one file before a new one is begun.
const ROUNDS_EACH: u64 = 6;
const TURNS: u64 = 6;
const PATIENCE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes that cannot be packed: where a file has them, a search finds them.
fn secret(conversation: &str, turn: u64) -> Vec<u8> {
    let seed = conversation.bytes().fold(turn, |seed, byte| {
        seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
    });
    let mut random = Random(seed);
    (0..6).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// The body of a request is known from its id: what all say, the conversation so far, what is new.
fn request_body(id: &str) -> Vec<u8> {
    let (conversation, turn) = parts(id);
    let mut body = "the system prompt that all conversations begin with. "
        .repeat(20)
        .into_bytes();
    for turn in 0..=turn {
        body.extend_from_slice(&secret(conversation, turn));
    }
    body
}

fn response_body(id: &str) -> Vec<u8> {
    let (conversation, turn) = parts(id);
    let mut body = b"so be it: ".to_vec();
    body.extend_from_slice(&secret(conversation, turn + 1000));
    body
}

fn parts(id: &str) -> (&str, u64) {
    let (conversation, turn) = id.rsplit_once('-').unwrap();
    (conversation, turn.parse().unwrap())
}

/// The process that is killed: records without an end, erases and prunes, and says what it is at.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    // Its other threads would go on for ever.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::exit(3);
    }));
    let number: u64 = std::env::var(NUMBER).unwrap().parse().unwrap();
    // Checkpoints come often: the kill is to strike them too.
    let store = Store::builder(&path)
        .overflow(Overflow::Wait(PATIENCE))
        .wal_checkpoint_bytes(64 * 1024)
        .open()
        .unwrap();
    let name = |conversation: u64| format!("r{number}.{conversation}.");
    let whole = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (recorder, whole) = (store.recorder(), &whole);
        scope.spawn(move || {
            for conversation in 0.. {
                let hour = number * 24 + conversation.min(23);
                let started = DAY * 100 - Duration::from_secs(3600) * hour as u32;
                for turn in 0..TURNS {
                    let id = format!("{}-{turn}", name(conversation));
                    let context = RequestContext::new("")
                        .request_id(id.clone())
                        .user_id(format!("user of {}{}", name(conversation), turn % 2))
                        .conversation_id(format!("talk of {}", name(conversation)))
                        .started_at(Timestamp::from_micros(now() - started.as_micros() as i64));
                    let audit = recorder.open(context, request_body(&id)).unwrap();
                    let end = Completion::new().response_body(response_body(&id));
                    let receipt = audit.complete(end).unwrap();
                    if turn == TURNS - 1 {
                        receipt.wait(PATIENCE).unwrap();
                    }
                }
                whole.store(conversation + 1, Ordering::Release);
            }
        });
        for next in 0.. {
            while next >= whole.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            match next % 4 {
                0 | 2 => {
                    let talk = format!("talk of {}", name(next));
                    say(&format!("begin erase {talk}"));
                    // A conversation is one user's; two have one of this id.
                    for user in 0..2 {
                        let selector = EraseSelector::UserConversation {
                            user_id: format!("user of {}{user}", name(next)),
                            conversation_id: talk.clone(),
                        };
                        let done = store.erase(&selector, "why").unwrap();
                        // What was pruned before is not there to be erased.
                        assert!(done.requests <= TURNS && done.is_fully_erased, "{done:?}");
                    }
                    say(&format!("erased {}", name(next)));
                }
                1 => {
                    let user = format!("user of {}0", name(next));
                    say(&format!("begin erase {user}"));
                    store.erase(&EraseSelector::User(user), "why").unwrap();
                }
                _ => {
                    say("begin prune");
                    let age = DAY * 100 - Duration::from_secs(3600) * (number * 24) as u32;
                    let length = std::fs::metadata(&path).unwrap().len();
                    let mut retention = Retention::new()
                        .content_older_than(age)
                        .metadata_older_than(age + DAY);
                    retention.size_bytes_max = (next % 8 == 3).then_some(length / 8 * 7);

                    store.prune(&retention).unwrap();
                }
            }
            say("end");
        }
    });
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_micros() as i64
}

/// One whole line, or nothing of it: a single write to the pipe.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("\n{line}\n").as_bytes());
    let _ = out.flush();
}

#[derive(Debug, Default)]
struct Seen {
    exact: u64,
    erased: u64,
    pruned: u64,
    /// Secrets that are there and were found: the search does find.
    found: u64,
    erasing: u64,
    pruning: u64,
}

#[test]
fn a_removal_that_is_killed_leaves_a_trail_that_verifies() {
    let rounds = seeds::number("AUDITLITE_REMOVAL_CRASH_ROUNDS", 20);
    let seed = seeds::seed("AUDITLITE_REMOVAL_CRASH_SEED");
    let begun = std::time::Instant::now();
    let mut random = Random(seed);
    let mut seen = Seen::default();
    for file in 0..rounds.div_ceil(ROUNDS_EACH) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        // Conversations that an erasure reported as gone.
        let mut gone = Vec::new();
        for round in 0..ROUNDS_EACH.min(rounds - file * ROUNDS_EACH) {
            let pause = Duration::from_micros(random.below(12_000));
            let steps = 1 + random.below(12);
            let at = kill_one(&path, round, steps, pause, &mut gone);
            let what = format!(
                "AUDITLITE_REMOVAL_CRASH_SEED={seed}, file {file}, round {round}, {at:?} and {pause:?}"
            );
            match at.as_deref() {
                Some("begin prune") => seen.pruning += 1,
                Some(_) => seen.erasing += 1,
                None => {}
            }
            // Readers can look before anybody repairs anything.
            examine(&path, &gone, &what, &mut seen);
            let report = Store::builder(&path).open().unwrap().close(PATIENCE);
            assert!(report.is_complete, "{what}");
            examine(&path, &gone, &what, &mut seen);
        }
    }
    eprintln!(
        "{rounds} kills in {:.1} s: {seen:?}",
        begun.elapsed().as_secs_f64()
    );
    assert!(
        seen.exact > 0 && seen.erased > 0 && seen.found > 0,
        "{seen:?}"
    );
    assert!(rounds < 20 || seen.pruned > 0, "{seen:?}");
}

fn examine(path: &Path, gone: &[String], what: &str, seen: &mut Seen) {
    // Before anything is opened here: where the write-ahead log has no whole frame, SQLite's recovery
    // copies memory of its process as it is into the `-shm` file, and this one knows the secrets.
    let files: Vec<Vec<u8>> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let store = ReadOnlyStore::open(path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings, [], "{what}");
    assert_eq!(store.doctor().unwrap().findings, [""; 0], "{what}");
    let reader = store.reader();
    // By the first eight bytes of what is searched for.
    let mut places: HashMap<[u8; 8], Vec<&[u8]>> = HashMap::new();
    for bytes in &files {
        for (place, window) in bytes.windows(8).enumerate() {
            if window[0] != 0 || window[7] != 0 {
                let window = window.try_into().unwrap();
                places.entry(window).or_default().push(&bytes[place..]);
            }
        }
    }
    let has = |text: &[u8]| {
        let start: [u8; 8] = text[..8].try_into().unwrap();
        let places = places.get(&start);
        places.is_some_and(|places| places.iter().any(|place| place.starts_with(text)))
    };
    for conversation in gone {
        for text in [
            format!("user of {conversation}"),
            format!("talk of {conversation}"),
        ] {
            assert!(!has(text.as_bytes()), "{what}: {text:?} is still there");
        }
        for turn in (0..TURNS).chain(1000..1000 + TURNS) {
            let text = secret(conversation, turn);
            assert!(
                !has(&text[..16]),
                "{what}: {conversation}, {turn} is still there"
            );
            assert!(
                !has(&text[16..32]),
                "{what}: {conversation}, {turn} is still there"
            );
        }
    }
    let page = reader
        .list(&RequestFilter::default(), &ListOptions::new().limit(10_000))
        .unwrap();
    for (place, request) in page.requests.iter().enumerate() {
        let id = &request.request_id;
        let (conversation, turn) = parts(id);
        assert!(
            !gone.contains(&conversation.to_owned()) || request.is_erased,
            "{what}: {id}"
        );
        let request_side = (PayloadSide::Request, request_body(id));
        let response_side = (PayloadSide::Response, response_body(id));
        for (side, expected) in [request_side, response_side] {
            match reader.payload(request, side) {
                Ok(body) => {
                    assert!(!request.is_erased, "{what}: {id}");
                    assert!(
                        body.bytes == expected,
                        "{what}: {id} reads back as something else"
                    );
                    seen.exact += 1;
                    if place % 16 == 0 && side == PayloadSide::Request {
                        seen.found += u64::from(has(&secret(conversation, turn)[..16]));
                    }
                }
                Err(error) => check_reason(request, &error, what, seen),
            }
        }
    }
}

fn check_reason(request: &RequestRecord, error: &ReadError, what: &str, seen: &mut Seen) {
    match error {
        ReadError::NotKept { reason, .. } if *reason == "it was erased" => {
            assert!(request.is_erased, "{what}: {request:?}");
            assert_eq!(request.user_id, None, "{what}");
            seen.erased += 1;
        }
        ReadError::NotKept { reason, .. } if *reason == "it was pruned" => {
            assert!(!request.is_erased, "{what}: {request:?}");
            seen.pruned += 1;
        }
        // Killed before its end.
        _ if request.ended_seq.is_none() || request.response_bytes.is_none() => {}
        error => panic!("{what}: {}: {error}", request.request_id),
    }
}

/// Runs a child until it has begun so many steps, kills it a moment later, notes the conversations
/// that it reported as erased, and gives the step that it was at.
fn kill_one(
    path: &Path,
    number: u64,
    steps: u64,
    pause: Duration,
    gone: &mut Vec<String>,
) -> Option<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, path)
        .env(NUMBER, number.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut begun, mut is_killed, mut at) = (0, false, None);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        if line.starts_with("begin ") {
            at = Some(line.clone());
            begun += 1;
            if begun == steps {
                std::thread::sleep(pause);
                child.kill().unwrap();
                is_killed = true;
            }
        } else if line == "end" {
            at = None;
        } else if let Some(conversation) = line.strip_prefix("erased ") {
            // What is in the pipe was said before the kill, and counts.
            gone.push(conversation.to_owned());
        }
    }
    child.wait().unwrap();
    assert!(is_killed, "the child ended by itself: {at:?}");
    at
}
