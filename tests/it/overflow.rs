//! Overflow: what happens beyond the capacity, and that the log records every loss.

use std::time::{Duration, Instant};

use auditlite::{
    Completion, HealthState, Overflow, PayloadSide, ReadError, ReadOnlyStore, RecordError,
    RequestContext, Store,
};

use crate::support::{Folder, PATIENCE, close, findings, sqlite};

fn context(number: usize) -> RequestContext {
    RequestContext::new("").request_id(format!("r-{number}"))
}

/// Opens `count` requests and keeps them open: their ends stay reserved.
fn hold_open(store: &Store, count: usize) -> Vec<auditlite::RequestHandle> {
    (0..count)
        .map(|number| store.recorder().open(context(number), "q").unwrap())
        .collect()
}

#[test]
fn shed_leaves_lifecycles_out_and_states_them() {
    let folder = Folder::new();
    let store = folder.builder().capacity_events(16).open().unwrap();
    let held = hold_open(&store, 100);
    let recorded = held.iter().filter(|audit| audit.is_recorded()).count();
    assert!((8..=16).contains(&recorded), "{recorded}");
    // Every lifecycle that was let in can be closed, however full it is.
    for audit in held {
        audit
            .complete(Completion::new().response_body("a"))
            .unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let report = close(store);
    assert_eq!(report.shed_lifecycles as usize, 100 - recorded);
    let report = ReadOnlyStore::open(folder.path())
        .unwrap()
        .doctor()
        .unwrap();
    assert_eq!(report.requests as usize, recorded);
    assert_eq!(report.shed_lifecycles as usize, 100 - recorded);
    assert_eq!(report.pending, 0);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn shed_leaves_bodies_out_before_lifecycles() {
    let folder = Folder::new();
    let store = folder.builder().capacity_bytes(64 * 1024).open().unwrap();
    let audit = store
        .recorder()
        .open(context(1), vec![b'q'; 100_000])
        .unwrap();
    assert!(audit.is_recorded());
    let completion = Completion::new().response_body(vec![b'a'; 200_000]);
    audit.complete(completion).unwrap().wait(PATIENCE).unwrap();
    let mut audit = store.recorder().open(context(2), "small").unwrap();
    for _ in 0..100 {
        audit.chunk(vec![b'c'; 10_000]);
    }
    audit
        .complete(Completion::new())
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    let reader = store.reader();
    let request = reader.get("r-1").unwrap();
    assert_eq!(request.request_bytes, 100_000);
    assert_eq!(request.response_bytes, Some(200_000));
    for side in [PayloadSide::Request, PayloadSide::Response] {
        let error = reader.payload(&request, side).unwrap_err();
        let ReadError::NotKept { reason, .. } = error else {
            panic!("{error}")
        };
        assert!(reason.contains("shed"));
    }
    let request = reader.get("r-2").unwrap();
    assert_eq!(
        request.response_bytes,
        Some(1_000_000),
        "counted to the end"
    );
    assert!(reader.payload(&request, PayloadSide::Response).is_err());
    assert_eq!(
        reader
            .payload(&request, PayloadSide::Request)
            .unwrap()
            .bytes,
        b"small"
    );
    let report = close(store);
    assert_eq!((report.shed_payloads, report.shed_lifecycles), (3, 0));
    let report = ReadOnlyStore::open(folder.path())
        .unwrap()
        .doctor()
        .unwrap();
    assert_eq!(report.shed_payloads, 3);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn strict_refuses_at_once_what_it_cannot_record() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .capacity_events(16)
        .overflow(Overflow::Strict)
        .open()
        .unwrap();
    let recorder = store.recorder();
    let mut held = Vec::new();
    let error = loop {
        match recorder.open(context(held.len()), "q") {
            Ok(audit) => held.push(audit),
            Err(error) => break error,
        }
        assert!(held.len() <= 16);
    };
    assert_eq!(error, RecordError::Full);
    for audit in held {
        audit.complete(Completion::new()).unwrap();
    }
    let report = close(store);
    assert_eq!(report.shed_lifecycles, 0, "a refusal is not a loss");
    assert!(findings(&folder).is_empty());
}

#[test]
fn wait_waits_for_room_and_then_sheds() {
    let folder = Folder::new();
    let patience = Duration::from_millis(100);
    let store = folder
        .builder()
        .capacity_events(16)
        .overflow(Overflow::Wait(patience))
        .open()
        .unwrap();
    let mut held = hold_open(&store, 8);
    store.flush(PATIENCE).unwrap();
    // 8 ends are reserved, 8 events are left: 4 more would fit, or fewer while they are queued.
    while held.iter().all(auditlite::RequestHandle::is_recorded) {
        let start = Instant::now();
        held.push(store.recorder().open(context(held.len()), "q").unwrap());
        if !held.last().unwrap().is_recorded() {
            assert!(start.elapsed() >= patience);
        }
    }
    // A waiting thread finds capacity that is released meanwhile.
    let recorder = store.recorder();
    let waiter = std::thread::spawn(move || {
        (0..200)
            .map(|number| recorder.open(context(1000 + number), "q").unwrap())
            .any(|audit| audit.is_recorded())
    });
    drop(held);
    assert!(waiter.join().unwrap());
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn a_stalled_writer_sheds_and_states_it_afterwards() {
    let folder = Folder::new();
    let store = folder.builder().capacity_events(64).open().unwrap();
    let connection = sqlite(&folder);
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut lost = 0;
    let mut number = 0;
    while lost < 100 {
        let audit = store.recorder().open(context(number), "q").unwrap();
        lost += usize::from(!audit.is_recorded());
        audit.complete(Completion::new()).unwrap();
        number += 1;
    }
    connection.execute_batch("ROLLBACK").unwrap();
    store.flush(PATIENCE).unwrap();
    assert_eq!(store.health().state, HealthState::Healthy);
    let report = close(store);
    assert_eq!(report.shed_lifecycles, 100);
    let doctor = ReadOnlyStore::open(folder.path())
        .unwrap()
        .doctor()
        .unwrap();
    assert_eq!(doctor.requests as usize, number - 100);
    assert_eq!(doctor.shed_lifecycles, 100);
    assert!(doctor.gaps >= 1);
    assert!(doctor.findings.is_empty(), "{:?}", doctor.findings);
}

#[test]
fn bodies_leave_space_for_the_metadata_of_later_requests() {
    let folder = Folder::new();
    let builder = folder.builder().capacity_bytes(16 * 1024 * 1024);
    let store = builder.open().unwrap();
    let connection = sqlite(&folder);
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Large ones until no more fits, then smaller ones, which fill what is left.
    let sizes = [200_000, 8_000, 500, 20].map(|bytes| [bytes; 40]);
    for (number, &bytes) in sizes.iter().flatten().enumerate() {
        let mut audit = store
            .recorder()
            .open(context(number), vec![b'q'; bytes])
            .unwrap();
        audit.chunk(vec![b'a'; bytes]);
        audit.complete(Completion::new()).unwrap();
    }
    connection.execute_batch("ROLLBACK").unwrap();
    let report = close(store);
    assert_eq!(report.shed_lifecycles, 0);
    assert!(report.shed_payloads > 0);
    assert!(findings(&folder).is_empty());
}
