//! Errors of the database, classified by what can be done about them.

use std::io;
use std::path::Path;

use rusqlite::ffi::{self, ErrorCode};

use crate::error::{OpenError, ReadError, chain};

/// An error of the database.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub(crate) struct DbError {
    pub(crate) kind: DbErrorKind,
    /// What was being done.
    pub(crate) context: &'static str,
    #[source]
    source: Option<crate::error::Cause>,
}

/// What can be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DbErrorKind {
    /// Another connection holds a lock: retry.
    Busy,
    /// The disk or a quota is full: retry later.
    Full,
    /// Input or output failed: reopen, look at what is there, retry.
    Io,
    /// The file system has no shared memory, which write-ahead logging needs.
    NoSharedMemory,
    /// Stored data contradicts itself: stop and keep the file.
    Corrupt,
    /// The file does not accept a value because of a constraint, its type or its length. That says nothing
    /// about the file's health. A retry fails again.
    Refused,
    /// The file is not a database.
    NotADatabase,
    /// The file cannot be opened or written.
    CannotOpen,
    /// It took longer than allowed.
    Interrupted,
    /// The caller passed an argument that is not possible; the context says why.
    InvalidArgument,
    /// Anything else.
    Other,
}

impl DbError {
    /// Call it on the thread that got the error, before anything else there can change `errno`.
    ///
    /// SQLite's code decides the kind. For an error of input or output, the error of the operating system
    /// is added, and decides between a full disk and others: SQLite reports a full disk only for a write.
    pub(crate) fn new(context: &'static str, source: rusqlite::Error) -> Self {
        let system = io::Error::last_os_error();
        let unreadable_value = matches!(
            source,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
        );
        let kind = match source.sqlite_error_code() {
            None if unreadable_value => DbErrorKind::Corrupt,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DbErrorKind::Busy,
            Some(ErrorCode::DiskFull) => DbErrorKind::Full,
            Some(ErrorCode::SystemIoFailure) if is_of_shared_memory(&source) => {
                DbErrorKind::NoSharedMemory
            }
            Some(ErrorCode::SystemIoFailure) => DbErrorKind::Io,
            Some(ErrorCode::DatabaseCorrupt) => DbErrorKind::Corrupt,
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                DbErrorKind::Refused
            }
            Some(ErrorCode::OperationInterrupted) => DbErrorKind::Interrupted,
            Some(ErrorCode::NotADatabase) => DbErrorKind::NotADatabase,
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                DbErrorKind::CannotOpen
            }
            _ => DbErrorKind::Other,
        };
        let code = source.sqlite_error().map_or(0, |error| error.extended_code);
        let is_of_system = kind == DbErrorKind::CannotOpen || IO_OF_SYSTEM.contains(&code);
        if !is_of_system || !is_reason(&system) {
            return Self {
                kind,
                context,
                source: Some(source.into()),
            };
        }
        Self {
            // SQLite has one code for a full disk: that of a write. Files that cannot be created, quotas
            // and limits on file size mean the same to a caller who waits for space.
            kind: if is_full(&system) {
                DbErrorKind::Full
            } else {
                kind
            },
            context,
            source: Some(Box::new(WithSystem {
                sqlite: source,
                system,
            })),
        }
    }

    /// An error of the operating system about the file.
    pub(super) fn io(context: &'static str, source: std::io::Error) -> Self {
        Self {
            kind: DbErrorKind::Io,
            context,
            source: Some(source.into()),
        }
    }

    /// Whether the reason may be the stored data, and not the disk, a lock or the time.
    pub(crate) fn is_damage(&self) -> bool {
        !matches!(
            self.kind,
            DbErrorKind::Busy
                | DbErrorKind::Full
                | DbErrorKind::Io
                | DbErrorKind::NoSharedMemory
                | DbErrorKind::CannotOpen
                | DbErrorKind::Interrupted
                | DbErrorKind::InvalidArgument
        )
    }

    /// The caller passed an argument that is not possible.
    pub(super) fn invalid(why: &'static str) -> Self {
        Self {
            kind: DbErrorKind::InvalidArgument,
            context: why,
            source: None,
        }
    }

    /// Stored data contradicts itself.
    pub(crate) fn corrupt(context: &'static str, source: impl Into<crate::error::Cause>) -> Self {
        Self {
            kind: DbErrorKind::Corrupt,
            context,
            source: Some(source.into()),
        }
    }
}

/// Source: <https://www.sqlite.org/rescode.html#ioerr_shmmap> and its neighbours.
fn is_of_shared_memory(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_SHMMAP, SQLITE_IOERR_SHMOPEN, SQLITE_IOERR_SHMSIZE};

    let code = error.sqlite_error().map(|error| error.extended_code);
    code.is_some_and(|code| {
        [
            SQLITE_IOERR_SHMMAP,
            SQLITE_IOERR_SHMOPEN,
            SQLITE_IOERR_SHMSIZE,
        ]
        .contains(&code)
    })
}

/// Input and output errors that always come from a failing system call. For others, `errno` of the thread
/// may be old.
const IO_OF_SYSTEM: [i32; 10] = [
    ffi::SQLITE_IOERR_READ,
    ffi::SQLITE_IOERR_WRITE,
    ffi::SQLITE_IOERR_FSYNC,
    ffi::SQLITE_IOERR_DIR_FSYNC,
    ffi::SQLITE_IOERR_TRUNCATE,
    ffi::SQLITE_IOERR_FSTAT,
    ffi::SQLITE_IOERR_LOCK,
    ffi::SQLITE_IOERR_SHMOPEN,
    ffi::SQLITE_IOERR_SHMSIZE,
    ffi::SQLITE_IOERR_SHMLOCK,
];

/// SQLite's error, and the error of the operating system behind it.
#[derive(Debug, thiserror::Error)]
#[error("{sqlite}: {system}")]
struct WithSystem {
    sqlite: rusqlite::Error,
    system: io::Error,
}

/// Too many open files, in the process and in the system. The numbers are the same on every Unix.
#[cfg(unix)]
const TOO_MANY_OPEN_FILES: [i32; 2] = [24, 23];
#[cfg(unix)]
const INPUT_OUTPUT: i32 = 5;
/// No locks: a lock server does not answer.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_LOCKS: i32 = 37;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const NO_LOCKS: i32 = 77;

/// Whether `errno` of this thread explains an input or output error. SQLite probes for files that need not
/// exist and tries alternatives, so most values of `errno` say nothing. These values never come from such
/// probing.
fn is_reason(system: &io::Error) -> bool {
    #[cfg(unix)]
    if system.raw_os_error().is_some_and(|code| {
        TOO_MANY_OPEN_FILES.contains(&code) || code == INPUT_OUTPUT || code == NO_LOCKS
    }) {
        return true;
    }
    is_full(system)
        || matches!(
            system.kind(),
            io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::StaleNetworkFileHandle
                | io::ErrorKind::OutOfMemory
        )
}

fn is_full(system: &io::Error) -> bool {
    matches!(
        system.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Adds what was being done to an SQLite error.
pub(crate) trait Context<T> {
    fn context(self, context: &'static str) -> Result<T, DbError>;
}

impl<T> Context<T> for Result<T, rusqlite::Error> {
    fn context(self, context: &'static str) -> Result<T, DbError> {
        self.map_err(|source| DbError::new(context, source))
    }
}

impl From<DbError> for ReadError {
    fn from(error: DbError) -> Self {
        match error.kind {
            DbErrorKind::Corrupt | DbErrorKind::NotADatabase => Self::Damaged(chain(&error)),
            DbErrorKind::Interrupted => Self::Timeout,
            DbErrorKind::InvalidArgument => Self::InvalidArgument(error.context.to_owned()),
            _ => Self::Database(error.into()),
        }
    }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn exhausted_disks_descriptors_and_locks_are_reasons_and_probing_is_not() {
        let of = io::Error::from_raw_os_error;
        for (code, is_told, counts_as_full) in [
            (28, true, true),   // ENOSPC
            (122, true, true),  // EDQUOT
            (24, true, false),  // EMFILE
            (23, true, false),  // ENFILE
            (37, true, false),  // ENOLCK
            (5, true, false),   // EIO
            (30, true, false),  // EROFS
            (27, true, true),   // EFBIG
            (116, true, false), // ESTALE
            (2, false, false),  // ENOENT
            (11, false, false), // EAGAIN
            (0, false, false),
        ] {
            assert_eq!(
                (is_reason(&of(code)), is_full(&of(code))),
                (is_told, counts_as_full),
                "{code}"
            );
        }
    }
}
