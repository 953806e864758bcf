//! Reading connections: few, opened when first needed, never able to write.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};

use super::error::{DbError, DbErrorKind};
use super::files::{DatabasePath, wal_path};
use super::open::{self, check_sqlite_version, open_error, set_up_reader};
use crate::error::{OpenError, ReadError};

/// A read waits for a connection as long as it may take altogether, within these bounds.
const CONNECTION_WAIT_MIN: Duration = Duration::from_millis(1);
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);
/// How many steps of SQLite's machine go by between two looks at the time; some microseconds.
const PROGRESS_STEPS: i32 = 4096;

/// A pool of reading connections. Cheap until the first read.
#[derive(Debug)]
pub(crate) struct ReaderPool {
    path: PathBuf,
    readers_max: u32,
    read_timeout: Duration,
    pool: OnceLock<r2d2::Pool<SqliteConnectionManager>>,
}

/// A reading connection on loan.
pub(crate) type ReadConnection = r2d2::PooledConnection<SqliteConnectionManager>;

impl ReaderPool {
    pub(crate) fn new(path: &Path, readers_max: u32, read_timeout: Duration) -> Self {
        Self {
            path: path.to_owned(),
            readers_max,
            read_timeout,
            pool: OnceLock::new(),
        }
    }

    /// A connection that is free, or a new one.
    pub(crate) fn get(&self) -> Result<ReadConnection, ReadError> {
        let connection = self
            .pool
            .get_or_init(|| self.build())
            .get()
            .map_err(|error| ReadError::NoConnection(error.into()))?;
        // A read that goes on and on would pin the write-ahead log.
        let deadline = Instant::now().checked_add(self.read_timeout);
        connection
            .progress_handler(
                PROGRESS_STEPS,
                Some(move || deadline.is_some_and(|deadline| Instant::now() >= deadline)),
            )
            .map_err(|error| DbError::new("setting up the connection", error))?;
        Ok(connection)
    }

    fn build(&self) -> r2d2::Pool<SqliteConnectionManager> {
        let (path, flags) = target(&self.path);
        let manager = SqliteConnectionManager::file(path)
            .with_flags(flags)
            .with_init(|connection| {
                set_up_reader(connection).map_err(|error| {
                    rusqlite::Error::ToSqlConversionFailure(crate::error::chain(&error).into())
                })
            });
        r2d2::Pool::builder()
            .max_size(self.readers_max)
            .min_idle(Some(0))
            .idle_timeout(Some(Duration::from_secs(60)))
            .test_on_check_out(false)
            .connection_timeout(
                self.read_timeout
                    .clamp(CONNECTION_WAIT_MIN, CONNECTION_WAIT_MAX),
            )
            .build_unchecked(manager)
    }
}

/// Checks that the file at this path is a store that can be read.
pub(crate) fn check_store(path: &DatabasePath) -> Result<(), OpenError> {
    check_sqlite_version(rusqlite::version_number(), rusqlite::version())?;
    if !path.exists() {
        return Err(OpenError::NotFound {
            path: path.as_path().to_owned(),
        });
    }
    let failed = |error| open_error(path.as_path(), error);
    let connection = open_reader(path.as_path()).map_err(failed)?;
    open::check_readable(path.as_path(), &connection)
}

/// One reading connection outside any pool.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, DbError> {
    let (target, flags) = target(path);
    let connection = Connection::open_with_flags(target, flags)
        .map_err(|error| DbError::new("opening the file for reading", error))?;
    set_up_reader(&connection)?;
    Ok(connection)
}

/// What SQLite is to open, and how. Reading a WAL-mode file needs its shared-memory file beside it;
/// on a medium that cannot be written there can be no writer either, so that a file without a
/// write-ahead log may be read as immutable.
fn target(path: &Path) -> (PathBuf, OpenFlags) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let has_wal = std::fs::metadata(wal_path(path)).is_ok_and(|wal| wal.len() > 0);
    if has_wal || !is_read_only(path) {
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

/// Whether neither the file nor anything beside it can be written, by whomever.
fn is_read_only(path: &Path) -> bool {
    let probe = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .and_then(|connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0)
        })
    });
    match probe {
        Ok(_) => false,
        Err(error) => DbError::new("probing", error).kind == DbErrorKind::CannotOpen,
    }
}
