//! Receipts as futures, on a minimal executor: a lost wake-up would leave a task waiting.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use auditlite::{Completion, Receipt, ReceiptError, RequestContext, RequestHandle, Status};

use crate::support::{Folder, PATIENCE, close, sqlite};

#[path = "../../examples/durable_first.rs"]
#[allow(dead_code)] // its `main`
mod durable_first;

/// Numbers of tasks that are to be polled.
#[derive(Default)]
struct Ready {
    numbers: Mutex<VecDeque<usize>>,
    woken: Condvar,
}

struct Task {
    number: usize,
    ready: Arc<Ready>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.ready.numbers.lock().unwrap().push_back(self.number);
        self.ready.woken.notify_one();
    }
}

/// Polls each future when it is woken, and not otherwise. Panics where none is woken in time.
fn run_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let ready = Arc::new(Ready::default());
    ready.numbers.lock().unwrap().extend(0..futures.len());
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    let mut left = futures.len();
    while left > 0 {
        let numbers = ready.numbers.lock().unwrap();
        let (mut numbers, waited) = ready
            .woken
            .wait_timeout_while(numbers, PATIENCE, |numbers| numbers.is_empty())
            .unwrap();
        assert!(!waited.timed_out(), "{left} tasks were not woken");
        let number = numbers.pop_front().unwrap();
        drop(numbers);
        if outputs[number].is_some() {
            continue;
        }
        let task = Arc::new(Task {
            number,
            ready: Arc::clone(&ready),
        });
        let waker = Waker::from(task);
        let mut future = pin!(&mut futures[number]);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            outputs[number] = Some(output);
            left -= 1;
        }
    }
    outputs.into_iter().map(Option::unwrap).collect()
}

fn is_send_and_unpin<T: Send + Sync + Unpin + 'static>(_: &T) {}

#[test]
fn thousands_of_receipts_are_awaited_by_several_threads() {
    const THREADS: usize = 4;
    const EACH: usize = 2000;
    let folder = Folder::new();
    let store = folder.open();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let recorder = store.recorder();
            scope.spawn(move || {
                for _ in 0..4 {
                    let opened: Vec<RequestHandle> = (0..EACH / 4)
                        .map(|_| recorder.open(RequestContext::new("x"), "q").unwrap())
                        .collect();
                    let receipts: Vec<Receipt> =
                        opened.iter().map(RequestHandle::opened_receipt).collect();
                    is_send_and_unpin(&receipts);
                    let outputs = run_all(receipts);
                    assert!(outputs.iter().all(Result::is_ok));
                    let ends: Vec<Receipt> = opened
                        .into_iter()
                        .map(|audit| audit.complete(Completion::new()).unwrap())
                        .collect();
                    let outputs = run_all(ends);
                    assert!(outputs.iter().all(Result::is_ok));
                }
            });
        }
    });
    // Awaited means committed: nothing is flushed or closed before this.
    let stored: i64 = sqlite(&folder)
        .query_row(
            "SELECT count(*) FROM requests WHERE status = 'completed'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(stored, i64::try_from(THREADS * EACH).unwrap());
    close(store);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(receipt: &mut Receipt, counter: &Arc<Counter>) -> Poll<Result<(), ReceiptError>> {
    let waker = Waker::from(Arc::clone(counter));
    pin!(receipt).poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_receipt_is_pending_until_the_commit_and_stays_ready() {
    let folder = Folder::new();
    let store = folder.open();
    // Another process's lock: nothing can be committed.
    let lock = sqlite(&folder);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let audit = store
        .recorder()
        .open(RequestContext::new("x"), "q")
        .unwrap();
    let mut receipt = audit.opened_receipt();
    let counters: [Arc<Counter>; 3] = Default::default();
    // The last waker counts; the one before is let go of.
    assert!(poll(&mut receipt, &counters[0]).is_pending());
    assert!(poll(&mut receipt, &counters[1]).is_pending());
    assert_eq!(Arc::strong_count(&counters[0]), 1);
    assert_eq!(Arc::strong_count(&counters[1]), 2);
    // A clone waits by itself; dropped, it is not woken.
    let mut dropped = receipt.clone();
    assert!(poll(&mut dropped, &counters[2]).is_pending());
    drop(dropped);
    assert_eq!(Arc::strong_count(&counters[2]), 1);

    lock.execute_batch("ROLLBACK").unwrap();
    audit.opened_receipt().wait(PATIENCE).unwrap();
    store.flush(PATIENCE).unwrap();
    assert_eq!(poll(&mut receipt, &counters[2]), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut receipt, &counters[2]), Poll::Ready(Ok(())));
    let woken = counters.map(|counter| counter.0.load(Ordering::SeqCst));
    assert_eq!(woken, [0, 1, 0]);
    drop(audit);
    close(store);
}

#[test]
fn a_close_that_gives_up_wakes_every_task_with_an_error() {
    let folder = Folder::new();
    let store = folder.open();
    let lock = sqlite(&folder);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let recorder = store.recorder();
    let receipts: Vec<Receipt> = (0..100)
        .map(|_| {
            let audit = recorder.open(RequestContext::new("x"), "q").unwrap();
            audit.complete(Completion::new()).unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        let awaiting = scope.spawn(|| run_all(receipts));
        let report = store.close(Duration::from_millis(1));
        assert!(!report.is_complete);
        lock.execute_batch("ROLLBACK").unwrap();
        for output in awaiting.join().unwrap() {
            assert!(matches!(output, Ok(()) | Err(ReceiptError::WriterStopped)));
        }
    });
}

#[test]
fn a_receipt_of_what_was_not_recorded_says_so_at_once() {
    let mut receipt = RequestHandle::unrecorded().opened_receipt();
    let counter = Arc::default();
    assert_eq!(
        poll(&mut receipt, &counter),
        Poll::Ready(Err(ReceiptError::Shed))
    );
}

#[test]
fn a_task_whose_waker_panics_does_not_end_recording() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("an executor that is gone");
        }
    }
    let folder = Folder::new();
    let store = folder.open();
    let lock = sqlite(&folder);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let recorder = store.recorder();
    let audit = recorder.open(RequestContext::new("x"), "q").unwrap();
    let mut receipt = audit.opened_receipt();
    let waker = Waker::from(Arc::new(Panics));
    let polled = pin!(&mut receipt).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    lock.execute_batch("ROLLBACK").unwrap();
    audit.opened_receipt().wait(PATIENCE).unwrap();
    let end = audit.complete(Completion::new()).unwrap();
    end.wait(PATIENCE).unwrap();
    assert!(close(store).problem.is_none());
}

#[test]
fn the_example_forwards_nothing_before_it_is_durable() {
    let folder = Folder::new();
    let store = folder.open();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
        .unwrap();
    let (first, second) = runtime.block_on(durable_first::run(&store)).unwrap();
    for id in [first, second] {
        let request = store.reader().get(&id).unwrap();
        assert_eq!(request.status, Status::Completed);
    }
    close(store);
}
