//! Columns that files of earlier builds have not.

use rusqlite::Connection;

/// Columns that were added to the version later, together: table, name and definition, in their order at the end of
/// the table. A file that has none of them is one of an
/// earlier build: it gets them when a store opens it for writing, and until then is read without them.
pub(crate) const ADDED_COLUMNS: [(&str, &str, &str); 14] = [
    ("requests", "usage_source", "TEXT"),
    ("requests", "cost_source", "TEXT"),
    ("requests", "price_book_seq", "INTEGER"),
    ("requests", "usage_details", "TEXT"),
    ("usage_hourly", "partial_usage", COUNT),
    ("usage_hourly", "told_usage", COUNT),
    ("usage_hourly", "partial_cost", COUNT),
    ("usage_hourly", "told_cost", COUNT),
    ("usage_hourly", "incomplete_cost", COUNT),
    ("usage_daily", "partial_usage", COUNT),
    ("usage_daily", "told_usage", COUNT),
    ("usage_daily", "partial_cost", COUNT),
    ("usage_daily", "told_cost", COUNT),
    ("usage_daily", "incomplete_cost", COUNT),
];

const COUNT: &str = "INTEGER NOT NULL DEFAULT 0";

/// Whether a file has the [`ADDED_COLUMNS`].
pub(crate) fn has_added_columns(connection: &Connection) -> bool {
    let sql = "SELECT price_book_seq FROM requests LIMIT 0";
    connection.prepare_cached(sql).is_ok()
}
