//! Removes what killed exports and backups leave behind: incomplete files. Their writer holds a lock on
//! them, so a file without a lock can be removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// The suffix of an incomplete file, after its future name.
pub(super) fn ending(process: u32) -> String {
    format!(".{process}.part")
}

/// Locks a file that was just created.
///
/// # Errors
///
/// A process that was cleaning up locked it first.
pub(super) fn hold(file: File, path: &Path) -> io::Result<File> {
    // On other systems a lock would keep SQLite from writing to the file. A file system without locks
    // cannot have any, and nothing is removed there.
    #[cfg(unix)]
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(io::Error::from(io::ErrorKind::ResourceBusy));
    }
    fs::symlink_metadata(path)?;
    Ok(file)
}

/// Removes incomplete files of this name that no process writes any more. What cannot be examined stays.
pub(super) fn remove_stale(target: &Path) {
    if cfg!(not(unix)) {
        return;
    }
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return;
    };
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let is_part = found
            .to_string_lossy()
            .strip_prefix(&*name.to_string_lossy())
            .is_some_and(is_ending);
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_part && is_file && is_left(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_ending(text: &str) -> bool {
    let process = text
        .strip_prefix('.')
        .and_then(|text| text.strip_suffix(".part"));
    process.is_some_and(|process| {
        !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether no process writes to it.
fn is_left(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_any_more_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.jsonl");
        let path = |name: &str| folder.path().join(name);
        for name in [
            "out.jsonl",
            "out.jsonl.17.part",
            "out.jsonl.manifest.json.17.part",
            "out.jsonl.part",
            "out.jsonl.x17.part",
            "other.jsonl.17.part",
        ] {
            fs::write(path(name), name).unwrap();
        }
        fs::create_dir(path("out.jsonl.18.part")).unwrap();
        let held = File::create_new(path("out.jsonl.19.part")).unwrap();
        let held = hold(held, &path("out.jsonl.19.part")).unwrap();
        remove_stale(&target);
        assert!(!path("out.jsonl.17.part").exists());
        for name in [
            "out.jsonl",
            "out.jsonl.manifest.json.17.part",
            "out.jsonl.part",
            "out.jsonl.x17.part",
            "other.jsonl.17.part",
            "out.jsonl.18.part",
            "out.jsonl.19.part",
        ] {
            assert!(path(name).exists(), "{name}");
        }
        drop(held);
        remove_stale(&target);
        assert!(!path("out.jsonl.19.part").exists());
    }
}
