//! The search index, built while there is nothing else to do.

use std::time::Duration;

use super::committer::Committer;
use crate::error::chain;
use crate::search::Indexer;
use crate::sync::Instant;

/// After so long without work, building begins. A request is then done with, and a gateway that is
/// busy is left alone.
const IDLE_FIRST: Duration = Duration::from_millis(200);
/// Between two steps: work that has come is seen by then.
const IDLE_NEXT: Duration = Duration::from_millis(1);

/// How far building the index is.
#[derive(Debug, Default)]
pub(super) struct Indexing {
    /// `None`: no index is kept, or it cannot be.
    indexer: Option<Indexer>,
    is_behind: bool,
    is_under_way: bool,
}

impl Indexing {
    /// How long to wait for work before a step; `None`: there is nothing to do.
    pub(super) fn idle_wait(&self) -> Option<Duration> {
        let is_wanted = self.indexer.is_some() && self.is_behind;
        is_wanted.then_some(match self.is_under_way {
            true => IDLE_NEXT,
            false => IDLE_FIRST,
        })
    }

    /// Something was committed.
    pub(super) fn note_commit(&mut self) {
        self.is_behind = true;
        self.is_under_way = false;
    }
}

impl Committer {
    /// Keeps an index where one is wanted, or there already.
    pub(super) fn begin_indexing(&mut self, is_wanted: bool) {
        let is_built = Indexer::is_built(self.appender.connection_mut()).unwrap_or(false);
        if is_wanted || is_built {
            self.indexing.indexer = Some(Indexer::new());
        }
        self.indexing.is_behind = true;
    }

    /// One step, where it is time for one. An index is worth less than the log: where a step fails,
    /// no more are made until the store is opened again.
    pub(super) fn index_idle(&mut self, since: Instant) {
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
                self.checkpoints.note_commit();
                self.checkpoint_busy();
            }
            Err(error) => {
                self.indexing.indexer = None;
                tracing::warn!(target: "auditlite", path = ?self.path.as_path(), problem = chain(&error), "the search index cannot be kept up; recording is not affected");
            }
        }
    }
}
