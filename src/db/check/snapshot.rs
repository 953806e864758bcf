//! A file as of one moment, for checkers: read in order, in small pieces.

use std::hash::RandomState;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Rows, Statement};

use crate::db::check::projections::Tables;
use crate::db::check::structure::{IndexEntries, Structure};
use crate::db::connection::aside::FileStates;
use crate::db::connection::files::WriterLock;
use crate::db::connection::pool;
use crate::db::connection::schema::Schema;
use crate::db::error::{Context, DbError};
use crate::db::rows::{count_at, optional_count_at};
use crate::db::segments::{StoredSegment, segment_from_row};
use crate::db::write::pieces::left_behind;
use crate::payload::{Bases, bases_of};

const READING: &str = "reading the file";
/// Beginning to read takes microseconds and a group commit a thousand times as long, so a second attempt is
/// rare.
const TRIES_MAX: u32 = 1000;

/// One read transaction. The writer continues meanwhile, but its write-ahead log grows until this ends.
#[derive(Debug)]
pub(crate) struct Snapshot {
    connection: Connection,
}

/// Payloads in the order of their ids, read one by one.
#[derive(Debug)]
pub(crate) struct PayloadStatement<'s>(Statement<'s>);

impl PayloadStatement<'_> {
    /// All payloads, from the first one.
    pub(crate) fn rows(&mut self) -> Result<PayloadRows<'_>, DbError> {
        Ok(PayloadRows {
            rows: self.0.query([]).context(READING)?,
            is_new: true,
        })
    }
}

/// A walk over the payloads.
pub(crate) struct PayloadRows<'r> {
    rows: Rows<'r>,
    /// Whether the first row has not been read yet.
    is_new: bool,
}

/// A payload in SQLite's own memory: nothing is copied.
#[derive(Debug)]
pub(crate) struct PayloadRow<'r> {
    pub(crate) payload_id: i64,
    pub(crate) length: u64,
    pub(crate) sha256: &'r [u8],
    pub(crate) salt: &'r [u8],
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    pub(crate) encoding: i64,
    pub(crate) bases: Option<Bases>,
    pub(crate) has_data: bool,
    /// The packed content, where it exists and was asked for.
    pub(crate) data: Option<&'r [u8]>,
}

impl PayloadRows<'_> {
    /// The id of the payload that comes next.
    pub(crate) fn next_id(&mut self) -> Result<Option<i64>, DbError> {
        if std::mem::take(&mut self.is_new) {
            self.advance()?;
        }
        let row = self.rows.get();
        row.map(|row| row.get(0)).transpose().context(READING)
    }

    /// The payload that comes next.
    pub(crate) fn row(&self) -> Result<Option<PayloadRow<'_>>, DbError> {
        let Some(row) = self.rows.get() else {
            return Ok(None);
        };
        payload_row(row).map(Some).context(READING)
    }

    /// Moves to the next payload.
    pub(crate) fn advance(&mut self) -> Result<(), DbError> {
        self.rows.advance().context(READING)
    }
}

fn payload_row<'r>(row: &'r Row<'_>) -> rusqlite::Result<PayloadRow<'r>> {
    let blob = |index| -> rusqlite::Result<&'r [u8]> { Ok(row.get_ref(index)?.as_blob()?) };
    let data = row.get_ref(9)?.as_blob_or_null()?;
    Ok(PayloadRow {
        payload_id: row.get(0)?,
        length: count_at(row, 1)?,
        sha256: blob(2)?,
        salt: blob(3)?,
        kept: count_at(row, 4)?,
        head: optional_count_at(row, 5)?,
        encoding: row.get(6)?,
        bases: bases_of(row.get(7)?, row.get(8)?),
        has_data: row.get_ref(10)? != ValueRef::Null,
        data,
    })
}

/// A checkpoint as stored in the file.
#[derive(Debug)]
pub(crate) struct StoredCheckpoint {
    pub(crate) checkpoint_id: i64,
    pub(crate) size: u64,
    pub(crate) at: i64,
    pub(crate) note: String,
}

/// Whether a file is at rest. On a read-only mount, SQLite cannot write the shared-memory file that a
/// writer left, cannot tell from it that nothing changes, and reports every read as following a commit.
struct Rest<'p> {
    path: &'p Path,
    /// How the files were, and since when.
    since: Option<(Instant, FileStates)>,
}

/// File times are those of the kernel's last tick, at most 10 ms apart. A file that did not change for
/// longer than this was not written to at the end of the observed time.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_PAUSE: Duration = Duration::from_millis(1);

impl Rest<'_> {
    /// Whether nobody has written to the file since well before the call before.
    fn is_at_rest(&mut self) -> bool {
        let Ok(now) = FileStates::of(self.path) else {
            return false;
        };
        if WriterLock::is_held(self.path) {
            self.since = None;
            return false;
        }
        match &self.since {
            Some((since, state)) if *state == now => {
                let is_at_rest = since.elapsed() >= REST_MIN;
                if !is_at_rest {
                    std::thread::sleep(REST_PAUSE);
                }
                is_at_rest
            }
            _ => {
                self.since = Some((Instant::now(), now));
                false
            }
        }
    }
}

impl Snapshot {
    /// Pieces of responses that should be gone: the seq of the first request, and a sentence.
    pub(crate) fn pieces_left_behind(&self) -> Result<Option<(u64, String)>, DbError> {
        left_behind(&self.connection)
    }

    /// Opens a file whose tables are those of this version.
    pub(crate) fn open(path: &Path) -> Result<Self, DbError> {
        let connection = pool::open_reader(path)?;
        let snapshot = Self { connection };
        snapshot.begin()?;
        Ok(snapshot)
    }

    /// Opens several snapshots of the same moment, one for each thread: no commit happened between them.
    /// The caller checks the [`schema`](Self::schema) before anything else.
    ///
    /// Each connection begins its own read transaction. If `data_version` of a further connection shows
    /// that another process committed meanwhile, all begin again.
    pub(crate) fn open_many<const N: usize>(path: &Path) -> Result<[Self; N], DbError> {
        let open = || {
            let connection = pool::open_any(path)?;
            Ok(Self { connection })
        };
        let witness = pool::open_any(path)?;
        // Changes whenever another connection has committed.
        let version = || -> Result<i64, DbError> {
            let read = witness.query_row("PRAGMA data_version", [], |row| row.get(0));
            read.context(READING)
        };
        let snapshots: Vec<Self> = (0..N).map(|_| open()).collect::<Result<_, DbError>>()?;
        let Ok(snapshots) = <[Self; N]>::try_from(snapshots) else {
            return Err(DbError::corrupt(READING, "no snapshots"));
        };
        let mut rest = Rest { path, since: None };
        for _ in 0..TRIES_MAX {
            let before = version()?;
            for snapshot in &snapshots {
                snapshot.begin()?;
            }
            if version()? == before || rest.is_at_rest() {
                return Ok(snapshots);
            }
            // A commit takes many times longer than this.
            std::thread::yield_now();
        }
        Err(DbError::new(
            "reading the file as of one moment",
            rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                None,
            ),
        ))
    }

    /// Starts the read transaction: from now on the file is seen as it is at this moment.
    fn begin(&self) -> Result<(), DbError> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("COMMIT").context(READING)?;
        }
        // SQLite starts a transaction with its first read.
        self.connection
            .execute_batch("BEGIN; PRAGMA schema_version")
            .context(READING)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The first segment whose key is greater than `after`, with its key.
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

    /// All payloads, with or without their packed content.
    pub(crate) fn payloads(&self, with_data: bool) -> Result<PayloadStatement<'_>, DbError> {
        // What is not asked for is not read from the row's overflow pages; `length(data)` does not read
        // them.
        let data = if with_data { "data" } else { "NULL" };
        let sql = format!(
            "SELECT payload_id, length, sha256, salt, kept, head, encoding, base_id, \
             second_base_id, {data}, length(data) FROM payloads ORDER BY payload_id"
        );
        let statement = self.connection.prepare(&sql).context(READING)?;
        Ok(PayloadStatement(statement))
    }

    /// The tables that are compared with the log.
    pub(crate) fn tables(&self) -> Result<Tables<'_>, DbError> {
        Tables::new(&self.connection)
    }

    /// The next checkpoints after `after`, at most `limit`.
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

    /// The seq that the next event will get.
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

    /// SQLite's checks of the structure. The entries of the indexes of the requests are hashed with this
    /// key.
    pub(crate) fn structure(
        &self,
        schema: &Schema,
        key: RandomState,
    ) -> Result<Structure, DbError> {
        Structure::read(&self.connection, schema, key)
    }

    /// All findings of these checks. Call it once the entries that the indexes should have are known.
    pub(crate) fn structure_findings(
        &self,
        structure: Structure,
        expected: Option<&IndexEntries>,
    ) -> Result<Vec<String>, DbError> {
        structure.findings(&self.connection, expected)
    }

    /// How the file's tables and indexes differ from those of this version.
    pub(crate) fn schema(&self) -> Result<Schema, DbError> {
        Schema::read(&self.connection)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::db::connection::migrate;

    /// Ends the other thread in every case.
    struct Over<'o>(&'o AtomicBool);

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn two_snapshots_show_the_same_moment_while_others_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let mut writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
            .unwrap();
        migrate::migrate(&mut writer).unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
                }
            });
            let _is_over_at_the_end = Over(is_over);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..300 {
                let counts = Snapshot::open_many::<2>(&path).unwrap().map(|snapshot| {
                    snapshot
                        .connection()
                        .query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))
                        .unwrap()
                });
                assert_eq!(counts[0], counts[1]);
                seen.insert(counts[0]);
            }
            // The other thread did commit meanwhile.
            assert!(seen.len() > 10, "{seen:?}");
        });
    }
}
