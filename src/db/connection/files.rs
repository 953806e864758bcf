//! The files of a store: which paths are accepted, who may write, and with which permissions.
//!
//! Nothing here opens a database that may be in use: closing any descriptor of a file releases all POSIX
//! locks of the process on it, including SQLite's. Source: <https://www.sqlite.org/howtocorrupt.html>, 2.2.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::held::FileLock;
use super::mount::is_mounted_alone;
use crate::error::OpenError;

/// An absolute path that may hold a store: a regular file, or nothing yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabasePath {
    path: PathBuf,
    exists: bool,
}

impl DatabasePath {
    /// Checks the path once, in this order: no SQLite URI and no NUL byte, an absolute path, a file name,
    /// an existing folder (its symbolic links are resolved here), and a regular file or nothing at the
    /// name.
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

    /// Creates an empty file that only its owner can access, if there is none. SQLite gives the `-wal` and
    /// `-shm` files the same permissions.
    pub(crate) fn create(&self) -> Result<(), OpenError> {
        if self.exists {
            return Ok(());
        }
        match private_options().create_new(true).open(&self.path) {
            // Another process created it first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            created => created.and_then(|_| sync_folder(&self.path)),
        }
        .map_err(|source| self.not_accessible("writing", source))
    }

    /// The same path, when the file must exist by now.
    pub(crate) fn existing(&self) -> Self {
        Self {
            path: self.path.clone(),
            exists: true,
        }
    }

    /// Renames the write-ahead log so that nobody reads it, and returns the new name.
    pub(crate) fn put_wal_aside(&self) -> io::Result<Option<PathBuf>> {
        let aside = beside(&self.path, "-wal.aside");
        match fs::rename(wal_path(&self.path), &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
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

/// How to treat a database that has several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileLinks {
    Refused,
    Allowed,
}

/// The right to write to a database. It consists of two locks that the operating system releases when the
/// process ends for any reason.
///
/// The lock file beside the database tells other processes about the writer without touching the database.
/// The lock on the database itself is seen under every name of the file, and survives when the lock file is
/// deleted.
///
/// Owned by the store from opening to close; dropping it releases both locks.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _beside: File,
    _itself: FileLock,
}

impl WriterLock {
    /// Creates the database if there is none.
    pub(crate) fn acquire(database: &DatabasePath, links: FileLinks) -> Result<Self, OpenError> {
        let path = &database.path;
        // Check this before creating anything beside the database.
        if links == FileLinks::Refused && database.exists {
            check_links(path)?;
        }
        if is_mounted_alone(path) {
            return Err(OpenError::MountedAlone { path: path.clone() });
        }
        let beside = lock_beside(database)?;
        database.create()?;
        let failed = |source| database.not_accessible("writing", source);
        let Some(itself) = FileLock::acquire(path).map_err(failed)? else {
            return Err(OpenError::WrittenElsewhere { path: path.clone() });
        };
        Ok(Self {
            _beside: beside,
            _itself: itself,
        })
    }

    /// Whether a process holds the lock. Only asks: acquires nothing and leaves nothing behind.
    pub(crate) fn is_held(database: &Path) -> bool {
        let Ok(file) = File::open(lock_path(database)) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

/// Whether what this name shows is what the writer writes: a writer that uses another name has its
/// write-ahead log beside that name.
pub(crate) fn check_not_written_elsewhere(database: &DatabasePath) -> Result<(), OpenError> {
    let path = &database.path;
    // No other file is opened for this check: its descriptor would stay open.
    let has_other_names = links(path) > 1 || is_mounted_alone(path);
    if !has_other_names || WriterLock::is_held(path) {
        return Ok(());
    }
    match FileLock::is_held(path) {
        // A writer started under this name meanwhile.
        Ok(true) if !WriterLock::is_held(path) => {
            Err(OpenError::WrittenElsewhere { path: path.clone() })
        }
        _ => Ok(()),
    }
}

fn check_links(path: &Path) -> Result<(), OpenError> {
    match links(path) {
        0 | 1 => Ok(()),
        links => Err(OpenError::Linked {
            path: path.to_owned(),
            links,
        }),
    }
}

/// The number of hard links of the file.
fn links(path: &Path) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(path).map_or(1, |metadata| metadata.nlink())
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        1
    }
}

fn lock_beside(database: &DatabasePath) -> Result<File, OpenError> {
    let lock = lock_path(database.as_path());
    let found = fs::symlink_metadata(&lock);
    if found.as_ref().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(OpenError::SymbolicLink { path: lock });
    }
    let opened = private_options().create(true).truncate(false).open(&lock);
    let file = match (opened, found) {
        (Ok(file), _) => file,
        // The lock file exists and the folder is readable: the file itself is the obstacle.
        (Err(source), Ok(found)) => {
            return Err(OpenError::LockFile {
                lock,
                owner: owner(&found),
                source,
            });
        }
        (Err(source), Err(_)) => return Err(database.not_accessible("writing", source)),
    };
    give_to_owner(&database.path, &file);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: database.path.clone(),
            lock,
        }),
        Err(TryLockError::Error(source)) => Err(database.not_accessible("writing", source)),
    }
}

#[cfg(unix)]
fn owner(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    Some(metadata.uid())
}

#[cfg(not(unix))]
fn owner(_: &fs::Metadata) -> Option<u32> {
    None
}

/// As root, gives a new file to the owner of the database, who could not open it otherwise. SQLite does the
/// same with its files. Failure is harmless: the next opening reports it.
fn give_to_owner(database: &Path, file: &File) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let (Ok(database), Ok(metadata)) = (fs::symlink_metadata(database), file.metadata()) else {
            return;
        };
        if (database.uid(), database.gid()) != (metadata.uid(), metadata.gid()) {
            let _ = fchown(file, Some(database.uid()), Some(database.gid()));
        }
    }
    #[cfg(not(unix))]
    let _ = (database, file);
}

/// Free bytes, and total bytes, of the disk that holds this file.
pub(crate) fn free_space(path: &Path) -> io::Result<(u64, u64)> {
    Ok((fs4::available_space(path)?, fs4::total_space(path)?))
}

/// Makes a new file's name survive a power loss.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
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

/// Whether the write-ahead log has content, or had when its writer died.
pub(crate) fn has_log(database: &Path) -> bool {
    fs::metadata(wal_path(database)).is_ok_and(|log| log.len() > 0)
}
