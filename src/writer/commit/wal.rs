//! WAL checkpoints: when the write-ahead log (WAL) is moved into the database, and which alarms are raised if that
//! is impossible.
//!
//! A busy writer checkpoints passively once the WAL has reached its threshold: that waits for nothing, and moves the
//! pages that no reader needs. An idle writer truncates the WAL, to return its space. While an old reader pins the
//! WAL, a checkpoint moves little, so it is tried again only after another threshold of growth. On a short disk the
//! WAL is moved earlier and truncated each time, since its pages are needed a second time in the database.
//!
//! Short reads that overlap have the same effect as one that does not end: SQLite begins the WAL from its start only when
//! nobody reads from it. A WAL of twice its threshold is therefore truncated with some patience. SQLite then lets no
//! commit through, so that later reads find everything in the database and need the WAL no more.

use std::time::Duration;

use super::committer::Committer;
use crate::db::{DbError, WalCheckpoint};
use crate::error::chain;

/// After this long without work, the WAL is moved and its space returned.
const IDLE_FIRST: Duration = Duration::from_millis(500);
/// While a reader is in the way, retries become rarer, up to this interval.
const IDLE_LONGEST: Duration = Duration::from_secs(30);
/// How long a close waits for readers that are in the way.
const CLOSE_PATIENCE: Duration = Duration::from_millis(250);
/// How long a busy writer waits for reads that are in the way of a WAL that is too long.
const OVERLAP_PATIENCE: Duration = Duration::from_millis(50);
/// A WAL of this many times the size at which it should have been moved counts as pinned.
const PINNED_TIMES: u64 = 2;
/// The WAL takes at most this part of the disk's free space before it is moved: its pages are needed a second time
/// in the database.
const FREE_PART: u64 = 8;
/// The smallest size at which it is moved: below, a checkpoint would cost more than it moves.
const THRESHOLD_PAGES_MIN: u64 = 8;

/// Decides when to move the WAL next.
#[derive(Debug)]
pub(crate) struct WalCheckpointer {
    /// Bytes of a page of the file.
    page_bytes: u64,
    /// Pages at which the WAL is moved.
    threshold_pages: u64,
    /// The same while the disk has space.
    ample_pages: u64,
    /// Pages at which it is tried next.
    next_pages: u64,
    /// Pages after the commit before.
    last_pages: u64,
    idle_wait: Duration,
    is_dirty: bool,
}

impl WalCheckpointer {
    pub(crate) fn new(threshold_bytes: u64, page_bytes: u32) -> Self {
        let page_bytes = u64::from(page_bytes).max(1);
        let threshold_pages = (threshold_bytes / page_bytes).max(1);
        Self {
            page_bytes,
            threshold_pages,
            ample_pages: threshold_pages,
            next_pages: threshold_pages,
            last_pages: 0,
            idle_wait: IDLE_FIRST,
            is_dirty: true,
        }
    }

    /// How long to wait for work before the WAL is moved; `None`: there is nothing to move.
    pub(crate) fn idle_wait(&self) -> Option<Duration> {
        self.is_dirty.then_some(self.idle_wait)
    }

    /// Something was committed.
    pub(crate) fn note_commit(&mut self) {
        self.is_dirty = true;
        self.idle_wait = IDLE_FIRST;
    }

    /// Notes the disk's free bytes, if known: on a short disk the WAL is moved earlier.
    pub(crate) fn note_free(&mut self, free_bytes: Option<u64>) {
        let pages = free_bytes.map_or(u64::MAX, |bytes| bytes / self.page_bytes / FREE_PART);
        let threshold = self.ample_pages.min(pages.max(THRESHOLD_PAGES_MIN));
        if threshold < self.threshold_pages {
            self.next_pages = self.next_pages.min(threshold);
        }
        self.threshold_pages = threshold;
    }

    /// Whether the disk is so short of space that the WAL's is returned each time.
    fn is_short(&self) -> bool {
        self.threshold_pages < self.ample_pages
    }

    /// Whether a busy writer should move the WAL now.
    fn is_due(&mut self, pages: u64) -> bool {
        if pages < self.last_pages {
            // The WAL has restarted from its beginning.
            self.next_pages = self.threshold_pages;
        }
        self.last_pages = pages;
        pages >= self.next_pages
    }

    /// While a reader uses an old state, a checkpoint moves little and costs as much as the WAL is long: it is tried
    /// again after another threshold of growth. After one that moved everything, the WAL restarts with the next
    /// commit; until then a quarter is enough.
    fn note_busy_try(&mut self, pages: u64, is_done: bool) {
        let growth = if is_done {
            self.threshold_pages / 4
        } else {
            self.threshold_pages
        };
        self.next_pages = pages.saturating_add(growth.max(1));
    }

    fn note_idle_try(&mut self, is_done: bool) {
        if is_done {
            self.is_dirty = false;
        } else {
            self.idle_wait = self.idle_wait.saturating_mul(2).min(IDLE_LONGEST);
        }
    }

    /// How long a try at this length may wait. After 2, 3, 4, 6, 8, 12, … thresholds some time: a reader that does not
    /// end must not make every try wait.
    fn patience(&self, pages: u64) -> Duration {
        let times = pages / self.threshold_pages;
        let is_rare =
            times.is_power_of_two() || times.is_multiple_of(3) && (times / 3).is_power_of_two();
        match is_rare && self.is_pinned(pages) {
            true => OVERLAP_PATIENCE,
            false => Duration::ZERO,
        }
    }

    fn is_pinned(&self, pages: u64) -> bool {
        pages >= self.threshold_pages.saturating_mul(PINNED_TIMES)
    }
}

impl Committer {
    /// After a commit.
    pub(crate) fn checkpoint_busy(&mut self) {
        let pages = self.appender.wal_pages();
        if self.checkpoints.is_due(pages) {
            let patience = self.checkpoints.patience(pages);
            let result = match self.checkpoints.is_short() || !patience.is_zero() {
                true => self.appender.checkpoint_truncate(patience),
                false => self.appender.checkpoint_passive(),
            };
            let is_done = result.as_ref().is_ok_and(WalCheckpoint::is_done);
            self.checkpoints.note_busy_try(pages, is_done);
            self.note_checkpoint(&result);
        }
        self.note_wal();
    }

    /// When there is nothing else to do.
    pub(crate) fn checkpoint_idle(&mut self) {
        // Waits for no reader, since work may come at any moment.
        let result = self.appender.checkpoint_truncate(Duration::ZERO);
        self.checkpoints
            .note_idle_try(result.as_ref().is_ok_and(WalCheckpoint::is_done));
        self.note_checkpoint(&result);
        self.note_wal();
    }

    /// When the store closes.
    pub(crate) fn checkpoint_close(&mut self) {
        let result = self.appender.checkpoint_truncate(CLOSE_PATIENCE);
        self.note_checkpoint(&result);
        self.note_wal();
    }

    pub(crate) fn note_wal(&self) {
        let pages = self.appender.wal_pages();
        let counters = &self.shared.counters;
        let wal_bytes = pages.saturating_mul(self.checkpoints.page_bytes);
        counters.set_wal_bytes(wal_bytes);
        let is_pinned = self.checkpoints.is_pinned(pages);
        if counters.set_wal_pinned(is_pinned) {
            if is_pinned {
                tracing::warn!(
                    target: "auditlite",
                    path = ?self.path.as_path(),
                    wal_bytes,
                    "a reader of an old state keeps the write-ahead log from being moved into the database; it grows until that reader ends"
                );
            } else {
                tracing::info!(target: "auditlite", path = ?self.path.as_path(), "the write-ahead log can be moved again");
            }
        }
    }

    /// A failed checkpoint loses nothing: the write-ahead log keeps what it has.
    pub(crate) fn note_checkpoint(&mut self, result: &Result<WalCheckpoint, DbError>) {
        let is_done = result.as_ref().is_ok_and(WalCheckpoint::is_done);
        self.watch.settle(is_done.then_some(self.end_seq));
        let counters = &self.shared.counters;
        let is_new = counters.set_checkpoint_failed(result.is_err());
        match result {
            Err(error) if is_new => {
                tracing::warn!(target: "auditlite", path = ?self.path.as_path(), problem = chain(error), "a checkpoint failed; the write-ahead log keeps what it has, and it is tried again");
            }
            Ok(_) if is_new => {
                tracing::info!(target: "auditlite", path = ?self.path.as_path(), "checkpoints succeed again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_wal_is_tried_again_after_each_threshold_of_growth() {
        let mut checkpoints = WalCheckpointer::new(100 * 8192, 8192);
        let mut tries = Vec::new();
        for pages in 1..=1000 {
            if checkpoints.is_due(pages) {
                tries.push(pages);
                checkpoints.note_busy_try(pages, false);
            }
        }
        assert_eq!(tries, (1..=10).map(|n| n * 100).collect::<Vec<_>>());
        assert!(checkpoints.is_pinned(1000));
        // The reader has ended, and the WAL restarted.
        assert!(!checkpoints.is_due(3));
        assert!(!checkpoints.is_due(99));
        assert!(checkpoints.is_due(100));
    }

    #[test]
    fn the_longer_the_log_the_rarer_a_try_waits() {
        let checkpoints = WalCheckpointer::new(100 * 8192, 8192);
        let patient = |times: &u64| !checkpoints.patience(times * 100 + 7).is_zero();
        let times: Vec<u64> = (0..=48).filter(patient).collect();
        assert_eq!(times, [2, 3, 4, 6, 8, 12, 16, 24, 32, 48]);
    }

    #[test]
    fn a_disk_that_is_short_of_space_has_the_log_moved_earlier() {
        let mut checkpoints = WalCheckpointer::new(1000 * 4096, 4096);
        let mut first_due = |free_pages: Option<u64>| {
            checkpoints.note_free(free_pages.map(|pages| pages * 4096));
            (1..).find(|pages| checkpoints.is_due(*pages)).unwrap()
        };
        assert_eq!(first_due(None), 1000);
        assert_eq!(first_due(Some(1_000_000)), 1000);
        assert_eq!(first_due(Some(800)), 100);
        assert_eq!(first_due(Some(0)), THRESHOLD_PAGES_MIN);
        assert_eq!(first_due(Some(1_000_000)), 1000);
    }

    #[test]
    fn an_idle_log_is_tried_less_and_less_often_until_it_is_moved() {
        let mut checkpoints = WalCheckpointer::new(100 * 8192, 8192);
        assert_eq!(checkpoints.idle_wait(), Some(IDLE_FIRST));
        for _ in 0..20 {
            checkpoints.note_idle_try(false);
        }
        assert_eq!(checkpoints.idle_wait(), Some(IDLE_LONGEST));
        checkpoints.note_idle_try(true);
        assert_eq!(checkpoints.idle_wait(), None);
        checkpoints.note_commit();
        assert_eq!(checkpoints.idle_wait(), Some(IDLE_FIRST));
    }
}
