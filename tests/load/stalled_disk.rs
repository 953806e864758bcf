//! The disk stands still for 5 s under full load: memory stays bounded, and no request thread waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use auditlite::{ReadOnlyStore, Store};

use crate::{PATIENCE, figure, in_child, lifecycle, memory, vfs};

const CHILD: &str = "AUDITLITE_STALLED_DISK_CHILD";
const CAPACITY_MIB: usize = 64;
const BODY_BYTES: usize = 50_000;
const STALL: Duration = Duration::from_secs(5);
/// What may be resident beyond the byte capacity, in MiB. The design's bar is 32, of which this
/// load takes 31 to 32: the rest is room for an allocator on a busy machine.
const BEYOND_MIB: f64 = 32.0;

/// The process whose memory is measured.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rule = vfs::rule(folder.path());
    let path = folder.path().join("audit.db");
    // The program's own is not the store's.
    let before = memory::resident_mib().unwrap_or(0.0);
    let builder = Store::builder(&path).capacity_bytes(CAPACITY_MIB << 20);
    let store = builder.open().unwrap();
    let is_over = AtomicBool::new(false);
    let (count, slow) = (AtomicU64::new(0), AtomicU64::new(0));
    let slowest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let recorder = store.recorder();
            let (is_over, count, slow, slowest) = (&is_over, &count, &slow, &slowest);
            scope.spawn(move || {
                let mut number = producer;
                while !is_over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    lifecycle(&recorder, number, BODY_BYTES);
                    let took = begun.elapsed();
                    slowest.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
                    slow.fetch_add(
                        u64::from(took > Duration::from_millis(100)),
                        Ordering::Relaxed,
                    );
                    count.fetch_add(1, Ordering::Relaxed);
                    number += 2;
                }
            });
        }
        std::thread::sleep(Duration::from_secs(1));
        rule.world.slow_syncs(STALL);
        std::thread::sleep(STALL + Duration::from_secs(1));
        is_over.store(true, Ordering::Relaxed);
    });
    rule.world.slow_syncs(Duration::ZERO);
    println!("peak_mib={}", memory::peak_mib().unwrap_or(0.0) - before);
    println!("slow={}", slow.load(Ordering::Relaxed));
    println!("slowest_us={}", slowest.load(Ordering::Relaxed));
    println!("count={}", count.load(Ordering::Relaxed));
    let report = store.close(PATIENCE);
    assert!(report.is_complete, "{report:?}");
    println!("shed={}", report.shed_payloads + report.shed_lifecycles);
    let doctor = ReadOnlyStore::open(&path).unwrap().doctor().unwrap();
    assert_eq!(doctor.findings, Vec::<String>::new());
    assert_eq!(doctor.shed_lifecycles, report.shed_lifecycles);
    assert_eq!(doctor.shed_payloads, report.shed_payloads);
    assert_eq!(doctor.requests + doctor.shed_lifecycles, count.into_inner());
}

#[test]
fn memory_stays_within_the_byte_capacity_while_the_disk_stands_still() {
    let text = in_child("stalled_disk::child", CHILD);
    let [peak, slow, slowest, count, shed] =
        ["peak_mib", "slow", "slowest_us", "count", "shed"].map(|name| figure(&text, name));
    println!(
        "peak {peak} MiB at a capacity of {CAPACITY_MIB} MiB; {count} lifecycles, {shed} shed; slowest call {slowest} µs, {slow} above 100 ms"
    );
    assert!(shed > 0.0, "the load was more than the capacity");
    // A call that waited for the disk would have taken seconds, and every later one too.
    assert!(slowest < 2_000_000.0 && slow < 1.0 + count / 1000.0);
    assert!(
        peak <= CAPACITY_MIB as f64 + BEYOND_MIB,
        "{peak} MiB are more than {CAPACITY_MIB} + {BEYOND_MIB}"
    );
}
