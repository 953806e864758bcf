//! Checkpoints: when they are made, where they are kept, and that their failures do not disturb recording.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use auditlite::{
    CheckpointNotice, HealthState, OpenError, ReadOnlyStore, SigningKey, StoreBuilder,
    VerifyOptions, VerifyReport,
};

use crate::support::{Folder, PATIENCE, close, record, sqlite};

/// A place for anchors outside of the database's folder.
fn elsewhere() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("anchors");
    (folder, path)
}

fn watched(builder: StoreBuilder) -> (StoreBuilder, mpsc::Receiver<CheckpointNotice>) {
    let (sender, updates) = mpsc::channel();
    let builder = builder.on_checkpoint(move |notice| Ok(sender.send(notice.clone())?));
    (builder, updates)
}

fn verify(path: &Path, options: &VerifyOptions) -> VerifyReport {
    ReadOnlyStore::open(path).unwrap().verify(options).unwrap()
}

#[test]
fn a_close_is_stated_signed_anchored_and_told() {
    let folder = Folder::new();
    let (_elsewhere, anchor) = elsewhere();
    let key = SigningKey::generate("audit.example.com/one").unwrap();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let builder = folder
            .builder()
            .signing_key(key.clone())
            .anchor_file(&anchor);
        let (builder, updates) = watched(builder);
        let store = builder.open().unwrap();
        record(&store, "r", "question", "answer");
        let report = close(store);
        let notice = updates.recv_timeout(PATIENCE).unwrap();
        assert!(
            updates.try_recv().is_err(),
            "one checkpoint for a short session"
        );
        assert!(notice.origin.starts_with("auditlite/"));
        assert!(notice.note.contains("\n\n— audit.example.com/one "));
        sizes.push(notice.size);
        assert_eq!(notice.size, sizes.len() as u64 * report.committed_events);
    }
    let text = std::fs::read_to_string(&anchor).unwrap();
    assert_eq!(text.matches("\n— audit").count(), 3);
    let report = verify(
        &folder.path(),
        &VerifyOptions::new()
            .anchor(anchor)
            .keys([key.verifying_key()]),
    );
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.checkpoints, report.signed_checkpoints), (3, 3));
    assert_eq!((report.anchors, report.anchored_events), (3, sizes[2]));
    assert_eq!(report.covered_events, report.events);
    assert!(report.covered_at.is_some() && report.covered_at == report.anchored_at);
}

#[test]
fn events_are_stated_within_the_interval_and_a_quiet_log_at_each_heartbeat() {
    let folder = Folder::new();
    let (builder, updates) = watched(folder.builder());
    let store = builder
        .checkpoint_interval(Duration::from_secs(1))
        .open()
        .unwrap();
    record(&store, "r", "question", "answer");
    let notice = updates.recv_timeout(PATIENCE).unwrap();
    store.flush(PATIENCE).unwrap();
    assert!(notice.size >= 1);
    close(store);

    let (builder, updates) = watched(folder.builder());
    let store = builder
        .checkpoint_heartbeat(Duration::from_secs(1))
        .open()
        .unwrap();
    let first = updates.recv_timeout(PATIENCE).unwrap();
    let second = updates.recv_timeout(PATIENCE).unwrap();
    assert_eq!((first.size, first.root), (second.size, second.root));
    assert!(first.at < second.at);
    close(store);
    let report = verify(&folder.path(), &VerifyOptions::default());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn ten_thousand_events_are_stated_without_a_wait() {
    let folder = Folder::new();
    let (builder, updates) = watched(folder.builder());
    let store = builder.open().unwrap();
    for number in 0..15_000 {
        record(&store, &format!("r-{number}"), "q", "a");
        if number % 1000 == 0 {
            store.flush(PATIENCE).unwrap();
        }
    }
    close(store);
    let sizes: Vec<u64> = updates.try_iter().map(|notice| notice.size).collect();
    assert!(sizes.len() >= 3, "{sizes:?}");
    let mut before = 0;
    for size in sizes {
        assert!(size - before < 18_200, "{before} to {size}");
        before = size;
    }
    let report = verify(&folder.path(), &VerifyOptions::default());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.events > 30_000);
}

#[test]
fn a_failing_anchor_or_callback_is_counted_and_recording_goes_on() {
    let folder = Folder::new();
    let missing = folder.join("missing").join("anchors");
    let store = folder.builder().anchor_file(&missing).open().unwrap();
    record(&store, "r-1", "question", "answer");
    let recorder = store.recorder();
    close(store);
    drop(recorder);
    assert!(!missing.exists());

    for fails in [true, false] {
        let (sender, updates) = mpsc::channel();
        let store = folder
            .builder()
            .checkpoint_interval(Duration::from_secs(1))
            .on_checkpoint(move |_| {
                let _ = sender.send(());
                if fails {
                    return Err("nobody takes it".into());
                }
                panic!("a host's mistake");
            })
            .open()
            .unwrap();
        record(&store, "r-2", "question", "answer");
        updates.recv_timeout(PATIENCE).unwrap();
        // The writer counts after the callback, and answers a flush after that.
        store.flush(PATIENCE).unwrap();
        record(&store, "r-3", "question", "answer");
        store.flush(PATIENCE).unwrap();
        let health = store.health();
        assert_eq!(health.state, HealthState::Healthy);
        assert!(health.checkpoint_failures >= 1, "{health:?}");
        close(store);
    }
    let report = verify(&folder.path(), &VerifyOptions::default());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn an_anchor_beside_the_database_is_refused_and_so_are_pauses_that_are_too_short() {
    let folder = Folder::new();
    let beside = folder.builder().anchor_file(folder.join("anchors")).open();
    assert!(matches!(beside, Err(OpenError::Config(_))), "{beside:?}");
    let short = Duration::from_millis(10);
    for builder in [
        folder.builder().checkpoint_interval(short),
        folder.builder().checkpoint_heartbeat(short),
    ] {
        assert!(matches!(builder.open(), Err(OpenError::Config(_))));
    }
    assert!(!folder.path().exists());
}

#[test]
fn a_log_goes_on_over_sessions_of_every_length() {
    // Tree sizes around powers of two, where subtrees lie beside many segments.
    let folder = Folder::new();
    for session in 0..40_u32 {
        let store = folder.open();
        for number in 0..session % 5 {
            record(&store, &format!("{session}-{number}"), "q", "a");
            store.flush(PATIENCE).unwrap();
        }
        close(store);
    }
    let report = verify(&folder.path(), &VerifyOptions::default());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let bytes: i64 = sqlite(&folder)
        .query_row("SELECT max(length(tree)) FROM log_segments", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert!(bytes <= 8 * 32, "{bytes} bytes beside one short segment");
}
