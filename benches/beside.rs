//! Recording while another process exports the same file, or while the store builds its search index.
//!
//! `cargo bench --all-features --bench beside -- --corpus FILE… [--limit N] [--past N]`
//!
//! Rounds in turns: recording alone, beside `auditlite export` of each form, over and over, and beside the index
//! that the store itself builds (`StoreBuilder::search_index`; a search from outside does not while a store is open). Each begins with a copy of a file that holds N other lifecycles
//! (12,000). First the latency of open + complete, 100 at 1,000 a second and a pause of 0.4 s in turns, then how many a second go in as
//! fast as the store takes them. Medians of the rounds, and of their ratios to recording alone in the same round.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use auditlite::{Overflow, Recorder, Store};
use common::arguments::Arguments;
use common::traffic::{self, Exchange};
use common::{Latencies, figure};

const TIMEOUT: Duration = Duration::from_secs(600);
const PAST: usize = 12_000;
const ROUNDS: usize = 5;
const PACE: Duration = Duration::from_millis(1);
/// After so many lifecycles there is a pause: a store builds its index while nothing comes.
const BURST: u64 = 100;
const PAUSE: Duration = Duration::from_millis(400);
/// How often another process is looked after.
const STEP: Duration = Duration::from_millis(2);

/// What goes on beside: a name, and how another process exports.
const OTHERS: [(&str, Option<&str>); 6] = [
    ("alone", None),
    ("jsonl", Some("jsonl")),
    ("csv", Some("csv")),
    ("otlp", Some("otlp")),
    ("sqlite", Some("sqlite")),
    (INDEX, None),
];
const INDEX: &str = "index";

struct Measured {
    p50_us: f64,
    p99_us: f64,
    lifecycles_per_second: f64,
}

fn main() {
    let mut past = PAST;
    let arguments = Arguments::read_with(
        "Recording while another process exports or indexes the same file.",
        3.0,
        " [--past N]",
        |option, words| match option {
            "--past" => {
                past = words.next().and_then(|word| word.parse().ok()).unwrap();
                true
            }
            _ => false,
        },
    );
    let exchanges = traffic::load(&arguments);
    let (past, rounds) = if arguments.smoke {
        (200, 1)
    } else {
        (past, ROUNDS)
    };
    let numbers = AtomicUsize::new(0);
    let folder = tempfile::tempdir().unwrap();
    let prepared = folder.path().join("prepared.db");
    let store = open(&prepared, false);
    for _ in 0..past {
        lifecycle(&store.recorder(), &exchanges, &numbers);
    }
    store.close(TIMEOUT);

    let duration = Duration::from_secs_f64(arguments.seconds);
    let mut all: Vec<Vec<Measured>> = OTHERS.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((name, format), results) in OTHERS.iter().zip(&mut all) {
            let path = folder.path().join("audit.db");
            let output = folder.path().join("output");
            let start = || Other::start(&path, *format, &output);
            let phase = |work: &dyn Fn(&Store) -> Vec<f64>| {
                std::fs::copy(&prepared, &path).unwrap();
                let store = open(&path, *name == INDEX);
                let measured = beside(start, || work(&store));
                store.close(TIMEOUT);
                for name in ["audit.db", "audit.db-wal", "audit.db-shm", "output"] {
                    let _ = std::fs::remove_file(folder.path().join(name));
                }
                measured
            };
            let latency = phase(&|store| latency(store, &exchanges, &numbers, duration));
            let throughput =
                phase(&|store| vec![throughput(store, &exchanges, &numbers, duration)]);
            results.push(Measured {
                p50_us: latency[0],
                p99_us: latency[1],
                lifecycles_per_second: throughput[0],
            });
        }
    }
    let alone = &all[0];
    for ((name, ..), results) in OTHERS.iter().zip(&all) {
        let of = |value: fn(&Measured) -> f64| median(results.iter().map(value));
        let pairs = || results.iter().zip(alone);
        let throughput = median(
            pairs().map(|(this, alone)| this.lifecycles_per_second / alone.lifecycles_per_second),
        );
        let p99 = median(pairs().map(|(this, alone)| this.p99_us / alone.p99_us));
        eprintln!(
            "{name:<7} p50 {:>7.2} µs   p99 {:>8.2} µs ({p99:.2} × alone)   {:>8.0} lifecycles/s ({throughput:.2} × alone)",
            of(|measured| measured.p50_us),
            of(|measured| measured.p99_us),
            of(|measured| measured.lifecycles_per_second),
        );
        let subject = format!("beside_{name}");
        figure(&subject, "thread_p50_us", of(|measured| measured.p50_us));
        figure(&subject, "thread_p99_us", of(|measured| measured.p99_us));
        figure(
            &subject,
            "lifecycles_per_second",
            of(|measured| measured.lifecycles_per_second),
        );
        figure(&subject, "throughput_ratio", throughput);
    }
}

fn open(path: &Path, is_indexed: bool) -> Store {
    Store::builder(path)
        .overflow(Overflow::Wait(TIMEOUT))
        .search_index(is_indexed)
        .open()
        .unwrap()
}

/// Records one lifecycle of a conversation that was not there before, or goes on with it.
fn lifecycle(recorder: &Recorder, exchanges: &[Exchange], numbers: &AtomicUsize) -> Duration {
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    let exchange = &exchanges[number % exchanges.len()];
    let replay = number / exchanges.len();
    let conversation_id = format!("{}#{replay}", exchange.conversation);
    let context = exchange.context().conversation_id(conversation_id);
    let (body, completion) = (exchange.request_of(replay), exchange.completion());
    let begun = Instant::now();
    let audit = recorder.open(context, body).unwrap();
    audit.complete(completion).unwrap();
    begun.elapsed()
}

/// The median and the 99th percentile of open + complete, in microseconds.
fn latency(
    store: &Store,
    exchanges: &[Exchange],
    numbers: &AtomicUsize,
    duration: Duration,
) -> Vec<f64> {
    let recorder = store.recorder();
    let mut latencies = Latencies::new();
    let begun = Instant::now();
    let mut next = begun;
    while begun.elapsed() < duration || !latencies.count().is_multiple_of(BURST) {
        latencies.record(lifecycle(&recorder, exchanges, numbers));
        let is_burst_over = latencies.count().is_multiple_of(BURST);
        next += if is_burst_over { PAUSE } else { PACE };
        // Busy, as a request thread is: a sleeping one would measure how its processor wakes up.
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
    // Whether there was an index build to be beside of.
    let lag = store.reader().search_lag().unwrap();
    if lag.is_built {
        eprintln!("index: {} events are left", lag.events);
    }
    vec![latencies.micros(0.5), latencies.micros(0.99)]
}

/// Lifecycles a second, until all are committed.
fn throughput(
    store: &Store,
    exchanges: &[Exchange],
    numbers: &AtomicUsize,
    duration: Duration,
) -> f64 {
    let recorder = store.recorder();
    let mut count = 0.0;
    let begun = Instant::now();
    while begun.elapsed() < duration {
        lifecycle(&recorder, exchanges, numbers);
        count += 1.0;
    }
    store.flush(TIMEOUT).unwrap();
    count / begun.elapsed().as_secs_f64()
}

/// Does the work while the other process runs.
fn beside<'p, T>(start: impl Fn() -> Other<'p> + Sync, work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = start();
            while !is_done.load(Ordering::Relaxed) {
                other.look();
                std::thread::sleep(STEP);
            }
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        result
    })
}

/// The other process.
struct Other<'p> {
    path: &'p Path,
    format: Option<&'p str>,
    output: &'p Path,
    child: Option<Child>,
}

impl<'p> Other<'p> {
    fn start(path: &'p Path, format: Option<&'p str>, output: &'p Path) -> Self {
        let mut other = Self {
            path,
            format,
            output,
            child: None,
        };
        other.spawn();
        other
    }

    fn spawn(&mut self) {
        let Some(format) = self.format else {
            return;
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditlite"));
        command.arg("--db").arg(self.path);
        command
            .args(["export", "--content", "full", "--format", format, "-o"])
            .arg(self.output);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    /// Starts it again where it has ended.
    fn look(&mut self) {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().unwrap()
        {
            assert!(status.success(), "{:?}: {status}", self.format);
            self.spawn();
        }
    }
}

impl Drop for Other<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
