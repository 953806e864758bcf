//! A long mixed load: writers, readers of every kind, flushes. Memory, write-ahead log and
//! descriptors are as flat at the end as they were after warming up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use auditlite::{
    HealthState, ListOptions, Overflow, PayloadSide, ReadOnlyStore, RequestFilter, StatsFilter,
    StatsKey, Store,
};
use fastrand::Rng;

use crate::{PATIENCE, figure, in_child, lifecycle, memory, seeds};

const CHILD: &str = "AUDITLITE_SOAK_CHILD";
/// What memory may grow by after warming up, in MiB: caches and the allocator find their level.
const GROWTH_MIB: f64 = 16.0;
/// The write-ahead log is moved at 16 MiB while busy; a reader may be in the way for a moment.
const WAL_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Clone, Copy)]
struct Sample {
    resident_mib: f64,
    wal_bytes: u64,
    descriptors: usize,
}

fn sample(store: &Store) -> Sample {
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Sample {
        resident_mib: memory::resident_mib().unwrap_or(0.0),
        wal_bytes: store.health().wal_bytes,
        descriptors,
    }
}

#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let duration = Duration::from_secs(seeds::number("AUDITLITE_SOAK_SECONDS", 15));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path)
        .capacity_bytes(16 << 20)
        .overflow(Overflow::Wait(PATIENCE))
        .open()
        .unwrap();
    let is_over = AtomicBool::new(false);
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let (recorder, is_over) = (store.recorder(), &is_over);
            scope.spawn(move || {
                let mut number = producer;
                while !is_over.load(Ordering::Relaxed) {
                    lifecycle(&recorder, number, 2000 + (number % 7) as usize * 4000);
                    number += 2;
                    // A pace that the writer keeps up with, so that the file does not fill a disk.
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        for seed in 0..2 {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || read(store, is_over, seed));
        }
        let begun = Instant::now();
        let step = (duration / 30).max(Duration::from_millis(100));
        while begun.elapsed() < duration {
            std::thread::sleep(step);
            samples.push(sample(&store));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.health().state, HealthState::Healthy);
    let third = samples.len() / 3;
    let most =
        |samples: &[Sample], of: fn(&Sample) -> f64| samples.iter().map(of).fold(0.0, f64::max);
    let (early, late) = (&samples[third..2 * third], &samples[2 * third..]);
    println!("early_mib={}", most(early, |sample| sample.resident_mib));
    println!("late_mib={}", most(late, |sample| sample.resident_mib));
    println!(
        "early_files={}",
        most(early, |sample| sample.descriptors as f64)
    );
    println!(
        "late_files={}",
        most(late, |sample| sample.descriptors as f64)
    );
    println!("wal={}", most(&samples, |sample| sample.wal_bytes as f64));
    let report = store.close(PATIENCE);
    assert!(report.is_complete, "{report:?}");
    println!("events={}", report.committed_events);
    let doctor = ReadOnlyStore::open(&path).unwrap().doctor().unwrap();
    assert_eq!(doctor.findings, Vec::<String>::new());
    assert_eq!(doctor.wal_bytes, 0, "moved and truncated by the close");
}

/// Everything that readers do, over and over, and flushes.
fn read(store: &Store, is_over: &AtomicBool, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let reader = store.reader();
    while !is_over.load(Ordering::Relaxed) {
        let mut filter = RequestFilter::new();
        filter.conversation_id = rng.bool().then(|| format!("c-{}", rng.u8(..60)));

        let page = reader
            .list(&filter, &ListOptions::new().limit(1 + rng.usize(..50)))
            .unwrap();
        for request in page.requests.iter().take(3) {
            assert_eq!(
                reader.get(&request.request_id).unwrap().opened_seq,
                request.opened_seq
            );
            reader.payload(request, PayloadSide::Request).unwrap();
        }
        reader
            .stats(&StatsFilter::new().group_by([StatsKey::Hour, StatsKey::Model]))
            .unwrap();
        if rng.u8(..10) == 0 {
            store.flush(PATIENCE).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn memory_log_and_descriptors_stay_flat() {
    let text = in_child("soak::child", CHILD);
    let [early, late, early_files, late_files, wal, events] = [
        "early_mib",
        "late_mib",
        "early_files",
        "late_files",
        "wal",
        "events",
    ]
    .map(|name| figure(&text, name));
    println!(
        "{events} events; memory {early} MiB, later {late} MiB; descriptors {early_files}, later {late_files}; write-ahead log at most {wal} bytes"
    );
    assert!(events > 100.0);
    assert!(late <= early + GROWTH_MIB);
    assert!(late_files <= early_files + 2.0);
    assert!(wal <= WAL_BYTES_MAX as f64);
}
