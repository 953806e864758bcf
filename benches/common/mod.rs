//! Shared by the benchmarks: traffic, latencies, memory, and how figures are printed.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod arguments;
pub mod memory;
pub mod processor;
pub mod traffic;

use std::time::Duration;

use hdrhistogram::Histogram;

/// One line that a script can read.
pub fn figure(subject: &str, measure: &str, value: f64) {
    println!("figure {subject}.{measure} {value:.3}");
}

/// Request-thread latencies, in nanoseconds.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap())
    }

    pub fn record(&mut self, duration: Duration) {
        self.0.saturating_record(duration.as_nanos() as u64);
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).unwrap();
    }

    pub fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The measures that are reported, with their values in microseconds.
    pub fn measures(&self) -> [(&'static str, f64); 3] {
        [
            ("thread_p50_us", self.micros(0.5)),
            ("thread_p99_us", self.micros(0.99)),
            ("thread_p999_us", self.micros(0.999)),
        ]
    }

    pub fn print(&self, subject: &str) {
        for (measure, micros) in self.measures() {
            figure(subject, measure, micros);
        }
        eprintln!(
            "{subject:<24} p50 {:>9.2} µs   p99 {:>9.2} µs   p99.9 {:>9.2} µs   max {:>10.1} µs   n {}",
            self.micros(0.5),
            self.micros(0.99),
            self.micros(0.999),
            self.0.max() as f64 / 1000.0,
            self.0.len()
        );
    }
}

/// Bytes of a database with everything that belongs to it.
pub fn bytes_on_disk(path: &std::path::Path) -> u64 {
    ["", "-wal"]
        .iter()
        .map(|suffix| format!("{}{suffix}", path.display()))
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|metadata| metadata.len())
        .sum()
}
