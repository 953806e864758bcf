//! Impossible values in rows: each affects only the field or request that has it.

use std::time::{Duration, Instant};

use auditlite::{
    Completion, EraseSelector, ExportOptions, HealthState, ListOptions, ReadOnlyStore,
    RequestContext, RequestFilter, RequestOrder, Retention, SearchOptions, Store, Timestamp, Usage,
    VerifyOptions, update_search_index,
};

use crate::support::{Folder, PATIENCE, close, findings, record, sqlite};

/// Requests of one user and conversation, in one session.
fn recorded(count: u32) -> Folder {
    let folder = Folder::new();
    let store = folder.open();
    let mut history = String::new();
    for number in 0..count {
        let said = format!("turn {number} says something new; ");
        history.push_str(&said.repeat(20));
        let context = RequestContext::new("")
            .request_id(format!("r-{number}"))
            .user_id("u")
            .conversation_id("c")
            .messages(vec![auditlite::Message::new(
                "user",
                format!("words of turn {number}"),
            )])
            .started_at(Timestamp::from_micros(1_600_000_000_000_000));
        let audit = store.recorder().open(context, history.clone()).unwrap();
        let completion = Completion::new()
            .usage(Usage::new(1, 2))
            .response_body(format!("answer {number}"));
        audit.complete(completion).unwrap();
        store.flush(PATIENCE).unwrap();
    }
    close(store);
    folder
}

/// Changes values as a file that was edited byte by byte has them: no type is checked.
fn spoil(folder: &Folder, sql: &str) {
    let connection = sqlite(folder);
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%STRICT%'")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let definitions: Vec<(String, String)> = rows.unwrap().map(Result::unwrap).collect();
    let define = |name: &str, sql: &str| {
        connection
            .execute_batch("PRAGMA writable_schema = ON")
            .unwrap();
        let update = "UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1";
        connection.execute(update, [name, sql]).unwrap();
        connection
            .execute_batch("PRAGMA writable_schema = RESET")
            .unwrap();
    };
    for (name, definition) in &definitions {
        let loose = definition.replace(" NOT NULL", "").replace(") STRICT", ")");
        if !definition.contains("WITHOUT ROWID") {
            define(name, &loose);
        }
    }
    connection.execute_batch(sql).unwrap();
    for (name, definition) in &definitions {
        define(name, definition);
    }
}

const SPOILT: &[&str] = &[
    "UPDATE requests SET request_id = x'FF' WHERE request_id = 'r-3'",
    "UPDATE requests SET status = 'done' WHERE request_id = 'r-3'",
    "UPDATE requests SET input_tokens = -5 WHERE request_id = 'r-3'",
    "UPDATE requests SET request_bytes = NULL WHERE request_id = 'r-3'",
    "UPDATE requests SET latency_us = 'soon' WHERE request_id = 'r-3'",
    "UPDATE requests SET attributes = '[' WHERE request_id = 'r-3'",
    "UPDATE requests SET response_model = x'00' WHERE request_id = 'r-3'",
];

#[test]
fn one_bad_row_is_named_and_the_others_are_read() {
    for sql in SPOILT {
        let folder = recorded(6);
        update_search_index(folder.path(), |_| true).unwrap();
        spoil(&folder, sql);
        let store = ReadOnlyStore::open(folder.path()).unwrap();
        let reader = store.reader();
        let page = reader
            .list(&RequestFilter::default(), &ListOptions::new().limit(10))
            .unwrap();
        assert_eq!(page.requests.len(), 5, "{sql}");
        assert_eq!(page.unreadable.len(), 1, "{sql}");
        let bad = page.unreadable[0].opened_seq;
        assert!(bad > 0 && !page.unreadable[0].what.is_empty(), "{page:?}");
        // Page by page, both ways.
        let (mut seen, mut bad_seen, mut before) = (0, 0, None);
        loop {
            let page = reader
                .list(
                    &RequestFilter::default(),
                    &ListOptions::new().cursor(before).limit(2),
                )
                .unwrap();
            seen += page.requests.len();
            bad_seen += page.unreadable.len();
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!((seen, bad_seen), (5, 1), "{sql}");
        let top = reader.list(
            &RequestFilter::default(),
            &ListOptions::new().order(RequestOrder::InputTokens),
        );
        assert!(top.unwrap().requests.len() >= 5, "{sql}");
        let mut out = Vec::new();
        let summary = reader.export(&ExportOptions::default(), &mut out).unwrap();
        assert_eq!(
            (summary.requests, summary.unreadable.len()),
            (5, 1),
            "{sql}"
        );
        let mut follower = reader.follow(&RequestFilter::default(), None);
        let followed = follower.poll().unwrap().len() + follower.poll().unwrap().len();
        assert_eq!(
            (followed, follower.take_unreadable().len()),
            (5, 1),
            "{sql}"
        );
        let found = reader.search("words", &SearchOptions::default()).unwrap();
        assert_eq!((found.hits.len(), found.unreadable.len()), (5, 1), "{sql}");
        let conversation = reader
            .conversation("c", &auditlite::ConversationOptions::default())
            .unwrap();
        assert_eq!((conversation.requests.len(), conversation.damaged), (5, 1));
        let report = store.verify(&VerifyOptions::default()).unwrap();
        assert!(!report.findings.is_empty(), "{sql}");
        assert!(!findings(&folder).is_empty(), "{sql}");
        // Recording goes on beside it, and what can be erased is.
        let store = folder.open();
        record(&store, "after", "a question", "an answer");
        store.flush(PATIENCE).unwrap();
        assert_eq!(store.health().state, HealthState::Healthy);
        let erased = store
            .erase(&EraseSelector::User("u".to_owned()), "why")
            .unwrap();
        assert_eq!((erased.requests, erased.unreadable), (5, 1), "{sql}");
        close(store);
        // The rows are rebuilt from the log; then the rest is removed.
        auditlite::rebuild(folder.path()).unwrap();
        let store = folder.open();
        let erased = store
            .erase(&EraseSelector::User("u".to_owned()), "why")
            .unwrap();
        assert_eq!((erased.requests, erased.unreadable), (1, 0), "{sql}");
        close(store);
    }
}

/// A request that a crash left open and that cannot be read stays open; the store opens.
#[test]
fn a_bad_row_of_an_open_request_does_not_keep_the_store_shut() {
    let folder = recorded(3);
    spoil(
        &folder,
        "UPDATE requests SET status = 'pending', request_id = x'00', ended_seq = NULL \
         WHERE request_id = 'r-1'",
    );
    let store = folder.open();
    record(&store, "after", "a question", "an answer");
    store.flush(PATIENCE).unwrap();
    assert_eq!(store.health().state, HealthState::Healthy);
    close(store);
}

#[test]
fn rows_before_the_first_event_do_not_end_an_export() {
    let folder = recorded(3);
    let columns = "request_id, status, opened_at, is_streaming, tool_call_count, request_bytes";
    sqlite(&folder)
        .execute_batch(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700) \
             INSERT INTO requests (opened_seq, {columns}) \
             SELECT -i, 'x', 'completed', 0, 0, 0, 0 FROM n"
        ))
        .unwrap();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let mut out = Vec::new();
    let summary = reader.export(&ExportOptions::default(), &mut out).unwrap();
    assert_eq!(summary.requests, 3);
    let page = reader
        .list(&RequestFilter::default(), &ListOptions::new().limit(10))
        .unwrap();
    assert_eq!((page.requests.len(), page.unreadable.len()), (3, 7));
}

/// Sizes that contradict each other are refused before anything is unpacked, or looked at line by line.
#[test]
fn a_segment_that_says_what_cannot_be_costs_nothing() {
    let bomb = zstd::bulk::compress(&vec![b'\n'; 100 << 20], 19).unwrap();
    let length = 100_i64 << 20;
    let changes: [(&str, &str); 6] = [
        ("count", "1099511627776"),
        ("count", "0"),
        ("count", "-1"),
        ("count", "count + 1"),
        ("length", "1073741824"),
        ("count", "'many'"),
    ];
    for (column, value) in changes {
        let folder = recorded(4);
        spoil(
            &folder,
            &format!(
                "UPDATE log_segments SET {column} = {value} \
                 WHERE first_seq = (SELECT max(first_seq) FROM log_segments)"
            ),
        );
        look(&folder, &format!("{column} = {value}"));
        // Where the next event goes cannot be told.
        let error = folder.builder().open().unwrap_err();
        assert!(
            matches!(error, auditlite::OpenError::Damaged { .. }),
            "{column} = {value}: {error:?}"
        );
    }
    for count in [1, 4, 2_000_000] {
        let folder = recorded(4);
        let connection = sqlite(&folder);
        connection
            .execute(
                "UPDATE log_segments SET count = ?1, length = ?2, encoding = 1, data = ?3 \
                 WHERE first_seq = (SELECT max(first_seq) FROM log_segments)",
                rusqlite::params![count, length, bomb],
            )
            .unwrap();
        drop(connection);
        look(&folder, &format!("{count} lines"));
    }
}

/// Everybody who reads the log says so, and soon.
fn look(folder: &Folder, what: &str) {
    let begun = Instant::now();
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(!report.findings.is_empty(), "{what}");
    assert!(
        report.findings_total < 100,
        "{what}: {}",
        report.findings_total
    );
    match store.doctor() {
        Ok(report) => assert!(!report.findings.is_empty(), "{what}"),
        Err(error) => assert!(error.to_string().contains("damaged"), "{what}: {error}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
}

/// What is lost already holds up nobody's erasure.
#[test]
fn a_body_that_cannot_be_read_does_not_keep_others_from_being_erased() {
    let folder = recorded(6);
    // The body of the second request is packed against that of the first.
    let changed = sqlite(&folder)
        .execute(
            "UPDATE payloads SET data = x'00', kept = kept WHERE payload_id = \
             (SELECT opened_seq * 4 FROM requests WHERE request_id = 'r-1') AND base_id IS NOT NULL",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    let store: Store = folder.open();
    let erased = store
        .erase(&EraseSelector::Request("r-0".to_owned()), "why")
        .unwrap();
    assert_eq!(erased.requests, 1);
    assert!(erased.not_repacked > 0, "{erased:?}");
    assert!(erased.is_fully_erased);
    close(store);
    let found = findings(&folder);
    assert_eq!(found, Vec::<String>::new(), "the log states what went");
    let report = ReadOnlyStore::open(folder.path())
        .unwrap()
        .verify(&VerifyOptions::default())
        .unwrap();
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.kind.as_str() == "payload_content")
    );
    // Pruning too.
    let folder = recorded(6);
    let sql = "UPDATE payloads SET data = x'00' WHERE base_id IS NOT NULL";
    sqlite(&folder).execute(sql, []).unwrap();
    let store = folder.open();
    let retention = Retention::new().content_older_than(Duration::from_secs(24 * 60 * 60));
    let pruned = store.prune(&retention).unwrap();
    assert!(pruned.payloads > 0, "{pruned:?}");
    close(store);
}
