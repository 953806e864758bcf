//! Losses: counted where they happen, stated in the log as soon as there is room.

use std::sync::PoisonError;

use crate::log::Gap;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A whole lifecycle.
    Lifecycle,
    /// A body of a lifecycle that is recorded.
    Payload,
    /// A notice of the served model or the forwarded body.
    Notice,
}

/// Losses that no gap event states yet, and totals since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    is_pending: AtomicBool,
    pending: Mutex<Option<Gap>>,
    lifecycles: AtomicU64,
    payloads: AtomicU64,
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
            Loss::Notice => &mut gap.notices,
        };
        *count = count.saturating_add(1);
        self.is_pending.store(true, Ordering::Release);
        is_first
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
