//! Upkeep: what erasing and pruning have the writer do. They are planned outside of it, on committed
//! data; what they write passes through the channel like everything else, so that it has its place
//! in the log's order, and in steps that are short.

use std::time::Duration;

use super::committer::{Committer, Stop};
use crate::db::{Checkpoint, DbError, Removal};
use crate::error::chain;
use crate::log::Fact;
use crate::sync::channel::Sender;

/// How long emptying the write-ahead log waits for readers that are in the way, each time.
const TRUNCATE_PATIENCE: Duration = Duration::from_millis(100);

/// One step, as it is asked for.
#[derive(Debug, Default)]
pub(crate) struct UpkeepCommand {
    /// The event that states it; `None` for what changes nothing that can be read.
    pub(crate) fact: Option<Fact>,
    pub(crate) removal: Removal,
    /// Nothing that comes later is packed against what came before.
    pub(crate) is_forgetting: bool,
    /// Empties the write-ahead log, where no reader is in the way.
    pub(crate) is_truncating: bool,
    /// Then overwrites the unused space of these pages.
    pub(crate) wiped_pages: Vec<u32>,
    /// Takes out the next part of a search index that was given up.
    pub(crate) is_dropping_index: bool,
}

/// Why a step was not done.
#[derive(Debug)]
pub(crate) enum UpkeepError {
    /// Somebody reads an old state of the file.
    ReaderInTheWay,
    Failed(String),
}

pub(crate) type UpkeepReply = Sender<Result<(), UpkeepError>>;

/// One step on its way to the committer.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) is_stated: bool,
    pub(crate) removal: Removal,
    pub(crate) is_truncating: bool,
    pub(crate) wiped_pages: Vec<u32>,
    pub(crate) is_dropping_index: bool,
    pub(crate) reply: UpkeepReply,
}

impl Committer {
    /// Does what no event states, and answers. What one states was committed with its batch.
    pub(crate) fn upkeep(&mut self, upkeep: Upkeep) -> Result<(), Stop> {
        // What is no longer the database must not be written to.
        self.look()?;
        let mut result = Ok(());
        if !upkeep.is_stated {
            result = self
                .appender
                .remove(&upkeep.removal)
                .map_err(|error| UpkeepError::Failed(chain(&error)));
            self.checkpoints.note_commit();
        }
        self.note_index_damage();
        if upkeep.is_dropping_index && result.is_ok() {
            result = self.drop_index().map_err(UpkeepError::Failed);
            self.checkpoints.note_commit();
            self.checkpoint_busy();
        }
        if upkeep.is_truncating && result.is_ok() {
            result = match self.truncate(&upkeep.wiped_pages) {
                Ok(true) => Ok(()),
                Ok(false) => Err(UpkeepError::ReaderInTheWay),
                Err(error) => Err(UpkeepError::Failed(chain(&error))),
            };
            self.note_wal();
        }
        let _ = upkeep.reply.send(result);
        Ok(())
    }

    fn truncate(&mut self, wiped_pages: &[u32]) -> Result<bool, DbError> {
        let checkpoint = self.appender.checkpoint_truncate(TRUNCATE_PATIENCE);
        let is_done = checkpoint.as_ref().is_ok_and(Checkpoint::is_done);
        self.watch.settle(is_done.then_some(self.end_seq));
        checkpoint?;
        if !is_done || wiped_pages.is_empty() {
            return Ok(is_done);
        }
        let is_wiped = self.appender.wipe(self.path.as_path(), wiped_pages);
        self.watch.settle(Some(self.end_seq));
        is_wiped
    }
}
