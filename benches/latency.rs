//! Latency of open + complete on the request thread, bodies already in memory.
//!
//! `cargo bench --bench latency -- --corpus FILE…`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod common;

use std::time::{Duration, Instant};

use auditlite::{Overflow, Recorder, Store};
use common::Latencies;
use common::arguments::Arguments;
use common::traffic::{self, Exchange};

fn main() {
    let arguments = Arguments::read("Latency of open + complete on the request thread.");
    let exchanges = traffic::load(&arguments);
    let seconds = Duration::from_secs_f64(arguments.seconds);
    let idle_for = |millis| Duration::from_millis(millis);
    idle("auditlite_idle_2ms", &exchanges, seconds, idle_for(2));
    idle("auditlite_idle_200ms", &exchanges, seconds, idle_for(200));
    saturated(&exchanges, seconds);
}

/// Records one lifecycle, and says whether it was let in.
fn lifecycle(recorder: &Recorder, exchange: &Exchange) -> (bool, Duration) {
    // What a gateway has anyway is not part of the measurement: the context's strings, the body.
    let (context, body) = (exchange.context(), exchange.request.clone());
    let completion = exchange.completion();
    let start = Instant::now();
    let audit = recorder.open(context, body).unwrap();
    let opened = start.elapsed();
    let is_recorded = audit.is_recorded();
    let start = Instant::now();
    audit.complete(completion).unwrap();
    (is_recorded, opened + start.elapsed())
}

/// One request at a time, the writer without work in between.
fn idle(subject: &str, exchanges: &[Exchange], duration: Duration, pause: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::builder(folder.path().join("audit.db"))
        .open()
        .unwrap();
    let recorder = store.recorder();
    let mut latencies = Latencies::new();
    let begun = Instant::now();
    for exchange in exchanges.iter().cycle() {
        if begun.elapsed() >= duration {
            break;
        }
        latencies.record(lifecycle(&recorder, exchange).1);
        // Busy, as a request thread is: a sleeping one would measure how its processor wakes up.
        let pause_until = Instant::now() + pause;
        while Instant::now() < pause_until {
            std::hint::spin_loop();
        }
    }
    latencies.print(subject);
    store.close(Duration::from_secs(60));
}

/// As fast as it goes, beyond what the writer can take: the queue is full and lifecycles are shed.
fn saturated(exchanges: &[Exchange], duration: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::builder(folder.path().join("audit.db"))
        .overflow(Overflow::Shed)
        .open()
        .unwrap();
    let begun = Instant::now();
    let (mut recorded, mut shed) = (Latencies::new(), Latencies::new());
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let recorder = store.recorder();
                scope.spawn(move || {
                    let (mut recorded, mut shed) = (Latencies::new(), Latencies::new());
                    for exchange in exchanges.iter().cycle() {
                        if begun.elapsed() >= duration {
                            break;
                        }
                        match lifecycle(&recorder, exchange) {
                            (true, latency) => recorded.record(latency),
                            (false, latency) => {
                                shed.record(latency);
                                // The queue is full: leave the writer a processor.
                                std::thread::sleep(Duration::from_micros(100));
                            }
                        }
                    }
                    (recorded, shed)
                })
            })
            .collect();
        for producer in producers {
            let outcome = producer.join().unwrap();
            recorded.merge(&outcome.0);
            shed.merge(&outcome.1);
        }
    });
    let health = store.health();
    eprintln!(
        "saturated: {} events committed, {} lifecycles and {} bodies shed",
        health.committed_events, health.shed_lifecycles, health.shed_payloads
    );
    recorded.print("auditlite_saturated");
    shed.print("auditlite_shed");
    store.close(Duration::from_secs(60));
}
