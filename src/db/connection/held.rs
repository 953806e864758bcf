//! Descriptors of databases that stay open as long as the file exists, and the lock on the file itself.
//!
//! Closing any descriptor of a file releases all POSIX locks of the process on it, including those of
//! SQLite's connections. Source: <https://www.sqlite.org/howtocorrupt.html>, 2.2. So a descriptor that was
//! opened once is kept and shared.
//!
//! The lock belongs to the open file description (`F_OFD_SETLK`): closing another descriptor does not
//! release it. It covers one byte that neither SQLite nor anything else locks or writes. (`flock` is not
//! used: a network file system emulates it by a lock on the whole file, which would keep SQLite out.) Only
//! Linux has this lock. Elsewhere a writer is only kept out by writers of the same process and of the same
//! name.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(unix)]
use crate::db::connection::identity::{Identity, identity};

/// The byte that is locked: far behind SQLite's lock bytes (2^30) and the largest database (2^48), and
/// within the range of every file system.
#[cfg(target_os = "linux")]
const LOCKED_BYTE: i64 = 1 << 62;

/// A file that is opened once. The entry stays in `HELD` for as long as the file has a name, a store writes
/// to it, or a caller still uses the descriptor.
#[cfg(unix)]
#[derive(Debug)]
struct Held {
    identity: Identity,
    file: Arc<File>,
    /// Whether a store of this process writes to it.
    is_locked: bool,
}

/// All held files of this process, identified by device and inode. Every thread that opens a database takes
/// this mutex for a moment; no other lock is taken meanwhile. It protects the list: two threads that open the same
/// file must get the same descriptor, because closing a second one would release the locks of the first.
#[cfg(unix)]
static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

/// The shared descriptor of the file at this path.
#[cfg(unix)]
pub(crate) fn hold(path: &Path) -> io::Result<Arc<File>> {
    Ok(Arc::clone(&entry(&mut all(), path)?.file))
}

/// Closing a descriptor releases no locks on this system.
#[cfg(not(unix))]
pub(crate) fn hold(path: &Path) -> io::Result<Arc<File>> {
    open(path).map(Arc::new)
}

/// The right to write to a file, under any of its names. Released when it is dropped or the process ends.
/// Belongs to one [`WriterLock`](super::files::WriterLock).
#[derive(Debug)]
pub(crate) struct FileLock {
    file: Arc<File>,
    /// A forked child inherits the parent's lock and must not release it.
    process: u32,
}

impl FileLock {
    /// `None`: another process or store has it.
    #[cfg(unix)]
    pub(crate) fn acquire(path: &Path) -> io::Result<Option<Self>> {
        let mut all = all();
        let held = entry(&mut all, path)?;
        if held.is_locked || !lock(&held.file)? {
            return Ok(None);
        }
        held.is_locked = true;
        Ok(Some(Self {
            file: Arc::clone(&held.file),
            process: std::process::id(),
        }))
    }

    /// The lock file beside the database is all there is on this system.
    #[cfg(not(unix))]
    pub(crate) fn acquire(path: &Path) -> io::Result<Option<Self>> {
        Ok(Some(Self {
            file: hold(path)?,
            process: std::process::id(),
        }))
    }

    /// Whether a process writes to the file, under any of its names. Acquires nothing.
    #[cfg(unix)]
    pub(crate) fn is_held(path: &Path) -> io::Result<bool> {
        let mut all = all();
        let held = entry(&mut all, path)?;
        Ok(held.is_locked || is_locked_elsewhere(&held.file)?)
    }

    #[cfg(not(unix))]
    pub(crate) fn is_held(_: &Path) -> io::Result<bool> {
        Ok(false)
    }
}

#[cfg(unix)]
impl Drop for FileLock {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        for held in all().iter_mut() {
            if Arc::ptr_eq(&held.file, &self.file) {
                held.is_locked = false;
            }
        }
        unlock(&self.file);
    }
}

#[cfg(unix)]
fn all() -> MutexGuard<'static, Vec<Held>> {
    let mut all = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    // A deleted file takes disk space until it is closed, and no one can open it by name any more.
    all.retain(|held| held.is_locked || Arc::strong_count(&held.file) > 1 || has_name(&held.file));
    all
}

#[cfg(unix)]
fn has_name(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

#[cfg(unix)]
fn entry<'a>(all: &'a mut Vec<Held>, path: &Path) -> io::Result<&'a mut Held> {
    let wanted = identity(&std::fs::symlink_metadata(path)?);
    let index = all.iter().position(|held| held.identity == wanted);
    let index = match index {
        Some(index) => index,
        None => {
            let file = open(path)?;
            all.push(Held {
                identity: identity(&file.metadata()?),
                file: Arc::new(file),
                is_locked: false,
            });
            all.len() - 1
        }
    };
    all.get_mut(index)
        .ok_or_else(|| io::Error::other("the database file is not held"))
}

/// Opens for reading only where writing is not permitted: a process that may not write needs no lock.
fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    match opened {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            File::open(path)
        }
        opened => opened,
    }
}

#[cfg(target_os = "linux")]
fn one_byte(kind: i32) -> io::Result<nix::libc::flock> {
    let of_type = |number: i32| i16::try_from(number).map_err(io::Error::other);
    Ok(nix::libc::flock {
        l_type: of_type(kind)?,
        l_whence: of_type(nix::libc::SEEK_SET)?,
        l_start: LOCKED_BYTE,
        l_len: 1,
        l_pid: 0,
    })
}

/// `false`: another process has the lock.
#[cfg(target_os = "linux")]
fn lock(file: &File) -> io::Result<bool> {
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};

    let wanted = one_byte(nix::libc::F_WRLCK)?;
    match fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        // The file system has no such locks, or a sandbox forbids them. The lock file beside the database
        // must do.
        Err(Errno::EINVAL | Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM) => {
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
fn unlock(file: &File) {
    use nix::fcntl::{FcntlArg, fcntl};

    if let Ok(nothing) = one_byte(nix::libc::F_UNLCK) {
        let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&nothing));
    }
}

#[cfg(target_os = "linux")]
fn is_locked_elsewhere(file: &File) -> io::Result<bool> {
    use nix::fcntl::{FcntlArg, fcntl};

    let mut found = one_byte(nix::libc::F_RDLCK)?;
    match fcntl(file, FcntlArg::F_OFD_GETLK(&mut found)) {
        Ok(_) => Ok(i32::from(found.l_type) != nix::libc::F_UNLCK),
        Err(_) => Ok(false),
    }
}

/// On this system `flock` and POSIX locks are the same, and would keep SQLite out.
#[cfg(all(unix, not(target_os = "linux")))]
fn lock(_: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn unlock(_: &File) {}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_locked_elsewhere(_: &File) -> io::Result<bool> {
    Ok(false)
}
