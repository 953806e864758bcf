//! Reads a store that cannot be read in place: a killed writer left a write-ahead log, and nothing can be
//! created beside it. SQLite needs a shared-memory file for that log, so the store is copied to a private
//! folder, where SQLite can create one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::files::{DatabasePath, WriterLock, free_space, wal_path};
use super::pool::check_store;
use crate::error::OpenError;

/// A copy is for looking into what a crash left, not for moving a large archive to a small disk, which may
/// be memory.
const COPY_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// At most one part in this many of the free space where the copy is made.
const FREE_PART_MAX: u64 = 2;
const FOLDER_PREFIX: &str = "auditlite-read-";
/// Locked while the copy is in use. A process that finds it unlocked may remove the folder.
const LOCK_NAME: &str = "in-use.lock";
/// Limit of names that are tried for the copy's folder, and of leftover folders that are examined.
const FOLDERS_MAX: usize = 64;

/// Where a store is read: the file itself, or a copy. Clones share the copy.
#[derive(Debug, Clone)]
pub(crate) struct Readable {
    path: PathBuf,
    copy: Option<Arc<Aside>>,
}

/// A copy of a store and its write-ahead log in a folder of its own. Shared by all connections that read
/// it; the last one to be dropped removes the folder.
#[derive(Debug)]
pub(crate) struct Aside {
    folder: PathBuf,
    bytes: u64,
    /// The process that made it: a forked child must not remove its parent's copy.
    process: u32,
    _lock: File,
}

impl Readable {
    /// A file that is read where it is: a store of this process writes to it.
    pub(crate) fn in_place(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            copy: None,
        }
    }

    /// Checks that the file at this path is a readable store, from a copy where needed.
    pub(crate) fn open(path: &DatabasePath) -> Result<Self, OpenError> {
        let error = match check_store(path) {
            Ok(()) => {
                return Ok(Self {
                    path: path.as_path().to_owned(),
                    copy: None,
                });
            }
            Err(error) => error,
        };
        let wal_bytes = fs::metadata(wal_path(path.as_path())).map_or(0, |wal| wal.len());
        if !matches!(error, OpenError::NotAccessible { .. }) || wal_bytes == 0 {
            return Err(error);
        }
        // A live writer has a shared-memory file: if SQLite cannot use that, the reason is another one.
        if WriterLock::is_held(path.as_path()) {
            return Err(error);
        }
        let (copy, name) = Aside::create(path.as_path())?;
        check_store(&DatabasePath::new(&name)?)?;
        Ok(Self {
            path: name,
            copy: Some(Arc::new(copy)),
        })
    }

    /// The path to open.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Must outlive all readers of the copy.
    pub(crate) fn copy(&self) -> Option<&Arc<Aside>> {
        self.copy.as_ref()
    }
}

impl Aside {
    /// Size of the copy.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn create(database: &Path) -> Result<(Self, PathBuf), OpenError> {
        let temporary = std::env::temp_dir();
        let failed = |bytes: u64, why: String| OpenError::LogNotReadable {
            path: database.to_owned(),
            bytes,
            temporary: std::env::temp_dir(),
            why,
        };
        let before = FileStates::of(database).map_err(|error| failed(0, error.to_string()))?;
        let bytes = before.bytes();
        if bytes > COPY_BYTES_MAX {
            return Err(failed(
                bytes,
                format!("more than {COPY_BYTES_MAX} bytes are not copied"),
            ));
        }
        remove_left_behind(&temporary);
        let io_failed = |error: io::Error| failed(bytes, error.to_string());
        let (free, _) = free_space(&temporary).map_err(io_failed)?;
        if bytes > free / FREE_PART_MAX {
            return Err(failed(bytes, format!("{free} bytes are free there")));
        }
        let copy = Self::in_new_folder(&temporary, bytes).map_err(io_failed)?;
        let name = copy.folder.join(database.file_name().unwrap_or_default());
        copy_private(database, &name).map_err(io_failed)?;
        copy_private(&wal_path(database), &wal_path(&name)).map_err(io_failed)?;
        let after = FileStates::of(database).map_err(io_failed)?;
        if after != before {
            return Err(failed(bytes, "it changed while it was copied".to_owned()));
        }
        Ok((copy, name))
    }

    fn in_new_folder(temporary: &Path, bytes: u64) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        for _ in 0..FOLDERS_MAX {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let folder = temporary.join(format!("{FOLDER_PREFIX}{}-{number}", std::process::id()));
            match builder.create(&folder) {
                Ok(()) => {
                    let lock = private(&folder.join(LOCK_NAME))?;
                    lock.try_lock()?;
                    return Ok(Self {
                        folder,
                        bytes,
                        process: std::process::id(),
                        _lock: lock,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A killed process cannot remove its copy, which holds content. The next process does.
fn remove_left_behind(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else {
        return;
    };
    let ours = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with(FOLDER_PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    for folder in ours.take(FOLDERS_MAX) {
        let lock = File::open(folder.path().join(LOCK_NAME));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// Length and time of change of a database and its write-ahead log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileStates([(u64, Option<SystemTime>); 2]);

impl FileStates {
    pub(crate) fn of(database: &Path) -> io::Result<Self> {
        let state = |path: &Path| {
            let metadata = fs::metadata(path)?;
            Ok::<_, io::Error>((metadata.len(), metadata.modified().ok()))
        };
        Ok(Self([state(database)?, state(&wal_path(database))?]))
    }

    fn bytes(&self) -> u64 {
        let [(database, _), (wal, _)] = self.0;
        database.saturating_add(wal)
    }
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    io::copy(&mut File::open(from)?, &mut private(to)?).map(drop)
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
