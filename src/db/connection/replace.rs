//! Sets a database aside for another one that takes its name.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{DatabasePath, sync_folder, wal_path};

/// Limit of names that are tried for what is set aside.
const NAMES_MAX: u32 = 1000;

/// A database that keeps its name until another takes it, and has a second name in addition. Its
/// write-ahead log is renamed first: replayed into the other database, the log would destroy that one.
///
/// After a crash between these two steps, an opening finds a file with two names and refuses to write:
/// nobody continues silently without the log. If this is dropped before [`keep`](Self::keep), everything is
/// restored.
#[derive(Debug)]
pub(crate) struct ReplacedFiles {
    database: PathBuf,
    kept: PathBuf,
    has_database: bool,
    has_log: bool,
    is_kept: bool,
}

impl ReplacedFiles {
    /// Renames what is there to `<name>.before-restore-<stamp>`.
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
            // Where a file can have only one name, the old name is missing for a moment.
            fs::hard_link(path, &files.kept).or_else(|_| fs::rename(path, &files.kept))?;
            files.has_database = true;
        }
        match fs::rename(wal_path(path), wal_path(&files.kept)) {
            Ok(()) => files.has_log = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // An index of the write-ahead log, which SQLite builds again from that log.
        match fs::remove_file(shm_path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => sync_folder(path)?,
        }
        Ok(files)
    }

    /// Called once another database has the name. Returns where the old one is, if there was one.
    pub(crate) fn keep(mut self) -> Option<PathBuf> {
        self.is_kept = true;
        // If this fails, a power loss may bring back the old names, which is the state of a crash in
        // between.
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
        // If this fails, the files can still be found under their other names.
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

/// Gives a new file the owner and permissions of the file whose name it takes. If there is none, and as
/// root, gives it to the owner of the folder, who is the one to write to it.
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
