//! The retention policy of a store, with a clock that the test sets: what becomes too old is removed without a
//! call, while other threads record, and nothing else is.

use std::thread;
use std::time::{Duration, Instant};

use super::{ClockSet, HOUR, PATIENCE, set_clock};
use crate::{
    Alarm, Completion, ListOptions, PayloadSide, ReadError, ReadOnlyStore, RemovalError,
    RequestContext, RequestFilter, Retention, StatsFilter, Store, Usage, VerifyOptions,
};

const MINUTE: i64 = HOUR / 60;
const DAY: i64 = 24 * HOUR;
const OFTEN: Duration = Duration::from_millis(5);

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

fn body(id: &str) -> String {
    format!("{}{id}", "what all of them say ".repeat(40))
}

fn record(store: &Store, name: &str, count: usize) {
    for number in 0..count {
        let id = format!("{name}-{number}");
        let context = RequestContext::new("")
            .request_id(id.clone())
            .user_id("someone")
            .conversation_id(format!("{name} {}", number % 3));
        let audit = store.recorder().open(context, body(&id)).unwrap();
        let end = Completion::new().usage(Usage::new(5, 1));
        audit
            .complete(end.response_body(format!("fine, {id}")))
            .unwrap();
        if number % 20 == 19 {
            store.flush(PATIENCE).unwrap();
        }
    }
    store.flush(PATIENCE).unwrap();
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn content_of(store: &Store, id: &str) -> Result<Vec<u8>, ReadError> {
    let reader = store.reader();
    let request = reader.get(id)?;
    Ok(reader.payload(&request, PayloadSide::Request)?.bytes)
}

fn is_pruned(store: &Store, id: &str) -> bool {
    matches!(
        content_of(store, id),
        Err(ReadError::NotKept {
            reason: "it was pruned",
            ..
        })
    )
}

fn is_gone(store: &Store, id: &str) -> bool {
    matches!(content_of(store, id), Err(ReadError::NotFound(_)))
}

fn assert_clean(path: &std::path::Path) {
    let store = ReadOnlyStore::open(path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(store.doctor().unwrap().findings, [""; 0]);
}

#[test]
fn what_becomes_too_old_goes_by_itself() {
    let _guard = ClockSet;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let retention = Retention::new()
        .clock_is_right(true)
        .content_older_than(days(7))
        .metadata_older_than(days(30));
    let open = || {
        Store::builder(&path)
            .retention(retention)
            .retention_every(OFTEN)
            .open()
            .unwrap()
    };
    let store = open();
    record(&store, "old", 60);
    // It has been looked at meanwhile, and is not due.
    let looks = Instant::now();
    record(&store, "also-old", 60);
    until("several looks", || looks.elapsed() > OFTEN * 4);
    assert_eq!(
        content_of(&store, "old-0").unwrap(),
        body("old-0").as_bytes()
    );
    assert!(store.close(PATIENCE).is_complete);

    set_clock(8 * DAY);
    let store = open();
    record(&store, "new", 60);
    until("content is pruned", || is_pruned(&store, "also-old-59"));
    assert!(is_pruned(&store, "old-0"));
    assert_eq!(
        store.reader().get("old-0").unwrap().user_id.as_deref(),
        Some("someone")
    );
    for number in 0..60 {
        let id = format!("new-{number}");
        assert_eq!(content_of(&store, &id).unwrap(), body(&id).as_bytes());
    }
    assert!(store.close(PATIENCE).is_complete);
    assert_clean(&path);

    set_clock(31 * DAY);
    let store = open();
    record(&store, "newest", 60);
    until("requests are pruned", || is_gone(&store, "also-old-59"));
    until("content is pruned", || is_pruned(&store, "new-59"));
    assert!(is_gone(&store, "old-0"));
    let page = store
        .reader()
        .list(&RequestFilter::default(), &ListOptions::new().limit(1000));
    assert_eq!(page.unwrap().requests.len(), 120);
    for number in 0..60 {
        let id = format!("newest-{number}");
        assert_eq!(content_of(&store, &id).unwrap(), body(&id).as_bytes());
    }
    let sums = store.reader().stats(&StatsFilter::default()).unwrap();
    let tokens: u64 = sums.iter().map(|row| row.input_tokens).sum();
    assert_eq!(tokens, 240 * 5, "what was pruned still counts");
    assert!(store.close(PATIENCE).is_complete);
    assert_clean(&path);
}

/// A close in the middle of it loses nothing, and what was not pruned yet is pruned by the next.
#[test]
fn a_close_in_between_is_in_order() {
    let _guard = ClockSet;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path).open().unwrap();
    record(&store, "old", 600);
    assert!(store.close(PATIENCE).is_complete);
    set_clock(3 * DAY);
    let retention = Retention::new()
        .clock_is_right(true)
        .content_older_than(days(1))
        .metadata_older_than(days(2));
    let (mut rounds, mut left) = (0, 600);
    while left > 0 {
        rounds += 1;
        assert!(rounds < 200, "{left} are left");
        let store = Store::builder(&path).retention(retention).open().unwrap();
        let until = Instant::now() + Duration::from_millis(rounds * rounds * 5);
        for turn in 0.. {
            if Instant::now() >= until {
                break;
            }
            record(&store, &format!("round-{rounds}-{turn}"), 1);
            thread::sleep(Duration::from_millis(1));
        }
        assert!(store.close(PATIENCE).is_complete);
        assert_clean(&path);
        let reader = ReadOnlyStore::open(&path).unwrap();
        let all = reader
            .reader()
            .list(&RequestFilter::default(), &ListOptions::new().limit(10_000));
        let all = all.unwrap().requests;
        left = all
            .iter()
            .filter(|request| request.request_id.starts_with("old-"))
            .count();
    }
    let store = Store::builder(&path).open().unwrap();
    assert_eq!(
        content_of(&store, "round-1-0-0").unwrap(),
        body("round-1-0-0").as_bytes()
    );
}

/// The clock is in 2037 for a while: at an opening, in the middle of one, and over several.
#[test]
fn a_clock_that_is_ahead_takes_nothing() {
    let _guard = ClockSet;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let by_age = Retention::new()
        .content_older_than(days(7))
        .metadata_older_than(days(30));
    let ahead = 11 * 365 * DAY;
    let open = || {
        let builder = Store::builder(&path).retention(by_age);
        builder.retention_every(OFTEN).open().unwrap()
    };
    let is_held_back = |store: &Store| {
        let alarms = store.health().alarms;
        let is_held = |alarm: &Alarm| matches!(alarm, Alarm::ClockAhead { .. });
        alarms.iter().any(is_held)
    };
    set_clock(-2 * DAY);
    let store = open();
    record(&store, "first", 20);
    assert!(store.close(PATIENCE).is_complete);
    set_clock(0);
    let store = open();
    record(&store, "kept", 20);
    assert!(!is_held_back(&store));
    // In the middle of it, by hand: the thread's clock is that of its opening.
    set_clock(ahead);
    let refused = store.prune(&by_age);
    assert!(
        matches!(refused, Err(RemovalError::ClockAhead { ahead }) if ahead > days(4000)),
        "{refused:?}"
    );
    record(&store, "ahead", 20);
    assert!(store.close(PATIENCE).is_complete);
    // At an opening.
    for turn in 0..2 {
        let store = open();
        until("the alarm", || is_held_back(&store));
        record(&store, &format!("turn {turn}"), 5);
        assert!(store.close(PATIENCE).is_complete);
        let preview = ReadOnlyStore::open(&path).unwrap().preview_prune(&by_age);
        assert!(
            preview.unwrap().clock_ahead > Some(days(4000)),
            "turn {turn}"
        );
    }
    set_clock(MINUTE);
    let store = open();
    let report = store.prune(&by_age).unwrap();
    assert_eq!((report.requests, report.payloads), (0, 0));
    assert!(!is_held_back(&store));
    for id in ["first-0", "kept-0", "kept-19", "ahead-0"] {
        assert_eq!(content_of(&store, id).unwrap(), body(id).as_bytes());
    }
    // Removal by size works all the same, and removal by age once the operator says that the clock is right.
    set_clock(ahead);
    let by_size = Retention::new().size_bytes_max(u64::MAX);
    assert_eq!(store.prune(&by_size).unwrap().requests, 0);
    let clock_is_right = true;
    let retention = by_age.clock_is_right(clock_is_right);
    assert!(store.prune(&retention).unwrap().requests > 0);
    assert!(store.close(PATIENCE).is_complete);
    assert_clean(&path);
}
