//! Times in the log: when openings began and when checkpoints were made.

use rusqlite::Connection;

use crate::db::error::{Context, DbError};

const READING: &str = "reading the times of openings and checkpoints";
/// Limit of openings that are examined: years of a program that starts every hour.
const OPENINGS_MAX: u32 = 10_000;

/// Visits these times from the newest to the oldest, until `visit` returns `false`. If `is_last_left_out`,
/// the last opening and everything after its beginning are left out. Times of requests are not visited: an
/// import brings old ones.
///
/// Merges two lists that are both in the order of the log: before each checkpoint come the openings at or
/// after its size.
pub(crate) fn visit_times(
    connection: &Connection,
    is_last_left_out: bool,
    mut visit: impl FnMut(i64) -> bool,
) -> Result<(), DbError> {
    let mut openings = connection
        .prepare_cached(
            "SELECT opened_seq, opened_at FROM store_openings ORDER BY opened_seq DESC LIMIT ?1",
        )
        .context(READING)?;
    let openings: Vec<(i64, i64)> = openings
        .query_map([OPENINGS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .context(READING)?;
    let end = match openings.first() {
        Some((opened_seq, _)) if is_last_left_out => *opened_seq,
        _ => i64::MAX,
    };
    let mut openings = openings
        .into_iter()
        .skip_while(|(opened_seq, _)| *opened_seq >= end)
        .peekable();
    let mut checkpoints = connection
        .prepare_cached("SELECT size, at FROM checkpoints ORDER BY checkpoint_id DESC")
        .context(READING)?;
    let mut checkpoints = checkpoints.query([]).context(READING)?;
    while let Some(row) = checkpoints.next().context(READING)? {
        let (size, at): (i64, i64) = (row.get(0).context(READING)?, row.get(1).context(READING)?);
        if size > end {
            continue;
        }
        // A checkpoint comes after the opening whose event it covers.
        while let Some((_, opened_at)) = openings.next_if(|(opened_seq, _)| *opened_seq >= size) {
            if !visit(opened_at) {
                return Ok(());
            }
        }
        if !visit(at) {
            return Ok(());
        }
    }
    openings.all(|(_, opened_at)| visit(opened_at));
    Ok(())
}
