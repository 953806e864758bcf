//! Ids of media: given by the intake, and by removals that repack on threads of their own.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The next id. An id is given once in the life of a store's opening; at the next opening they go on after the
/// largest one in the file.
#[derive(Debug, Default)]
pub(crate) struct MediaIds {
    next: AtomicU64,
}

impl MediaIds {
    /// Goes on from here. Called once, before the first id is given.
    pub(crate) fn begin(&self, next: i64) {
        self.next.store(next.unsigned_abs(), Ordering::SeqCst);
    }

    pub(crate) fn next(&self) -> i64 {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        i64::try_from(id).unwrap_or(i64::MAX)
    }
}
