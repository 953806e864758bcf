//! A store at work: what every fault and power loss interrupts.
#![allow(dead_code)]

use std::path::Path;
use std::time::Duration;

use auditlite::{ListOptions, Overflow, RequestFilter, Store, StoreBuilder};

use super::oracle::Ledger;

/// Small bounds, so that a short scene reaches checkpoints and full queues.
pub fn builder(path: &Path, overflow: Overflow) -> StoreBuilder {
    Store::builder(path)
        .overflow(overflow)
        .capacity_events(256)
        .wal_checkpoint_bytes(128 * 1024)
        .read_timeout(Duration::from_millis(200))
        .close_timeout(Duration::from_millis(500))
}

/// Records `batches` group commits of a few lifecycles each, with a read now and then. Some
/// lifecycles stay open for a while. Each flush waits `patience` at most; `false`: one did not
/// succeed in that time, after which the rest is handed over without waiting.
pub fn work(store: &Store, ledger: &Ledger, name: &str, batches: u64, patience: Duration) -> bool {
    let recorder = store.recorder();
    let mut all_flushed = true;
    let mut held = Vec::new();
    for batch in 0..batches {
        for number in batch * 4..batch * 4 + 4 {
            let id = format!("{name}-{number}");
            if let Some(handle) = ledger.open(&recorder, &id) {
                if number % 5 == 0 {
                    held.push((id, handle));
                } else {
                    ledger.complete(&id, handle);
                }
            }
        }
        if batch % 3 == 2 {
            for (id, handle) in held.drain(..) {
                ledger.complete(&id, handle);
            }
        }
        if all_flushed {
            all_flushed = store.flush(patience).is_ok();
        }
        if batch % 4 == 1 && all_flushed {
            // What it says is checked afterwards; here it takes locks and reads pages.
            let _ = store
                .reader()
                .list(&RequestFilter::default(), &ListOptions::new().limit(20));
        }
    }
    for (id, handle) in held {
        ledger.complete(&id, handle);
    }
    all_flushed
}

/// Runs the cases on as many threads as there are processors, or the one that `variable` names.
/// Panics with all violations, each with the number that replays it.
pub fn run_cases(what: &str, variable: &str, count: u64, case: impl Fn(u64) -> Vec<String> + Sync) {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    let only = std::env::var(variable)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let numbers = only.map_or(0..count, |only| only..only + 1);
    let next = AtomicU64::new(numbers.start);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end || failures.lock().unwrap().len() >= 20 {
                        break;
                    }
                    let case_begun = std::time::Instant::now();
                    let outcome =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(number)));
                    let violations = outcome.unwrap_or_else(|_| vec!["panicked".to_owned()]);
                    let took = case_begun.elapsed();
                    if took > Duration::from_secs(10) {
                        eprintln!("{variable}={number} took {took:?}");
                    }
                    if !violations.is_empty() {
                        let failure = format!("{variable}={number}: {}", violations.join("; "));
                        eprintln!("{failure}");
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    eprintln!(
        "{what}: {} cases, {} failed, {:.1} s",
        numbers.end - numbers.start,
        failures.len(),
        begun.elapsed().as_secs_f64()
    );
    assert!(
        failures.is_empty(),
        "{what}: replay with the variable before each line\n{}",
        failures.join("\n")
    );
}

/// A folder in memory where there is one: the shim decides what is durable, not the disk.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    folder.unwrap()
}
