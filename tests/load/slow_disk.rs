//! Syncs that take 10 ms to 5 s: what a request thread updates of them.

use std::time::{Duration, Instant};

use auditlite::{
    Completion, Overflow, ReadOnlyStore, RecordError, Recorder, RequestContext, Store,
};

use crate::{PATIENCE, vfs};

/// What a busy machine adds to a call now and then.
const NOISE: Duration = Duration::from_millis(5);

/// Latencies of open + complete while the disk syncs at this pace, sorted.
fn latencies(recorder: &Recorder, count: usize) -> Vec<Duration> {
    let body = bytes::Bytes::from(vec![b'q'; 20_000]);
    let mut latencies: Vec<_> = (0..count)
        .map(|number| {
            let context = RequestContext::new("openai.chat");
            let begun = Instant::now();
            let audit = recorder.open(context, body.clone()).unwrap();
            audit
                .complete(Completion::new().response_body(body.clone()))
                .unwrap();
            let latency = begun.elapsed();
            if number % 4 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
            latency
        })
        .collect();
    latencies.sort();
    latencies
}

fn p999(latencies: &[Duration]) -> Duration {
    latencies[latencies.len() * 999 / 1000]
}

/// 99.9 % of the calls are as fast as with a quick disk. Noise only ever adds: of three rounds the
/// best one counts.
#[test]
fn shed_does_not_notice_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let rule = vfs::rule(folder.path());
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path).open().unwrap();
    let recorder = store.recorder();
    for delay_ms in [10, 100, 1000, 5000] {
        let delay = Duration::from_millis(delay_ms);
        let is_unmoved = (0..3).any(|_| {
            rule.world.slow_syncs(Duration::ZERO);
            let quick = p999(&latencies(&recorder, 4000));
            rule.world.slow_syncs(delay);
            let slow = latencies(&recorder, 4000);
            // It is slow indeed.
            assert!(store.flush(delay / 2).is_err());
            let (slow, slowest) = (p999(&slow), slow[slow.len() - 1]);
            println!("sync {delay:?}: p99.9 {quick:?} before, {slow:?}, slowest {slowest:?}");
            slow <= quick * 3 + NOISE
        });
        assert!(is_unmoved, "with {delay:?} a sync");
    }
    rule.world.slow_syncs(Duration::ZERO);
    assert!(store.close(PATIENCE).is_complete);
    let doctor = ReadOnlyStore::open(&path).unwrap().doctor().unwrap();
    assert_eq!(doctor.findings, Vec::<String>::new());
}

/// Each wait for capacity ends after its duration; a request that finds none is shed, and the log records it.
#[test]
fn wait_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let rule = vfs::rule(folder.path());
    let path = folder.path().join("audit.db");
    let patience = Duration::from_millis(50);
    let builder = Store::builder(&path).capacity_events(16);
    let store = builder.overflow(Overflow::Wait(patience)).open().unwrap();
    rule.world.slow_syncs(Duration::from_secs(2));
    let (mut shed, mut slowest) = (0, Duration::ZERO);
    for _ in 0..40 {
        let begun = Instant::now();
        let audit = store.recorder().open(RequestContext::new(""), "q").unwrap();
        let took = begun.elapsed();
        slowest = slowest.max(took);
        if !audit.is_recorded() {
            shed += 1;
            assert!(took >= patience, "{took:?}");
        }
        audit.complete(Completion::new()).unwrap();
    }
    println!("waiting 50 ms: slowest opening {slowest:?}, {shed} of 40 shed");
    assert!(shed > 0);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    rule.world.slow_syncs(Duration::ZERO);
    let report = store.close(PATIENCE);
    assert!(report.is_complete);
    assert_eq!(report.shed_lifecycles, shed);
    let doctor = ReadOnlyStore::open(&path).unwrap().doctor().unwrap();
    assert_eq!(doctor.shed_lifecycles, shed);
    assert_eq!(doctor.findings, Vec::<String>::new());
}

/// What cannot be recorded is refused at once, not after the sync; a close keeps its deadline.
#[test]
fn strict_refuses_and_close_returns_while_the_disk_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let rule = vfs::rule(folder.path());
    let path = folder.path().join("audit.db");
    let builder = Store::builder(&path).capacity_events(16);
    let store = builder.overflow(Overflow::Strict).open().unwrap();
    rule.world.slow_syncs(Duration::from_secs(5));
    let mut refused = 0;
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        match store.recorder().open(RequestContext::new(""), "q") {
            Ok(audit) => drop(audit.complete(Completion::new()).unwrap()),
            Err(error) => {
                assert_eq!(error, RecordError::Full);
                refused += 1;
            }
        }
        slowest = slowest.max(begun.elapsed());
    }
    println!("strict: {refused} of 100 refused, slowest call {slowest:?}");
    assert!(refused > 0);
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
    let begun = Instant::now();
    let report = store.close(Duration::from_millis(300));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert!(!report.is_complete);
    assert!(report.lost_events > 0);
    rule.world.slow_syncs(Duration::ZERO);
    // The abandoned thread lets go of the file on its own.
    while Store::builder(&path).open().is_err() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}
