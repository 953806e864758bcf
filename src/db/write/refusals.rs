//! What a file refuses of a batch: a row whose place is taken, or that something planted in the file does
//! not accept. It costs that row, never the batch.
//!
//! The log's own lines are written in any case. The rows for reading follow from them, so nothing is lost
//! for good: a rebuild writes them once nothing prevents it.

use rusqlite::{Connection, params};

use crate::db::error::{Context, DbError, DbErrorKind};
use crate::db::{Part, payload_id, seq_to_sql};
use crate::error::chain;

const WRITING: &str = "writing row by row what the file refuses as a whole";

/// Further refusals are only counted.
const LISTED_MAX: usize = 8;

/// In `body_flags` of a row that could only be written in its barest form.
pub(crate) const ROW_REFUSED: &str = "row_refused";

/// Collects what is refused. The first attempt of a batch guards nothing, and so costs nothing. Only a
/// batch that was refused is written again with a savepoint around each row.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    is_guarding: bool,
    /// Rows that were refused, or were deleted because they were in the way.
    pub(crate) rows: u64,
    /// What SQLite said about the first ones, with their seq.
    pub(crate) listed: Vec<(u64, String)>,
}

impl Refusals {
    /// For a batch that was refused as a whole.
    pub(crate) fn guarding() -> Self {
        Self {
            is_guarding: true,
            ..Self::default()
        }
    }

    /// Writes what belongs together. `false`: it was refused, and nothing of it is written.
    pub(crate) fn guard(
        &mut self,
        connection: &Connection,
        seq: u64,
        write: impl FnOnce() -> Result<(), DbError>,
    ) -> Result<bool, DbError> {
        if !self.is_guarding {
            return write().map(|()| true);
        }
        let execute = |sql| connection.execute_batch(sql).context(WRITING);
        execute("SAVEPOINT guarded")?;
        match write() {
            Ok(()) => execute("RELEASE guarded").map(|()| true),
            Err(error) if error.kind == DbErrorKind::Refused => {
                execute("ROLLBACK TO guarded; RELEASE guarded")?;
                self.note(seq, 1, || chain(&error));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes rows at places that only this batch and later ones fill.
    pub(crate) fn make_way(
        &mut self,
        connection: &Connection,
        first_seq: u64,
    ) -> Result<(), DbError> {
        if !self.is_guarding {
            return Ok(());
        }
        for (table, key, first) in [
            ("requests", "opened_seq", seq_to_sql(first_seq)),
            ("tool_calls", "ended_seq", seq_to_sql(first_seq)),
            ("store_openings", "opened_seq", seq_to_sql(first_seq)),
            ("gaps", "seq", seq_to_sql(first_seq)),
            ("removals", "seq", seq_to_sql(first_seq)),
            ("payloads", "payload_id", payload_id(first_seq, Part::Body)),
            (
                "media_links",
                "payload_id",
                payload_id(first_seq, Part::Body),
            ),
        ] {
            let rows = connection
                .execute(
                    &format!("DELETE FROM {table} WHERE {key} >= ?1"),
                    params![first],
                )
                .context(WRITING)?;
            let rows = u64::try_from(rows).unwrap_or(0);
            self.note(first_seq, rows, || {
                format!("rows of {table} stood in the way that no event of the log made")
            });
        }
        Ok(())
    }

    /// Deletes a medium at an id that only this batch gives.
    pub(crate) fn make_way_for_medium(
        &mut self,
        connection: &Connection,
        seq: u64,
        media_id: i64,
    ) -> Result<(), DbError> {
        if !self.is_guarding {
            return Ok(());
        }
        let rows = connection
            .execute("DELETE FROM media WHERE media_id = ?1", [media_id])
            .context(WRITING)?;
        let rows = u64::try_from(rows).unwrap_or(0);
        self.note(seq, rows, || {
            "a row of media stood in the way that no event of the log made".to_owned()
        });
        Ok(())
    }

    fn note(&mut self, seq: u64, rows: u64, what: impl FnOnce() -> String) {
        self.rows = self.rows.saturating_add(rows);
        if rows > 0 && self.listed.len() < LISTED_MAX {
            self.listed.push((seq, what()));
        }
    }
}

#[cfg(test)]
mod tests;
