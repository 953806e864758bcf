//! Opens connections. Each setting has its reason.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::alone;
use super::files::DatabasePath;
use super::mend;
use super::migrate::{self, Origin};
use super::schema::Schema;
use super::watch::has_log;
use crate::config::Durability;
use crate::db::error::{Context, DbError, DbErrorKind};
use crate::error::OpenError;

/// 3.51.3 fixed a bug by which a checkpoint racing with a restart of the write-ahead log could
/// corrupt the database. Source: <https://sqlite.org/wal.html#walresetbug>.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
const SQLITE_VERSION_MIN_TEXT: &str = "3.51.3";

/// A user's plain `sqlite3` may hold a lock for a moment.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const STATEMENTS_MAX: usize = 64;

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
const VALUE_BYTES_MAX: i32 = 132 * 1024 * 1024;

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

/// Opens the file for the writer: creates it if needed, checks which application made it, migrates it to
/// this version, and checks that its tables are those of this version. What holds nothing of its own is
/// recreated where it differs. The caller holds the writer's lock.
pub(crate) fn open_for_writing(
    path: &DatabasePath,
    durability: Durability,
) -> Result<(Connection, Schema), OpenError> {
    let (mut connection, schema) = open_as_it_is(path, durability, Schema::check_writable)?;
    let failed = |error| open_error(path.as_path(), error);
    let remade = schema.expendable();
    if !remade.is_empty() {
        mend::mend_expendable(&mut connection, &schema).map_err(failed)?;
    }
    if !schema.drop_statistics(&connection).map_err(failed)? && remade.is_empty() {
        return Ok((connection, schema));
    }
    // A connection caches the statistics and the schema that it has read.
    drop(connection);
    let (connection, mut schema) = open_as_it_is(path, durability, Schema::check_same)?;
    schema.remade = remade;
    Ok((connection, schema))
}

/// As [`open_for_writing`], but accepts different tables: the caller recreates them.
pub(crate) fn open_for_mending(path: &DatabasePath) -> Result<(Connection, Schema), OpenError> {
    open_as_it_is(path, Durability::Full, |_| Ok(()))
}

fn open_as_it_is(
    path: &DatabasePath,
    durability: Durability,
    check: impl FnOnce(&Schema) -> Result<(), DbError>,
) -> Result<(Connection, Schema), OpenError> {
    check_sqlite_version(rusqlite::version_number(), rusqlite::version())?;
    path.create()?;
    let failed = |error: DbError| open_error(path.as_path(), error);
    let had_log = has_log(path.as_path());
    let connection = open_connection(path).map_err(failed)?;
    let mut looked = look_at(path, &connection, check).map(|schema| (connection, schema));
    if had_log {
        // Check this before any of it is moved into the file.
        looked = alone::check_log_belongs(path.as_path(), looked);
    }
    let (mut connection, schema) = looked?;
    set_up_writer(&connection, durability).map_err(failed)?;
    migrate::migrate(&mut connection).map_err(failed)?;
    let schema = match schema {
        Some(schema) => schema,
        None => Schema::read(&connection).map_err(failed)?,
    };
    Ok((connection, schema))
}

fn open_connection(path: &DatabasePath) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection =
        Connection::open_with_flags(path.as_path(), flags).context("opening the file")?;
    // Until we know that the file is ours, not even closing may change it.
    keep_wal_on_close(&connection, true)?;
    harden(&connection)?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .context("setting the busy timeout")?;
    Ok(connection)
}

/// Checks which application made the file, and its tables if they are of this version. Sets up a new file.
fn look_at(
    path: &DatabasePath,
    connection: &Connection,
    check: impl FnOnce(&Schema) -> Result<(), DbError>,
) -> Result<Option<Schema>, OpenError> {
    let failed = |error: DbError| open_error(path.as_path(), error);
    match migrate::origin(connection).map_err(failed)? {
        Origin::Empty => set_up_new_file(connection).map_err(failed)?,
        Origin::Auditlite { version } => {
            check_version(path.as_path(), version, true)?;
            if version == migrate::version_supported() {
                let found = Schema::read(connection).map_err(failed)?;
                check(&found).map_err(failed)?;
                return Ok(Some(found));
            }
        }
        Origin::Foreign { application_id } => {
            return Err(OpenError::ForeignDatabase {
                path: path.as_path().to_owned(),
                application_id,
            });
        }
    }
    Ok(None)
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

/// Checks that the file is one that this library reads.
pub(crate) fn check_readable(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    match migrate::origin(connection).map_err(|error| open_error(path, error))? {
        Origin::Auditlite { version } => check_version(path, version, false),
        Origin::Foreign { application_id } => Err(OpenError::ForeignDatabase {
            path: path.to_owned(),
            application_id,
        }),
        Origin::Empty => Err(OpenError::Empty {
            path: path.to_owned(),
            bytes: std::fs::metadata(path).map_or(0, |file| file.len()),
        }),
    }
}

fn check_version(path: &Path, found: i64, upgrades: bool) -> Result<(), OpenError> {
    let supported = migrate::version_supported();
    let path = path.to_owned();
    if found > supported {
        return Err(OpenError::NewerVersion {
            path,
            found,
            supported,
        });
    }
    if found < migrate::VERSION_MIN {
        return Err(OpenError::UnsupportedVersion {
            path,
            found,
            oldest: migrate::VERSION_MIN,
        });
    }
    if found < supported && !upgrades {
        return Err(OpenError::OlderVersion {
            path,
            found,
            supported,
        });
    }
    Ok(())
}

/// Settings that are stored in the file and can be chosen only while it is empty.
fn set_up_new_file(connection: &Connection) -> Result<(), DbError> {
    // Payload rows are long: larger pages mean fewer overflow pages and fewer pages in each commit.
    pragma(connection, "page_size", 8192)?;
    // Lets pruning return space to the disk in small steps.
    pragma(connection, "auto_vacuum", 2)
}

/// Settings of the writing connection.
fn set_up_writer(connection: &Connection, durability: Durability) -> Result<(), DbError> {
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
    pragma(connection, "temp_store", 2)?;
    overwrite_what_is_deleted(connection)?;
    keep_wal_on_close(connection, false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// Overwrites everything that is ever deleted, in the transaction that deletes it. Erasing then only needs
/// to find what still exists. Doing this only while erasing is not enough: SQLite copies rows when it
/// balances pages, and earlier copies would remain on pages that became free before. Nor is `FAST`, which
/// overwrites within pages only. Recording hardly frees any pages, so the cost is small. Source:
/// <https://www.sqlite.org/pragma.html#pragma_secure_delete>.
fn overwrite_what_is_deleted(connection: &Connection) -> Result<(), DbError> {
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
fn pragma(connection: &Connection, name: &str, value: i64) -> Result<(), DbError> {
    connection
        .pragma_update_and_check(None, name, value, |_| Ok(()))
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            other => Err(other),
        })
        .context("setting up the connection")
}

pub(crate) fn open_error(path: &Path, error: DbError) -> OpenError {
    let path = path.to_owned();
    match error.kind {
        DbErrorKind::NotADatabase => OpenError::NotADatabase { path },
        DbErrorKind::Corrupt => OpenError::Damaged {
            path,
            what: crate::error::chain(&error),
        },
        DbErrorKind::CannotOpen => OpenError::NotAccessible {
            path,
            purpose: "reading or writing",
            source: std::io::Error::other(error),
        },
        DbErrorKind::NoSharedMemory => OpenError::NoSharedMemory {
            path,
            source: error.into(),
        },
        _ => OpenError::Database {
            path,
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_goes_to_the_disk_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        for (durability, full) in [(Durability::Full, 1), (Durability::Buffered, 0)] {
            let (connection, _) =
                open_for_writing(&DatabasePath::new(&path).unwrap(), durability).unwrap();
            let value = |name| -> i64 {
                connection
                    .pragma_query_value(None, name, |row| row.get(0))
                    .unwrap()
            };
            assert_eq!(value("fullfsync"), full);
            assert_eq!(value("checkpoint_fullfsync"), 1);
        }
    }

    #[test]
    fn every_body_that_may_be_kept_can_be_stored() {
        let bytes = usize::try_from(VALUE_BYTES_MAX).unwrap();
        assert!(crate::config::PAYLOAD_CAP_BYTES_MAX + (1 << 20) <= bytes);
    }
}
