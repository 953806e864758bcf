//! A disk on which commits fail: no request thread waits, nothing is lost, deadlines hold.

use std::time::{Duration, Instant};

use auditlite::{
    Completion, FlushError, HealthState, ListOptions, ReceiptError, RequestContext, RequestFilter,
    Store,
};

use crate::support::{Folder, PATIENCE, close, findings, sqlite};

/// Holds the database's write lock, so that every commit of the writer fails until it is dropped.
struct Stall(rusqlite::Connection);

impl Stall {
    fn begin(folder: &Folder) -> Self {
        let connection = sqlite(folder);
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        let _ = self.0.execute_batch("ROLLBACK");
    }
}

fn lifecycle(store: &Store, number: usize) -> Duration {
    let context = RequestContext::new("openai.chat").request_id(format!("r-{number:05}"));
    let body = bytes::Bytes::from_static(&[b'q'; 1000]);
    let start = Instant::now();
    let audit = store.recorder().open(context, body.clone()).unwrap();
    audit
        .complete(Completion::new().response_body(body))
        .unwrap();
    start.elapsed()
}

#[test]
fn no_call_waits_while_the_writer_is_stalled_for_seconds() {
    let folder = Folder::new();
    let store = folder.open();
    let stall = Stall::begin(&folder);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut count = 0;
    // Longer than the writer's own patience with a lock, so that commits fail and are tried again.
    while begun.elapsed() < Duration::from_secs(4) {
        slowest = slowest.max(lifecycle(&store, count));
        count += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    // A call that waited for the disk would have taken seconds.
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
    assert_eq!(store.health().state, HealthState::Degraded);
    assert!(store.health().commit_retries > 0);
    let timeout = Duration::from_millis(20);
    assert_eq!(store.flush(timeout), Err(FlushError::Timeout(timeout)));
    let audit = store.recorder().open(RequestContext::new(""), "q").unwrap();
    let receipt = audit.complete(Completion::new()).unwrap();
    assert_eq!(receipt.wait(timeout), Err(ReceiptError::Timeout(timeout)));
    assert!(!receipt.is_durable());
    drop(stall);
    receipt.wait(PATIENCE).unwrap();
    assert_eq!(store.health().state, HealthState::Healthy);
    let page = store
        .reader()
        .list(&RequestFilter::default(), &ListOptions::new().limit(10_000))
        .unwrap();
    assert_eq!(page.requests.len(), count + 1, "nothing is lost");
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn close_and_drop_keep_their_deadlines_and_say_what_is_lost() {
    let folder = Folder::new();
    let store = folder.open();
    crate::support::record(&store, "kept", "q", "a");
    store.flush(PATIENCE).unwrap();
    let stall = Stall::begin(&folder);
    lifecycle(&store, 1);
    let begun = Instant::now();
    let report = store.close(Duration::from_millis(300));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert!(!report.is_complete);
    drop(stall);
    // The abandoned thread ends on its own and frees the file; what was durable is there.
    let store = loop {
        match folder.builder().open() {
            Ok(store) => break store,
            Err(auditlite::OpenError::Locked { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert!(store.reader().get("kept").is_ok());
    close(store);
    assert!(findings(&folder).is_empty());

    let store = folder
        .builder()
        .close_timeout(Duration::from_millis(200))
        .open()
        .unwrap();
    let stall = Stall::begin(&folder);
    lifecycle(&store, 2);
    let begun = Instant::now();
    drop(store);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    drop(stall);
}

#[test]
fn flushes_that_nobody_waits_for_any_more_take_nobodys_place() {
    let folder = Folder::new();
    let store = folder.builder().capacity_events(16).open().unwrap();
    let held: Vec<_> = (0..8)
        .map(|number| {
            let context = RequestContext::new("").request_id(format!("r-{number}"));
            store.recorder().open(context, "q").unwrap()
        })
        .collect();
    store.flush(PATIENCE).unwrap();
    let stall = Stall::begin(&folder);
    // The writer is busy with these, and does not come to look into the channel.
    drop(store.recorder().open(RequestContext::new(""), "q").unwrap());
    assert!(store.flush(Duration::from_millis(50)).is_err());
    drop(store.recorder().open(RequestContext::new(""), "q").unwrap());
    // More than the channel has places for beside those of the capacity.
    for _ in 0..1000 {
        assert!(store.flush(Duration::ZERO).is_err());
    }
    for audit in held {
        audit.complete(Completion::new()).unwrap();
    }
    drop(stall);
    store.flush(PATIENCE).unwrap();
    close(store);
    assert!(findings(&folder).is_empty());
}

/// Each read begins before the one before it ends, so that there is none at no time.
#[test]
fn reads_that_overlap_do_not_make_the_write_ahead_log_grow() {
    const THRESHOLD_BYTES: u64 = 256 << 10;
    let folder = Folder::new();
    let store = folder
        .builder()
        .wal_checkpoint_bytes(THRESHOLD_BYTES)
        .overflow(auditlite::Overflow::Wait(PATIENCE))
        .open()
        .unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (mut longest, mut written) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let readers = [sqlite(&folder), sqlite(&folder)];
            let mut turns = readers.iter().cycle();
            let mut before: Option<&rusqlite::Connection> = None;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let reader = turns.next().unwrap();
                reader
                    .execute_batch("BEGIN; SELECT count(*) FROM checkpoints")
                    .unwrap();
                if let Some(before) = before.replace(reader) {
                    before.execute_batch("COMMIT").unwrap();
                }
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let mut last = 0;
        let mut random = fastrand::Rng::with_seed(7);
        for number in 0..1500 {
            let body: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
                .take(16 << 10)
                .collect();
            let context = RequestContext::new("").request_id(format!("r-{number}"));
            drop(store.recorder().open(context, body).unwrap());
            if number % 10 == 0 {
                store.flush(PATIENCE).unwrap();
                let bytes = store.health().wal_bytes;
                longest = longest.max(bytes);
                written += bytes.saturating_sub(last);
                last = bytes;
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    close(store);
    assert!(written > 32 * THRESHOLD_BYTES, "{written}");
    println!("at most {longest} bytes of {written}");
    assert!(
        longest <= 16 * THRESHOLD_BYTES,
        "{longest} bytes of {written}"
    );
}
