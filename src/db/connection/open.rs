//! Opens the writer's connection and that of a rebuild, and checks a file before anything else of it is read.

use crate::db::connection::settings::BUSY_TIMEOUT;
use crate::db::connection::settings::check_sqlite_version;
use crate::db::connection::settings::harden;
use crate::db::connection::settings::keep_wal_on_close;
use crate::db::connection::settings::pragma;
use crate::db::connection::settings::set_up_writer;
use crate::db::error::open_error;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::alone;
use super::files::DatabasePath;
use super::mend;
use super::migrate::{self, Origin};
use super::schema::Schema;
use crate::config::{Durability, PAGE_BYTES};
use crate::db::connection::files::has_log;
use crate::db::error::{Context, DbError};
use crate::error::OpenError;

/// Opens the file for the writer: creates it if needed, checks which application made it, migrates it to
/// this version, and checks that its tables are those of this version. What holds nothing of its own is
/// recreated where it differs. A new file gets pages of `page_bytes`; any other keeps its own. The caller holds the
/// writer's lock.
pub(crate) fn open_for_writing(
    path: &DatabasePath,
    durability: Durability,
    page_bytes: u32,
) -> Result<(Connection, Schema), OpenError> {
    let (mut connection, schema) =
        open_as_it_is(path, durability, page_bytes, Schema::check_writable)?;
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
    let (connection, mut schema) = open_as_it_is(path, durability, page_bytes, Schema::check_same)?;
    schema.remade = remade;
    Ok((connection, schema))
}

/// As [`open_for_writing`], but accepts different tables: the caller recreates them.
pub(crate) fn open_for_mending(path: &DatabasePath) -> Result<(Connection, Schema), OpenError> {
    open_as_it_is(path, Durability::Full, PAGE_BYTES, |_| Ok(()))
}

fn open_as_it_is(
    path: &DatabasePath,
    durability: Durability,
    page_bytes: u32,
    check: impl FnOnce(&Schema) -> Result<(), DbError>,
) -> Result<(Connection, Schema), OpenError> {
    check_sqlite_version(rusqlite::version_number(), rusqlite::version())?;
    path.create()?;
    let failed = |error: DbError| open_error(path.as_path(), error);
    let had_log = has_log(path.as_path());
    let connection = open_connection(path).map_err(failed)?;
    let mut looked =
        look_at(path, &connection, page_bytes, check).map(|schema| (connection, schema));
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
    page_bytes: u32,
    check: impl FnOnce(&Schema) -> Result<(), DbError>,
) -> Result<Option<Schema>, OpenError> {
    let failed = |error: DbError| open_error(path.as_path(), error);
    match migrate::origin(connection).map_err(failed)? {
        Origin::Empty => set_up_new_file(connection, page_bytes).map_err(failed)?,
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
fn set_up_new_file(connection: &Connection, page_bytes: u32) -> Result<(), DbError> {
    pragma(connection, "page_size", i64::from(page_bytes))?;
    // Lets pruning return space to the disk in small steps.
    pragma(connection, "auto_vacuum", 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::connection::settings::VALUE_BYTES_MAX;

    #[test]
    fn a_sync_goes_to_the_disk_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        for (durability, full) in [(Durability::Full, 1), (Durability::Buffered, 0)] {
            let (connection, _) =
                open_for_writing(&DatabasePath::new(&path).unwrap(), durability, PAGE_BYTES)
                    .unwrap();
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
