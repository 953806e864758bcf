//! What the database reported, sorted by what can be done about it.

use std::io;

use rusqlite::ffi::{self, ErrorCode};

use crate::error::{ReadError, chain};

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

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DbErrorKind {
    /// Somebody else holds a lock: try again.
    Busy,
    /// The disk, or the file's allowance, is full: try again later.
    Full,
    /// Input or output failed: reopen, look at what is there, try again.
    Io,
    /// The file system has no memory that processes share, which write-ahead logging needs.
    NoSharedMemory,
    /// What is stored contradicts itself: stop, keep the file.
    Corrupt,
    /// The file does not take a value: a constraint is in its way, its type, or its length. Says
    /// nothing of the file's health; tried again it fails again.
    Refused,
    /// The file is not a database.
    NotADatabase,
    /// The file cannot be opened or written.
    CannotOpen,
    /// It took longer than it may.
    Interrupted,
    /// The caller asks for what cannot be asked; the context says why.
    InvalidArgument,
    /// Anything else.
    Other,
}

impl DbError {
    /// To be called on the thread that the error came from, before it does anything else.
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
            // SQLite knows one error of a full disk: a write's. Files that cannot be made, quotas and
            // limits of a file's size are the same to whoever waits for space.
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

    /// What the operating system reported of the file.
    pub(super) fn io(context: &'static str, source: std::io::Error) -> Self {
        Self {
            kind: DbErrorKind::Io,
            context,
            source: Some(source.into()),
        }
    }

    /// Whether what is stored may be the reason, and not the disk, a lock or the time.
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

    /// The caller asks for what cannot be asked.
    pub(super) fn invalid(why: &'static str) -> Self {
        Self {
            kind: DbErrorKind::InvalidArgument,
            context: why,
            source: None,
        }
    }

    /// What is stored contradicts itself.
    pub(crate) fn corrupt(context: &'static str, source: impl Into<crate::error::Cause>) -> Self {
        Self {
            kind: DbErrorKind::Corrupt,
            context,
            source: Some(source.into()),
        }
    }
}

/// Source: <https://www.sqlite.org/rescode.html#ioerr_shmmap> and those beside it.
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

/// Errors of input and output that a failing call of the operating system always stands behind; of others
/// the thread's last one may be long past.
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

/// What SQLite reported, and the error of the operating system behind it.
#[derive(Debug, thiserror::Error)]
#[error("{sqlite}: {system}")]
struct WithSystem {
    sqlite: rusqlite::Error,
    system: io::Error,
}

/// Too many open files, in the process and in the system; the same numbers on every Unix.
#[cfg(unix)]
const TOO_MANY_OPEN_FILES: [i32; 2] = [24, 23];
#[cfg(unix)]
const INPUT_OUTPUT: i32 = 5;
/// No locks: a lock server that does not answer.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_LOCKS: i32 = 37;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const NO_LOCKS: i32 = 77;

/// Whether the thread's last error of the operating system is behind an error of input or output.
/// SQLite looks for files that need not be there and tries other ways: most errors say nothing. These
/// are never part of that.
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

/// Adds to an SQLite error what was being done.
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_ends_room_files_and_locks_is_a_reason_and_what_sqlite_tries_is_none() {
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
