//! Closing a store: once, by whichever call comes first, and awaited where threads must not wait.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::removal::RetentionThread;
use crate::sync::atomic::Ordering;
use crate::sync::channel::bounded;
use crate::sync::thread::Builder;
use crate::sync::{Instant, Mutex, MutexGuard, caught};
use crate::writer::{CloseReport, Shared, WriterThread};

/// How much longer than its timeout a close waits for a writer that has answered.
const LAST_WAIT: Duration = Duration::from_millis(20);

/// Ends a store's threads. Shared by the store and the thread of an asynchronous close, until both are gone.
/// The lock protects the handles of the threads; it is held for as long as a close takes, so that a second
/// close waits for the report of the first. Nothing else is locked meanwhile, and the writer never takes it.
#[derive(Debug)]
pub(crate) struct Closer {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

#[derive(Debug)]
enum Threads {
    Running {
        writer: WriterThread,
        /// Applies the retention policy.
        retention: Option<RetentionThread>,
    },
    Ended(CloseReport),
}

impl Closer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        writer: WriterThread,
        retention: Option<RetentionThread>,
    ) -> Arc<Self> {
        let threads = Mutex::new(Threads::Running { writer, retention });
        Arc::new(Self { shared, threads })
    }

    /// Closes, or gives the report of the close before. Blocks.
    pub(crate) fn close(&self, timeout: Duration) -> CloseReport {
        if self.shared.process.is_left() {
            // The lock may be held by a thread that the fork did not copy.
            return self.report(false);
        }
        let mut threads = lock(&self.threads);
        if let Threads::Ended(report) = &*threads {
            return report.clone();
        }
        let ended = Threads::Ended(self.report(false));
        let report = match std::mem::replace(&mut *threads, ended) {
            Threads::Running { writer, retention } => self.end(writer, retention, timeout),
            Threads::Ended(report) => report,
        };
        *threads = Threads::Ended(report.clone());
        report
    }

    /// Closes on a thread of its own, so that the caller's does not block. Where there can be no thread, it
    /// closes here.
    pub(crate) fn close_async(self: &Arc<Self>, timeout: Duration) -> Closing {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let close = {
            let (closer, progress) = (Arc::clone(self), Arc::clone(&progress));
            move || {
                let report = caught(|| closer.close(timeout));
                let report = report.unwrap_or_else(|| closer.report(false));
                let mut progress = lock(&progress);
                progress.report = Some(report);
                let waker = progress.waker.take();
                drop(progress);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        };
        let is_left = self.shared.process.is_left();
        let thread = Builder::new().name("auditlite-close".to_owned());
        if is_left || thread.spawn(close).is_err() {
            lock(&progress).report = Some(self.close(timeout));
        }
        Closing(progress)
    }

    /// Closes a store that is dropped. `None`: it was closed before, or belongs to the process that forked.
    pub(crate) fn close_dropped(self: &Arc<Self>, timeout: Duration) -> Option<CloseReport> {
        if self.shared.process.is_left() {
            // In a fork the threads do not exist. Leaked, because dropping it would release what they hold.
            std::mem::forget(Arc::clone(self));
            return None;
        }
        let is_running = matches!(&*lock(&self.threads), Threads::Running { .. });
        is_running.then(|| self.close(timeout))
    }

    /// In this order, each step with the time that is left: the retention thread is told to stop, since it
    /// sends work to the writer; new openings are refused; the close command follows everything queued before
    /// it; its answer says that all is committed. Without an answer the committer stops retrying, and what is
    /// queued is reported as lost.
    fn end(
        &self,
        writer: WriterThread,
        retention: Option<RetentionThread>,
        timeout: Duration,
    ) -> CloseReport {
        let begun = Instant::now();
        let deadline = begun.checked_add(timeout).unwrap_or(begun);
        let mut is_complete = false;
        let retention = retention.map(RetentionThread::stop);
        self.shared.begin_closing(deadline);
        let (reply, done) = bounded(1);
        let left = deadline.saturating_duration_since(Instant::now());
        let is_sent = self.shared.submit_close(reply);
        if is_sent && self.shared.await_answer(&done, left).unwrap_or(false) {
            is_complete = true;
        } else {
            writer.give_up();
        }
        // The thread closes the file after its reply.
        is_complete &= writer.join_until(deadline.max(Instant::now() + LAST_WAIT));
        if let Some(retention) = retention {
            retention.join_until(deadline);
        }
        self.report(is_complete)
    }

    fn report(&self, is_complete: bool) -> CloseReport {
        let shared = &self.shared;
        let health = shared.health();
        CloseReport {
            committed_events: health.committed_events,
            shed_lifecycles: health.shed_lifecycles,
            shed_payloads: health.shed_payloads,
            lost_events: match is_complete {
                true => 0,
                false => shared.uncommitted_events(),
            },
            open_requests: shared.open_requests(),
            is_complete,
            problem: health.problem.filter(|_| !is_complete),
            is_file_lost: shared.counters.is_file_lost.load(Ordering::SeqCst),
            checkpoint_problem: shared.counters.checkpoint_problem(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store that is closing, see [`Store::close_async`](crate::Store::close_async). Ready with the report.
///
/// Needs no runtime. Dropped, it does not stop the close. Ready, it stays so.
#[derive(Debug)]
#[must_use = "the report says whether everything was committed; await it"]
pub struct Closing(Arc<Mutex<Progress>>);

/// Shared by the future and the thread that closes. One lock for both fields: so the thread either finds the
/// waker, or the future finds the report.
#[derive(Debug, Default)]
struct Progress {
    report: Option<CloseReport>,
    waker: Option<Waker>,
}

impl Future for Closing {
    type Output = CloseReport;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReport> {
        let waker = context.waker().clone();
        let mut progress = lock(&self.0);
        if let Some(report) = &progress.report {
            return Poll::Ready(report.clone());
        }
        let before = progress.waker.replace(waker);
        drop(progress);
        drop(before);
        Poll::Pending
    }
}
