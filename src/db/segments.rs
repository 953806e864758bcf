//! Rows of the log's segments, and what the ends of the log say.

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{Context, DbError};
use super::rows::{count_at, optional_number};
use crate::log::{Event, EventKind, SegmentDecoder, lines};

const LOG: &str = "reading the log";

/// A segment of the log as stored in the file.
#[derive(Debug)]
pub(crate) struct StoredSegment {
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    pub(crate) length: u64,
    pub(crate) encoding: i64,
    pub(crate) data: Vec<u8>,
    /// Its hashes of the tree.
    pub(crate) tree: Vec<u8>,
}

/// Every segment of the log, in order.
pub(crate) fn visit_segments(
    connection: &Connection,
    mut visit: impl FnMut(StoredSegment) -> Result<(), DbError>,
) -> Result<(), DbError> {
    const LOG: &str = "reading the log";
    let mut statement = connection
        .prepare(
            "SELECT first_seq, count, length, encoding, data, tree FROM log_segments \
             ORDER BY first_seq",
        )
        .context(LOG)?;
    let mut rows = statement.query([]).context(LOG)?;
    while let Some(row) = rows.next().context(LOG)? {
        visit(segment_from_row(row).context(LOG)?)?;
    }
    Ok(())
}

pub(crate) fn segment_from_row(row: &Row<'_>) -> rusqlite::Result<StoredSegment> {
    Ok(StoredSegment {
        first_seq: count_at(row, 0)?,
        count: count_at(row, 1)?,
        length: count_at(row, 2)?,
        encoding: row.get(3)?,
        data: row.get(4)?,
        tree: row.get(5)?,
    })
}

/// The id in the log's first event; `None`: it has no event yet.
pub(crate) fn log_id(connection: &Connection) -> Result<Option<String>, DbError> {
    let damaged = |what: String| DbError::corrupt("reading the first event", what);
    let Some(text) = segment_text(connection, "ASC")? else {
        return Ok(None);
    };
    let line = lines(&text).next().unwrap_or_default();
    match Event::from_line(line).map(|event| event.kind) {
        Ok(EventKind::StoreOpened(opened)) if !opened.log_id.is_empty() => Ok(Some(opened.log_id)),
        Ok(_) => Err(damaged("it does not say which log this is".to_owned())),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// The number of events in the log.
pub(crate) fn log_events(connection: &Connection) -> Result<u64, DbError> {
    let events = optional_number(
        connection,
        "SELECT first_seq + count FROM log_segments ORDER BY first_seq DESC LIMIT 1",
    )?;
    Ok(events.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}

/// The lines of the first segment in this order. Their number must be that of its row; otherwise it is
/// damaged.
pub(crate) fn segment_text(
    connection: &Connection,
    order: &str,
) -> Result<Option<Vec<u8>>, DbError> {
    let segment = connection
        .query_row(
            &format!(
                "SELECT first_seq, count, length, encoding, data, tree FROM log_segments \
                 ORDER BY first_seq {order} LIMIT 1"
            ),
            [],
            segment_from_row,
        )
        .optional()
        .context(LOG)?;
    let Some(segment) = segment else {
        return Ok(None);
    };
    SegmentDecoder::new()
        .and_then(|mut decoder| {
            decoder.decode(
                segment.encoding,
                segment.data,
                segment.length,
                segment.count,
            )
        })
        .map(Some)
        .map_err(|error| DbError::corrupt("reading the log", error))
}
