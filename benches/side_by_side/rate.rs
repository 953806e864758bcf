//! Low rates: `--rate R`. What a store costs where a request comes now and then.
//!
//! R lifecycles a second for the time of the measurement, each an opening, half a second, an end. At such
//! rates it is not packing that counts but commits: what each writes to the disk and how often it syncs.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use auditlite::{Overflow, RequestHandle, Store, StoreBuilder};

use super::child::print;
use super::common::traffic::{self, Exchange};
use super::common::{Latencies, processor};
use super::gateway::Bodies;
use super::report::Figures;
use super::{BYTE_BUDGET_MIB, Options, ROUNDS, measure};

const TIMEOUT: Duration = Duration::from_secs(120);
/// From an opening to its end.
const REQUEST: Duration = Duration::from_millis(500);

/// What is measured at a rate.
pub(crate) const SUBJECTS: [&str; 3] = ["auditlite", LARGE_PAGES, EDGE];
const LARGE_PAGES: &str = "auditlite_large_pages";
const EDGE: &str = "auditlite_edge";
/// The name of the measurement of [`receipts`].
const RECEIPTS: &str = "receipts";
/// Lifecycles that wait for their receipts, and the pause before each: the writer has gone to sleep.
const RECEIPT_COUNT: usize = 300;
const RECEIPT_PAUSE: Duration = Duration::from_millis(10);

/// Measures each subject in processes of their own, in turns; syncs in a run of their own under strace.
pub(crate) fn measure_all(options: &Options, figures: &mut Figures) {
    let rounds = if options.arguments.smoke { 1 } else { ROUNDS };
    for _ in 0..rounds {
        for subject in &options.subjects {
            let measures = measure(options, subject, Bodies::Shared, &[]);
            figures.add(subject, &measures);
        }
        figures.add(RECEIPTS, &measure(options, RECEIPTS, Bodies::Shared, &[]));
    }
    for subject in &options.subjects {
        match syncs(options, subject) {
            Some(count) => figures.add(subject, &[("syncs_per_lifecycle".to_owned(), count)]),
            None => eprintln!("syncs are not counted: `strace` does not work here"),
        }
    }
}

/// Calls of `fsync` and `fdatasync`, as strace counts them, for each lifecycle.
fn syncs(options: &Options, subject: &str) -> Option<f64> {
    let folder = tempfile::tempdir().unwrap();
    let counts = folder.path().join("counts");
    let counts = counts.to_str()?;
    let strace = ["strace", "-f", "-qq", "-c", "-o", counts, "-e"];
    let works = std::process::Command::new(strace[0])
        .args(&strace[1..])
        .args(["trace=fsync,fdatasync", "true"])
        .status();
    if !works.is_ok_and(|status| status.success()) {
        return None;
    }
    let launcher = [&strace[..], &["trace=fsync,fdatasync"]].concat();
    measure(options, subject, Bodies::Shared, &launcher);
    // The columns: time, seconds, a call's microseconds, calls, errors (often empty), the name.
    let calls = std::fs::read_to_string(counts).ok()?;
    let calls = calls.lines().filter(|line| line.ends_with("sync"));
    let calls = calls.filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
    Some(calls.sum::<f64>() / (options.rate? * options.arguments.seconds).floor())
}

/// One measurement, in this process.
pub(crate) fn run(child: &str, options: &Options, rate: f64, folder: &Path) {
    let exchanges = match options.body_bytes {
        Some(bytes) => traffic::of_length(options.arguments.limit, bytes),
        None => traffic::load_quietly(&options.arguments),
    };
    let builder = Store::builder(folder.join("audit.db"))
        .capacity_bytes(BYTE_BUDGET_MIB << 20)
        .overflow(Overflow::Wait(TIMEOUT));
    match child {
        RECEIPTS => receipts(builder, &exchanges),
        LARGE_PAGES => pace(builder.page_bytes(8192), options, rate, &exchanges),
        EDGE => pace(builder.for_edge(), options, rate, &exchanges),
        _ => pace(builder, options, rate, &exchanges),
    }
}

/// From an opening or an end to its durable receipt, which is waited for.
fn receipts(builder: StoreBuilder, exchanges: &[Exchange]) {
    let store = builder.open().unwrap();
    let recorder = store.recorder();
    let (mut openings, mut ends) = (Latencies::new(), Latencies::new());
    for exchange in exchanges.iter().cycle().take(RECEIPT_COUNT) {
        std::thread::sleep(RECEIPT_PAUSE);
        let start = Instant::now();
        let request = exchange.request.clone();
        let audit = recorder.open(exchange.context(), request).unwrap();
        audit.opened_receipt().wait(TIMEOUT).unwrap();
        openings.record(start.elapsed());
        std::thread::sleep(RECEIPT_PAUSE);
        let start = Instant::now();
        let receipt = audit.complete(exchange.completion()).unwrap();
        receipt.wait(TIMEOUT).unwrap();
        ends.record(start.elapsed());
    }
    for (what, latencies) in [("opening", openings), ("end", ends)] {
        for (measure, micros) in latencies.measures() {
            print(&measure.replace("thread", what), micros);
        }
    }
    assert!(store.close(TIMEOUT).is_complete);
}

/// Lifecycles at a rate.
fn pace(builder: StoreBuilder, options: &Options, rate: f64, exchanges: &[Exchange]) {
    let store = builder.open().unwrap();
    let recorder = store.recorder();
    let count = (rate * options.arguments.seconds) as usize;
    let every = Duration::from_secs_f64(1.0 / rate);
    let mut latencies = Latencies::new();
    let mut running: VecDeque<(Instant, RequestHandle, usize)> = VecDeque::new();
    let processor_before = processor::seconds().unwrap();
    let written_before = written_bytes().unwrap();
    let begun = Instant::now();
    let mut opened = 0;
    while opened < count || !running.is_empty() {
        let next_open = (opened < count).then(|| begun + every * opened as u32);
        let next_end = running.front().map(|(end, ..)| *end);
        let due = next_open.into_iter().chain(next_end).min().unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        if next_open == Some(due) {
            let exchange = &exchanges[opened % exchanges.len()];
            let context = exchange.context();
            let handle = recorder.open(context, exchange.request.clone()).unwrap();
            running.push_back((due + REQUEST, handle, opened));
            opened += 1;
        } else {
            let (_, handle, index) = running.pop_front().unwrap();
            let exchange = &exchanges[index % exchanges.len()];
            handle.complete(exchange.completion()).unwrap();
        }
        latencies.record(start.elapsed());
    }
    store.flush(TIMEOUT).unwrap();
    let lifecycles = count as f64;
    let processor = processor::seconds().unwrap() - processor_before;
    // What was recorded, and what moving it into the database took.
    assert!(store.close(TIMEOUT).is_complete);
    let written = written_bytes().unwrap() - written_before;
    print(
        "written_kib_per_lifecycle",
        written as f64 / 1024.0 / lifecycles,
    );
    print("processor_us_per_lifecycle", processor * 1e6 / lifecycles);
    for (measure, micros) in latencies.measures() {
        print(measure, micros);
    }
}

/// Bytes that this process has had written to the disk. Linux.
fn written_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))?;
    line.parse().ok()
}
