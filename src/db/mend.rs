//! Tables and indexes that are not as this version makes them, made anew where that loses nothing.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::error::{Context, DbError};
use super::migrate::definition_of;
use super::rebuild::is_projection;
use super::schema::Schema;

const MENDING: &str = "making tables and indexes anew";

/// Which payloads build on which: found out again when a removal asks.
const LINKS: [&str; 2] = ["payload_links", "payload_links_filled"];
/// The search index, in the order in which it can go: what SQLite's own index consists of goes with it.
const SEARCH: [&str; 4] = [
    "search_index",
    "search_messages",
    "search_state",
    "search_pending",
];

/// Makes anew what differs. The projections are empty then, for whoever writes them from the log. Within
/// the caller's transaction, on a connection that may write what only the search index may otherwise.
pub(super) fn mend(connection: &Connection, schema: &Schema) -> Result<(), DbError> {
    let mut tables = BTreeSet::new();
    let mut indexes = BTreeSet::new();
    for (kind, name) in schema.differing() {
        if name.starts_with("search_") {
            tables.extend(SEARCH);
        } else if kind == "index" {
            indexes.insert(name);
        } else if is_projection(name) || LINKS.contains(&name) {
            tables.insert(name);
        } else {
            let what =
                format!("{kind} {name:?} holds what is nowhere else, and cannot be made anew");
            return Err(DbError::corrupt(MENDING, what));
        }
    }
    for index in indexes {
        drop_object(connection, index)?;
        if let Some(definition) = Schema::definition(index)? {
            run(connection, &definition)?;
        }
    }
    if tables.contains("search_index") {
        // Those that its own going would leave behind.
        drop_object(connection, "search_index").or_else(|_| forget(connection, "search_index"))?;
        let shadows = ["data", "idx", "content", "docsize", "config"];
        for shadow in shadows.map(|end| format!("search_index_{end}")) {
            drop_object(connection, &shadow)?;
        }
    }
    for table in tables {
        drop_object(connection, table)?;
        run(connection, &definition_of(table))?;
    }
    Ok(())
}

/// Drops whatever has the name.
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

/// A search index without the tables that it consists of cannot even be dropped. These are made, empty.
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

fn run(connection: &Connection, sql: &str) -> Result<(), DbError> {
    connection.execute_batch(sql).context(MENDING)
}
