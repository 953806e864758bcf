//! Files whose schema another program changed: our tables must be as this version makes them; foreign objects are
//! reported and disturb nothing.

use std::time::Duration;

use auditlite::{
    Alarm, Completion, EraseSelector, HealthState, ListOptions, OpenError, ReadError,
    ReadOnlyStore, RequestContext, RequestFilter, Retention, SearchOptions, StatsFilter, Timestamp,
    VerifyOptions,
};

use crate::support::{Folder, PATIENCE, close, findings, record, sqlite};

fn recorded() -> Folder {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..5 {
        let context = RequestContext::new("openai.chat")
            .request_id(format!("r-{number}"))
            .started_at(Timestamp::from_micros(1_600_000_000_000_000));
        let audit = store.recorder().open(context, "a question").unwrap();
        let completion = Completion::new().response_body("an answer");
        audit.complete(completion).unwrap();
    }
    close(store);
    folder
}

fn change(folder: &Folder, sql: &str) {
    sqlite(folder).execute_batch(sql).unwrap();
}

/// Changes a definition as SQLite itself would refuse to.
fn redefine(folder: &Folder, name: &str, from: &str, to: &str) {
    let connection = sqlite(folder);
    connection
        .execute_batch("PRAGMA writable_schema = ON")
        .unwrap();
    let changed = connection
        .execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ?2, ?3) \
             WHERE name = ?1 AND instr(sql, ?2) > 0",
            [name, from, to],
        )
        .unwrap();
    assert_eq!(changed, 1, "{name} has no {from}");
}

fn verified(folder: &Folder) -> Vec<String> {
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    let lines = report.findings.into_iter();
    lines.map(|finding| finding.what).collect()
}

#[test]
fn what_is_planted_does_not_run_is_named_and_recording_goes_on() {
    let folder = recorded();
    change(
        &folder,
        "CREATE TABLE counted (t TEXT); \
         CREATE TRIGGER on_insert AFTER INSERT ON requests BEGIN INSERT INTO counted VALUES ('i'); END; \
         CREATE TRIGGER on_update AFTER UPDATE ON requests BEGIN INSERT INTO counted VALUES ('u'); END; \
         CREATE TRIGGER on_delete AFTER DELETE ON payloads BEGIN INSERT INTO counted VALUES ('d'); END; \
         CREATE TRIGGER on_log AFTER INSERT ON log_segments BEGIN INSERT INTO counted VALUES ('l'); END; \
         CREATE VIEW shown AS SELECT 1; \
         CREATE TABLE refers (r INTEGER REFERENCES requests (opened_seq)); \
         CREATE INDEX by_model ON requests (response_model);",
    );
    let first = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let first = first.get("r-0").unwrap().opened_seq;
    change(&folder, &format!("INSERT INTO refers VALUES ({first})"));
    let store = folder.open();
    record(&store, "after", "one more question", "one more answer");
    store.flush(PATIENCE).unwrap();
    let health = store.health();
    assert_eq!(health.state, HealthState::Healthy, "{health:?}");
    assert_eq!(health.alarms, [Alarm::ForeignSchema { objects: 8 }]);
    let erased = store
        .erase(&EraseSelector::Request("r-1".to_owned()), "why")
        .unwrap();
    assert_eq!(erased.requests, 1);
    // Rows to which a foreign table refers can be removed all the same.
    let retention = Retention::new().metadata_older_than(Duration::from_secs(24 * 60 * 60));
    assert!(store.prune(&retention).unwrap().requests > 0);
    record(&store, "last", "a question", "an answer");
    close(store);
    let count = "SELECT count(*) FROM counted";
    let count: i64 = sqlite(&folder)
        .query_row(count, [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 0, "a planted trigger ran");
    for found in [findings(&folder), verified(&folder)] {
        assert_eq!(found.len(), 8, "{found:?}");
        for (kind, name) in [
            ("trigger", "on_insert"),
            ("view", "shown"),
            ("table", "refers"),
            ("index", "by_model"),
        ] {
            let line =
                format!("{kind} {name:?} is not of this version: another program put it there");
            assert!(found.contains(&line), "{line}: {found:?}");
        }
    }
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert_eq!(reader.get("last").unwrap().request_id, "last");
}

/// A definition of ours, changed, and whether it is still read.
type Change = fn(&Folder);

#[test]
fn what_is_ours_and_differs_is_refused_for_writing_and_named() {
    let cases: &[(&str, bool, Change)] = &[
        ("table \"gaps\"", false, |folder| {
            change(
                folder,
                "DROP TABLE gaps; CREATE VIEW gaps AS SELECT 1 AS seq",
            );
        }),
        ("table \"tool_calls\"", false, |folder| {
            let view = "WITH RECURSIVE n (i) AS (SELECT 1) SELECT i AS ended_seq FROM n";
            change(
                folder,
                &format!("DROP TABLE tool_calls; CREATE VIEW tool_calls AS {view}"),
            );
        }),
        ("table \"gaps\"", false, |folder| {
            change(
                folder,
                "DROP TABLE gaps; CREATE VIRTUAL TABLE gaps USING fts5 (seq)",
            );
        }),
        ("table \"checkpoints\"", false, |folder| {
            change(folder, "DROP TABLE checkpoints");
        }),
        ("table \"requests\"", false, |folder| {
            redefine(
                folder,
                "requests",
                "latency_us                INTEGER",
                "latency_us INTEGER AS (1)",
            );
        }),
        ("table \"requests\"", false, |folder| {
            redefine(
                folder,
                "requests",
                "tool_call_count           INTEGER NOT NULL",
                "tool_call_count INTEGER NOT NULL CHECK (tool_call_count < 1)",
            );
        }),
        ("table \"requests\"", false, |folder| {
            redefine(
                folder,
                "requests",
                "user_id                   TEXT",
                "user_id TEXT COLLATE NOCASE",
            );
        }),
        ("table \"requests\"", false, |folder| {
            change(
                folder,
                "DROP TABLE requests; CREATE VIEW requests AS SELECT 1 AS opened_seq",
            );
        }),
        ("index \"requests_by_request_id\"", true, |folder| {
            redefine(
                folder,
                "requests_by_request_id",
                "(request_id)",
                "(request_id COLLATE nowhere)",
            );
        }),
        ("table \"payloads\"", false, |folder| {
            redefine(
                folder,
                "payloads",
                "encoding   INTEGER NOT NULL",
                "encoding INTEGER NOT NULL DEFAULT 1",
            );
        }),
        ("table \"log_segments\"", false, |folder| {
            redefine(folder, "log_segments", ") STRICT", ")");
        }),
        ("table \"removals\"", false, |folder| {
            redefine(folder, "removals", "STRICT, WITHOUT ROWID", "WITHOUT ROWID");
        }),
        ("index \"requests_by_user_id\"", true, |folder| {
            redefine(
                folder,
                "requests_by_user_id",
                "(user_id)",
                "(user_id COLLATE nowhere)",
            );
        }),
        ("index \"requests_by_user_id\"", true, |folder| {
            redefine(
                folder,
                "requests_by_user_id",
                "WHERE user_id IS NOT NULL",
                "WHERE user_id > 'm'",
            );
        }),
        ("index \"requests_by_conversation\"", true, |folder| {
            redefine(
                folder,
                "requests_by_conversation",
                "ON requests (coalesce(",
                "ON requests (max(",
            );
        }),
        ("index \"requests_by_trace_id\"", true, |folder| {
            change(folder, "DROP INDEX requests_by_trace_id");
        }),
        ("index \"one_each\"", true, |folder| {
            change(
                folder,
                "CREATE UNIQUE INDEX one_each ON requests (request_bytes, opened_seq)",
            );
        }),
    ];
    for (what, is_read, damage) in cases {
        let folder = recorded();
        damage(&folder);
        let error = folder.builder().open().unwrap_err();
        let is_named =
            matches!(&error, OpenError::Damaged { what: text, .. } if text.contains(what));
        assert!(is_named, "{what}: {error}");
        let found = findings(&folder);
        assert!(
            found.iter().any(|line| line.contains(what)),
            "{what}: {found:?}"
        );
        let found = verified(&folder);
        assert!(
            found.iter().any(|line| line.contains(what)),
            "{what}: {found:?}"
        );
        let store = ReadOnlyStore::open(folder.path()).unwrap();
        let reader = store.reader();
        let answers = [
            reader
                .list(&RequestFilter::default(), &ListOptions::new().limit(10))
                .map(|page| page.requests.len()),
            reader.get("r-3").map(|_| 5),
            reader.stats(&StatsFilter::default()).map(|_| 5),
        ];
        for answer in answers {
            match (is_read, answer) {
                (true, Ok(5)) => {}
                // One that is looked up through the index that is gone.
                (true, Err(ReadError::Database(_))) => {}
                (false, Err(ReadError::Damaged(text))) if text.contains(what) => {}
                (_, other) => panic!("{what}: {other:?}"),
            }
        }
        if !is_read {
            let backup = store.backup(folder.join("copy.db"), &VerifyOptions::default());
            assert!(backup.is_err(), "{what}");
        }
        drop((reader, store));
        // What is derived is recreated; what exists nowhere else is not.
        let holds_what_is_nowhere_else = ["log_segments", "payloads", "checkpoints"]
            .iter()
            .any(|table| what.contains(&format!("{table:?}")));
        let made = auditlite::rebuild(folder.path());
        if holds_what_is_nowhere_else {
            let error = made.unwrap_err().to_string();
            assert!(error.contains("cannot be recreated"), "{what}: {error}");
            continue;
        }
        assert!(made.unwrap() > 10, "{what}");
        assert_eq!(verified(&folder), Vec::<String>::new(), "{what}");
        assert_eq!(findings(&folder), Vec::<String>::new(), "{what}");
        let store = folder.open();
        record(&store, "after", "a question", "an answer");
        close(store);
        assert_eq!(verified(&folder), Vec::<String>::new(), "{what}");
    }
}

/// A view that never ends, and one beside it: nobody asks them.
#[test]
fn a_schema_that_changes_while_it_is_read_is_seen() {
    let folder = recorded();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert!(reader.get("r-1").is_ok());
    change(
        &folder,
        "ALTER TABLE requests RENAME TO others; CREATE VIEW requests AS SELECT * FROM others",
    );
    let error = reader.get("r-1").unwrap_err();
    assert!(
        matches!(&error, ReadError::Damaged(what) if what.contains("table \"requests\" is missing")),
        "{error}"
    );
}

#[test]
fn statistics_are_no_finding_and_the_writer_drops_them() {
    let folder = recorded();
    change(&folder, "ANALYZE");
    let count = || -> i64 {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'sqlite_stat*'";
        sqlite(&folder)
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    };
    assert!(count() > 0);
    assert_eq!(findings(&folder), Vec::<String>::new());
    assert_eq!(verified(&folder), Vec::<String>::new());
    let store = folder.open();
    assert_eq!(store.health().alarms, []);
    assert_eq!(count(), 0);
    record(&store, "after", "a question", "an answer");
    close(store);
    assert_eq!(verified(&folder), Vec::<String>::new());
}

/// CHECK constraints of a foreign table are never evaluated: they may take for ever.
#[test]
fn checks_of_other_tables_are_not_computed() {
    let folder = recorded();
    change(
        &folder,
        "CREATE TABLE slow (n INTEGER CHECK (length(hex(zeroblob(n * 10000000))) > 0)); \
         PRAGMA ignore_check_constraints = ON; \
         INSERT INTO slow SELECT value FROM json_each(json_array(5, 6, 7, 8)) \
         UNION ALL SELECT 6 FROM requests AS a, requests AS b, requests AS c",
    );
    let begun = std::time::Instant::now();
    assert_eq!(verified(&folder).len(), 1);
    assert_eq!(findings(&folder).len(), 1);
    let store = folder.open();
    let context = RequestContext::new("").request_id("after");
    drop(store.recorder().open(context, "q").unwrap());
    close(store);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert!(reader.search("question", &SearchOptions::default()).is_ok());
}
