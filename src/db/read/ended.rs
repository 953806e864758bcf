//! Requests by the events of the log that the feed reads.

use rusqlite::Connection;

use super::list::{Walk, conditions, rows};
use crate::db::error::{Context, DbError};
use crate::db::rows::{RequestRow, count_at, select_request};
use crate::db::seq_to_sql;
use crate::model::RequestFilter;

/// Those of these requests that match, in no order. Index: the primary key.
pub(crate) fn list_of(
    connection: &Connection,
    filter: &RequestFilter,
    opened_seqs: &[u64],
) -> Result<Vec<RequestRow>, DbError> {
    let Some(mut conditions) = conditions(connection, filter, Walk::After(None))? else {
        return Ok(Vec::new());
    };
    conditions.index = " NOT INDEXED";
    let places: Vec<String> = opened_seqs.iter().map(u64::to_string).collect();
    // One value, so that the statement is the same for any number of them.
    conditions.add(
        "opened_seq IN (SELECT value FROM json_each(?))",
        format!("[{}]", places.join(",")),
    );
    let sql = format!(
        "{}{}{}",
        select_request(connection),
        conditions.index,
        conditions.to_sql()
    );
    rows(connection, &sql, conditions.values)
}

/// The first ends of this part of the log, in its order, and the requests that they ended. Reads every row of
/// `requests`: for a part of the log that cannot be read, whose length is whatever the file says.
pub(crate) fn ended_between(
    connection: &Connection,
    range: std::ops::Range<u64>,
    limit: usize,
) -> Result<Vec<(u64, u64)>, DbError> {
    const READING: &str = "looking for ends";
    let mut statement = connection
        .prepare_cached(
            "SELECT ended_seq, opened_seq FROM requests WHERE ended_seq >= ?1 AND ended_seq < ?2 \
             ORDER BY ended_seq LIMIT ?3",
        )
        .context(READING)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let range = [seq_to_sql(range.start), seq_to_sql(range.end), limit];
    let rows = statement
        .query_map(range, |row| Ok((count_at(row, 0)?, count_at(row, 1)?)))
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}
