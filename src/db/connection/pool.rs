//! Reading connections: few, opened when first needed, and unable to write.

use crate::db::connection::settings::WHOLE_READ_MIN;
use crate::db::connection::settings::stop_after;
use crate::db::connection::settings::target;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::alone;
use super::files::{DatabasePath, WriterLock, check_not_written_elsewhere};
use super::open;
use super::schema::Schema;
use super::watch::ReadFile;
use crate::db::connection::files::has_log;
use crate::db::connection::settings::{check_sqlite_version, harden, set_up_reader};
use crate::db::error::open_error;
use crate::db::error::{Context, DbError, DbErrorKind};
use crate::error::{OpenError, ReadError};
use crate::process::Process;

/// A read waits for a connection as long as the whole read may take, but at least this long.
const CONNECTION_WAIT_MIN: Duration = Duration::from_millis(1);
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);
const WHOLE_READ_BYTES_A_SECOND: u64 = 1024 * 1024;

/// A pool of reading connections. Opens nothing before the first read.
///
/// Shared by all clones of a `Reader`, on any thread: each read takes one connection, and returns it when
/// it ends. When the file at the path changes, idle connections are replaced one at a time as they are
/// taken. Dropping the last clone closes them.
#[derive(Debug)]
pub(crate) struct ReaderPool {
    path: PathBuf,
    readers_max: u32,
    read_timeout: Duration,
    process: Process,
    pool: OnceLock<r2d2::Pool<Files>>,
}

/// A connection taken from the pool; dropping it returns it.
#[derive(Debug)]
pub(crate) struct ReadConnection(r2d2::PooledConnection<Files>);

/// Opens connections for r2d2.
#[derive(Debug)]
struct Files {
    path: PathBuf,
}

/// A connection of a pool.
#[derive(Debug)]
struct Pooled {
    connection: Connection,
    /// The file that it is open on; `None` if opening failed.
    file: Option<ReadFile>,
    /// The schema version whose tables were compared.
    compared: Option<i64>,
    /// Why opening failed; the connection is then open on nothing. (An error would make r2d2 retry until
    /// the caller's time is over.)
    failed: Option<DbError>,
    is_broken: bool,
}

impl ReaderPool {
    pub(crate) fn new(path: &Path, readers_max: u32, read_timeout: Duration) -> Self {
        Self {
            path: path.to_owned(),
            readers_max,
            read_timeout,
            process: Process::current(),
            pool: OnceLock::new(),
        }
    }

    /// A free connection, or a new one, to a file whose tables are those of this version.
    pub(crate) fn get(&self) -> Result<ReadConnection, ReadError> {
        if self.process.is_left() {
            return Err(ReadError::Forked);
        }
        let mut pooled = self.current()?;
        if let Some(error) = pooled.failed.take() {
            return Err(error.into());
        }
        // A read without an end would pin the write-ahead log.
        stop_after(&pooled.connection, self.read_timeout)?;
        let version = Some(schema_version(&pooled.connection)?);
        if version != pooled.compared {
            Schema::read(&pooled.connection)?.check_readable()?;
            pooled.compared = version;
        }
        Ok(ReadConnection(pooled))
    }

    /// A connection to the file that is at the path now. The file may have been moved and replaced by
    /// another, or a writer may have started on a file that was at rest.
    fn current(&self) -> Result<r2d2::PooledConnection<Files>, ReadError> {
        let pool = self.pool.get_or_init(|| self.build());
        let mut stale = self.readers_max;
        loop {
            let mut pooled = pool
                .get()
                .map_err(|error| ReadError::NoConnection(error.into()))?;
            let is_current = pooled.file.is_none_or(|file| file.is_current(&self.path));
            if is_current || stale == 0 {
                return Ok(pooled);
            }
            pooled.is_broken = true;
            stale -= 1;
        }
    }

    fn build(&self) -> r2d2::Pool<Files> {
        let path = self.path.clone();
        r2d2::Pool::builder()
            .max_size(self.readers_max)
            .min_idle(Some(0))
            .idle_timeout(Some(Duration::from_secs(60)))
            .test_on_check_out(false)
            .connection_timeout(
                self.read_timeout
                    .clamp(CONNECTION_WAIT_MIN, CONNECTION_WAIT_MAX),
            )
            .build_unchecked(Files { path })
    }
}

impl ReadConnection {
    /// The file that it is open on.
    pub(crate) fn file(&self) -> Option<ReadFile> {
        self.0.file
    }
}

impl Deref for ReadConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.connection
    }
}

impl r2d2::ManageConnection for Files {
    type Connection = Pooled;
    type Error = rusqlite::Error;

    fn connect(&self) -> Result<Pooled, rusqlite::Error> {
        let (connection, file, failed) = match open_hardened(&self.path) {
            Ok((connection, file)) => (connection, Some(file), None),
            Err(error) => (Connection::open_in_memory()?, None, Some(error)),
        };
        let is_broken = failed.is_some();
        Ok(Pooled {
            connection,
            file,
            compared: None,
            failed,
            is_broken,
        })
    }

    fn is_valid(&self, _: &mut Pooled) -> Result<(), rusqlite::Error> {
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        pooled.is_broken
    }
}

/// Changes with every change of the schema.
fn schema_version(connection: &Connection) -> Result<i64, DbError> {
    connection
        .prepare_cached("PRAGMA schema_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .context("reading the file's schema")
}

impl Drop for ReaderPool {
    fn drop(&mut self) {
        if self.process.is_left() {
            // Runs in a forked child: closing the parent's connections here could release the parent's
            // locks.
            std::mem::forget(self.pool.take());
        }
    }
}

/// Checks that the file at this path is a readable store.
pub(crate) fn check_store(path: &DatabasePath) -> Result<(), OpenError> {
    check_sqlite_version(rusqlite::version_number(), rusqlite::version())?;
    if !path.exists() {
        return Err(OpenError::NotFound {
            path: path.as_path().to_owned(),
        });
    }
    check_not_written_elsewhere(path)?;
    let opened = open_readable(path.as_path());
    if !has_log(path.as_path()) || WriterLock::is_held(path.as_path()) {
        return opened.map(drop);
    }
    let opened = opened.map(|connection| (connection, ()));
    alone::check_log_belongs(path.as_path(), opened).map(drop)
}

fn open_readable(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error| open_error(path, error);
    let connection = open_any(path).map_err(failed)?;
    open::check_readable(path, &connection)?;
    // Each read reports different tables itself; tables that cannot be read at all are damage.
    Schema::read(&connection).map_err(failed)?;
    Ok(connection)
}

/// A reading connection outside the pool, to a file whose tables are those of this version.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, DbError> {
    let connection = open_any(path)?;
    Schema::read(&connection)?.check_readable()?;
    Ok(connection)
}

/// As [`open_reader`], but accepts different tables: the caller reports how they differ.
pub(crate) fn open_any(path: &Path) -> Result<Connection, DbError> {
    let (connection, _) = open_hardened(path)?;
    restart_clock(&connection, path)?;
    Ok(connection)
}

/// Allows, from now on, the time in which the whole file can be read once.
pub(crate) fn restart_clock(connection: &Connection, path: &Path) -> Result<(), DbError> {
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    let time = WHOLE_READ_MIN + Duration::from_secs(bytes / WHOLE_READ_BYTES_A_SECOND);
    stop_after(connection, time)
}

fn open_hardened(path: &Path) -> Result<(Connection, ReadFile), DbError> {
    const OPENING: &str = "opening the file for reading";
    let is_immutable = !has_log(path) && is_unwritable(path);
    // Captured before opening: a change in between is noticed later.
    let file = ReadFile::new(path, is_immutable).map_err(|error| DbError::io(OPENING, error))?;
    let (target, flags) = target(path, is_immutable);
    let connection = Connection::open_with_flags(target, flags).context(OPENING)?;
    set_up_reader(&connection)?;
    Ok((connection, file))
}

/// Whether SQLite cannot create its files beside this one, because of permissions or a read-only medium.
/// Others may still write to it, later or from elsewhere.
fn is_unwritable(path: &Path) -> bool {
    const PROBING: &str = "probing";
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let probe = || -> Result<i64, DbError> {
        let connection = Connection::open_with_flags(path, flags).context(PROBING)?;
        harden(&connection)?;
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .context(PROBING)
    };
    probe().is_err_and(|error| error.kind == DbErrorKind::CannotOpen)
}
