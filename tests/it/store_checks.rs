//! A store checks, copies and proves its own file while it writes to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auditlite::{
    BundleOptions, EraseSelector, ReadOnlyStore, Retention, Store, VerifyOptions, verify_bundle,
};

use crate::support::{Folder, PATIENCE, close, record, sqlite_locks};

/// Records until the work is done, and at least one request during it.
fn while_writing<T>(store: &Store, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let before = store.health().committed_events;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                record(
                    store,
                    &format!("during-{number}"),
                    "a question",
                    "an answer",
                );
            }
        });
        while store.health().committed_events < before + 10 {
            std::thread::yield_now();
        }
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn a_store_that_writes_checks_copies_and_proves_its_own_file() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .checkpoint_interval(Duration::from_secs(1))
        .open()
        .unwrap();
    record(&store, "first", "a question", "an answer");
    store.flush(PATIENCE).unwrap();
    let locks = sqlite_locks(&folder.path());
    assert!(!cfg!(target_os = "linux") || locks > 0);
    let copy = folder.join("copy.db");
    while_writing(&store, || {
        let report = store.verify(&VerifyOptions::new()).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert!(report.events >= 10);
        let mut stages = 0;
        let followed = store.verify_with_progress(&VerifyOptions::new(), |_| stages += 1);
        assert!(followed.unwrap().findings.is_empty() && stages > 0);

        let report = store.doctor().unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert!(report.is_being_written);

        let report = store.backup(&copy, &VerifyOptions::new()).unwrap();
        assert!(report.verified.findings.is_empty(), "{report:?}");

        let user = store.preview_erase(&EraseSelector::Request("first".to_owned()));
        assert_eq!(user.unwrap().requests, 1);
        let everything = Retention::new().content_older_than(Duration::ZERO);
        assert!(store.preview_prune(&everything).unwrap().payloads > 0);
    });
    // None of them took the locks along when it closed the file, or left others behind.
    assert_eq!(sqlite_locks(&folder.path()), locks);
    assert!(folder.builder().open().is_err(), "a second writer came in");

    let copied = ReadOnlyStore::open(&copy).unwrap();
    let log = store.log_id().unwrap();
    assert!(log.is_some());
    assert_eq!(copied.log_id().unwrap(), log);
    assert!(copied.reader().get("first").is_ok());

    // Previews changed nothing.
    assert!(
        store
            .reader()
            .payload(
                &store.reader().get("first").unwrap(),
                auditlite::PayloadSide::Request
            )
            .is_ok()
    );
    close(store);

    // Opened again, the checkpoint of the close proves what came before.
    let store = folder.open();
    let mut bundle = Vec::new();
    while_writing(&store, || {
        store
            .write_bundle(&BundleOptions::new(), &mut bundle)
            .unwrap();
        let first = store.reader().get("first").unwrap().opened_seq;
        assert!(store.inclusion_proof(first).is_ok());
        assert!(store.consistency_proof(1).is_ok());
    });
    let report = verify_bundle(&mut bundle.as_slice(), &[]).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    close(store);
}
