//! A file as of one moment, for whoever checks all of it: in order, in small pieces.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{Context, DbError};
use super::inspect::{accounting_findings_in, integrity_findings};
use super::read::{StoredSegment, count_at, optional_count_at, segment_from_row};
use super::rebuild::{ProjectionDifference, Rebuilt};
use super::{migrate, pool};

const READING: &str = "reading the file";

/// One read transaction. The writer goes on meanwhile, but its write-ahead log grows until this
/// ends.
#[derive(Debug)]
pub(crate) struct Snapshot {
    connection: Connection,
}

/// A payload without its content.
#[derive(Debug)]
pub(crate) struct PayloadFacts {
    pub(crate) payload_id: i64,
    pub(crate) length: u64,
    pub(crate) sha256: Vec<u8>,
    pub(crate) salt: Vec<u8>,
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    pub(crate) has_data: bool,
}

/// A checkpoint as it lies in the file.
#[derive(Debug)]
pub(crate) struct StoredCheckpoint {
    pub(crate) checkpoint_id: i64,
    pub(crate) size: u64,
    pub(crate) at: i64,
    pub(crate) note: String,
}

impl Snapshot {
    pub(crate) fn open(path: &Path) -> Result<Self, DbError> {
        let connection = pool::open_reader(path)?;
        connection.execute_batch("BEGIN").context(READING)?;
        Ok(Self { connection })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The first segment whose key is above `after`, with its key.
    pub(crate) fn segment_after(
        &self,
        after: i64,
    ) -> Result<Option<(i64, StoredSegment)>, DbError> {
        self.connection
            .prepare_cached(
                "SELECT first_seq, count, length, encoding, data, tree FROM log_segments \
                 WHERE first_seq > ?1 ORDER BY first_seq LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([after], |row| Ok((row.get(0)?, segment_from_row(row)?)))
                    .optional()
            })
            .context(READING)
    }

    /// The next payloads above `after`, at most `limit`.
    pub(crate) fn payloads_after(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<PayloadFacts>, DbError> {
        // `length(data)` does not read the content.
        self.rows_after(
            "SELECT payload_id, length, sha256, salt, kept, head, length(data) FROM payloads \
             WHERE payload_id > ?1 ORDER BY payload_id LIMIT ?2",
            after,
            limit,
            |row| {
                Ok(PayloadFacts {
                    payload_id: row.get(0)?,
                    length: count_at(row, 1)?,
                    sha256: row.get(2)?,
                    salt: row.get(3)?,
                    kept: count_at(row, 4)?,
                    head: optional_count_at(row, 5)?,
                    has_data: row.get::<_, Option<i64>>(6)?.is_some(),
                })
            },
        )
    }

    /// The next checkpoints above `after`, at most `limit`.
    pub(crate) fn checkpoints_after(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, DbError> {
        self.rows_after(
            "SELECT checkpoint_id, size, at, note FROM checkpoints WHERE checkpoint_id > ?1 \
             ORDER BY checkpoint_id LIMIT ?2",
            after,
            limit,
            |row| {
                Ok(StoredCheckpoint {
                    checkpoint_id: row.get(0)?,
                    size: count_at(row, 1)?,
                    at: row.get(2)?,
                    note: row.get(3)?,
                })
            },
        )
    }

    /// The seq that the next event would get.
    pub(crate) fn log_end(&self) -> Result<u64, DbError> {
        let end: Option<i64> = self
            .connection
            .query_row(
                "SELECT first_seq + count FROM log_segments ORDER BY first_seq DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()
            .context(READING)?;
        Ok(end.and_then(|end| u64::try_from(end).ok()).unwrap_or(0))
    }

    /// SQLite's own verdict; empty when it has none.
    pub(crate) fn integrity_findings(&self) -> Result<Vec<String>, DbError> {
        integrity_findings(&self.connection)
    }

    /// Sessions whose accounts do not add up, each with its seq.
    pub(crate) fn accounting_findings(&self) -> Result<Vec<(u64, String)>, DbError> {
        accounting_findings_in(&self.connection)
    }

    /// Tables, indexes and the like that are not those of this version.
    pub(crate) fn schema_findings(&self) -> Result<Vec<String>, DbError> {
        let mut fresh = Connection::open_in_memory().context("opening a temporary database")?;
        migrate::migrate(&mut fresh)?;
        let (own, expected) = (schema_of(&self.connection)?, schema_of(&fresh)?);
        let named = |item: &SchemaItem| format!("{} {:?}", item.0, item.1);
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

    /// Compares every projection with what the log's events made of an empty file.
    pub(crate) fn compare(&self, rebuilt: &Rebuilt) -> Result<Vec<ProjectionDifference>, DbError> {
        rebuilt.compare(&self.connection)
    }

    fn rows_after<T>(
        &self,
        sql: &str,
        after: i64,
        limit: usize,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DbError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql).context(READING)?;
        let rows = statement.query_map([after, limit], read).context(READING)?;
        rows.collect::<Result<_, _>>().context(READING)
    }
}

/// Type, name and definition.
type SchemaItem = (String, String, Option<String>);

fn schema_of(connection: &Connection) -> Result<Vec<SchemaItem>, DbError> {
    let mut statement = connection
        .prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
        .context(READING)?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}
