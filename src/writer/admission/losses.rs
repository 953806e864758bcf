//! Losses: counted where they happen, recorded in the log as soon as there is capacity.

use std::sync::PoisonError;
use std::time::Duration;

use crate::log::Gap;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Instant, Mutex};

/// Losses are stated this often where the file should not grow any more.
const STATED_EVERY: Duration = Duration::from_secs(60);
/// A spell of losses is warned of this often.
const WARNED_EVERY: Duration = Duration::from_secs(10);

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A whole lifecycle.
    Lifecycle,
    /// A body of a lifecycle that is recorded.
    Payload,
    /// A notice of the served model or the forwarded body.
    Update,
}

/// Losses that no gap event states yet, and totals since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    is_pending: AtomicBool,
    pending: Mutex<Option<Gap>>,
    lifecycles: AtomicU64,
    payloads: AtomicU64,
    /// When losses were last stated, and when they were last warned of.
    stated: Mutex<Option<Instant>>,
    warned: Mutex<Option<Instant>>,
}

impl Losses {
    /// Counts one loss. `true`: the first one that is not stated yet; the writer is to be woken.
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

    /// Takes what is to be stated now, if anything. Where `is_exhausted` statements are far
    /// apart: each takes some of the space that is gone.
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

    /// Whether the log of the program should say now that something is lost: not for each loss.
    pub(crate) fn should_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.is_none_or(|at| at.elapsed() >= WARNED_EVERY);
        if is_due {
            *warned = Some(Instant::now());
        }
        is_due
    }

    /// Takes what is to be stated. The writer keeps it until it is committed.
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
