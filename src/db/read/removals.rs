//! What was removed: ranges of the log, and the events that say so.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, params};

use crate::db::error::{Context, DbError};
use crate::db::rollups::total;
use crate::db::rows::count_at;
use crate::db::seq_to_sql;

const READING: &str = "reading what was removed";

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

    pub(crate) fn as_str(self) -> &'static str {
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
                params![kind.as_str(), seq_to_sql(first), seq_to_sql(last)],
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

/// How many events of the log record an erasure, from this one on.
pub(crate) fn erasures_from(connection: &Connection, seq: u64) -> Result<u64, DbError> {
    connection
        .query_row(
            "SELECT count(DISTINCT seq) FROM removals WHERE kind = 'erased' AND seq >= ?1",
            [seq_to_sql(seq)],
            |row| count_at(row, 0),
        )
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
                        params![range.kind.as_str(), seq_to_sql(range.first_seq)],
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
                .query_row([kind.as_str()], |row| count_at(row, 0))
                .optional()
        })
        .context(READING)?;
    Ok(last.map_or(0, |last| last.saturating_add(1)))
}
