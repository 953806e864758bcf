//! Settings of connections, each with its reason.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::config::Durability;
use crate::db::error::{Context, DbError};
use crate::error::OpenError;

/// 3.51.3 fixed a bug by which a checkpoint racing with a restart of the write-ahead log could
/// corrupt the database. Source: <https://sqlite.org/wal.html#walresetbug>.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

const SQLITE_VERSION_MIN_TEXT: &str = "3.51.3";

/// A user's plain `sqlite3` may hold a lock for a moment.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) const STATEMENTS_MAX: usize = 64;

/// Limits for SQLite on a file that an attacker may have edited. Each is several times what this library
/// needs. The limits of columns and depths also allow a harmless foreign table or view, because SQLite
/// parses all definitions.
const LIMITS: [(Limit, i32); 11] = [
    (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 1_000_000),
    (Limit::SQLITE_LIMIT_COLUMN, 500),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 500),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
    (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 4096),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 1000),
    // We attach nothing except for a backup, and have no triggers.
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// The longest value and row that is read or written: an incompressible body of [`PAYLOAD_CAP_BYTES_MAX`]
/// and the other columns of its row.
///
/// [`PAYLOAD_CAP_BYTES_MAX`]: crate::config::PAYLOAD_CAP_BYTES_MAX
pub(crate) const VALUE_BYTES_MAX: i32 = 132 * 1024 * 1024;

/// The SQLite version in use.
pub(crate) fn sqlite_version() -> &'static str {
    rusqlite::version()
}

pub(crate) fn check_sqlite_version(version_number: i32, version: &str) -> Result<(), OpenError> {
    if version_number < SQLITE_VERSION_MIN {
        return Err(OpenError::SqliteTooOld {
            found: version.to_owned(),
            required: SQLITE_VERSION_MIN_TEXT,
        });
    }
    Ok(())
}

/// Whether closing the connection leaves the write-ahead log, and so the file, unchanged.
pub(crate) fn keep_wal_on_close(connection: &Connection, on: bool) -> Result<(), DbError> {
    set(connection, DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on)
}

/// Whether only the search index itself may write its own tables.
pub(crate) fn defend(connection: &Connection, on: bool) -> Result<(), DbError> {
    set(connection, DbConfig::SQLITE_DBCONFIG_DEFENSIVE, on)
}

/// Opens the file for reading, never changing it.
pub(crate) fn set_up_reader(connection: &Connection) -> Result<(), DbError> {
    harden(connection)?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .context("setting the busy timeout")?;
    // The cache of a reader: 4 MiB each.
    pragma(connection, "cache_size", -4096)?;
    pragma(connection, "query_only", 1)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// Settings of the writing connection, after those of [`harden`]. Durability is decided here: what a commit syncs,
/// and that checkpoints happen only when the writer runs them.
pub(crate) fn set_up_writer(
    connection: &Connection,
    durability: Durability,
) -> Result<(), DbError> {
    // Readers never block the writer, and the writer never blocks readers.
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .context("switching to write-ahead logging")?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(DbError::corrupt(
            "switching to write-ahead logging",
            format!("SQLite stays in mode {mode:?}; the file system may not support shared memory"),
        ));
    }
    // FULL syncs the write-ahead log with every commit; NORMAL syncs it only before a checkpoint.
    pragma(
        connection,
        "synchronous",
        match durability {
            Durability::Full => 2,
            Durability::Buffered => 1,
        },
    )?;
    // Where `fsync` leaves data in the disk's own cache (macOS), ask for a full flush; other systems ignore
    // this. A checkpoint syncs with every durability setting.
    pragma(
        connection,
        "fullfsync",
        i64::from(durability == Durability::Full),
    )?;
    pragma(connection, "checkpoint_fullfsync", 1)?;
    // The writer runs checkpoints itself: SQLite's automatic hook discards the checkpoint's error.
    pragma(connection, "wal_autocheckpoint", 0)?;
    // After a burst, the write-ahead log must become small again.
    pragma(connection, "journal_size_limit", 64 * 1024 * 1024)?;
    // The writer's page cache: 4 MiB, part of the memory bound.
    pragma(connection, "cache_size", -4096)?;
    // What SQLite sorts or stores for a statement stays in memory, never in a file that erasing would miss.
    pragma(connection, "temp_store", 2)?;
    overwrite_what_is_deleted(connection)?;
    // A close moves the write-ahead log into the database, until `leave_files` forbids it for a file that is not ours.
    keep_wal_on_close(connection, false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// Overwrites everything that is ever deleted, in the transaction that deletes it. Erasing then only needs
/// to find what still exists. Doing this only while erasing is not enough: SQLite copies rows when it
/// balances pages, and earlier copies would remain on pages that became free before. Nor is `FAST`, which
/// overwrites within pages only. Recording hardly frees any pages, so the cost is small. Source:
/// <https://www.sqlite.org/pragma.html#pragma_secure_delete>.
pub(crate) fn overwrite_what_is_deleted(connection: &Connection) -> Result<(), DbError> {
    connection
        .pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))
        .context("setting up the connection")
}

/// Settings of every connection, applied before anything is read: the file is not trusted.
pub(crate) fn harden(connection: &Connection) -> Result<(), DbError> {
    // An attacker who can write to the file could make the writer run any statement, or a reader run for
    // ever.
    set(connection, DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    set(connection, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // A foreign table that refers to ours must not stop rows from being deleted.
    set(connection, DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    for (limit, most) in LIMITS {
        connection
            .set_limit(limit, most)
            .context("setting up the connection")?;
    }
    // Functions and virtual tables named in an edited schema do not run.
    set(connection, DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    set(connection, DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // A misspelt column must not become a string.
    set(connection, DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    set(connection, DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    pragma(connection, "cell_size_check", 1)?;
    // On a mapped page an I/O error is a signal instead of an error code.
    pragma(connection, "mmap_size", 0)
}

fn set(connection: &Connection, setting: DbConfig, on: bool) -> Result<(), DbError> {
    connection
        .set_db_config(setting, on)
        .map(drop)
        .context("setting up the connection")
}

/// Sets a pragma, whether SQLite answers with a row or not.
pub(crate) fn pragma(connection: &Connection, name: &str, value: i64) -> Result<(), DbError> {
    connection
        .pragma_update_and_check(None, name, value, |_| Ok(()))
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            other => Err(other),
        })
        .context("setting up the connection")
}

/// Steps of SQLite's virtual machine between two checks of the time: some microseconds.
const PROGRESS_STEPS: i32 = 4096;

/// The time allowed for reading a whole file is this, plus one second for each of so many bytes (a tenth of
/// what a slow disk reads in a second). A file that an attacker edited must not keep a reader busy for
/// ever.
pub(crate) const WHOLE_READ_MIN: Duration = Duration::from_secs(8);

/// Makes every read fail that is not finished after `time`, counted from now.
pub(crate) fn stop_after(connection: &Connection, time: Duration) -> Result<(), DbError> {
    let deadline = Instant::now().checked_add(time);
    let is_over = move || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    connection
        .progress_handler(PROGRESS_STEPS, Some(is_over))
        .context("setting up the connection")
}

/// Which path SQLite opens, and with which flags. Reading a WAL-mode file needs its shared-memory file. If
/// that neither exists nor can be created, a file without a write-ahead log is opened as immutable: it has
/// no writer now, and a later writer is noticed by the files that it creates (`watch::ReadFile`).
pub(crate) fn target(path: &Path, is_immutable: bool) -> (PathBuf, OpenFlags) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    if !is_immutable {
        return (path.to_owned(), flags);
    }
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str("?immutable=1");
    (PathBuf::from(uri), flags | OpenFlags::SQLITE_OPEN_URI)
}
