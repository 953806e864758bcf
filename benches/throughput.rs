//! Sustained throughput: full lifecycles a second, side by side with commits on the request thread.
//!
//! `cargo bench --bench throughput -- --corpus FILE…`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use auditlite::{Overflow, Store};
use common::arguments::Arguments;
use common::baseline::CommitOnThread;
use common::traffic::{self, Exchange};
use common::{Latencies, bytes_on_disk, figure};

const PRODUCERS: usize = 2;
const ROUNDS: usize = 3;

struct Outcome {
    lifecycles: usize,
    body_bytes: usize,
    elapsed: Duration,
    latencies: Latencies,
    disk_bytes: u64,
}

fn main() {
    let arguments =
        Arguments::read("Sustained throughput, side by side with commits on the request thread.");
    let exchanges = traffic::load(&arguments);
    let seconds = Duration::from_secs_f64(arguments.seconds / ROUNDS as f64);
    // The subjects take turns, so that a slow spell of the machine meets all of them.
    let mut outcomes: [Vec<Outcome>; 3] = Default::default();
    for _ in 0..ROUNDS {
        outcomes[0].push(auditlite(&exchanges, seconds));
        outcomes[1].push(on_thread(&exchanges, seconds, "FULL"));
        outcomes[2].push(on_thread(&exchanges, seconds, "NORMAL"));
    }
    let rates = ["auditlite", "commit_full", "commit_normal"]
        .into_iter()
        .zip(&mut outcomes)
        .map(|(subject, outcomes)| report(subject, outcomes))
        .collect::<Vec<_>>();
    eprintln!(
        "auditlite : commit_full = {:.1}   auditlite : commit_normal = {:.1}",
        rates[0] / rates[1],
        rates[0] / rates[2]
    );
    figure("auditlite", "ratio_to_commit_full", rates[0] / rates[1]);
    figure("auditlite", "ratio_to_commit_normal", rates[0] / rates[2]);
}

/// Prints the median round, and returns its rate.
fn report(subject: &str, outcomes: &mut [Outcome]) -> f64 {
    let rate = |outcome: &Outcome| outcome.lifecycles as f64 / outcome.elapsed.as_secs_f64();
    outcomes.sort_by(|left, right| rate(left).total_cmp(&rate(right)));
    let median = &outcomes[outcomes.len() / 2];
    let bodies = median.body_bytes as f64 / median.elapsed.as_secs_f64() / 1e6;
    let disk = median.disk_bytes as f64 / median.lifecycles as f64;
    figure(subject, "lifecycles_per_s", rate(median));
    figure(subject, "body_mb_per_s", bodies);
    figure(subject, "bytes_per_lifecycle", disk);
    median.latencies.print(subject);
    eprintln!(
        "{subject:<24} {:>9.0} lifecycles/s   {bodies:>7.1} MB/s of bodies   {disk:>8.0} B on disk each",
        rate(median)
    );
    rate(median)
}

/// Producers replay the traffic until the time is over, each exchange a new request.
fn produce(
    exchanges: &[Exchange],
    duration: Duration,
    record: impl Fn(&Exchange) + Sync,
) -> (usize, usize, Latencies) {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let mut all = Latencies::new();
    let mut body_bytes = 0;
    let mut lifecycles = 0;
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut latencies = Latencies::new();
                    let (mut count, mut bytes) = (0_usize, 0_usize);
                    while begun.elapsed() < duration {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let exchange = &exchanges[index % exchanges.len()];
                        let start = Instant::now();
                        record(exchange);
                        latencies.record(start.elapsed());
                        count += 1;
                        bytes += exchange.body_bytes();
                    }
                    (count, bytes, latencies)
                })
            })
            .collect();
        for producer in producers {
            let (count, bytes, latencies) = producer.join().unwrap();
            lifecycles += count;
            body_bytes += bytes;
            all.merge(&latencies);
        }
    });
    (lifecycles, body_bytes, all)
}

/// The store at its defaults but for the overflow: producers wait for room instead of shedding, so
/// that every lifecycle counts. The time runs until everything is committed.
fn auditlite(exchanges: &[Exchange], duration: Duration) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path)
        .overflow(Overflow::Wait(Duration::from_secs(60)))
        .open()
        .unwrap();
    let recorder = store.recorder();
    let begun = Instant::now();
    let (lifecycles, body_bytes, latencies) = produce(exchanges, duration, |exchange| {
        let audit = recorder
            .open(exchange.context(), exchange.request.clone())
            .unwrap();
        audit.complete(exchange.completion()).unwrap();
    });
    store.flush(Duration::from_secs(120)).unwrap();
    let elapsed = begun.elapsed();
    let report = store.close(Duration::from_secs(120));
    assert!(report.is_complete && report.shed_payloads == 0 && report.shed_lifecycles == 0);
    Outcome {
        lifecycles,
        body_bytes,
        elapsed,
        latencies,
        disk_bytes: bytes_on_disk(&path),
    }
}

fn on_thread(exchanges: &[Exchange], duration: Duration, synchronous: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let log = CommitOnThread::open(&path, synchronous);
    let begun = Instant::now();
    let (lifecycles, body_bytes, latencies) =
        produce(exchanges, duration, |exchange| log.record(exchange));
    let elapsed = begun.elapsed();
    drop(log);
    Outcome {
        lifecycles,
        body_bytes,
        elapsed,
        latencies,
        disk_bytes: bytes_on_disk(&path),
    }
}
