//! The files of a store: which paths are accepted, who may write, with which permissions.
//!
//! Nothing here opens a database that may be in use: closing any handle of a file gives up all POSIX locks
//! that the process has on it, SQLite's too. Source: <https://www.sqlite.org/howtocorrupt.html>, 2.2.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// An absolute path that may hold a store: a regular file, or nothing yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabasePath {
    path: PathBuf,
    exists: bool,
}

impl DatabasePath {
    pub(crate) fn new(path: &Path) -> Result<Self, OpenError> {
        let given = path.to_path_buf();
        if path
            .as_os_str()
            .to_string_lossy()
            .to_ascii_lowercase()
            .starts_with("file:")
        {
            return Err(OpenError::UriPath { path: given });
        }
        if path.as_os_str().is_empty() || path.as_os_str().to_string_lossy().contains('\0') {
            return Err(OpenError::NotAFile { path: given });
        }
        let path = std::path::absolute(path).map_err(|source| OpenError::NotAccessible {
            path: given,
            purpose: "reading",
            source,
        })?;
        let is_directory = path.as_os_str().to_string_lossy().ends_with(['/', '\\']);
        let (Some(name), Some(parent), false) = (path.file_name(), path.parent(), is_directory)
        else {
            return Err(OpenError::IsDirectory { path });
        };
        // Symbolic links are resolved in the folder's path once, here, and refused in the file's name.
        let path = match parent.canonicalize() {
            Ok(parent) => parent.join(name),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(OpenError::NoDirectory { path });
            }
            Err(source) => {
                return Err(OpenError::NotAccessible {
                    path,
                    purpose: "reading",
                    source,
                });
            }
        };
        let exists = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => return Err(OpenError::SymbolicLink { path }),
            Ok(metadata) if metadata.is_dir() => return Err(OpenError::IsDirectory { path }),
            Ok(metadata) if !metadata.is_file() => return Err(OpenError::NotAFile { path }),
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => {
                return Err(OpenError::NotAccessible {
                    path,
                    purpose: "reading",
                    source,
                });
            }
        };
        Ok(Self { path, exists })
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn exists(&self) -> bool {
        self.exists
    }

    /// Creates the file for its owner alone, where there is none. SQLite gives the `-wal` and
    /// `-shm` files the same permissions.
    pub(crate) fn create(&self) -> Result<(), OpenError> {
        if self.exists {
            return Ok(());
        }
        private_options()
            .create_new(true)
            .open(&self.path)
            .and_then(|_| sync_folder(&self.path))
            .map_err(|source| self.not_accessible("writing", source))
    }

    /// The same path, where a file must be now.
    pub(crate) fn existing(&self) -> Self {
        Self {
            path: self.path.clone(),
            exists: true,
        }
    }

    pub(crate) fn not_accessible(&self, purpose: &'static str, source: io::Error) -> OpenError {
        OpenError::NotAccessible {
            path: self.path.clone(),
            purpose,
            source,
        }
    }
}

/// The right to write to a database, held through a lock on a file beside it. The operating system
/// releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _file: File,
}

impl WriterLock {
    pub(crate) fn acquire(database: &DatabasePath) -> Result<Self, OpenError> {
        let lock = lock_path(database.as_path());
        if fs::symlink_metadata(&lock).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(OpenError::SymbolicLink { path: lock });
        }
        let file = private_options()
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(|source| database.not_accessible("writing", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
                path: database.path.clone(),
                lock,
            }),
            Err(TryLockError::Error(source)) => Err(database.not_accessible("writing", source)),
        }
    }

    /// Whether somebody holds the lock. Only tells: takes and leaves nothing.
    pub(crate) fn is_held(database: &Path) -> bool {
        let Ok(file) = File::open(lock_path(database)) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

/// Free bytes, and all bytes, of the disk that holds this file.
pub(crate) fn free_space(path: &Path) -> io::Result<(u64, u64)> {
    Ok((fs4::available_space(path)?, fs4::total_space(path)?))
}

/// Makes a new file's name survive a power loss.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path: OsString = database.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn lock_path(database: &Path) -> PathBuf {
    beside(database, ".lock")
}

/// Where SQLite keeps the write-ahead log of a database.
pub(crate) fn wal_path(database: &Path) -> PathBuf {
    beside(database, "-wal")
}
