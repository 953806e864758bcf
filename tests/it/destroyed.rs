//! Files that another program truncates or overwrites while a store has them open.

use std::fs;
use std::time::{Duration, Instant};

use auditlite::{HealthState, ListOptions, OpenError, ReadOnlyStore, Store};

use crate::support::{Folder, PATIENCE, close, record};

/// What was recorded is in the file, and nothing in its write-ahead log.
fn settled(folder: &Folder, requests: u32) -> Store {
    let store = folder.open();
    for number in 0..requests {
        record(&store, &format!("r-{number}"), "q", "a");
    }
    store.flush(PATIENCE).unwrap();
    let log = format!("{}-wal", folder.path().display());
    wait_until(|| fs::metadata(&log).is_ok_and(|log| log.len() == 0));
    store
}

fn wait_until(condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn problem(store: &Store) -> String {
    store.health().problem.unwrap_or_default()
}

#[test]
fn what_was_committed_to_a_file_that_is_cut_off_counts_as_lost() {
    let folder = Folder::new();
    let store = settled(&folder, 20);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.path())
        .unwrap();
    file.set_len(0).unwrap();
    record(&store, "later", "q", "a");
    wait_until(|| store.health().state == HealthState::Failed);
    assert!(problem(&store).contains("cut off at 0 bytes"));
    assert_eq!(store.health().committed_events, 0);
    let report = store.close(PATIENCE);
    assert!(!report.is_complete);
    assert_eq!(report.lost_events, 42, "{report:?}");
    assert!(report.is_file_lost);
    assert!(report.problem.unwrap().contains("cut off"));
    let error = ReadOnlyStore::open(folder.path()).unwrap_err();
    assert!(
        matches!(error, OpenError::Empty { bytes: 0, .. }),
        "{error}"
    );
}

#[test]
fn an_idle_store_sees_that_its_file_was_cut_off() {
    let folder = Folder::new();
    let store = settled(&folder, 5);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.path())
        .unwrap();
    file.set_len(8192).unwrap();
    wait_until(|| store.health().state == HealthState::Failed);
    assert!(problem(&store).contains("cut off at 8192 bytes"));
}

#[test]
fn an_older_copy_that_is_written_over_the_file_stops_the_store() {
    let folder = Folder::new();
    let copy = folder.join("copy.db");
    close(settled(&folder, 5));
    fs::copy(folder.path(), &copy).unwrap();
    let store = settled(&folder, 50);
    fs::copy(&copy, folder.path()).unwrap();
    let before = fs::read(folder.path()).unwrap();
    record(&store, "later", "q", "a");
    wait_until(|| store.health().state == HealthState::Failed);
    assert!(
        problem(&store).contains("was overwritten"),
        "{}",
        problem(&store)
    );
    let report = store.close(PATIENCE);
    assert_eq!(report.lost_events, 102, "{report:?}");
    assert_eq!(fs::read(folder.path()).unwrap(), before, "it was left");
    // Its write-ahead log is not the copy's, and out of the way.
    assert!(folder.join("audit.db-wal.aside").exists());
    let copy = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let page = copy.list(
        &auditlite::RequestFilter::default(),
        &ListOptions::new().limit(100),
    );
    assert_eq!(page.unwrap().requests.len(), 5);
    close(folder.open());
    assert_eq!(crate::support::findings(&folder), [""; 0]);
}

/// As long as it is the same log, at least as far, others may move the write-ahead log into the file.
#[test]
fn a_checkpoint_by_somebody_else_stops_nothing() {
    let folder = Folder::new();
    let store = folder.open();
    for round in 0..20 {
        record(&store, &format!("r-{round}"), "q", "a");
        store.flush(PATIENCE).unwrap();
        crate::support::sqlite(&folder)
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    }
    assert_eq!(store.health().state, HealthState::Healthy);
    let report = close(store);
    assert_eq!((report.lost_events, report.problem), (0, None));
    assert!(!report.is_file_lost);
    close(folder.open());
}
