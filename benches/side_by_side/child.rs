//! One measurement, in this process.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::common::traffic;
use super::common::{Latencies, memory, processor};
use super::gateway::{PRODUCERS, Source, Traffic, conversations};
use super::rounds::{Rounds, making_seconds};
use super::subjects::{self, Subject, ceiling};
use super::{BYTE_BUDGET_MIB, Options, edge, rate};

/// Lines on stdout that the parent reads.
pub(crate) const PREFIX: &str = "measure ";

/// What came of a measurement.
pub(crate) struct Outcome {
    pub(crate) lifecycles: usize,
    pub(crate) body_bytes: usize,
    pub(crate) elapsed: Duration,
    /// Processor time of all threads, producers included, in seconds.
    pub(crate) processor_seconds: Option<f64>,
    pub(crate) latencies: Latencies,
    pub(crate) disk_bytes: u64,
    /// Resident memory before, and the most since then, in MiB.
    pub(crate) memory_mib: Option<(f64, f64)>,
    /// The subject left bodies out, so that its bytes say nothing.
    pub(crate) is_partial: bool,
    pub(crate) more: Vec<(&'static str, f64)>,
}

pub(crate) fn run(child: &str, options: &Options) {
    if child == edge::IDLE {
        return edge::idle();
    }
    if let Some(rate) = options.rate {
        let folder = tempfile::tempdir().unwrap();
        return rate::run(child, options, rate, folder.path());
    }
    let exchanges = traffic::load_quietly(&options.arguments);
    let traffic = Traffic {
        conversations: conversations(&exchanges),
        rounds: options.rounds(),
        in_flight: options.conversations,
        bodies: options.bodies,
        duration: Duration::from_secs_f64(options.arguments.seconds),
    };
    let folder = tempfile::tempdir().unwrap();
    let past_bytes = match options.past {
        0 => 0,
        count => record_past(&traffic, count, folder.path()),
    };
    let mut outcome = match child {
        "ceiling" => ceiling::measure(&traffic, folder.path()),
        subject => measure(&traffic, || {
            subjects::open(subject, folder.path(), BYTE_BUDGET_MIB << 20)
        }),
    };
    outcome.disk_bytes = outcome.disk_bytes.saturating_sub(past_bytes);
    outcome.print();
}

/// One turn of each of so many other conversations, recorded and closed before the measurement. Returns the bytes of
/// the file.
fn record_past(traffic: &Traffic<'_>, count: usize, folder: &Path) -> u64 {
    let mut store = subjects::open("auditlite", folder, BYTE_BUDGET_MIB << 20);
    for producer in 0..PRODUCERS {
        for lifecycle in Rounds::past(&traffic.conversations, count, producer) {
            store.record(lifecycle);
        }
    }
    store.flush();
    store.close()
}

pub(crate) fn print(measure: &str, value: f64) {
    println!("{PREFIX}{measure} {value}");
}

impl Outcome {
    pub(crate) fn new() -> Self {
        Self {
            lifecycles: 0,
            body_bytes: 0,
            elapsed: Duration::ZERO,
            processor_seconds: None,
            latencies: Latencies::new(),
            disk_bytes: 0,
            memory_mib: None,
            is_partial: false,
            more: Vec::new(),
        }
    }

    fn print(&self) {
        let seconds = self.elapsed.as_secs_f64();
        let lifecycles = self.lifecycles as f64;
        print("lifecycles_per_s", lifecycles / seconds);
        if let Some(seconds) = self.processor_seconds {
            print("processor_us_per_lifecycle", seconds * 1e6 / lifecycles);
        }
        if !self.is_partial {
            print("body_mb_per_s", self.body_bytes as f64 / seconds / 1e6);
            print("bytes_per_lifecycle", self.disk_bytes as f64 / lifecycles);
        }
        for (measure, micros) in self.latencies.measures() {
            print(measure, micros);
        }
        if let Some((before, peak)) = self.memory_mib {
            print("peak_memory_mib", peak - before);
        }
        for (measure, value) in &self.more {
            print(measure, *value);
        }
    }
}

/// Producers hand over the traffic until the time is over; then the subject finishes what it has.
pub(crate) fn measure(traffic: &Traffic<'_>, open: impl FnOnce() -> Box<dyn Subject>) -> Outcome {
    let making = traffic
        .rounds
        .and_then(|plan| making_seconds(&traffic.conversations, plan));
    memory::forget_peak();
    let before = memory::resident_mib();
    let mut subject = open();
    let mut outcome = Outcome::new();
    let processor_before = processor::seconds();
    let begun = Instant::now();
    let start = Barrier::new(PRODUCERS);
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|index| {
                let producer = Source::new(traffic, index);
                let (subject, start) = (subject.as_ref(), &start);
                scope.spawn(move || {
                    start.wait();
                    produce(producer, subject, begun + traffic.duration)
                })
            })
            .collect();
        for producer in producers {
            let (lifecycles, body_bytes, latencies) = producer.join().unwrap();
            outcome.lifecycles += lifecycles;
            outcome.body_bytes += body_bytes;
            outcome.latencies.merge(&latencies);
        }
    });
    subject.flush();
    outcome.elapsed = begun.elapsed();
    let processor = processor_before.zip(processor::seconds());
    let made = making.unwrap_or(0.0) * outcome.lifecycles as f64;
    outcome.processor_seconds = processor.map(|(before, after)| after - before - made);
    outcome.more = subject.measures();
    if let Some(seconds) = making {
        outcome
            .more
            .push(("making_us_per_lifecycle", seconds * 1e6));
    }
    outcome.is_partial = subject.is_partial();
    outcome.disk_bytes = subject.close();
    outcome.memory_mib = before.zip(memory::peak_mib());
    outcome
}

fn produce(
    mut producer: Source<'_>,
    subject: &dyn Subject,
    deadline: Instant,
) -> (usize, usize, Latencies) {
    let mut latencies = Latencies::new();
    let (mut lifecycles, mut body_bytes) = (0, 0);
    while let Some(lifecycle) = producer.next() {
        let bytes = lifecycle.body_bytes();
        let start = Instant::now();
        let is_recorded = subject.record(lifecycle);
        let end = Instant::now();
        if is_recorded {
            latencies.record(end - start);
            lifecycles += 1;
            body_bytes += bytes;
        } else {
            // The capacity is used up: leave the writer a processor.
            std::thread::sleep(Duration::from_micros(100));
        }
        if end >= deadline && producer.may_end() {
            break;
        }
    }
    (lifecycles, body_bytes, latencies)
}
