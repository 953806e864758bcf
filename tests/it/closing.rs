//! Closing: by reference, more than once, by several threads, and awaited.

use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use auditlite::{
    CloseReport, Closing, Completion, HealthState, RecordError, RequestContext, Store,
};

use crate::support::{Folder, PATIENCE, record, sqlite};

/// Says when it is woken.
struct Notifier(mpsc::SyncSender<()>);

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_send(());
    }
}

fn block_on(mut closing: Closing) -> CloseReport {
    let (woken, wakes) = mpsc::sync_channel(1);
    let waker = Waker::from(Arc::new(Notifier(woken)));
    loop {
        let closing = std::pin::pin!(&mut closing);
        if let Poll::Ready(report) = closing.poll(&mut Context::from_waker(&waker)) {
            return report;
        }
        wakes.recv_timeout(PATIENCE).unwrap(); // a wake-up that got lost
    }
}

fn is_closed(store: &Store) -> bool {
    let opened = store.recorder().open(RequestContext::new("x"), "q");
    matches!(opened, Err(RecordError::Closed))
}

#[test]
fn a_second_close_returns_the_report_of_the_first() {
    let folder = Folder::new();
    let store = folder.open();
    record(&store, "r-1", "q", "a");
    let report = store.close(PATIENCE);
    assert!(report.is_complete);
    assert!(is_closed(&store));
    // Another opening of the store must not be in it.
    let next = folder.open();
    record(&next, "r-2", "q", "a");
    next.flush(PATIENCE).unwrap();
    assert_eq!(store.close(Duration::ZERO), report);
    assert_eq!(block_on(store.close_async(Duration::ZERO)), report);
    drop(store);
    assert_eq!(next.health().state, HealthState::Healthy);
    assert!(next.close(PATIENCE).is_complete);
}

#[test]
fn threads_that_close_at_once_get_one_report() {
    let folder = Folder::new();
    let store = folder.open();
    record(&store, "r-1", "q", "a");
    let reports: Vec<CloseReport> = std::thread::scope(|scope| {
        let closing: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| store.close(PATIENCE)))
            .collect();
        closing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(reports[0].is_complete);
    assert!(reports.iter().all(|report| *report == reports[0]));
}

#[test]
fn a_close_is_awaited() {
    let folder = Folder::new();
    let store = folder.open();
    let receipt = {
        let audit = store.recorder().open(RequestContext::new("x"), "q");
        audit.unwrap().complete(Completion::new()).unwrap()
    };
    let report = block_on(store.close_async(PATIENCE));
    assert!(report.is_complete);
    assert!(receipt.is_durable());
    assert!(is_closed(&store));
}

#[test]
fn a_close_that_nobody_awaits_goes_on_and_the_store_waits_for_it() {
    let folder = Folder::new();
    let store = folder.open();
    let audit = store.recorder().open(RequestContext::new("x"), "q");
    let receipt = audit.unwrap().complete(Completion::new()).unwrap();
    drop(store.close_async(PATIENCE));
    drop(store);
    assert!(receipt.is_durable());
    // The file is free again.
    assert!(folder.open().close(PATIENCE).is_complete);
}

#[test]
fn an_awaited_close_that_runs_out_of_time_says_what_is_lost() {
    let folder = Folder::new();
    let store = folder.open();
    let lock = sqlite(&folder);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let audit = store.recorder().open(RequestContext::new("x"), "q");
    audit.unwrap().complete(Completion::new()).unwrap();
    let report = block_on(store.close_async(Duration::from_millis(1)));
    assert!(!report.is_complete);
    assert_eq!(report.lost_events, 2);
    lock.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_recorder_tells_the_stores_health() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    assert_eq!(recorder.health().state, HealthState::Healthy);
    record(&store, "r-1", "q", "a");
    store.flush(PATIENCE).unwrap();
    assert_eq!(
        recorder.health().committed_events,
        store.health().committed_events
    );
    store.close(PATIENCE);
    assert_eq!(recorder.health().state, HealthState::Failed);
}
