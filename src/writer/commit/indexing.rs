//! Builds the search index while there is nothing else to do.

use std::time::Duration;

use super::committer::Committer;
use crate::error::chain;
use crate::read::search::{IndexError, Indexer};
use crate::sync::Instant;

/// Building begins after this long without work: most requests have then ended, and a busy gateway is not disturbed.
const IDLE_FIRST: Duration = Duration::from_millis(200);
/// Pause between two steps, in which new work is noticed.
const IDLE_NEXT: Duration = Duration::from_millis(1);

/// The state of building the index.
#[derive(Debug, Default)]
pub(crate) struct Indexing {
    /// `None`: no index is kept, or building it failed.
    indexer: Option<Indexer>,
    is_behind: bool,
    is_under_way: bool,
    /// Whether it was found damaged while it was built, in this opening.
    is_given_up: bool,
}

impl Indexing {
    /// How long to wait for work before a step; `None`: there is nothing to do.
    pub(crate) fn idle_wait(&self) -> Option<Duration> {
        let is_wanted = self.indexer.is_some() && self.is_behind;
        is_wanted.then_some(match self.is_under_way {
            true => IDLE_NEXT,
            false => IDLE_FIRST,
        })
    }

    /// Something was committed.
    pub(crate) fn note_commit(&mut self) {
        self.is_behind = true;
        self.is_under_way = false;
    }
}

impl Committer {
    /// Starts keeping an index if one is wanted or exists; a damaged one is rebuilt.
    pub(crate) fn begin_indexing(&mut self, is_wanted: bool) {
        match Indexer::is_built(self.appender.connection_mut()) {
            Ok(is_built) if is_wanted || is_built => self.indexing.indexer = Some(Indexer::new()),
            Ok(_) => {}
            Err(IndexError::Damaged(what)) => self.give_index_up(&what),
            Err(IndexError::Failed(error)) => {
                self.say_not_kept_up(&chain(&error));
            }
        }
        if self.indexing.indexer.is_some() {
            let lag = crate::read::search::lag(self.appender.connection_mut());
            let is_damaged = lag.is_ok_and(|lag| lag.is_damaged);
            self.shared.counters.set_index_damaged(is_damaged);
        }
        self.indexing.is_behind = true;
    }

    /// One step, if one is due. The log matters more than the index: a damaged index is dropped and rebuilt; if that
    /// does not help, or something else fails, no more steps are made until the store is opened again.
    pub(crate) fn index_idle(&mut self, since: Instant) {
        let is_due = self
            .indexing
            .idle_wait()
            .is_some_and(|wait| since.elapsed() >= wait);
        let Some(indexer) = self.indexing.indexer.as_mut().filter(|_| is_due) else {
            return;
        };
        match indexer.step(self.appender.connection_mut()) {
            Ok(is_done) => {
                self.indexing.is_behind = !is_done;
                self.indexing.is_under_way = !is_done;
                if is_done {
                    self.shared.counters.set_index_damaged(false);
                }
                self.checkpoints.note_commit();
                self.checkpoint_busy();
            }
            Err(IndexError::Damaged(what)) if !self.indexing.is_given_up => {
                self.give_index_up(&what);
            }
            Err(IndexError::Damaged(what)) => {
                self.shared.counters.set_index_damaged(true);
                self.say_not_kept_up(&what);
            }
            Err(IndexError::Failed(error)) => self.say_not_kept_up(&chain(&error)),
        }
    }

    /// A removal may have found the index damaged, and given it up.
    pub(crate) fn note_index_damage(&mut self) {
        if let Some(what) = self.appender.take_index_damage() {
            self.say_given_up(&what);
        }
    }

    /// One step of deleting an index that was given up. It does not wait for idle time, because a removal waits for it.
    pub(crate) fn drop_index(&mut self) -> Result<(), String> {
        // Also if no index is kept.
        let mut other = Indexer::new();
        let indexer = self.indexing.indexer.as_mut().unwrap_or(&mut other);
        match indexer.step(self.appender.connection_mut()) {
            Ok(_) => Ok(()),
            Err(IndexError::Damaged(what)) => Err(what),
            Err(IndexError::Failed(error)) => Err(chain(&error)),
        }
    }

    fn give_index_up(&mut self, what: &str) {
        self.indexing.is_given_up = true;
        let given_up = Indexer::new().give_up(self.appender.connection_mut());
        self.say_given_up(what);
        if let Err(error) = given_up {
            self.say_not_kept_up(&chain(&error));
        }
    }

    fn say_given_up(&mut self, what: &str) {
        self.indexing.indexer = Some(Indexer::new());
        self.indexing.note_commit();
        self.shared.counters.note_index_drop();
        tracing::warn!(target: "auditlite", path = ?self.path.as_path(), problem = what, "the search index is damaged; it is dropped and rebuilt, and recording is not affected");
    }

    fn say_not_kept_up(&mut self, what: &str) {
        self.indexing.indexer = None;
        tracing::warn!(target: "auditlite", path = ?self.path.as_path(), problem = what, "the search index cannot be kept up; recording is not affected");
    }
}
