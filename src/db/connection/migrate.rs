//! File versions: how a new file is made, and which files are refused.

use rusqlite::{Connection, TransactionBehavior};

use crate::db::added_columns::{self, AddedColumn};
use crate::db::error::{Context, DbError};

/// "AUDL". Source of the field: <https://www.sqlite.org/pragma.html#pragma_application_id>.
pub(crate) const APPLICATION_ID: i64 = 0x4155_444C;

const SCHEMA: &str = include_str!("../../../schema.sql");

/// The version that this library writes. Version 1 belonged to builds before the first release; nothing converts
/// it to version 2.
const VERSION: i64 = 2;

/// Tables that were added to the version later, together. A file that has none of them is one of an earlier build,
/// and gets them when a store opens it for writing.
pub(crate) const ADDED: [&str; 3] = ["media", "media_links", "media_key"];

/// The oldest version that is read.
pub(crate) const VERSION_MIN: i64 = 2;

/// The statements that create a table of this version, its indexes and its first row.
pub(crate) fn definition_of(table: &str) -> String {
    let is_of = |statement: &&str| {
        let mut words = statement.split_ascii_whitespace();
        let is_made = words.any(|word| matches!(word, "TABLE" | "ON" | "INTO"));
        is_made && words.next() == Some(table)
    };
    let without_comments = |statement: &'static str| {
        let begin = statement
            .split_inclusive('\n')
            .take_while(|line| line.trim().is_empty() || line.starts_with("--"))
            .map(str::len)
            .sum();
        statement.get(begin..).unwrap_or_default()
    };
    let statements = SCHEMA.split_inclusive(";\n").map(without_comments);
    statements.filter(is_of).collect()
}

/// The version that this library writes.
pub(crate) fn version_supported() -> i64 {
    VERSION
}

/// Which application made the file, as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is empty.
    Empty,
    /// Made by this library, in this version.
    Auditlite { version: i64 },
    /// Made by another application.
    Foreign { application_id: u32 },
}

pub(crate) fn origin(connection: &Connection) -> Result<Origin, DbError> {
    let number = |pragma: &str| -> Result<i64, DbError> {
        connection
            .query_row(pragma, [], |row| row.get(0))
            .context("reading the file's header")
    };
    let application_id = number("PRAGMA application_id")?;
    if application_id == APPLICATION_ID {
        let version = number("PRAGMA user_version")?;
        return Ok(Origin::Auditlite { version });
    }
    if application_id == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(Origin::Empty);
    }
    let application_id = u32::try_from(application_id & 0xFFFF_FFFF).unwrap_or(0);
    Ok(Origin::Foreign { application_id })
}

/// Brings the file to the version that this library writes.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), DbError> {
    const MIGRATING: &str = "bringing the file to this version";
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .context(MIGRATING)?;
    let version: i64 = transaction
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .context(MIGRATING)?;
    // In one transaction: a crash leaves an empty file or a whole one.
    if version == 0 {
        transaction
            .execute_batch(SCHEMA)
            .and_then(|()| transaction.pragma_update(None, "user_version", VERSION))
            .context(MIGRATING)?;
    }
    let lacks = |table: &&str| -> Result<bool, DbError> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
        let found = transaction.query_row(sql, [table], |row| row.get::<_, i64>(0));
        Ok(found.context(MIGRATING)? == 0)
    };
    let mut lacking = Vec::new();
    for table in &ADDED {
        lacking.extend(lacks(table)?.then_some(*table));
    }
    // Where some of them are there, the others were taken away, which is damage.
    if lacking.len() == ADDED.len() {
        for table in ADDED {
            transaction
                .execute_batch(&definition_of(table))
                .context(MIGRATING)?;
        }
    }
    // A table that is not as any build made it is recreated or refused.
    let is_table = |(table, ..): &AddedColumn| -> Result<bool, DbError> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = ?1 AND type = 'table'";
        let found = transaction.query_row(sql, [table], |row| row.get::<_, i64>(0));
        Ok(found.context(MIGRATING)? == 1)
    };
    let mut are_tables = true;
    for column in added_columns::lacking(0) {
        are_tables &= is_table(column)?;
    }
    if are_tables {
        let groups = added_columns::groups_of(&transaction);
        for (table, column, definition) in added_columns::lacking(groups) {
            let sql = format!("ALTER TABLE {table} ADD COLUMN {column} {definition}");
            transaction.execute_batch(&sql).context(MIGRATING)?;
        }
    }
    transaction.commit().context(MIGRATING)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_new_file_is_made_in_one_transaction() {
        let mut connection = Connection::open("").unwrap();
        let commits = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&commits);
        connection
            .commit_hook(Some(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                false
            }))
            .unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(commits.load(Ordering::Relaxed), 1);
        let origin = origin(&connection).unwrap();
        assert_eq!(origin, Origin::Auditlite { version: VERSION });
    }
}
