//! Health: what the writer says of itself.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthState {
    /// Commits succeed.
    Healthy,
    /// The disk does not take commits; the writer keeps what it has and tries again.
    Degraded,
    /// The writer has stopped, or the store was closed. Nothing more is recorded.
    Failed,
}

/// A snapshot of the writer's state and counters since the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// In one word.
    pub state: HealthState,
    /// Why it is not healthy, in words.
    pub problem: Option<String>,
    /// Events that were committed.
    pub committed_events: u64,
    /// Lifecycles left out for want of capacity.
    pub shed_lifecycles: u64,
    /// Bodies left out for want of capacity.
    pub shed_payloads: u64,
    /// Events that are reserved or on their way to the disk, ends of open requests included.
    pub queued_events: u64,
    /// Bytes of bodies and metadata that are on their way to the disk.
    pub queued_bytes: u64,
    /// Commits that had to be tried again.
    pub commit_retries: u64,
    /// Size of the write-ahead log in bytes, after the last commit.
    pub wal_bytes: u64,
    /// Checkpoints that could not be written, appended to the anchor file, or handed to the
    /// callback. Recording is not affected; the next one makes up for them.
    pub checkpoint_failures: u64,
}

/// What became of everything that was handed over, told by [`Store::close`](crate::Store::close).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Events committed since the store was opened.
    pub committed_events: u64,
    /// Lifecycles left out for want of capacity; stated in the log by `gap` events.
    pub shed_lifecycles: u64,
    /// Bodies left out for want of capacity; stated in the log.
    pub shed_payloads: u64,
    /// Events that were taken in and could not be committed before the timeout.
    pub lost_events: u64,
    /// Requests that were open at the close; the next open marks them interrupted.
    pub open_requests: u64,
    /// Whether everything was committed and the file closed within the timeout.
    pub is_complete: bool,
}

/// Counters that the writer keeps; request threads only read them.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    state: AtomicU8,
    problem: Mutex<Option<String>>,
    pub(crate) committed_events: AtomicU64,
    pub(crate) commit_retries: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) checkpoint_failures: AtomicU64,
}

impl Vitals {
    pub(crate) fn state(&self) -> HealthState {
        match self.state.load(Ordering::Acquire) {
            0 => HealthState::Healthy,
            1 => HealthState::Degraded,
            _ => HealthState::Failed,
        }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn recover(&self) {
        if self.state() == HealthState::Degraded {
            self.set(0, None);
        }
    }

    pub(crate) fn degrade(&self, problem: String) {
        if self.state() != HealthState::Failed {
            self.set(1, Some(problem));
        }
    }

    pub(crate) fn fail(&self, problem: String) {
        self.set(2, Some(problem));
    }

    fn set(&self, state: u8, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        self.state.store(state, Ordering::Release);
    }
}
