//! A shim over SQLite's own file layer: asks a [`World`] before each call, and passes it on.
//!
//! The only place with `unsafe` code. It is registered as the process's default, so that the
//! library needs no change; a file belongs to the world of its folder, files elsewhere pass through
//! unseen. Locks, the shared memory and its locks, sizes and file controls go to the real layer as
//! they are: the shared memory is no durable state, and a test that wants a lock held holds it
//! through a connection of its own.
//!
//! Out of its reach, because it is not SQLite that does it: the writer's lock file, the creation of
//! the empty database file and the syncing of its folder (`db/files`), and the folder syncs inside
//! the unix layer (a model of theirs is in [`World`]).
#![allow(unsafe_code, dead_code)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Once, PoisonError, RwLock};

use rusqlite::ffi;

use super::world::{CallKind, Verdict, World};

/// Worlds by the folder that they reign over.
static WORLDS: RwLock<Vec<(PathBuf, Arc<World>)>> = RwLock::new(Vec::new());

/// Puts files of this folder under a world that is returned, until the guard is dropped.
pub fn rule(folder: &Path) -> Rule {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
    let world = Arc::new(World::new(folder));
    let mut worlds = WORLDS.write().unwrap_or_else(PoisonError::into_inner);
    worlds.push((folder.to_owned(), Arc::clone(&world)));
    Rule { world }
}

/// Ends a world's reign when dropped; files that are open stay under it.
pub struct Rule {
    pub world: Arc<World>,
}

impl Drop for Rule {
    fn drop(&mut self) {
        let mut worlds = WORLDS.write().unwrap_or_else(PoisonError::into_inner);
        worlds.retain(|(_, world)| !Arc::ptr_eq(world, &self.world));
    }
}

fn world_of(path: &Path) -> Option<Arc<World>> {
    let folder = path.parent()?;
    let worlds = WORLDS.read().unwrap_or_else(PoisonError::into_inner);
    let found = worlds.iter().find(|(ruled, _)| ruled == folder);
    found.map(|(_, world)| Arc::clone(world))
}

/// What SQLite sees as a file; the real one lies right behind it.
#[repr(C)]
struct ShimFile {
    base: ffi::sqlite3_file,
    /// `None`: passes through unseen.
    watched: Option<Box<Watched>>,
}

struct Watched {
    world: Arc<World>,
    path: PathBuf,
}

const SHIM_BYTES: c_int = size_of::<ShimFile>().next_multiple_of(16) as c_int;

/// Version 2: with shared memory, without memory mapping, which the library switches off.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn install() {
    // SAFETY: the real default is copied before any connection is opened through the copy. The copy
    // and its name are leaked, as SQLite keeps pointers to both for the life of the process.
    unsafe {
        ffi::sqlite3_initialize();
        let real = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!real.is_null(), "SQLite has a default file layer");
        let mut shim = *real;
        shim.szOsFile = SHIM_BYTES + (*real).szOsFile;
        shim.zName = c"auditlite-shim".as_ptr();
        shim.pNext = ptr::null_mut();
        shim.pAppData = real.cast::<c_void>();
        shim.xOpen = Some(open);
        shim.xDelete = Some(delete);
        // Access, full path names, randomness, time and system calls are the real layer's: they get
        // the shim's structure, so those that look into it are wrapped.
        shim.xAccess = Some(access);
        shim.xFullPathname = Some(full_pathname);
        let shim = Box::leak(Box::new(shim));
        assert_eq!(ffi::sqlite3_vfs_register(shim, 1), ffi::SQLITE_OK);
    }
}

/// # Safety
/// `vfs` is the shim's structure.
unsafe fn real_vfs(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    unsafe { (*vfs).pAppData.cast::<ffi::sqlite3_vfs>() }
}

/// # Safety
/// `file` is a file that [`open`] filled in.
unsafe fn real_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.cast::<u8>().add(SHIM_BYTES as usize).cast() }
}

/// # Safety
/// As [`real_file`].
unsafe fn real_methods(file: *mut ffi::sqlite3_file) -> &'static ffi::sqlite3_io_methods {
    unsafe { &*(*real_file(file)).pMethods }
}

/// # Safety
/// As [`real_file`]; the reference does not outlive the call that SQLite makes.
unsafe fn watched<'f>(file: *mut ffi::sqlite3_file) -> Option<&'f Watched> {
    unsafe { (*file.cast::<ShimFile>()).watched.as_deref() }
}

/// # Safety
/// `name` is null or a C string.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    let name = unsafe { CStr::from_ptr(name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes for the file, of which the shim's part comes first; the
    // field is written without dropping what was there, as the memory is not initialised.
    unsafe {
        let shim = file.cast::<ShimFile>();
        ptr::write(&raw mut (*shim).watched, None);
        (*file).pMethods = ptr::null();
        let watched = path_of(name).and_then(|path| {
            let world = world_of(&path)?;
            Some(Box::new(Watched { world, path }))
        });
        if let Some(watched) = &watched
            && let Verdict::Fail(code) | Verdict::Short(code) =
                watched.world.before(CallKind::Open, &watched.path)
        {
            return code;
        }
        let real = real_vfs(vfs);
        let Some(real_open) = (*real).xOpen else {
            return ffi::SQLITE_ERROR;
        };
        ptr::write_bytes(
            file.cast::<u8>().add(SHIM_BYTES as usize),
            0,
            (*real).szOsFile as usize,
        );
        let code = real_open(real, name, real_file(file), flags, out_flags);
        if code == ffi::SQLITE_OK {
            if let Some(watched) = &watched {
                watched.world.opened(&watched.path);
            }
            ptr::write(&raw mut (*shim).watched, watched);
            (*file).pMethods = &raw const METHODS;
        }
        code
    }
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        let path = path_of(name);
        let world = path.as_deref().and_then(world_of);
        if let (Some(world), Some(path)) = (&world, &path)
            && let Verdict::Fail(code) | Verdict::Short(code) = world.before(CallKind::Delete, path)
        {
            return code;
        }
        let real = real_vfs(vfs);
        let Some(real_delete) = (*real).xDelete else {
            return ffi::SQLITE_ERROR;
        };
        let code = real_delete(real, name, sync_folder);
        if let (Some(world), Some(path), ffi::SQLITE_OK) = (&world, &path, code) {
            world.deleted(path, sync_folder != 0);
        }
        code
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        let real = real_vfs(vfs);
        match (*real).xAccess {
            Some(access) => access(real, name, flags, out),
            None => ffi::SQLITE_ERROR,
        }
    }
}

unsafe extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        let real = real_vfs(vfs);
        match (*real).xFullPathname {
            Some(full_pathname) => full_pathname(real, name, length, out),
            None => ffi::SQLITE_ERROR,
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the shim's part is dropped once; SQLite does not use the file afterwards.
    unsafe {
        let code = match real_methods(file).xClose {
            Some(close) => close(real_file(file)),
            None => ffi::SQLITE_OK,
        };
        drop((*file.cast::<ShimFile>()).watched.take());
        code
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the buffer holds `amount` bytes, as SQLite promises.
    unsafe {
        let verdict = watched(file).map_or(Verdict::Pass, |watched| {
            watched.world.before(CallKind::Read, &watched.path)
        });
        if let Verdict::Fail(code) | Verdict::Short(code) = verdict {
            return code;
        }
        let Some(read) = real_methods(file).xRead else {
            return ffi::SQLITE_IOERR_READ;
        };
        let code = read(real_file(file), buffer, amount, offset);
        if verdict == Verdict::Garble && amount > 0 {
            let bytes = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), amount as usize);
            for byte in bytes.iter_mut().step_by(37) {
                *byte ^= 0x5a;
            }
        }
        code
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the buffer holds `amount` bytes, as SQLite promises.
    unsafe {
        let Some(real_write) = real_methods(file).xWrite else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        let Some(watched) = watched(file) else {
            return real_write(real_file(file), buffer, amount, offset);
        };
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), amount.max(0) as usize);
        let end = offset as u64 + bytes.len() as u64;
        if watched.world.is_full_for(&watched.path, end) {
            return ffi::SQLITE_FULL;
        }
        let (amount, failure) = match watched.world.before(CallKind::Write, &watched.path) {
            Verdict::Fail(code) => return code,
            Verdict::Short(code) => (amount / 2, Some(code)),
            Verdict::Pass | Verdict::Garble => (amount, None),
        };
        let code = real_write(real_file(file), buffer, amount, offset);
        if code == ffi::SQLITE_OK {
            let written = bytes.get(..amount.max(0) as usize).unwrap_or_default();
            watched.world.written(&watched.path, offset as u64, written);
        }
        if failure.is_some() {
            watched.world.after_short();
        }
        failure.unwrap_or(code)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        if let Some(watched) = watched(file)
            && let Verdict::Fail(code) | Verdict::Short(code) =
                watched.world.before(CallKind::Truncate, &watched.path)
        {
            return code;
        }
        let Some(truncate) = real_methods(file).xTruncate else {
            return ffi::SQLITE_IOERR_TRUNCATE;
        };
        let code = truncate(real_file(file), size);
        if let (Some(watched), ffi::SQLITE_OK) = (watched(file), code) {
            watched.world.truncated(&watched.path, size as u64);
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        if let Some(watched) = watched(file)
            && let Verdict::Fail(code) | Verdict::Short(code) =
                watched.world.before(CallKind::Sync, &watched.path)
        {
            watched.world.sync_failed(&watched.path);
            return code;
        }
        if let Some(watched) = watched(file) {
            watched.world.wait_for_disk();
        }
        let Some(sync) = real_methods(file).xSync else {
            return ffi::SQLITE_IOERR_FSYNC;
        };
        // What is durable is the model's to say; a real sync would only take time.
        let code = match watched(file) {
            Some(_) => ffi::SQLITE_OK,
            None => sync(real_file(file), flags),
        };
        if let (Some(watched), ffi::SQLITE_OK) = (watched(file), code) {
            watched.world.synced(&watched.path);
        }
        code
    }
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        if let Some(watched) = watched(file)
            && let Verdict::Fail(code) | Verdict::Short(code) =
                watched.world.before(CallKind::FileSize, &watched.path)
        {
            return code;
        }
        match real_methods(file).xFileSize {
            Some(file_size) => file_size(real_file(file), size),
            None => ffi::SQLITE_IOERR_FSTAT,
        }
    }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        if let Some(watched) = watched(file)
            && let Verdict::Fail(code) | Verdict::Short(code) =
                watched.world.before(CallKind::ShmMap, &watched.path)
        {
            return code;
        }
        match real_methods(file).xShmMap {
            Some(shm_map) => shm_map(real_file(file), region, size, extend, out),
            None => ffi::SQLITE_IOERR_SHMMAP,
        }
    }
}

/// Methods that are passed on as they are.
macro_rules! passed_on {
    ($($name:ident: $method:ident($($argument:ident: $kind:ty),*) else $missing:expr;)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: passes on what SQLite gave.
            unsafe {
                match real_methods(file).$method {
                    Some(method) => method(real_file(file) $(, $argument)*),
                    None => $missing,
                }
            }
        }
    )*};
}

passed_on! {
    lock: xLock(level: c_int) else ffi::SQLITE_IOERR_LOCK;
    unlock: xUnlock(level: c_int) else ffi::SQLITE_IOERR_UNLOCK;
    check_reserved_lock: xCheckReservedLock(out: *mut c_int) else ffi::SQLITE_IOERR_CHECKRESERVEDLOCK;
    file_control: xFileControl(control: c_int, argument: *mut c_void) else ffi::SQLITE_NOTFOUND;
    sector_size: xSectorSize() else 4096;
    device_characteristics: xDeviceCharacteristics() else 0;
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int) else ffi::SQLITE_IOERR_SHMLOCK;
    shm_unmap: xShmUnmap(delete: c_int) else ffi::SQLITE_OK;
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: passes on what SQLite gave.
    unsafe {
        if let Some(barrier) = real_methods(file).xShmBarrier {
            barrier(real_file(file));
        }
    }
}
