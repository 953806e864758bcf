//! Opening: files that are refused, each with an error of its own, and left unchanged.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use auditlite::{OpenError, ReadOnlyStore, Status, Store};

use crate::support::{Folder, close, record, sqlite, sqlite_locks};

fn refusal(path: impl Into<std::path::PathBuf>) -> OpenError {
    Store::builder(path).open().unwrap_err()
}

#[test]
fn paths_that_cannot_hold_a_store_are_refused() {
    let folder = Folder::new();
    let directory = folder.join("directory");
    fs::create_dir(&directory).unwrap();
    assert!(matches!(refusal(&directory), OpenError::IsDirectory { .. }));
    let slash = format!("{}/", folder.join("nothing").display());
    assert!(matches!(refusal(slash), OpenError::IsDirectory { .. }));
    assert!(matches!(refusal(""), OpenError::NotAFile { .. }));
    let missing = folder.join("missing").join("audit.db");
    assert!(matches!(refusal(missing), OpenError::NoDirectory { .. }));
    for uri in ["file:audit.db", "FILE:///tmp/audit.db?mode=rw"] {
        assert!(matches!(refusal(uri), OpenError::UriPath { .. }));
    }
    let link = folder.join("link.db");
    symlink(folder.path(), &link).unwrap();
    assert!(matches!(refusal(&link), OpenError::SymbolicLink { .. }));
    let pipe = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if made.is_ok_and(|status| status.success()) {
        assert!(matches!(refusal(&pipe), OpenError::NotAFile { .. }));
    }
    let missing = folder.join("nothing.db");
    let error = ReadOnlyStore::open(&missing).unwrap_err();
    assert!(matches!(error, OpenError::NotFound { .. }));
    assert!(!missing.exists(), "reading must not create anything");
}

#[test]
fn a_symbolic_link_for_the_lock_file_is_refused() {
    let folder = Folder::new();
    let victim = folder.join("victim");
    fs::write(&victim, "untouched").unwrap();
    symlink(&victim, format!("{}.lock", folder.path().display())).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::SymbolicLink { .. }), "{error}");
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

#[test]
fn files_that_are_not_a_store_are_refused_and_left_as_they_are() {
    let folder = Folder::new();
    fs::write(
        folder.path(),
        "this is a text file, longer than sixteen bytes",
    )
    .unwrap();
    let before = fs::read(folder.path()).unwrap();
    assert!(matches!(
        refusal(folder.path()),
        OpenError::NotADatabase { .. }
    ));
    let error = ReadOnlyStore::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }));
    assert_eq!(fs::read(folder.path()).unwrap(), before);

    let foreign = folder.join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection
        .execute_batch("PRAGMA application_id = 7; CREATE TABLE t (a);")
        .unwrap();
    drop(connection);
    let before = fs::read(&foreign).unwrap();
    let error = refusal(&foreign);
    assert!(
        matches!(
            error,
            OpenError::ForeignDatabase {
                application_id: 7,
                ..
            }
        ),
        "{error}"
    );
    assert!(ReadOnlyStore::open(&foreign).is_err());
    assert_eq!(fs::read(&foreign).unwrap(), before);
}

/// Without them, another process that closes the file takes itself for the last one, and
/// removes the write-ahead log that the store still writes to.
#[cfg(target_os = "linux")]
#[test]
fn opening_the_file_again_in_the_same_process_leaves_sqlites_locks() {
    let folder = Folder::new();
    let store = folder.open();
    let before = sqlite_locks(&folder.path());
    assert!(before > 0, "SQLite locks the file of an open connection");
    drop(ReadOnlyStore::open(folder.path()).unwrap());
    assert!(Store::builder(folder.path()).open().is_err());
    assert_eq!(sqlite_locks(&folder.path()), before);
    close(store);
}

#[cfg(unix)]
#[test]
fn one_file_under_two_names_has_one_writer() {
    let folder = Folder::new();
    let other = folder.join("other.db");
    let store = folder.open();
    record(&store, "r-1", "q", "a");
    store.flush(crate::support::PATIENCE).unwrap();
    fs::hard_link(folder.path(), &other).unwrap();

    let error = refusal(&other);
    assert!(
        matches!(error, OpenError::Linked { links: 2, .. }),
        "{error}"
    );
    let error = Store::builder(&other).allow_links(true).open().unwrap_err();
    assert!(
        matches!(error, OpenError::WrittenElsewhere { .. }),
        "{error}"
    );
    // What is written lies beside the first name.
    let error = ReadOnlyStore::open(&other).unwrap_err();
    assert!(
        matches!(error, OpenError::WrittenElsewhere { .. }),
        "{error}"
    );
    close(store);

    let reader = ReadOnlyStore::open(&other).unwrap().reader();
    assert_eq!(reader.get("r-1").unwrap().status, Status::Completed);
    close(Store::builder(&other).allow_links(true).open().unwrap());
    fs::remove_file(&other).unwrap();
    close(folder.open());
}

#[cfg(target_os = "linux")]
#[test]
fn a_deleted_lock_file_lets_no_second_writer_in() {
    let folder = Folder::new();
    let store = folder.open();
    fs::remove_file(format!("{}.lock", folder.path().display())).unwrap();
    let error = refusal(folder.path());
    assert!(
        matches!(error, OpenError::WrittenElsewhere { .. }),
        "{error}"
    );
    record(&store, "r-1", "q", "a");
    close(store);
    close(folder.open());
}

#[test]
fn a_newer_file_version_is_refused() {
    let folder = Folder::new();
    close(folder.open());
    sqlite(&folder)
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    for error in [
        refusal(folder.path()),
        ReadOnlyStore::open(folder.path()).unwrap_err(),
    ] {
        assert!(
            matches!(error, OpenError::NewerVersion { found: 99, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("newer auditlite"));
    }
}

#[test]
fn a_file_of_version_1_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    close(folder.open());
    sqlite(&folder)
        .execute_batch("PRAGMA user_version = 1")
        .unwrap();
    let before = std::fs::read(folder.path()).unwrap();
    for error in [
        refusal(folder.path()),
        ReadOnlyStore::open(folder.path()).unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                OpenError::UnsupportedVersion {
                    found: 1,
                    oldest: 2,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("export it with the build"));
    }
    assert_eq!(std::fs::read(folder.path()).unwrap(), before);
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let folder = Folder::new();
    let store = folder.open();
    record(&store, "r-1", "q", "a");
    store.flush(crate::support::PATIENCE).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(matches!(
        auditlite::rebuild(folder.path()).unwrap_err(),
        OpenError::Locked { .. }
    ));
    let read_only = ReadOnlyStore::open(folder.path()).unwrap();
    assert_eq!(
        read_only.reader().get("r-1").unwrap().status,
        Status::Completed
    );
    assert!(read_only.doctor().unwrap().is_being_written);
    close(store);
    assert!(!read_only.doctor().unwrap().is_being_written);
    close(folder.open());
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let locked = folder.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(locked.join("probe"), "").is_ok() {
        // Root may write everywhere; /proc is closed to root too.
        let error = refusal("/proc/audit.db");
        assert!(matches!(error, OpenError::NotAccessible { .. }), "{error}");
        return;
    }
    let error = refusal(locked.join("audit.db"));
    assert!(matches!(error, OpenError::NotAccessible { .. }), "{error}");
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let folder = Folder::new();
    for builder in [
        folder.builder().payload_bytes_max(1),
        folder.builder().payload_bytes_max(usize::MAX),
        folder.builder().capacity_events(1),
        folder.builder().capacity_bytes(1),
        folder.builder().readers_max(0),
    ] {
        let error = builder.open().unwrap_err();
        assert!(matches!(error, OpenError::Config(_)), "{error}");
    }
    assert!(!folder.path().exists());
}

#[test]
fn files_are_for_their_owner_alone() {
    let folder = Folder::new();
    let store = folder.open();
    record(&store, "r-1", "q", "a");
    store.flush(crate::support::PATIENCE).unwrap();
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = format!("{}{suffix}", folder.path().display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    close(store);
}

#[test]
fn a_damaged_file_is_refused_or_reported_and_kept() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..50 {
        record(&store, &format!("r-{number}"), "q", "a");
    }
    close(store);
    // The schema's page is overwritten behind the header.
    let mut bytes = fs::read(folder.path()).unwrap();
    bytes[100..4000].fill(0xAB);
    fs::write(folder.path(), &bytes).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read(folder.path()).unwrap(), bytes, "kept as it was");
}

#[test]
fn an_empty_file_becomes_a_store() {
    let folder = Folder::new();
    fs::write(folder.path(), "").unwrap();
    close(folder.open());
    assert_eq!(
        ReadOnlyStore::open(folder.path())
            .unwrap()
            .doctor()
            .unwrap()
            .events,
        2
    );
}

#[test]
fn a_store_on_a_read_only_medium_can_be_read() {
    // As root every folder can be written; the unprivileged case is what this is about.
    let folder = Folder::new();
    let store = folder.open();
    record(&store, "r-1", "q", "a");
    close(store);
    let directory = folder.path().parent().unwrap().to_owned();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o500)).unwrap();
    let result =
        ReadOnlyStore::open(folder.path()).map(|store| store.reader().get("r-1").unwrap().status);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(result.unwrap(), Status::Completed);
}
