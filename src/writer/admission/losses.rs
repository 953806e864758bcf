//! Losses: counted where they happen, recorded in the log as soon as there is capacity.

use std::sync::PoisonError;
use std::time::Duration;

use crate::log::Gap;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Instant, Mutex};

/// Losses are recorded this often where the file should not grow any more.
const STATED_EVERY: Duration = Duration::from_secs(60);
/// A spell of losses is logged as a warning this often.
const WARNED_EVERY: Duration = Duration::from_secs(10);

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A whole lifecycle.
    Lifecycle,
    /// A body of a lifecycle that is recorded.
    Payload,
    /// An update of a lifecycle: its served model or its forwarded body.
    Update,
}

/// Losses that no gap event records yet, and totals since the store was opened. Lives in
/// [`Shared`](super::queue::Shared): request threads count, the intake takes what is pending.
///
/// The lock of `pending` is held for a few additions, and only where something is lost; `is_pending` spares
/// the intake that lock after every batch. No two of the locks are held together.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Whether `pending` has something. Changed under its lock, read without.
    is_pending: AtomicBool,
    pending: Mutex<Option<Gap>>,
    lifecycles: AtomicU64,
    payloads: AtomicU64,
    /// When losses were last recorded, and when the last warning was logged.
    stated: Mutex<Option<Instant>>,
    warned: Mutex<Option<Instant>>,
}

impl Losses {
    /// Counts one loss. `true`: it is the first since the last gap event, and the caller wakes the writer.
    pub(crate) fn count(&self, loss: Loss, at: i64) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = pending.is_none();
        let gap = pending.get_or_insert(Gap {
            first_at: at,
            last_at: at,
            ..Gap::default()
        });
        // The clock may jump: first and last are the smallest and the largest time seen.
        gap.first_at = gap.first_at.min(at);
        gap.last_at = gap.last_at.max(at);
        let count = match loss {
            Loss::Lifecycle => {
                self.lifecycles.fetch_add(1, Ordering::Relaxed);
                &mut gap.lifecycles
            }
            Loss::Payload => {
                self.payloads.fetch_add(1, Ordering::Relaxed);
                &mut gap.payloads
            }
            Loss::Update => &mut gap.updates,
        };
        *count = count.saturating_add(1);
        self.is_pending.store(true, Ordering::Release);
        is_first
    }

    /// Takes the losses that are due to be recorded, if any. Where disk space `is_exhausted`, gap events are
    /// recorded rarely, since each takes some of it.
    pub(crate) fn take_due(&self, is_exhausted: bool) -> Option<Gap> {
        if !self.is_pending.load(Ordering::Acquire) {
            return None;
        }
        if is_exhausted {
            let mut stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
            if stated.is_some_and(|at| at.elapsed() < STATED_EVERY) {
                return None;
            }
            *stated = Some(Instant::now());
        }
        self.take()
    }

    /// Whether to log a warning now: once for a spell of losses, not for each.
    pub(crate) fn should_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.is_none_or(|at| at.elapsed() >= WARNED_EVERY);
        if is_due {
            *warned = Some(Instant::now());
        }
        is_due
    }

    /// Takes all losses that no gap event records. The writer keeps them until they are committed.
    pub(crate) fn take(&self) -> Option<Gap> {
        if !self.is_pending.load(Ordering::Acquire) {
            return None;
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_pending.store(false, Ordering::Release);
        pending.take()
    }

    pub(crate) fn lifecycles(&self) -> u64 {
        self.lifecycles.load(Ordering::Relaxed)
    }

    pub(crate) fn payloads(&self) -> u64 {
        self.payloads.load(Ordering::Relaxed)
    }
}
