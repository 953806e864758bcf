//! The database file without its write-ahead log: do both belong together?
//!
//! A file that is overwritten in place keeps its name and inode, and the write-ahead log stays beside a
//! database that a backup was copied over. The recorded events tell the difference: what was once moved
//! into the file stays there. So do pages beyond the end of the file that its log lacks.

use crate::db::connection::settings::WHOLE_READ_MIN;
use crate::db::connection::settings::set_up_reader;
use crate::db::connection::settings::stop_after;
use crate::db::connection::settings::target;
use std::io;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{files, held, log_pages, raw_io};
use crate::db::error::{Context, DbError};
use crate::db::rows::count_at;
use crate::db::segments::log_id;
use crate::db::seq_to_sql;
use crate::error::OpenError;

const LOOKING: &str = "looking at the file without its write-ahead log";

/// What the file alone knows of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alone {
    /// `None`: it has no event yet.
    pub(crate) log_id: Option<String>,
    /// The seq after its last event.
    pub(crate) end_seq: u64,
}

/// Reads the file alone. An error may only mean that the file is being written right now.
pub(crate) fn look(path: &Path) -> Result<Alone, DbError> {
    of(&open_alone(path)?)
}

fn of(connection: &Connection) -> Result<Alone, DbError> {
    let has_log: bool = connection
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'log_segments'",
            [],
            |row| row.get(0),
        )
        .context(LOOKING)?;
    if !has_log {
        return Ok(Alone {
            log_id: None,
            end_seq: 0,
        });
    }
    let end_seq = connection
        .query_row(
            "SELECT first_seq + count FROM log_segments ORDER BY first_seq DESC LIMIT 1",
            [],
            |row| count_at(row, 0),
        )
        .optional()
        .context(LOOKING)?;
    Ok(Alone {
        log_id: log_id(connection)?,
        end_seq: end_seq.unwrap_or(0),
    })
}

/// A connection to the file without its write-ahead log, as if the file never changed.
fn open_alone(path: &Path) -> Result<Connection, DbError> {
    let (target, flags) = target(path, true);
    let connection =
        Connection::open_with_flags(target, flags).context("opening the file by itself")?;
    set_up_reader(&connection)?;
    stop_after(&connection, WHOLE_READ_MIN)?;
    Ok(connection)
}

/// Fields of the file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its length: the page size times the number of pages.
    pub(crate) bytes: u64,
    /// The change counter. In WAL mode SQLite does not count every change.
    pub(crate) changes: u32,
}

/// Reads the header. `None`: it is not a header. Source:
/// <https://www.sqlite.org/fileformat2.html#the_database_header>.
pub(crate) fn header(path: &Path) -> io::Result<Option<Header>> {
    let header = raw_io::header(&*held::hold(path)?)?;
    let Some(header) = header.strip_prefix(b"SQLite format 3\0") else {
        return Ok(None);
    };
    let number = |at: usize| -> Option<u32> {
        let bytes = header.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    // After the 16 bytes of the magic string: page size, change counter, number of pages.
    let (Some(page_bytes), Some(changes), Some(pages)) = (number(0), number(8), number(12)) else {
        return Ok(None);
    };
    let page_bytes = match page_bytes >> 16 {
        1 => 1 << 16,
        bytes => u64::from(bytes),
    };
    Ok(Some(Header {
        bytes: u64::from(pages).saturating_mul(page_bytes),
        changes,
    }))
}

/// Checks that the write-ahead log beside a database is its own. Returns what opening gave. Nobody writes
/// to either meanwhile.
pub(crate) fn check_log_belongs<T>(
    path: &Path,
    opened: Result<(Connection, T), OpenError>,
) -> Result<(Connection, T), OpenError> {
    let stale = || OpenError::StaleLog {
        path: path.to_owned(),
        log: files::wal_path(path),
    };
    // A file that a crash left half checkpointed says nothing on its own.
    let alone = look(path).ok().filter(|alone| alone.log_id.is_some());
    match (opened, alone) {
        (Ok((both, found)), Some(alone)) => match has_all_pages(path, &both)
            .and_then(|has_all| Ok(has_all && do_belong(&both, &alone)?))
        {
            Ok(true) => Ok((both, found)),
            Ok(false) => Err(stale()),
            Err(error) if error.is_damage() => Err(stale()),
            Err(error) => Err(crate::db::open_error(path, error)),
        },
        (Err(OpenError::Damaged { .. } | OpenError::NotADatabase { .. }), Some(_)) => Err(stale()),
        (opened, _) => opened,
    }
}

/// Whether the file and its write-ahead log have every page between them. A backup is shorter than the file that it was
/// copied over, and a log that was moved into that file has its latest pages only: none of them may be a page where
/// the log of events shows the difference.
fn has_all_pages(path: &Path, both: &Connection) -> Result<bool, DbError> {
    let number = |name: &str| {
        both.query_row(&format!("PRAGMA {name}"), [], |row| count_at(row, 0))
            .context(LOOKING)
    };
    // What cannot be looked at is opened by what its events say.
    let Ok(file) = std::fs::metadata(path) else {
        return Ok(true);
    };
    let file_pages = file.len() / number("page_size")?.max(1);
    let Ok(Some(log)) = log_pages::read(&files::wal_path(path), file_pages) else {
        return Ok(true);
    };
    // SQLite does not write pages that were freed before they were ever written, nor the one at 1 GiB, where its locks are.
    let missing = log.database_pages.saturating_sub(file_pages);
    let missing = missing.saturating_sub(log.found);
    Ok(missing == 0 || missing <= number("freelist_count")?.saturating_add(1))
}

/// With its own write-ahead log, a database has the same log at least as far, with every event after that.
fn do_belong(both: &Connection, alone: &Alone) -> Result<bool, DbError> {
    let together = of(both)?;
    if together.log_id != alone.log_id || together.end_seq < alone.end_seq {
        return Ok(false);
    }
    let (first_seq, events) = both
        .query_row(
            "SELECT coalesce(min(first_seq), 0), coalesce(sum(count), 0) FROM log_segments \
             WHERE first_seq + count >= ?1",
            [seq_to_sql(alone.end_seq)],
            |row| Ok((count_at(row, 0)?, count_at(row, 1)?)),
        )
        .context(LOOKING)?;
    Ok(first_seq.saturating_add(events) == together.end_seq)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Copies the file at `database` and the log of the one at `log`.
    fn together(folder: &Path, name: &str, database: &Path, log: &Path) -> bool {
        let path = folder.join(name);
        std::fs::copy(database, &path).unwrap();
        std::fs::copy(files::wal_path(log), files::wal_path(&path)).unwrap();
        has_all_pages(&path, &Connection::open(&path).unwrap()).unwrap()
    }

    #[test]
    fn a_log_of_a_longer_file_lacks_the_pages_between() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let path = folder.join("long.db");
        let connection = Connection::open(&path).unwrap();
        let run = |sql: &str| connection.execute_batch(sql).unwrap();
        run(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; \
             CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB); INSERT INTO t VALUES (0, 'begun'); \
             PRAGMA wal_checkpoint(TRUNCATE)",
        );
        let short = folder.join("short.db");
        std::fs::copy(&path, &short).unwrap();
        run(
            "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 200) \
             INSERT INTO t SELECT id, zeroblob(4000) FROM n",
        );
        assert!(together(folder, "unmoved.db", &path, &path));
        assert!(
            together(folder, "own.db", &short, &path),
            "its own log, all of it"
        );
        run("PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET data = 'changed' WHERE id = 0");
        assert!(together(folder, "moved.db", &path, &path));
        assert!(
            !together(folder, "mixed.db", &short, &path),
            "no page between"
        );
        run("DELETE FROM t WHERE id > 1; INSERT INTO t VALUES (900, zeroblob(4000))");
        assert!(together(folder, "freed.db", &path, &path));
    }
}
