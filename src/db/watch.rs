//! Whether the file at a path is still the one that is being written, and how large it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::files::wal_path;

/// What is found at the path of a database that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The same files, with this many bytes altogether.
    Same { bytes: u64 },
    /// Nothing.
    Gone,
    /// Another file.
    Replaced,
    /// The database, but not its write-ahead log.
    LogGone,
}

/// Remembers which files are being written.
#[derive(Debug)]
pub(crate) struct FileWatch {
    database: PathBuf,
    log: PathBuf,
    database_identity: Identity,
    log_identity: Identity,
}

/// Device and number of a file. Nothing where the operating system does not tell: there files
/// that are open can be neither removed nor replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(Option<(u64, u64)>);

impl FileWatch {
    /// Watches files that are open now.
    pub(crate) fn new(database: &Path) -> io::Result<Self> {
        let log = wal_path(database);
        Ok(Self {
            database_identity: identity(&fs::symlink_metadata(database)?),
            log_identity: identity(&fs::symlink_metadata(&log)?),
            database: database.to_owned(),
            log,
        })
    }

    /// Looks. An error is that of a disk that does not even answer this.
    pub(crate) fn look(&self) -> io::Result<Presence> {
        let Some(database) = found(&self.database)? else {
            return Ok(Presence::Gone);
        };
        if identity(&database) != self.database_identity {
            return Ok(Presence::Replaced);
        }
        match found(&self.log)? {
            Some(log) if identity(&log) == self.log_identity => Ok(Presence::Same {
                bytes: database.len().saturating_add(log.len()),
            }),
            _ => Ok(Presence::LogGone),
        }
    }
}

/// The file that a reading connection is to, by which it is seen later whether it is to be opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadFile {
    identity: Identity,
    /// Of a file that is read as if it never changed: how it was.
    still: Option<Still>,
}

/// Nobody writes to a file that stays so and has no write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Still {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl ReadFile {
    /// The file that is at this path now, and whether it is to be read as if it never changed.
    pub(super) fn new(path: &Path, is_immutable: bool) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            identity: identity(&metadata),
            still: is_immutable.then(|| Still::of(&metadata)),
        })
    }

    /// Whether it is still what a connection should be to. A file that was moved away is, as long as
    /// there is no other in its place.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        let Ok(found) = fs::symlink_metadata(path) else {
            return true;
        };
        let is_as_it_was = |still| still == Still::of(&found) && !has_log(path);
        identity(&found) == self.identity && self.still.is_none_or(is_as_it_was)
    }

    /// Whether the other one is the same file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Still {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// Whether there is something in the write-ahead log, or was when its writer died.
pub(super) fn has_log(database: &Path) -> bool {
    fs::metadata(wal_path(database)).is_ok_and(|log| log.len() > 0)
}

fn found(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
pub(super) fn identity(metadata: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Identity {
    Identity(None)
}
