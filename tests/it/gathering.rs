//! Commits gather what comes within an interval, unless something waits for them.

use std::time::{Duration, Instant};

use auditlite::{Completion, Overflow, RequestContext, Store};

use crate::support::{Folder, PATIENCE, close, record, sqlite};

/// Longer than any test runs: what is not waited for is not committed.
const NEVER: Duration = Duration::from_secs(60);

fn commits(folder: &Folder) -> i64 {
    sqlite(folder)
        .query_row("SELECT count(*) FROM log_segments", [], |row| row.get(0))
        .unwrap()
}

fn store(folder: &Folder, interval: Duration) -> Store {
    folder.builder().commit_interval(interval).open().unwrap()
}

#[test]
fn what_comes_within_the_interval_is_one_commit() {
    let folder = Folder::new();
    let store = store(&folder, NEVER);
    let before = commits(&folder);
    for number in 0..20 {
        record(&store, &format!("r-{number}"), "{}", "{}");
        // The writer sleeps in between: it looks every few milliseconds.
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(commits(&folder), before, "nothing waits for a commit");
    store.flush(PATIENCE).unwrap();
    assert_eq!(commits(&folder), before + 1);
    close(store);
}

#[test]
fn what_is_left_alone_is_committed_after_the_interval() {
    let folder = Folder::new();
    let store = store(&folder, Duration::from_millis(50));
    record(&store, "r", "{}", "{}");
    let begun = Instant::now();
    while store.reader().get("r").is_err() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    close(store);
}

#[test]
fn what_waits_for_a_commit_does_not_wait_for_the_interval() {
    let folder = Folder::new();
    let begun = Instant::now();
    let store = store(&folder, NEVER);
    let recorder = store.recorder();
    for number in 0..5 {
        let context = RequestContext::new("openai.chat").request_id(format!("r-{number}"));
        let audit = recorder.open(context, "{}").unwrap();
        audit.opened_receipt().wait(PATIENCE).unwrap();
        // An end that comes while nothing waits, and is waited for later.
        let receipt = audit.complete(Completion::new()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!receipt.is_durable());
        receipt.wait(PATIENCE).unwrap();
    }
    record(&store, "last", "{}", "{}");
    close(store);
    assert!(begun.elapsed() < NEVER / 2);
}

#[test]
fn a_queue_that_fills_up_is_not_kept_waiting() {
    let folder = Folder::new();
    let begun = Instant::now();
    let store = folder
        .builder()
        .commit_interval(NEVER)
        .capacity_events(64)
        .overflow(Overflow::Wait(PATIENCE))
        .open()
        .unwrap();
    for number in 0..1000 {
        record(&store, &format!("r-{number}"), "{}", "{}");
    }
    let report = close(store);
    assert_eq!(report.shed_lifecycles, 0);
    assert!(begun.elapsed() < NEVER / 2);
}

#[test]
fn the_profile_for_edge_boxes_gathers_for_a_second() {
    let folder = Folder::new();
    let store = folder.builder().for_edge().open().unwrap();
    let before = commits(&folder);
    for number in 0..10 {
        record(&store, &format!("r-{number}"), "{}", "{}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(commits(&folder) <= before + 1);
    store.flush(PATIENCE).unwrap();
    assert!(commits(&folder) <= before + 2);
    close(store);
}
