//! What `erased` and `pruned` events do to the projections. The writer finds the rows of what was removed
//! and the rebuild does not, but both end with the same tables.

use crate::db::read::removals::RemovalKind;
use std::collections::HashMap;

use rusqlite::{Connection, params};

use crate::db::ended_rows::visit_ended;
use crate::db::error::{Context, DbError};
use crate::db::seq_to_sql;
use crate::db::write::refusals::Refusals;
use crate::db::write::sums::{Saturated, subtract};
use crate::log::{Erased, Fold, HourKey, HourSums, Pruned, PrunedKind, count_end};

const WRITING: &str = "writing what was removed";
const READING: &str = "reading what was removed";
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Deletes the rows that the fold's removals concern, and records the removals. Afterwards the caller adds
/// the sums of what remains, and then settles the saturated sums.
pub(crate) fn apply(
    connection: &Connection,
    fold: &Fold<'_>,
    saturated: &mut Saturated,
    refusals: &mut Refusals,
) -> Result<(), DbError> {
    for (seq, erased) in &fold.erased {
        refusals.guard(connection, *seq, || note_erased(connection, *seq, erased))?;
    }
    for (seq, pruned) in &fold.pruned {
        if pruned.what == PrunedKind::Metadata && pruned.to > pruned.from {
            let last = pruned.to.saturating_sub(1);
            let minutes = minutes_of_rows(connection, pruned.from, last)?;
            take_rows(connection, pruned.from, last, saturated)?;
            if let Some((first, last)) = minutes {
                refusals.guard(connection, *seq, || {
                    shorten_minutes(connection, pruned.to, first, last)
                })?;
            }
        }
        refusals.guard(connection, *seq, || note_pruned(connection, *seq, pruned))?;
    }
    Ok(())
}

/// Records the removals, and deletes the rows whose lines were removed. For a caller that counts the
/// remaining rows at the end.
pub(crate) fn note_and_drop(connection: &Connection, fold: &Fold<'_>) -> Result<(), DbError> {
    for (seq, erased) in &fold.erased {
        note_erased(connection, *seq, erased)?;
    }
    for (seq, pruned) in &fold.pruned {
        if pruned.what == PrunedKind::Metadata {
            drop_rows(connection, pruned.from, pruned.to.saturating_sub(1))?;
        }
        note_pruned(connection, *seq, pruned)?;
    }
    Ok(())
}

/// Deletes the rows of requests that these events opened, and subtracts what they count.
pub(crate) fn take_rows(
    connection: &Connection,
    first: u64,
    last: u64,
    saturated: &mut Saturated,
) -> Result<(), DbError> {
    for (key, sums) in usage_between(connection, first, last)? {
        subtract(connection, &key, &sums, saturated)?;
    }
    drop_rows(connection, first, last)
}

/// Deletes the rows of requests that these events opened.
pub(crate) fn drop_rows(connection: &Connection, first: u64, last: u64) -> Result<(), DbError> {
    let range = [seq_to_sql(first), seq_to_sql(last)];
    for sql in [
        "DELETE FROM tool_calls WHERE ended_seq IN \
         (SELECT ended_seq FROM requests WHERE opened_seq BETWEEN ?1 AND ?2)",
        "DELETE FROM requests WHERE opened_seq BETWEEN ?1 AND ?2",
    ] {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(range))
            .context(WRITING)?;
    }
    Ok(())
}

/// The sums of the requests that these events opened, by row of `usage_hourly`.
pub(crate) fn usage_between(
    connection: &Connection,
    first: u64,
    last: u64,
) -> Result<HashMap<HourKey, HourSums>, DbError> {
    let mut usage: HashMap<HourKey, HourSums> = HashMap::new();
    visit_ended(connection, first..=last, |request| {
        count_end(&mut usage, request.key, &request.ended);
        Ok(())
    })?;
    Ok(usage)
}

/// The minutes in which the first and the last request of the range arrived.
fn minutes_of_rows(
    connection: &Connection,
    first: u64,
    last: u64,
) -> Result<Option<(i64, i64)>, DbError> {
    let times: (Option<i64>, Option<i64>) = connection
        .prepare_cached(
            "SELECT min(opened_at), max(opened_at) FROM requests \
             WHERE opened_seq BETWEEN ?1 AND ?2",
        )
        .and_then(|mut statement| {
            statement.query_row([seq_to_sql(first), seq_to_sql(last)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        })
        .context(READING)?;
    let minute = |at: i64| at.div_euclid(MICROS_PER_MINUTE);
    Ok(times
        .0
        .zip(times.1)
        .map(|(first, last)| (minute(first), minute(last))))
}

/// Shortens the ranges of minutes so that none begins before `to`. The rows before it are deleted already.
fn shorten_minutes(connection: &Connection, to: u64, first: i64, last: i64) -> Result<(), DbError> {
    let to = seq_to_sql(to);
    // A minute that continues has a request within its range, so the walk ends.
    connection
        .prepare_cached(
            "UPDATE opened_minutes SET first_seq = coalesce((SELECT opened_seq FROM requests \
             WHERE opened_seq BETWEEN ?3 AND last_seq | 1023 AND opened_at >= minute * ?4 \
             AND opened_at < (minute + 1) * ?4 ORDER BY opened_seq LIMIT 1), first_seq) \
             WHERE minute BETWEEN ?1 AND ?2 AND first_seq < ?3",
        )
        .and_then(|mut statement| statement.execute([first, last, to, MICROS_PER_MINUTE]))
        .context(WRITING)?;
    // Any other has nothing left from `to` on.
    connection
        .prepare_cached(
            "DELETE FROM opened_minutes WHERE minute BETWEEN ?1 AND ?2 AND first_seq < ?3",
        )
        .and_then(|mut statement| statement.execute([first, last, to]))
        .context(WRITING)
        .map(drop)
}

fn note_erased(connection: &Connection, seq: u64, erased: &Erased) -> Result<(), DbError> {
    for request in &erased.requests {
        for line in [request.opened_seq(), request.ended_seq] {
            note(connection, RemovalKind::Erased, line, line, seq, 0)?;
        }
    }
    Ok(())
}

fn note_pruned(connection: &Connection, seq: u64, pruned: &Pruned) -> Result<(), DbError> {
    let kind = match pruned.what {
        PrunedKind::Content => RemovalKind::Content,
        PrunedKind::Metadata => RemovalKind::Metadata,
    };
    let last = pruned.to.saturating_sub(1);
    note(connection, kind, pruned.from, last, seq, pruned.requests)
}

fn note(
    connection: &Connection,
    kind: RemovalKind,
    first: u64,
    last: u64,
    seq: u64,
    requests: u64,
) -> Result<(), DbError> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO removals (kind, first_seq, last_seq, seq, requests) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                kind.as_str(),
                seq_to_sql(first),
                seq_to_sql(last),
                seq_to_sql(seq),
                seq_to_sql(requests)
            ])
        })
        .context(WRITING)
        .map(drop)
}
