//! Maintenance: executes the steps of erasing and pruning. They are planned outside of the writer, on committed data;
//! each short step passes through the channel, so that it has its place in the order of the log.

use std::time::Duration;

use super::committer::{Committer, Stop};
use crate::db::{DbError, Removal, WalCheckpoint};
use crate::error::chain;
use crate::writer::admission::maintenance::{MaintenanceError, MaintenanceReply};

/// How long emptying the write-ahead log waits for readers that are in the way, each time.
const TRUNCATE_PATIENCE: Duration = Duration::from_millis(100);

/// One step on its way to the committer.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) is_stated: bool,
    pub(crate) removal: Removal,
    pub(crate) truncates_wal: bool,
    pub(crate) slack_pages: Vec<u32>,
    pub(crate) drops_search_index: bool,
    pub(crate) reply: MaintenanceReply,
}

impl Committer {
    /// Executes the part of a step that no event records, and answers. The recorded part was committed with its batch.
    pub(crate) fn maintenance(&mut self, maintenance: Maintenance) -> Result<(), Stop> {
        // A file that has taken the database's place must not be written to.
        self.look()?;
        let mut result = Ok(());
        if !maintenance.is_stated {
            result = self
                .appender
                .remove(&maintenance.removal)
                .map_err(|error| MaintenanceError::Failed(chain(&error)));
            self.checkpoints.note_commit();
        }
        self.note_index_damage();
        if maintenance.drops_search_index && result.is_ok() {
            result = self.drop_index().map_err(MaintenanceError::Failed);
            self.checkpoints.note_commit();
            self.checkpoint_busy();
        }
        if maintenance.truncates_wal && result.is_ok() {
            result = match self.truncate(&maintenance.slack_pages) {
                Ok(true) => Ok(()),
                Ok(false) => Err(MaintenanceError::ReaderInTheWay),
                Err(error) => Err(MaintenanceError::Failed(chain(&error))),
            };
            self.note_wal();
        }
        let _ = maintenance.reply.send(result);
        Ok(())
    }

    fn truncate(&mut self, slack_pages: &[u32]) -> Result<bool, DbError> {
        let checkpoint = self.appender.checkpoint_truncate(TRUNCATE_PATIENCE);
        let is_done = checkpoint.as_ref().is_ok_and(WalCheckpoint::is_done);
        self.watch.settle(is_done.then_some(self.end_seq));
        checkpoint?;
        if !is_done || slack_pages.is_empty() {
            return Ok(is_done);
        }
        let is_fully_erased = self.appender.zero_slack(self.path.as_path(), slack_pages);
        self.watch.settle(Some(self.end_seq));
        is_fully_erased
    }
}
