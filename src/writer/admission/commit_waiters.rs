//! Waiting for commits without making the writer or other request threads pay for it.

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Instant, Mutex};

/// Wakes whoever waits for a commit.
#[derive(Debug, Default)]
pub(crate) struct CommitWaiters {
    waiting: AtomicUsize,
    mutex: Mutex<()>,
    committed: Condvar,
}

impl CommitWaiters {
    /// Called after a commit, and when the writer stops.
    pub(crate) fn announce(&self) {
        // With the one in `wait`: either this sees who waits, or that one sees what was reached.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
            self.committed.notify_all();
        }
    }

    /// Waits until `reached`, at most for `timeout`. Blocks.
    pub(crate) fn wait(&self, timeout: Duration, reached: impl Fn() -> bool) -> bool {
        if reached() {
            return true;
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let is_reached = loop {
            if reached() {
                break true;
            }
            let left = deadline.map_or(Duration::from_secs(3600), |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break false;
            }
            guard = match self.committed.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
        is_reached
    }
}
