//! Recreates tables and indexes that are not as this version makes them, where that loses nothing.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::migrate::definition_of;
use super::schema::{self, Difference, Schema};
use super::{index_state, settings};
use crate::db::connection::schema::is_projection;
use crate::db::error::{Context, DbError};

const MENDING: &str = "recreating tables and indexes";

/// Which payloads are packed against which: derived again when a removal asks.
const LINKS: [&str; 2] = ["payload_links", "payload_links_filled"];
/// Which media payloads refer to: noted again from the payloads.
const MEDIA_LINKS: &str = "media_links";
/// The search index, in the order in which its tables can be dropped: SQLite's own tables of the index
/// disappear with it.
const SEARCH: [&str; 4] = [
    "search_index",
    "search_messages",
    "search_state",
    "search_pending",
];

/// Recreates everything that differs. Projections and links to media are empty afterwards; the caller writes them
/// from the log and the payloads. Runs within the caller's transaction, on a connection that may write the tables that otherwise only
/// the search index may write.
pub(crate) fn mend(connection: &Connection, schema: &Schema) -> Result<(), DbError> {
    mend_all(connection, schema.differences())
}

/// Recreates what holds nothing of its own: that is no reason to refuse a file. The old content is
/// overwritten. A search index that existed is built again afterwards.
pub(crate) fn mend_expendable(connection: &mut Connection, schema: &Schema) -> Result<(), DbError> {
    settings::defend(connection, false)?;
    let result = (|| {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context(MENDING)?;
        let is_of_search = |difference: &Difference| difference.table.starts_with(schema::SEARCH);
        let is_index_lost = schema.differences().any(is_of_search)
            && !index_state::is_empty(&transaction).unwrap_or(false);
        let expendable = schema
            .differences()
            .filter(|differs| differs.is_expendable());
        mend_all(&transaction, expendable)?;
        if is_index_lost {
            index_state::give_up(&transaction)?;
        }
        transaction.commit().context(MENDING)
    })();
    settings::defend(connection, true)?;
    result
}

/// Drops every object that differs, then creates it again. Indexes go first, since dropping a table drops
/// its own. A damaged search index may refuse to be dropped; then its missing tables are created empty, or
/// its entry is deleted from the schema, before its remaining tables are dropped one by one.
fn mend_all<'d>(
    connection: &Connection,
    differences: impl Iterator<Item = &'d Difference>,
) -> Result<(), DbError> {
    let mut tables = BTreeSet::new();
    let mut indexes = BTreeSet::new();
    for Difference {
        kind, name, table, ..
    } in differences
    {
        let name = name.as_str();
        if table.starts_with(schema::SEARCH) {
            tables.extend(SEARCH);
        } else if kind == "index" {
            indexes.insert((name, table.as_str()));
        } else if is_projection(name) || LINKS.contains(&name) || name == MEDIA_LINKS {
            tables.insert(name);
        } else {
            let what = format!(
                "{kind} {name:?} holds data that exists nowhere else, and cannot be recreated"
            );
            return Err(DbError::corrupt(MENDING, what));
        }
    }
    for (index, _) in &indexes {
        drop_object(connection, index)?;
    }
    if tables.contains("search_index") {
        // SQLite drops these with the index, unless the index is damaged.
        drop_object(connection, "search_index")
            .or_else(|_| forget(connection, "search_index"))
            .or_else(|_| unregister(connection, "search_index"))?;
        let shadows = ["data", "idx", "content", "docsize", "config"];
        for shadow in shadows.map(|end| format!("search_index_{end}")) {
            drop_object(connection, &shadow)?;
        }
    }
    for table in &tables {
        drop_object(connection, table)?;
        run(connection, &definition_of(table))?;
    }
    // Creating a table also creates its indexes.
    for (index, _) in indexes.iter().filter(|(_, table)| !tables.contains(table)) {
        if let Some(definition) = Schema::definition(index)? {
            run(connection, &definition)?;
        }
    }
    Ok(())
}

/// Drops the object with this name, of any kind.
fn drop_object(connection: &Connection, name: &str) -> Result<(), DbError> {
    let sql = "SELECT type FROM sqlite_schema WHERE name = ?1";
    let kind: Option<String> = connection
        .query_row(sql, [name], |row| row.get(0))
        .optional()
        .context(MENDING)?;
    match kind.as_deref() {
        Some(kind @ ("table" | "view" | "index" | "trigger")) => {
            run(connection, &format!("DROP {kind} \"{name}\""))
        }
        _ => Ok(()),
    }
}

/// A search index whose own tables are missing cannot be dropped. Creates them, empty, and then drops it.
fn forget(connection: &Connection, name: &str) -> Result<(), DbError> {
    run(
        connection,
        &format!(
            "CREATE TABLE IF NOT EXISTS {name}_config (k PRIMARY KEY, v) WITHOUT ROWID; \
             DELETE FROM {name}_config; INSERT INTO {name}_config VALUES ('version', 4)"
        ),
    )?;
    drop_object(connection, name)
}

/// A virtual table of an unknown module cannot be dropped. It has no pages, so its entry is deleted.
fn unregister(connection: &Connection, name: &str) -> Result<(), DbError> {
    run(connection, "PRAGMA writable_schema = ON")?;
    let sql = "DELETE FROM sqlite_schema WHERE type = 'table' AND name = ?1 AND rootpage = 0";
    let deleted = connection.execute(sql, [name]).context(MENDING);
    run(connection, "PRAGMA writable_schema = RESET")?;
    deleted.map(drop)
}

fn run(connection: &Connection, sql: &str) -> Result<(), DbError> {
    connection.execute_batch(sql).context(MENDING)
}
