//! Setting a database aside for another one that takes its name.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{DatabasePath, sync_folder, wal_path};

/// Names that are tried for what is set aside.
const NAMES_MAX: u32 = 1000;

/// A database that keeps its name until another takes it, and has another name besides, under which its
/// write-ahead log is already: replayed into another database, it would destroy that one.
///
/// Whoever opens the database between these two steps, after a crash in the middle, finds two names of one
/// file, which a writer refuses: nobody goes on without the log in silence. Dropped before
/// [`keep`](Self::keep), all is put back.
#[derive(Debug)]
pub(crate) struct ReplacedFiles {
    database: PathBuf,
    kept: PathBuf,
    has_database: bool,
    has_log: bool,
    is_kept: bool,
}

impl ReplacedFiles {
    /// Sets aside what is there: `<name>.before-restore-<stamp>`.
    pub(crate) fn set_aside(database: &DatabasePath, stamp: i64) -> io::Result<Self> {
        let path = database.as_path();
        let mut files = Self {
            database: path.to_owned(),
            kept: free_name(path, stamp)?,
            has_database: false,
            has_log: false,
            is_kept: false,
        };
        if database.exists() {
            // Where a file can have one name only, there is none for a moment.
            fs::hard_link(path, &files.kept).or_else(|_| fs::rename(path, &files.kept))?;
            files.has_database = true;
        }
        match fs::rename(wal_path(path), wal_path(&files.kept)) {
            Ok(()) => files.has_log = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Says where what is in the log lies, and is made anew of it.
        match fs::remove_file(shm_path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => sync_folder(path)?,
        }
        Ok(files)
    }

    /// Another database has the name now. Where what was there is, if anything was.
    pub(crate) fn keep(mut self) -> Option<PathBuf> {
        self.is_kept = true;
        // Where it fails, a power loss may bring back the state before, with its two names.
        let _ = sync_folder(&self.database);
        let has_any = self.has_database || self.has_log;
        has_any.then(|| self.kept.clone())
    }
}

impl Drop for ReplacedFiles {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // The names are still there for whoever looks, where this fails.
        if self.has_log {
            let _ = fs::rename(wal_path(&self.kept), wal_path(&self.database));
        }
        if self.has_database {
            let _ = fs::rename(&self.kept, &self.database);
            // A rename between two names of one file does nothing.
            let _ = fs::remove_file(&self.kept);
        }
    }
}

/// Gives a new file the owner and rights of the one whose name it is to have; where there is none, and as
/// root, the owner of the folder: whoever is to write to it must be able to.
pub(crate) fn give_as_before(file: &Path, database: &DatabasePath) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        let path = database.as_path();
        let made = fs::metadata(file)?;
        let before = match (database.exists(), path.parent()) {
            (true, _) => fs::metadata(path)?,
            (false, Some(folder)) if made.uid() == 0 => fs::metadata(folder)?,
            _ => return Ok(()),
        };
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            chown(file, Some(before.uid()), Some(before.gid()))?;
        }
        if database.exists() {
            fs::set_permissions(file, before.permissions())?;
        }
    }
    #[cfg(not(unix))]
    let _ = (file, database);
    Ok(())
}

fn free_name(database: &Path, stamp: i64) -> io::Result<PathBuf> {
    let name = |number: u32| {
        let mut name = database.as_os_str().to_owned();
        name.push(format!(".before-restore-{stamp}"));
        if number > 0 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    (0..NAMES_MAX)
        .map(name)
        .find(|name| fs::symlink_metadata(name).is_err())
        .ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

fn shm_path(database: &Path) -> PathBuf {
    let mut path: OsString = database.as_os_str().to_owned();
    path.push("-shm");
    PathBuf::from(path)
}
