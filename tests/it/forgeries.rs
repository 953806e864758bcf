//! Forgeries by an attacker who can write to the file but has no key: verification reports each.

use std::path::PathBuf;
use std::time::Duration;

use auditlite::{
    Completion, EraseSelector, FindingKind, OpenError, ReadOnlyStore, RequestContext, Retention,
    SigningKey, Store, StoreBuilder, Timestamp, VerifyOptions, VerifyReport,
};

use crate::support::{Folder, PATIENCE, close, record, sqlite};

struct Signed {
    folder: Folder,
    elsewhere: tempfile::TempDir,
    key: SigningKey,
}

impl Signed {
    /// A closed log of one session.
    fn new() -> Self {
        let signed = Self {
            folder: Folder::new(),
            elsewhere: tempfile::tempdir().unwrap(),
            key: SigningKey::generate("gateway").unwrap(),
        };
        let store = signed.builder().open().unwrap();
        for number in 0..4 {
            // Old enough to be pruned.
            let context = RequestContext::new("openai.chat")
                .request_id(format!("r-{number}"))
                .started_at(Timestamp::from_micros(1_700_000_000_000_000));
            let audit = store.recorder().open(context, "question").unwrap();
            audit
                .complete(Completion::new().response_body("answer"))
                .unwrap();
        }
        close(store);
        signed
    }

    fn anchor(&self) -> PathBuf {
        self.elsewhere.path().join("anchors")
    }

    /// As the gateway opens it.
    fn builder(&self) -> StoreBuilder {
        let builder = self.folder.builder().signing_key(self.key.clone());
        builder.anchor_file(self.anchor())
    }

    /// What a checker may have: the key, the anchor, both.
    fn ways(&self) -> [VerifyOptions; 3] {
        let keys = vec![self.key.verifying_key()];
        let anchor = Some(self.anchor());
        let options = |anchor: Option<_>, keys| {
            let mut options = VerifyOptions::new().keys(keys);
            options.anchor = anchor;
            options
        };
        [
            options(anchor.clone(), keys.clone()),
            options(None, keys),
            options(anchor, Vec::new()),
        ]
    }

    fn verify(&self, options: &VerifyOptions) -> VerifyReport {
        let store = ReadOnlyStore::open(self.folder.path()).unwrap();
        store.verify(options).unwrap()
    }

    fn log_id(&self) -> String {
        let store = ReadOnlyStore::open(self.folder.path()).unwrap();
        store.log_id().unwrap().unwrap()
    }
}

fn erase_one(store: &Store) {
    let selector = EraseSelector::Request("r-1".to_owned());
    assert_eq!(store.erase(&selector, "tidying up").unwrap().requests, 1);
}

fn prune_all(store: &Store, is_content: bool) {
    let mut retention = Retention::default();
    let age = Some(Duration::ZERO);
    if is_content {
        retention.content_older_than = age;
    } else {
        retention.metadata_older_than = age;
    }
    let report = store.prune(&retention).unwrap();
    assert!(report.payloads + report.requests > 0, "{report:?}");
}

/// Takes something out with the program and without the key, and removes what shows that the store was
/// opened without it.
fn forge(signed: &Signed, take_out: &dyn Fn(&Store)) {
    let store = signed.folder.open();
    take_out(&store);
    close(store);
    let connection = sqlite(&signed.folder);
    let unsigned = "DELETE FROM checkpoints WHERE instr(note, '— ') = 0";
    assert!(connection.execute(unsigned, []).unwrap() >= 1);
    let closing =
        "DELETE FROM log_segments WHERE first_seq = (SELECT max(first_seq) FROM log_segments)";
    assert_eq!(connection.execute(closing, []).unwrap(), 1);
    drop(connection);
    auditlite::rebuild(signed.folder.path()).unwrap();
}

fn removals(report: &VerifyReport) -> Vec<&str> {
    let found = report.findings.iter();
    found
        .filter(|finding| finding.kind == FindingKind::Removal)
        .map(|finding| finding.what.as_str())
        .collect()
}

#[test]
fn a_removal_without_the_key_is_found_by_key_or_anchor_and_not_passed_off_by_the_gateway() {
    let ways: [&dyn Fn(&Store); 3] = [&erase_one, &|store| prune_all(store, true), &|store| {
        prune_all(store, false)
    }];
    for take_out in ways {
        let signed = Signed::new();
        forge(&signed, take_out);
        for options in signed.ways() {
            let report = signed.verify(&options);
            assert_eq!(
                report.findings.len(),
                removals(&report).len(),
                "{:#?}",
                report.findings
            );
            assert!(!report.findings.is_empty(), "{options:?}");
            let what = removals(&report)[0];
            assert!(what.contains("without the key"), "{what}");
        }
        assert!(signed.verify(&VerifyOptions::default()).findings.is_empty());

        // The gateway goes on, and its checkpoints cover all of it.
        for session in 0..2 {
            let store = signed.builder().open().unwrap();
            record(&store, &format!("later-{session}"), "question", "answer");
            close(store);
        }
        for options in signed.ways() {
            let report = signed.verify(&options);
            assert_eq!(
                report.findings.len(),
                removals(&report).len(),
                "{:#?}",
                report.findings
            );
            let stated = removals(&report);
            let stated = stated
                .iter()
                .filter(|what| what.contains("another program removed them"));
            assert_eq!(stated.count(), 1, "stated once: {:#?}", report.findings);
        }
    }
}

#[test]
fn what_was_taken_out_is_stated_though_its_row_in_the_table_of_removals_is_deleted() {
    let signed = Signed::new();
    forge(&signed, &erase_one);
    assert!(
        sqlite(&signed.folder)
            .execute("DELETE FROM removals", [])
            .unwrap()
            > 0
    );
    close(signed.builder().open().unwrap());
    auditlite::rebuild(signed.folder.path()).unwrap();
    let report = signed.verify(&signed.ways()[2]);
    assert_eq!(removals(&report).len(), 1, "{:#?}", report.findings);
}

#[test]
fn removals_of_the_store_itself_are_no_findings_at_any_moment() {
    let signed = Signed::new();
    let store = signed.builder().open().unwrap();
    record(&store, "kept", "question", "answer");
    store.flush(PATIENCE).unwrap();
    erase_one(&store);
    let copy = Signed {
        folder: Folder::new(),
        elsewhere: tempfile::tempdir().unwrap(),
        key: signed.key.clone(),
    };
    let clean = |signed: &Signed, moment: &str| {
        for options in signed.ways() {
            let report = signed.verify(&options);
            assert!(
                report.findings.is_empty(),
                "{moment}: {:#?}",
                report.findings
            );
        }
    };
    clean(&signed, "erased");
    prune_all(&store, true);
    clean(&signed, "pruned");
    // As a crash leaves it: what the gateway had done is signed, and not recorded as another program's.
    for end in ["", "-wal"] {
        let name = format!("audit.db{end}");
        std::fs::copy(signed.folder.join(&name), copy.folder.join(&name)).unwrap();
    }
    std::fs::copy(signed.anchor(), copy.anchor()).unwrap();
    close(copy.builder().open().unwrap());
    clean(&copy, "crashed and opened again");
    prune_all(&store, false);
    close(store);
    clean(&signed, "closed");
    close(signed.builder().open().unwrap());
    clean(&signed, "opened again");
}

#[test]
fn events_that_no_signed_checkpoint_covers_are_counted() {
    let signed = Signed::new();
    let [_, by_key, by_anchor] = signed.ways();
    let report = signed.verify(&by_key);
    assert_eq!((report.events, report.unsigned_events), (10, 0));
    assert_eq!(
        signed.verify(&by_anchor).unsigned_events,
        10,
        "no key: none is known to be signed"
    );
    // Lines without a close, as an attacker could have written them.
    let store = signed.folder.open();
    record(&store, "unsigned", "question", "answer");
    close(store);
    let connection = sqlite(&signed.folder);
    let closing =
        "DELETE FROM log_segments WHERE first_seq = (SELECT max(first_seq) FROM log_segments)";
    connection.execute(closing, []).unwrap();
    let unsigned = "DELETE FROM checkpoints WHERE instr(note, '— ') = 0";
    connection.execute(unsigned, []).unwrap();
    drop(connection);
    auditlite::rebuild(signed.folder.path()).unwrap();
    let report = signed.verify(&by_key);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert_eq!((report.events, report.unsigned_events), (13, 3));
}

#[test]
fn a_signed_checkpoint_that_does_not_fit_covers_nothing() {
    let signed = Signed::new();
    let store = signed.builder().open().unwrap();
    record(&store, "later", "question", "answer");
    close(store);
    let sql = "UPDATE log_segments SET tree = zeroblob(length(tree)) \
               WHERE first_seq = (SELECT max(first_seq) FROM log_segments)";
    sqlite(&signed.folder).execute(sql, []).unwrap();
    let report = signed.verify(&signed.ways()[1]);
    assert!(!report.findings.is_empty());
    assert_eq!(
        (report.covered_events, report.unsigned_events),
        (10, report.events - 10)
    );
}

#[test]
fn a_log_with_signed_checkpoints_is_not_written_to_without_a_key_where_that_is_asked_for() {
    let signed = Signed::new();
    let before = std::fs::read(signed.folder.path()).unwrap();
    let builder = || signed.folder.builder().refuse_unsigned(true);
    match builder().open() {
        Err(error @ OpenError::KeyMissing { .. }) => {
            assert!(error.to_string().contains("Set the key"))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(signed.folder.path()).unwrap(), before);
    close(builder().signing_key(signed.key.clone()).open().unwrap());
    assert!(signed.verify(&signed.ways()[1]).findings.is_empty());
    close(signed.folder.open());
    // A log that never was signed needs none, nor does a new one.
    let plain = Folder::new();
    for _ in 0..2 {
        close(plain.builder().refuse_unsigned(true).open().unwrap());
    }
}

#[test]
fn a_new_log_in_the_place_of_another_is_named_and_refused_where_its_id_is_known() {
    let signed = Signed::new();
    let id = signed.log_id();
    let before = signed.verify(&signed.ways()[0]);
    assert!(before.other_logs.is_empty(), "{before:?}");
    let delete = || {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(signed.folder.join(&format!("audit.db{end}")));
        }
    };
    delete();
    // An opening that expects this log does not create another one.
    match signed.builder().expect_log(&id).open() {
        Err(OpenError::OtherLog { found: None, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(!signed.folder.path().exists());
    let store = signed.builder().open().unwrap();
    record(&store, "new", "question", "answer");
    close(store);

    let report = signed.verify(&signed.ways()[0]);
    assert!(
        report.findings.is_empty(),
        "several logs may share an anchor file"
    );
    let [other] = &report.other_logs[..] else {
        panic!("{:?}", report.other_logs);
    };
    assert_eq!(other.origin, format!("auditlite/{id}"));
    assert_eq!((other.events, other.notes), (before.events, 1));
    assert!(other.first_at.is_some() && other.first_at <= other.last_at);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("in the place of")),
        "{:?}",
        report.notes
    );
    for id in [id.clone(), format!("auditlite/{id}")] {
        let report = signed.verify(&signed.ways()[0].clone().log_id(id.clone()));
        let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [FindingKind::OtherLog]);
        match signed.builder().expect_log(&id).open() {
            Err(error @ OpenError::OtherLog { found: Some(_), .. }) => {
                assert!(error.to_string().contains("left as it is"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let own = signed.log_id();
    let report = signed.verify(&signed.ways()[0].clone().log_id(own.clone()));
    assert!(report.findings.is_empty());
    close(signed.builder().expect_log(own).open().unwrap());
}

#[test]
fn another_gateways_file_is_refused_where_the_id_is_known() {
    let (one, two) = (Signed::new(), Signed::new());
    let id = one.log_id();
    std::fs::copy(two.folder.path(), one.folder.path()).unwrap();
    let bytes = std::fs::read(one.folder.path()).unwrap();
    assert!(matches!(
        one.builder().expect_log(id).open(),
        Err(OpenError::OtherLog { found: Some(_), .. })
    ));
    assert_eq!(std::fs::read(one.folder.path()).unwrap(), bytes);
    // Nor is a file that is no store, or a store without an event, gone on with.
    let empty = Folder::new();
    std::fs::write(empty.path(), b"").unwrap();
    assert!(empty.builder().expect_log("some-log").open().is_err());
    assert_eq!(std::fs::read(empty.path()).unwrap(), b"");
}

#[test]
fn an_anchor_that_is_no_regular_file_is_refused_and_holds_nobody_up() {
    let signed = Signed::new();
    let fifo = signed.elsewhere.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for path in [
        fifo.clone(),
        "/dev/zero".into(),
        signed.elsewhere.path().into(),
    ] {
        let store = ReadOnlyStore::open(signed.folder.path()).unwrap();
        let refused = store.verify(&VerifyOptions::new().anchor(path.clone()));
        let error = refused.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("not a regular file"), "{path:?}: {cause}");
        // A gateway records on, and its health says that checkpoints do not get there.
        let builder = signed.folder.builder().signing_key(signed.key.clone());
        let store = builder.anchor_file(&path).open().unwrap();
        let context = RequestContext::new("openai.chat");
        drop(store.recorder().open(context, "question").unwrap());
        store.flush(PATIENCE).unwrap();
        let failures = store.health().checkpoint_failures;
        assert!(failures > 0, "{path:?}");
        close(store);
    }
}
