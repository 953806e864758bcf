//! What the database reported, sorted by what can be done about it.

use rusqlite::ffi::ErrorCode;

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
    /// Anything else.
    Other,
}

impl DbError {
    pub(crate) fn new(context: &'static str, source: rusqlite::Error) -> Self {
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
        Self {
            kind,
            context,
            source: Some(source.into()),
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
        )
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
            _ => Self::Database(error.into()),
        }
    }
}
