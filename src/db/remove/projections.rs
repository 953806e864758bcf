//! What `erased` and `pruned` events do to the projections. The writer finds the rows of what was removed
//! and the rebuild does not, but both end with the same tables.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::error::{Context, DbError};
use crate::db::read::lookup::{count_at, optional_count_at};
use crate::db::seq_to_sql;
use crate::db::write::refusals::Refusals;
use crate::db::write::sums::{Saturated, subtract, total};
use crate::log::{EndKind, Ended, Erased, Fold, HourKey, HourSums, Pruned, PrunedKind};
use crate::model::Status;

const WRITING: &str = "writing what was removed";
const READING: &str = "reading what was removed";
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Why something is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemovalKind {
    /// The line and the content.
    Erased,
    /// The content only.
    Content,
    /// The line; its content was removed before.
    Metadata,
}

impl RemovalKind {
    pub(crate) const ALL: [Self; 3] = [Self::Erased, Self::Content, Self::Metadata];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::Content => "content",
            Self::Metadata => "metadata",
        }
    }

    /// Whether the line itself is removed.
    pub(crate) fn takes_line(self) -> bool {
        self != Self::Content
    }
}

/// A range of events that the log records as removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemovedRange {
    pub(crate) kind: RemovalKind,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

impl RemovedRange {
    /// Whether this event is in the range.
    pub(crate) fn has(&self, seq: u64) -> bool {
        (self.first_seq..=self.last_seq).contains(&seq)
    }
}

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
        usage.entry(request.key).or_default().add(&request.ended);
        Ok(())
    })?;
    Ok(usage)
}

/// The values of an ended request that are counted.
pub(crate) struct EndedRow {
    pub(crate) opened_seq: u64,
    pub(crate) opened_at: i64,
    pub(crate) key: HourKey,
    pub(crate) ended: Ended,
}

/// Visits the ended requests that these events opened.
pub(crate) fn visit_ended(
    connection: &Connection,
    opened: RangeInclusive<u64>,
    mut visit: impl FnMut(EndedRow) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT opened_at, coalesce(response_provider_name, provider_name, ''), \
             coalesce(response_model, request_model, client_model, ''), \
             coalesce(user_id, ''), status, input_tokens, output_tokens, \
             cache_read_input_tokens, cache_write_input_tokens, reasoning_output_tokens, \
             cost_microdollars, latency_us, opened_seq, http_status FROM requests WHERE opened_seq BETWEEN ?1 AND ?2 \
             AND ended_seq IS NOT NULL",
        )
        .context(READING)?;
    let mut rows = statement
        .query([seq_to_sql(*opened.start()), seq_to_sql(*opened.end())])
        .context(READING)?;
    while let Some(row) = rows.next().context(READING)? {
        visit(ended_of(row).context(READING)?)?;
    }
    Ok(())
}

fn ended_of(row: &Row<'_>) -> rusqlite::Result<EndedRow> {
    let opened_at = row.get(0)?;
    let key = HourKey::new(
        opened_at,
        row.get_ref(1)?.as_str()?,
        row.get_ref(2)?.as_str()?,
        row.get_ref(3)?.as_str()?,
    );
    let kind = Status::from_name(row.get_ref(4)?.as_str()?).and_then(EndKind::of);
    let ended = Ended {
        kind: kind.unwrap_or_default(),
        input_tokens: optional_count_at(row, 5)?,
        output_tokens: optional_count_at(row, 6)?,
        cache_read_input_tokens: optional_count_at(row, 7)?,
        cache_write_input_tokens: optional_count_at(row, 8)?,
        reasoning_output_tokens: optional_count_at(row, 9)?,
        cost_microdollars: optional_count_at(row, 10)?,
        latency_us: optional_count_at(row, 11)?,
        http_status: row.get(13)?,
        ..Ended::default()
    };
    Ok(EndedRow {
        opened_seq: count_at(row, 12)?,
        opened_at,
        key,
        ended,
    })
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
    connection
        .prepare_cached(
            "DELETE FROM opened_minutes WHERE minute BETWEEN ?1 AND ?2 AND last_seq < ?3",
        )
        .and_then(|mut statement| statement.execute([first, last, to]))
        .context(WRITING)?;
    // A minute that continues still has its last request, so the walk ends.
    connection
        .prepare_cached(
            "UPDATE opened_minutes SET first_seq = coalesce((SELECT opened_seq FROM requests \
             WHERE opened_seq >= ?3 AND opened_at >= minute * ?4 \
             AND opened_at < (minute + 1) * ?4 ORDER BY opened_seq LIMIT 1), first_seq) \
             WHERE minute BETWEEN ?1 AND ?2 AND first_seq < ?3",
        )
        .and_then(|mut statement| statement.execute([first, last, to, MICROS_PER_MINUTE]))
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
                kind.name(),
                seq_to_sql(first),
                seq_to_sql(last),
                seq_to_sql(seq),
                seq_to_sql(requests)
            ])
        })
        .context(WRITING)
        .map(drop)
}

/// What the log records as removed among the events from `first` to `last`. Primary key: pruned ranges of
/// one kind follow each other, so at most one begins before `first` and extends into the range.
pub(crate) fn removed_between(
    connection: &Connection,
    first: u64,
    last: u64,
) -> Result<Vec<RemovedRange>, DbError> {
    let mut found = Vec::new();
    for kind in RemovalKind::ALL {
        let mut statement = connection
            .prepare_cached(
                "SELECT first_seq, last_seq FROM removals WHERE kind = ?1 AND first_seq <= ?3 \
                 AND first_seq >= coalesce((SELECT max(first_seq) FROM removals WHERE kind = ?1 \
                 AND first_seq <= ?2), ?2) ORDER BY first_seq",
            )
            .context(READING)?;
        let rows = statement
            .query_map(
                params![kind.name(), seq_to_sql(first), seq_to_sql(last)],
                |row| {
                    Ok(RemovedRange {
                        kind,
                        first_seq: count_at(row, 0)?,
                        last_seq: count_at(row, 1)?,
                    })
                },
            )
            .context(READING)?;
        for range in rows {
            let range = range.context(READING)?;
            if range.last_seq >= first {
                found.push(range);
            }
        }
    }
    Ok(found)
}

/// Whether anything was ever removed.
pub(crate) fn has_removals(connection: &Connection) -> Result<bool, DbError> {
    connection
        .query_row("SELECT EXISTS (SELECT 1 FROM removals)", [], |row| {
            row.get(0)
        })
        .context(READING)
}

/// How many requests these events opened whose lines are gone.
pub(crate) fn removed_requests(
    connection: &Connection,
    events: RangeInclusive<u64>,
) -> Result<u64, DbError> {
    // An erased request that was pruned later is counted as pruned.
    connection
        .prepare_cached(&format!(
            "SELECT (SELECT count(*) FROM removals AS e JOIN requests AS r \
             ON r.opened_seq = e.first_seq WHERE e.kind = 'erased' \
             AND e.first_seq BETWEEN ?1 AND ?2), \
             (SELECT {} FROM removals AS p WHERE p.kind = 'metadata' \
             AND p.first_seq BETWEEN ?1 AND ?2)",
            total("p.requests")
        ))
        .and_then(|mut statement| {
            statement.query_row(
                [seq_to_sql(*events.start()), seq_to_sql(*events.end())],
                |row| Ok(count_at(row, 0)?.saturating_add(count_at(row, 1)?)),
            )
        })
        .context(READING)
}

/// Why the content of this event is gone, according to the table, and the event that recorded it.
pub(crate) fn removal_of(
    connection: &Connection,
    seq: u64,
) -> Result<Option<(RemovalKind, u64)>, DbError> {
    for range in removed_between(connection, seq, seq)? {
        let stated = connection
            .prepare_cached("SELECT seq FROM removals WHERE kind = ?1 AND first_seq = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row(
                        params![range.kind.name(), seq_to_sql(range.first_seq)],
                        |row| count_at(row, 0),
                    )
                    .optional()
            })
            .context(READING)?;
        if let Some(stated) = stated {
            return Ok(Some((range.kind, stated)));
        }
    }
    Ok(None)
}

/// The seq up to which (exclusive) everything of this kind was pruned.
pub(crate) fn pruned_to(connection: &Connection, kind: RemovalKind) -> Result<u64, DbError> {
    let last: Option<u64> = connection
        .prepare_cached(
            "SELECT last_seq FROM removals WHERE kind = ?1 ORDER BY first_seq DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([kind.name()], |row| count_at(row, 0))
                .optional()
        })
        .context(READING)?;
    Ok(last.map_or(0, |last| last.saturating_add(1)))
}
