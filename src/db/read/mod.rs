//! Queries. Each is bounded and uses bound parameters only.
//!
//! `lookup` finds by an id, `list` by a filter, page by page, and `stats` sums. `media`
//! looks up media and who refers to them, `ended` what the feed names. `removals` and `times` read what the
//! tables say of the log itself.

use rusqlite::{Connection, Transaction};

use super::error::{Context, DbError};

pub(super) mod ended;
pub(super) mod list;
pub(super) mod lookup;
pub(super) mod media;
pub(super) mod removals;
pub(super) mod stats;
pub(super) mod times;

/// Has all reads until it is dropped see the file as it is at the first of them; `None` inside a transaction,
/// where that is so in any case. Without it a removal may take place between two reads that belong together.
pub(crate) fn read_snapshot(connection: &Connection) -> Result<Option<Transaction<'_>>, DbError> {
    connection
        .is_autocommit()
        .then(|| connection.unchecked_transaction())
        .transpose()
        .context("reading")
}
