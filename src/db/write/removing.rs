//! Steps of a removal that no event records, each in a transaction of the writer's connection: repacking, giving
//! space back, zeroing slack. What an event records is removed with its batch (`append.rs`).

use rusqlite::TransactionBehavior;
use std::path::Path;

use super::append::Appender;
use crate::db::connection::files::wal_path;
use crate::db::error::{Context, DbError};
use crate::db::remove::content::Removal;
use crate::db::remove::slack::RawFile;

const REMOVING: &str = "removing what is not to be kept";
const WIPING: &str = "overwriting what was erased";

impl Appender {
    /// Executes a step that no event records, in its own transaction. It changes no content.
    pub(crate) fn remove(&mut self, removal: &Removal) -> Result<(), DbError> {
        let transaction = self
            .connection_mut()
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context(REMOVING)?;
        let damage = removal.forget_words(&transaction)?;
        removal.execute(&transaction)?;
        if removal.vacuum_pages > 0 {
            let pages = removal.vacuum_pages;
            transaction
                .execute_batch(&format!("PRAGMA incremental_vacuum({pages})"))
                .context("giving space back")?;
        }
        transaction.commit().context(REMOVING)?;
        self.note_index_damage(damage);
        Ok(())
    }
}

impl Appender {
    /// Zeroes the unused space of these pages. `false`: the write-ahead log is not empty, and nothing was
    /// done.
    pub(crate) fn zero_slack(&mut self, path: &Path, pages: &[u32]) -> Result<bool, DbError> {
        let transaction = self
            .connection_mut()
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context(WIPING)?;
        let failed = |error| DbError::io(WIPING, error);
        if std::fs::metadata(wal_path(path)).map_err(failed)?.len() > 0 {
            return Ok(false);
        }
        RawFile::open(path)
            .and_then(|file| file.zero_slack(pages))
            .map_err(failed)?;
        transaction.commit().context(WIPING)?;
        self.connection()
            .execute_batch("PRAGMA shrink_memory")
            .context(WIPING)?;
        Ok(true)
    }
}
