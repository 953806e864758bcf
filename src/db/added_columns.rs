//! Columns that files of earlier builds have not.

use rusqlite::Connection;

/// Table, name and definition.
pub(crate) type AddedColumn = (&'static str, &'static str, &'static str);

/// Columns that were added to the version later, at the end of their tables, in the order in which builds added them:
/// the columns of a group came together. A file has the first few groups, up to the build that opened it for writing
/// last. It gets the others when a store opens it for writing, and until then is read without them.
pub(crate) const ADDED_COLUMNS: [&[AddedColumn]; 2] = [
    &[
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
    ],
    &[
        ("usage_hourly", "credited_requests", COUNT),
        ("usage_hourly", "credited_partial_usage", COUNT),
        ("usage_hourly", "credited_told_usage", COUNT),
        ("usage_hourly", "credited_unpriced", COUNT),
        ("usage_daily", "credited_requests", COUNT),
        ("usage_daily", "credited_partial_usage", COUNT),
        ("usage_daily", "credited_told_usage", COUNT),
        ("usage_daily", "credited_unpriced", COUNT),
    ],
];

const COUNT: &str = "INTEGER NOT NULL DEFAULT 0";

/// How many groups of [`ADDED_COLUMNS`] a file has.
pub(crate) fn groups_of(connection: &Connection) -> usize {
    // The last group first: nearly all files have it, and one statement tells.
    let has = |group: &[AddedColumn]| {
        group.last().is_some_and(|(table, column, _)| {
            let sql = format!("SELECT {column} FROM {table} LIMIT 0");
            connection.prepare_cached(&sql).is_ok()
        })
    };
    let last = ADDED_COLUMNS.iter().rposition(|group| has(group));
    last.map_or(0, |last| last.saturating_add(1))
}

/// Whether rows of requests have all their columns: they got theirs with the first group.
pub(crate) fn has_columns_of_requests(connection: &Connection) -> bool {
    groups_of(connection) > 0
}

/// The columns that a file with this many groups has not.
pub(crate) fn lacking(groups: usize) -> impl Iterator<Item = &'static AddedColumn> {
    ADDED_COLUMNS
        .iter()
        .skip(groups)
        .flat_map(|group| group.iter())
}
