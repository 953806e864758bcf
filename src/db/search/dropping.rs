//! Dropping the index after damage was found in it.
//!
//! The index is worth less than anything else in the file. A damaged index is given up as a whole: one row
//! records it, in the transaction that met the damage, so that a removal is not stopped. Its tables are
//! then emptied in short steps. Until that is finished nothing is searched, and nothing counts as fully
//! erased. A crash in between changes nothing: the row says what is left to do.

use crate::db::connection::settings;
use rusqlite::{Connection, params};

use super::super::error::{Context, DbError};
use super::in_transaction;
use crate::db::connection::migrate;

const DROPPING: &str = "dropping the search index";
/// Rows that one step deletes: some megabytes, some milliseconds.
const ROWS_EACH: usize = 512;
/// The tables of the index, each with its key, and whether SQLite's index owns it.
const TABLES: [(&str, &str, bool); 5] = [
    ("search_messages", "message_id", false),
    ("search_pending", "opened_seq", false),
    ("search_index_data", "id", true),
    ("search_index_idx", "segid, term", true),
    ("search_index_docsize", "id", true),
];

/// Executes the next step. `true`: nothing is left, and the index can be built again.
pub(crate) fn drop_step(connection: &mut Connection) -> Result<bool, DbError> {
    let taken = shadows_written(connection, |connection| {
        in_transaction(connection, |connection| -> Result<usize, DbError> {
            let mut taken = 0_usize;
            for (table, key, _) in TABLES {
                taken = taken.saturating_add(take_rows(connection, table, key, ROWS_EACH - taken)?);
                if taken >= ROWS_EACH {
                    break;
                }
            }
            Ok(taken)
        })
    });
    match taken {
        Ok(taken) if taken > 0 => Ok(false),
        Err(error) if !error.is_damage() => Err(error),
        // Empty, or so damaged that its rows cannot be deleted one by one.
        _ => shadows_written(connection, |connection| {
            in_transaction(connection, recreate)
        })
        .map(|()| true),
    }
}

/// Marks an index of an earlier build to be dropped: it is not damaged, and is built again.
pub(crate) fn replace(connection: &Connection) -> Result<(), DbError> {
    connection
        .execute("UPDATE search_state SET next_seq = 0, is_dropped = 1", [])
        .map(drop)
        .context(DROPPING)
}

fn take_rows(
    connection: &Connection,
    table: &str,
    key: &str,
    limit: usize,
) -> Result<usize, DbError> {
    let sql = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} LIMIT ?1)");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.execute(&sql, [limit]).context(DROPPING)
}

/// Recreates every table of the index as in a new file.
fn recreate(connection: &Connection) -> Result<(), DbError> {
    let run = |sql: &str| connection.execute_batch(sql).context(DROPPING);
    // Without these rows SQLite could not even connect to the index to drop it.
    run("DELETE FROM search_index_config; INSERT INTO search_index_config VALUES ('version', 4)")?;
    run("DROP TABLE IF EXISTS search_index")?;
    for (table, ..) in TABLES.iter().filter(|(.., is_shadow)| !is_shadow) {
        run(&format!("DROP TABLE IF EXISTS {table}"))?;
        run(&migrate::definition_of(table))?;
    }
    run(&migrate::definition_of("search_index"))?;
    connection
        .execute(
            "UPDATE search_state SET is_dropped = 0, next_seq = 0",
            params![],
        )
        .map(drop)
        .context(DROPPING)
}

/// Runs a step that may write the tables which otherwise only the index itself may write.
fn shadows_written<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    settings::defend(connection, false)?;
    let result = work(connection);
    settings::defend(connection, true)?;
    result
}
