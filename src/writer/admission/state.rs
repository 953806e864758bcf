//! The state of an opening of the store: running, closing, closed or stopped, and the openings of requests
//! that a close waits for.

use std::sync::OnceLock;
use std::time::Duration;

use crate::error::RecordError;
use crate::sync::Instant;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use crate::sync::thread;

const RUNNING: u8 = 0;
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;
const STOPPED: u8 = 3;

/// Longest wait of the writer for openings in progress when the store closes.
const OPENINGS_TIMEOUT: Duration = Duration::from_secs(1);

/// Shared by request threads, the owner and the writer; its states only ever grow.
///
/// Close protocol: the owner begins to close, so that later openings are refused, and sends the close
/// command. The writer seals, waits for openings that have begun, and drains the channel for the last time. A
/// request thread reads the seal after it has submitted: either it observes the seal, or the writer observes its
/// command.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    state: AtomicU8,
    stop_reason: OnceLock<String>,
    /// Openings that began, and openings that are done; equal when none is in progress.
    openings_begun: AtomicU64,
    openings_done: AtomicU64,
    /// Set by the writer before it drains the channel for the last time.
    is_sealed: AtomicBool,
}

/// Counts an opening as in progress until it is dropped, also by a panic.
struct OpeningOnItsWay<'s>(&'s StoreState);

impl OpeningOnItsWay<'_> {
    fn done(self) {
        self.0.openings_done.fetch_add(1, Ordering::SeqCst);
        std::mem::forget(self);
    }
}

impl Drop for OpeningOnItsWay<'_> {
    /// The opening was not submitted: its caller got an error.
    fn drop(&mut self) {
        self.0.openings_begun.fetch_sub(1, Ordering::SeqCst);
    }
}

impl StoreState {
    /// Runs one opening, so that a close can wait for those in progress.
    pub(crate) fn open<T>(
        &self,
        opening: impl FnOnce() -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        self.openings_begun.fetch_add(1, Ordering::SeqCst);
        let on_its_way = OpeningOnItsWay(self);
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let opened = opening()?;
        on_its_way.done();
        Ok(opened)
    }

    /// Openings that are done.
    pub(crate) fn openings(&self) -> u64 {
        self.openings_done.load(Ordering::SeqCst)
    }

    /// Called by the writer before it drains the channel for the last time: later commands are refused. Waits for
    /// openings in progress, so that the accounts count them.
    pub(crate) fn seal(&self) {
        self.is_sealed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.await_openings(OPENINGS_TIMEOUT);
    }

    /// Waits for openings that have begun.
    pub(crate) fn await_openings(&self, timeout: Duration) {
        let begun = Instant::now();
        while self.openings_begun.load(Ordering::SeqCst)
            != self.openings_done.load(Ordering::SeqCst)
            && begun.elapsed() < timeout
        {
            // An opening takes microseconds, or the rest of a wait for capacity that the close has just ended.
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Whether the writer may have drained the channel for the last time.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::SeqCst)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state.load(Ordering::SeqCst) == RUNNING
    }

    /// Why new requests are refused; `None`: they are not.
    pub(crate) fn refusal(&self) -> Option<RecordError> {
        match self.state.load(Ordering::SeqCst) {
            RUNNING => None,
            CLOSING | CLOSED => Some(RecordError::Closed),
            _ => Some(RecordError::WriterStopped(
                self.stop_reason.get().cloned().unwrap_or_default(),
            )),
        }
    }

    /// Whether the writer has ended: a wait for a commit is useless.
    pub(crate) fn is_over(&self) -> bool {
        self.state.load(Ordering::SeqCst) >= CLOSED
    }

    /// Refuses openings from now on. `false`: the store was no longer running.
    pub(crate) fn begin_closing(&self) -> bool {
        self.state
            .compare_exchange(RUNNING, CLOSING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    pub(crate) fn close(&self) {
        self.state.store(CLOSED, Ordering::SeqCst);
    }

    /// Latches the reason. `false`: the writer had ended before.
    pub(crate) fn stop(&self, reason: &str) -> bool {
        if self.is_over() {
            return false;
        }
        let _ = self.stop_reason.set(reason.to_owned());
        self.state.store(STOPPED, Ordering::SeqCst);
        true
    }
}
