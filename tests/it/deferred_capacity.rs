//! Deferred bodies are in memory until the end: within the capacity, and never at the cost of whole requests.

use std::time::Duration;

use auditlite::{CloseReport, Message, Overflow, PayloadSide, ReadError, RequestContext};

use crate::deferred::{builder, findings};
use crate::support::{Folder, PATIENCE, close};

#[test]
fn held_bodies_stay_within_the_capacity_and_what_is_beyond_is_shed_and_counted() {
    const CAPACITY: usize = 1 << 20;
    const BODY: usize = 16 * 1024;
    const OPEN: usize = 200;
    let folder = Folder::new();
    let store = builder(&folder).capacity_bytes(CAPACITY).open().unwrap();
    let body = |number: usize| format!("{number:08}").repeat(BODY / 8);
    let mut handles = Vec::new();
    for number in 0..OPEN {
        let context = RequestContext::new("").request_id(format!("r-{number:03}"));
        handles.push(store.recorder().open(context, body(number)).unwrap());
        // Whatever is queued is committed: what counts from here on is held.
        store.flush(PATIENCE).unwrap();
        assert!(store.health().queued_bytes <= CAPACITY as u64);
    }
    let health = store.health();
    let held = health.queued_bytes;
    assert_eq!(health.shed_lifecycles, 0, "bodies are shed before requests");
    let shed = health.shed_payloads;
    let granted = OPEN as u64 - shed;
    assert_eq!(held, granted * BODY as u64, "every held body counts");
    // Two thirds of it are granted, and an eighth of these stays for openings and ends.
    let share = (CAPACITY - CAPACITY / 3) as u64 * 7 / 8;
    assert!(
        held <= share && held > share - 2 * BODY as u64,
        "{held} of {share}"
    );
    for (number, audit) in handles.into_iter().enumerate() {
        audit
            .finish(if number % 2 == 0 { 500 } else { 200 })
            .unwrap();
    }
    store.flush(PATIENCE).unwrap();
    assert_eq!(store.health().queued_bytes, 0, "all of it is given back");
    let reader = store.reader();
    let mut kept = 0;
    for number in 0..OPEN {
        let request = reader.get(&format!("r-{number:03}")).unwrap();
        let is_shed = reader
            .body_info(&request, PayloadSide::Request)
            .unwrap()
            .is_some_and(|info| info.sha256.is_none());
        assert_eq!(is_shed, number as u64 >= granted, "{number}");
        match reader.payload(&request, PayloadSide::Request) {
            Ok(payload) => {
                assert_eq!(payload.bytes, body(number).as_bytes());
                kept += 1;
            }
            Err(ReadError::NotKept { .. }) => assert!(is_shed || number % 2 == 1, "{number}"),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(kept, granted.div_ceil(2));
    let report: CloseReport = close(store);
    assert_eq!(report.shed_payloads, shed);
    assert!(findings(&folder).is_empty());
}

#[test]
fn what_waits_for_capacity_or_refuses_goes_by_the_same_share() {
    let folder = Folder::new();
    let body = vec![b'x'; 100 * 1024];
    for overflow in [Overflow::Wait(Duration::from_millis(1)), Overflow::Strict] {
        let store = builder(&folder)
            .overflow(overflow)
            .capacity_bytes(256 * 1024)
            .open()
            .unwrap();
        let recorder = store.recorder();
        let first = recorder
            .open(RequestContext::new(""), body.clone())
            .unwrap();
        store.flush(PATIENCE).unwrap();
        let second = recorder.open(RequestContext::new(""), body.clone());
        assert_eq!(second.is_err(), overflow == Overflow::Strict);
        // What has no body always finds its place.
        let bare = recorder
            .open(RequestContext::new("").request_id("bare"), "")
            .unwrap();
        assert!(bare.is_recorded());
        drop((first, second, bare));
        close(store);
    }
    assert!(findings(&folder).is_empty());
}

/// Messages that a gateway passes instead of a body are held as a body is.
#[test]
fn held_messages_leave_capacity_for_the_openings_of_others() {
    const CAPACITY: usize = 1 << 20;
    let folder = Folder::new();
    let store = builder(&folder).capacity_bytes(CAPACITY).open().unwrap();
    let mut handles = Vec::new();
    for number in 0..100 {
        let message = Message::new("user", "0123456789abcdef".repeat(1024));
        let context = RequestContext::new("").request_id(format!("r-{number:03}"));
        let context = context.messages(vec![message]);
        handles.push(store.recorder().open(context, "").unwrap());
        store.flush(PATIENCE).unwrap();
    }
    let health = store.health();
    assert_eq!(health.shed_lifecycles, 0, "content is shed before requests");
    let share = (CAPACITY - CAPACITY / 3) as u64 * 7 / 8;
    let held = health.queued_bytes;
    assert!(held <= share && held > share / 2, "{held} of {share}");
    let shed = health.shed_payloads;
    for audit in handles {
        audit.finish(500).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    assert_eq!(store.health().queued_bytes, 0);
    let reader = store.reader();
    let kept = (0..100).filter(|number| {
        let request = reader.get(&format!("r-{number:03}")).unwrap();
        let messages = reader.messages(&request);
        messages.is_ok_and(|messages| messages.len() == 1)
    });
    assert_eq!(kept.count() as u64, 100 - shed);
    close(store);
    assert!(findings(&folder).is_empty());
}
