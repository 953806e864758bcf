//! Verification: a clean trail has no findings, and every change has the right one.

use std::collections::HashSet;
use std::path::PathBuf;

use auditlite::{
    Capture, Completion, Durability, Failure, FindingKind, ReadOnlyStore, RequestContext,
    SigningKey, Store, ToolCall, VerifyOptions, VerifyReport,
};

use crate::support::{Folder, PATIENCE, close, page_bytes, record, sqlite};

struct Trail {
    folder: Folder,
    _elsewhere: tempfile::TempDir,
    anchor: PathBuf,
    key: SigningKey,
}

impl Trail {
    fn new() -> Self {
        let elsewhere = tempfile::tempdir().unwrap();
        Self {
            folder: Folder::new(),
            anchor: elsewhere.path().join("anchors"),
            _elsewhere: elsewhere,
            key: SigningKey::generate("test").unwrap(),
        }
    }

    fn open(&self) -> Store {
        self.folder
            .builder()
            .signing_key(self.key.clone())
            .anchor_file(&self.anchor)
            .payload_bytes_max(32 * 1024)
            .open()
            .unwrap()
    }

    /// Two sessions with bodies of every kind.
    fn recorded() -> Self {
        let trail = Self::new();
        for session in 0..2_u32 {
            let store = trail.open();
            let mut history = String::from("system prompt ");
            for turn in 0..12_u32 {
                history.push_str(&format!("turn {turn} of session {session}; ").repeat(20));
                let context = RequestContext::new("openai.chat")
                    .request_id(format!("s{session}-t{turn}"))
                    .conversation_id(format!("c{session}"))
                    .user_id("someone")
                    .capture(if turn == 5 {
                        Capture::MetadataOnly
                    } else {
                        Capture::Full
                    });
                let mut body = history.clone();
                if turn == 7 {
                    body = body.repeat(50);
                }
                let audit = store.recorder().open(context, body).unwrap();
                if turn == 3 {
                    audit
                        .fail(Failure::new("timeout").error_message("too late"))
                        .unwrap();
                } else {
                    audit
                        .complete(
                            Completion::new()
                                .response_body(format!("answer {turn}"))
                                .tool_call(ToolCall::new("id", "weather", "{\"city\":\"Bern\"}")),
                        )
                        .unwrap();
                }
                if turn % 4 == 0 {
                    store.flush(PATIENCE).unwrap();
                }
            }
            close(store);
        }
        trail
    }

    /// The same trail in a place of its own, to be damaged.
    fn copy(&self) -> Self {
        let copy = Self {
            key: self.key.clone(),
            ..Self::new()
        };
        std::fs::copy(self.folder.path(), copy.folder.path()).unwrap();
        std::fs::copy(&self.anchor, &copy.anchor).unwrap();
        copy
    }

    fn options(&self) -> VerifyOptions {
        VerifyOptions::new()
            .anchor(self.anchor.clone())
            .keys([self.key.verifying_key()])
    }

    fn verify(&self) -> VerifyReport {
        self.verify_with(&self.options())
    }

    fn verify_with(&self, options: &VerifyOptions) -> VerifyReport {
        ReadOnlyStore::open(self.folder.path())
            .unwrap()
            .verify(options)
            .unwrap()
    }

    fn damage(&self, sql: &str) {
        let connection = sqlite(&self.folder);
        let changed = connection.execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
    }
}

fn kinds(report: &VerifyReport) -> HashSet<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_clean_trail_gives_no_finding_and_says_what_is_not_kept() {
    let trail = Trail::recorded();
    let report = trail.verify();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert_eq!(report.findings_total, 0);
    assert_eq!(report.covered_events, report.events);
    assert_eq!(report.anchored_events, report.events);
    assert_eq!(report.not_kept.excerpts, 2);
    assert!(report.not_kept.digest_only >= 2);
    assert!(report.body_bytes > 10_000);
    let doctor = ReadOnlyStore::open(trail.folder.path()).unwrap().doctor();
    assert_eq!(doctor.unwrap().payloads, report.payloads);
    // Less is asked for: the notes say what is not shown.
    let report = trail.verify_with(&VerifyOptions::new().skip_bodies(true));
    assert!(report.findings.is_empty());
    assert_eq!(report.body_bytes, 0);
    for what in ["no key was given", "no anchor file was given", "bodies"] {
        let is_said = report.notes.iter().any(|note| note.contains(what));
        assert!(is_said, "{what}: {:#?}", report.notes);
    }
}

#[test]
fn a_store_that_is_being_written_verifies_as_of_one_moment() {
    let folder = Folder::new();
    let store = folder.open();
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| {
            for number in 0..3000 {
                record(&store, &format!("r-{number}"), "question", "answer");
                if number % 100 == 0 {
                    store.flush(PATIENCE).unwrap();
                }
            }
        });
        while !recording.is_finished() {
            let reader = ReadOnlyStore::open(folder.path()).unwrap();
            let report = reader.verify(&VerifyOptions::default()).unwrap();
            assert!(report.findings.is_empty(), "{:#?}", report.findings);
        }
    });
    close(store);
}

#[test]
fn what_was_changed_in_the_file_is_found() {
    use FindingKind::*;
    // `10`: an opening in the middle; its payload is number 40.
    let cases: &[(&str, &[FindingKind])] = &[
        (
            "UPDATE payloads SET sha256 = randomblob(32) WHERE payload_id = (SELECT min(payload_id) FROM payloads)",
            &[PayloadCommitment],
        ),
        (
            "UPDATE payloads SET salt = randomblob(32)",
            &[PayloadCommitment],
        ),
        (
            "UPDATE payloads SET length = length + 1 WHERE data IS NULL",
            &[PayloadCommitment],
        ),
        (
            "UPDATE payloads SET data = NULL, kept = 0, encoding = 0 WHERE base_id IS NOT NULL",
            &[PayloadCommitment],
        ),
        (
            "UPDATE payloads SET data = x'00112233' WHERE payload_id = (SELECT max(payload_id) FROM payloads)",
            &[PayloadContent],
        ),
        (
            "UPDATE payloads SET data = CAST(data || 'x' AS BLOB) WHERE head IS NOT NULL",
            &[PayloadContent],
        ),
        (
            "UPDATE payloads SET head = head - 1 WHERE head IS NOT NULL",
            &[PayloadCommitment],
        ),
        (
            "DELETE FROM payloads WHERE payload_id = (SELECT max(payload_id) FROM payloads)",
            &[PayloadMissing],
        ),
        (
            "INSERT INTO payloads SELECT payload_id + 3, length, sha256, salt, kept, head, encoding, base_id, second_base_id, data FROM payloads LIMIT 1",
            &[PayloadUnknown],
        ),
        (
            "UPDATE log_segments SET tree = zeroblob(length(tree)) WHERE first_seq = (SELECT max(first_seq) FROM log_segments)",
            &[Tree, Checkpoint, Anchor],
        ),
        (
            "UPDATE log_segments SET tree = zeroblob(32) WHERE first_seq = 0",
            &[Tree],
        ),
        (
            "UPDATE log_segments SET tree = x'00' WHERE first_seq > 0",
            &[Tree],
        ),
        (
            "UPDATE log_segments SET data = substr(data, 1, 20) WHERE first_seq > 0",
            &[Log],
        ),
        ("UPDATE log_segments SET count = count + 1", &[Log, Tree]),
        (
            "DELETE FROM log_segments WHERE first_seq = (SELECT max(first_seq) FROM log_segments)",
            &[Checkpoint, Anchor, Projection],
        ),
        (
            "DELETE FROM log_segments WHERE first_seq = (SELECT min(first_seq) FROM log_segments WHERE first_seq > 3)",
            &[Log],
        ),
        ("DELETE FROM log_segments WHERE first_seq = 0", &[Log]),
        (
            "DELETE FROM log_segments",
            &[Log, Checkpoint, Anchor, PayloadUnknown],
        ),
        (
            "UPDATE requests SET cost_microdollars = 5 WHERE request_id = 's1-t1'",
            &[Projection],
        ),
        (
            "DELETE FROM requests WHERE request_id = 's1-t1'",
            &[Projection],
        ),
        (
            "UPDATE usage_hourly SET completed = completed + 1",
            &[Projection],
        ),
        ("DELETE FROM store_openings", &[Projection]),
        (
            "UPDATE store_openings SET lifecycles_lost = 1",
            &[Projection],
        ),
        ("DELETE FROM checkpoints", &[Checkpoint, Signature]),
        (
            "DELETE FROM checkpoints WHERE checkpoint_id = 1",
            &[Checkpoint],
        ),
        ("UPDATE checkpoints SET size = size - 1", &[Checkpoint]),
        ("UPDATE checkpoints SET at = at + 1", &[Checkpoint]),
        (
            "UPDATE checkpoints SET note = replace(note, char(10) || 'at ', char(10) || 'at 1')",
            &[Checkpoint, Signature],
        ),
        (
            "UPDATE checkpoints SET note = substr(note, 1, instr(note, '— ') - 1) WHERE checkpoint_id = 2",
            &[Signature],
        ),
        (
            "UPDATE checkpoints SET note = substr(note, 1, instr(note, '— ') - 1)",
            &[Signature],
        ),
        ("UPDATE checkpoints SET note = 'garbage'", &[Checkpoint]),
        ("DROP INDEX requests_by_user_id", &[Structure]),
        (
            "CREATE TRIGGER hidden AFTER INSERT ON requests BEGIN DELETE FROM gaps; END",
            &[Structure],
        ),
        ("CREATE TABLE more (x)", &[Structure]),
    ];
    let clean = Trail::recorded();
    for (sql, expected) in cases {
        let trail = clean.copy();
        let connection = sqlite(&trail.folder);
        connection.execute(sql, []).unwrap();
        drop(connection);
        let found = trail.verify();
        let kinds = kinds(&found);
        for kind in *expected {
            assert!(
                kinds.contains(kind),
                "{sql}: {kind} not in {:#?}",
                found.findings
            );
        }
    }
}

/// Lines of a segment, changed and packed again by an attacker who knows the format.
fn edit_lines(trail: &Trail, edit: impl Fn(&str) -> String) {
    let connection = sqlite(&trail.folder);
    let (key, length, data): (i64, u32, Vec<u8>) = connection
        .query_row(
            "SELECT first_seq, length, data FROM log_segments \
             WHERE first_seq = (SELECT max(first_seq) FROM log_segments WHERE count > 1)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    let dictionary = include_bytes!("../../src/log/dictionary_2.txt");
    let mut decoder = zstd::bulk::Decompressor::with_dictionary(dictionary).unwrap();
    let text = decoder.decompress(&data, length as usize).unwrap();
    let edited = edit(std::str::from_utf8(&text).unwrap());
    assert_ne!(edited.as_bytes(), text);
    connection
        .execute(
            "UPDATE log_segments SET encoding = 0, data = ?1, length = ?2 WHERE first_seq = ?3",
            rusqlite::params![edited.as_bytes(), edited.len() as u32, key],
        )
        .unwrap();
}

#[test]
fn edited_lines_are_found_with_their_place() {
    let trail = Trail::recorded();
    edit_lines(&trail, |text| text.replace("someone", "anyone!"));
    let report = trail.verify();
    let kinds = kinds(&report);
    assert!(kinds.contains(&FindingKind::Tree) && kinds.contains(&FindingKind::Projection));
    let tree = report
        .findings
        .iter()
        .find(|finding| finding.kind == FindingKind::Tree)
        .unwrap();
    assert!(tree.seq.is_some() && tree.last_seq > tree.seq, "{tree:?}");
    // The tree itself is whole: checkpoints and anchors are not blamed.
    assert!(
        !kinds.contains(&FindingKind::Checkpoint),
        "{:#?}",
        report.findings
    );

    let trail = Trail::recorded();
    edit_lines(&trail, |text| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.swap(0, 1);
        lines.join("\n") + "\n"
    });
    assert!(
        trail
            .verify()
            .findings
            .iter()
            .any(|finding| finding.kind == FindingKind::Log)
    );
}

#[test]
fn a_cut_tail_and_an_older_copy_are_found_by_the_anchor_alone() {
    // An older copy is put back.
    let trail = Trail::recorded();
    let old = std::fs::read(trail.folder.path()).unwrap();
    let store = trail.open();
    record(&store, "later", "q", "a");
    close(store);
    assert!(trail.verify().findings.is_empty());
    std::fs::write(trail.folder.path(), &old).unwrap();
    let report = trail.verify();
    assert_eq!(kinds(&report), HashSet::from([FindingKind::Anchor]));
    let finding = &report.findings[0];
    assert_eq!(finding.seq, Some(report.events), "{finding:?}");
    // Without the anchor nothing shows it, and the report says so.
    let blind = trail.verify_with(&{
        let mut options = trail.options();
        options.anchor = None;
        options
    });
    assert!(blind.findings.is_empty());
    assert!(blind.notes.iter().any(|note| note.contains("anchor")));
    // Recording on from the old copy does not hide it.
    let store = trail
        .folder
        .builder()
        .signing_key(trail.key.clone())
        .anchor_file(&trail.anchor)
        .durability(Durability::Buffered)
        .open()
        .unwrap();
    for number in 0..10 {
        record(&store, &format!("other-{number}"), "q", "a");
    }
    close(store);
    let report = trail.verify();
    assert_eq!(kinds(&report), HashSet::from([FindingKind::Anchor]));
}

#[test]
fn a_deleted_write_ahead_log_is_found_by_the_anchor() {
    let trail = Trail::recorded();
    let store = trail.open();
    record(&store, "later", "q", "a");
    store.flush(PATIENCE).unwrap();
    // The file and its write-ahead log, as they are while the store runs.
    let copy = Folder::new();
    let wal = |folder: &Folder| folder.join("audit.db-wal");
    std::fs::copy(trail.folder.path(), copy.path()).unwrap();
    std::fs::copy(wal(&trail.folder), wal(&copy)).unwrap();
    let before = ReadOnlyStore::open(copy.path())
        .unwrap()
        .verify(&trail.options());
    let before = before.unwrap();
    assert!(before.findings.is_empty(), "{:#?}", before.findings);
    close(store); // its checkpoint is anchored
    std::fs::remove_file(wal(&copy)).unwrap();
    let _ = std::fs::remove_file(copy.join("audit.db-shm"));
    let after = ReadOnlyStore::open(copy.path())
        .unwrap()
        .verify(&trail.options());
    let after = after.unwrap();
    assert!(after.events < before.events);
    assert_eq!(kinds(&after), HashSet::from([FindingKind::Anchor]));
}

#[test]
fn another_key_another_log_and_a_spoilt_anchor_are_found() {
    let trail = Trail::recorded();
    let other = Trail::recorded();
    let stranger = trail.options().keys([other.key.verifying_key()]);
    assert_eq!(
        kinds(&trail.verify_with(&stranger)),
        HashSet::from([FindingKind::Signature])
    );
    // Both keys, as after a change of keys.
    let both = trail
        .options()
        .keys([other.key.verifying_key(), trail.key.verifying_key()]);
    assert!(trail.verify_with(&both).findings.is_empty());

    let foreign = trail.options().anchor(other.anchor.clone());
    let report = trail.verify_with(&foreign);
    assert_eq!(kinds(&report), HashSet::from([FindingKind::Anchor]));
    assert!(report.findings[0].what.contains("other logs"));

    let text = std::fs::read_to_string(&trail.anchor).unwrap();
    std::fs::write(&trail.anchor, text.replacen("\nat 1", "\nat 2", 1)).unwrap();
    assert_eq!(
        kinds(&trail.verify()),
        HashSet::from([FindingKind::Signature, FindingKind::Checkpoint])
    );
    std::fs::write(&trail.anchor, format!("{text}half a no")).unwrap();
    assert_eq!(kinds(&trail.verify()), HashSet::from([FindingKind::Anchor]));
    std::fs::remove_file(&trail.anchor).unwrap();
    let store = ReadOnlyStore::open(trail.folder.path()).unwrap();
    assert!(store.verify(&trail.options()).is_err());
}

#[test]
fn a_key_that_came_later_covers_what_was_before() {
    let trail = Trail::new();
    let store = trail.folder.open();
    record(&store, "before", "q", "a");
    close(store);
    let store = trail.open();
    record(&store, "after", "q", "a");
    close(store);
    let report = trail.verify();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert_eq!((report.checkpoints, report.signed_checkpoints), (2, 1));
    // Unsigned again afterwards: that is not covered.
    close(trail.folder.open());
    assert_eq!(
        kinds(&trail.verify()),
        HashSet::from([FindingKind::Signature])
    );
}

#[test]
fn the_file_of_a_damaged_page_is_reported_not_crashed_on() {
    let trail = Trail::recorded();
    trail.damage("UPDATE requests SET user_id = 'x' WHERE request_id = 's0-t0'");
    let path = trail.folder.path();
    let clean = std::fs::read(&path).unwrap();
    let page_bytes = page_bytes(&clean);
    for page in 1..clean.len() / page_bytes {
        let mut bytes = clean.clone();
        bytes[page * page_bytes..page * page_bytes + 64].fill(0xA5);
        std::fs::write(&path, &bytes).unwrap();
        match ReadOnlyStore::open(&path).map(|store| store.verify(&trail.options())) {
            Ok(Ok(report)) => assert!(!report.findings.is_empty(), "page {page}"),
            Ok(Err(error)) => eprintln!("page {page}: {error}"),
            Err(error) => eprintln!("page {page}: {error}"),
        }
    }
}
