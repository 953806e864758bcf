//! Whether there is a search index, and giving it up: what mending needs to know of it.

use rusqlite::Connection;

use crate::clock::now_micros;
use crate::db::error::{Context, DbError};

const STATE: &str = "the state of the search index";

/// Marks the index to be dropped; this cannot be undone. Within the caller's transaction.
pub(crate) fn give_up(connection: &Connection) -> Result<(), DbError> {
    connection
        .execute(
            "INSERT INTO search_state VALUES (0, 0, 1, ?1) ON CONFLICT (id) \
             DO UPDATE SET next_seq = 0, is_dropped = 1, damaged_at = excluded.damaged_at",
            [now_micros()],
        )
        .map(drop)
        .context(STATE)
}

/// Whether there is no index and no remains of one.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool, DbError> {
    connection
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM search_state) \
             AND NOT EXISTS (SELECT 1 FROM search_messages) \
             AND NOT EXISTS (SELECT 1 FROM search_index_docsize)",
        )
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .context(STATE)
}
