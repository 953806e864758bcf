//! Low rates: `--rate R`. What a store costs where a request comes now and then.
//!
//! R lifecycles a second for the time of the measurement, each an opening, half a second, an end. At such
//! rates it is not packing that counts but commits: what each writes to the disk and how often it syncs.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use auditlite::{Completion, Overflow, RequestHandle, Store, Usage};

use super::child::print;
use super::common::{Latencies, processor, traffic};
use super::{BYTE_BUDGET_MIB, Options};

const TIMEOUT: Duration = Duration::from_secs(120);
/// From an opening to its end.
const REQUEST: Duration = Duration::from_millis(500);

/// The measurement, in this process; `is_edge` with the profile for edge boxes.
pub(crate) fn run(options: &Options, rate: f64, is_edge: bool, folder: &Path) {
    let exchanges = traffic::load_quietly(&options.arguments);
    let builder = Store::builder(folder.join("audit.db"))
        .capacity_bytes(BYTE_BUDGET_MIB << 20)
        .overflow(Overflow::Wait(TIMEOUT));
    let builder = if is_edge { builder.for_edge() } else { builder };
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
            let completion = Completion::new()
                .response_body(exchange.response.clone())
                .usage(Usage::new(1200, 80))
                .finish_reason("stop")
                .http_status(200);
            handle.complete(completion).unwrap();
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
