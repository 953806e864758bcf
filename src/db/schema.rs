//! Whether a file has the tables and indexes of this version.

use rusqlite::Connection;

use super::error::{Context, DbError};
use super::migrate;

const READING: &str = "reading the file's schema";

/// Type, name and definition.
type Item = (String, String, Option<String>);

/// Tables, indexes and the like that are not those of this version.
pub(super) fn schema_findings(connection: &Connection) -> Result<Vec<String>, DbError> {
    let mut fresh = Connection::open_in_memory().context("opening a temporary database")?;
    migrate::migrate(&mut fresh)?;
    let (own, expected) = (items(connection)?, items(&fresh)?);
    let named = |item: &Item| format!("{} {:?}", item.0, item.1);
    let extra = own
        .iter()
        .filter(|item| !expected.contains(item))
        .map(|item| format!("{} is not as in this version", named(item)));
    let missing = expected
        .iter()
        .filter(|item| !own.iter().any(|own| (&own.0, &own.1) == (&item.0, &item.1)))
        .map(|item| format!("{} is missing", named(item)));
    Ok(extra.chain(missing).collect())
}

fn items(connection: &Connection) -> Result<Vec<Item>, DbError> {
    let mut statement = connection
        .prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
        .context(READING)?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}
