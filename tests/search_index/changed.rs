//! The index was changed by another program, or the process was killed while dropping it: nothing removed is left.

use super::*;

/// Changes of a table that holds nothing of its own.
const SCHEMA_CHANGES: &[&str] = &[
    "ALTER TABLE search_messages ADD COLUMN more TEXT",
    "ALTER TABLE search_state ADD COLUMN more INTEGER AS (1)",
    "ALTER TABLE search_pending RENAME TO pending",
    "DROP TABLE search_messages",
    "DROP TABLE search_pending; CREATE VIEW search_pending AS SELECT 1 AS opened_seq, 0 AS state",
    "DROP TABLE search_state",
    "DROP INDEX search_messages_by_key",
    "DROP INDEX search_messages_by_request; \
     CREATE INDEX search_messages_by_request ON search_messages (role)",
    "CREATE UNIQUE INDEX one_each ON search_messages (role, request_seq, is_reply, position)",
    "ALTER TABLE search_index_docsize ADD COLUMN more BLOB",
    "DROP TABLE search_index_data",
    "DROP TABLE search_index_config",
    "DROP TABLE search_index; CREATE TABLE search_index (text TEXT)",
    "DROP TABLE search_index; CREATE VIRTUAL TABLE search_index USING fts5 (text)",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = \
     'CREATE VIRTUAL TABLE search_index USING unknown (text)' WHERE name = 'search_index'",
    "DROP TABLE payload_links",
    "ALTER TABLE payload_links ADD COLUMN more TEXT",
    "DROP TABLE payload_links_filled; CREATE TABLE payload_links_filled (through INTEGER)",
];

#[test]
fn tables_that_hold_nothing_of_their_own_are_made_anew_and_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let clean = folder.path().join("clean.db");
    trail(&clean);
    let mut wrong = Vec::new();
    for change in SCHEMA_CHANGES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        std::fs::copy(&clean, &path).unwrap();
        let plain = rusqlite::Connection::open(&path).unwrap();
        plain.execute_batch(change).unwrap();
        drop(plain);
        let mut fail = |what: String| wrong.push(format!("{change}\n      {what}"));
        let store = ReadOnlyStore::open(&path).unwrap();
        let verified = store.verify(&VerifyOptions::default()).unwrap();
        if verified.findings.is_empty() || store.doctor().unwrap().findings.is_empty() {
            fail("nothing is found".to_owned());
        }
        if verified.events == 0 {
            fail(format!("nothing is verified: {:?}", verified.findings));
        }
        drop(store);
        let store = match Store::builder(&path).open() {
            Ok(store) => store,
            Err(error) => {
                fail(format!("open: {error:?}"));
                continue;
            }
        };
        let health = store.health();
        let is_links = change.contains("payload_links");
        if health.alarms.contains(&Alarm::SearchIndexDamaged) == is_links {
            fail(format!("{:?}", health.alarms));
        }
        match store.erase(&EraseSelector::User("u-1".to_owned()), "why") {
            Ok(report) if report.is_fully_erased && report.requests == 10 => {}
            other => fail(format!("erase: {other:?}")),
        }
        close(store);
        for file in raw(&path) {
            let holds = |word: &[u8]| file.windows(word.len()).any(|window| window == word);
            if holds(b"secretu-1") || holds(b"secretu1") {
                fail("what was erased is still there".to_owned());
            }
        }
        update_search_index(&path, |_| true).unwrap();
        if found(&path).len() < 20 {
            fail("searches find too little".to_owned());
        }
        let store = ReadOnlyStore::open(&path).unwrap();
        let findings = store.verify(&compared()).unwrap().findings;
        let is_foreign = |what: &str| what.contains("another program put it there");
        if !findings.iter().all(|finding| is_foreign(&finding.what)) {
            fail(format!("verify afterwards: {findings:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All words that the index has, however it looks; `None`: it cannot be told.
fn words_left(path: &Path) -> Option<i64> {
    let plain = rusqlite::Connection::open(path).unwrap();
    plain
        .execute_batch("CREATE VIRTUAL TABLE temp.left USING fts5vocab(main, search_index, row)")
        .ok()?;
    let count = "SELECT count(*) FROM temp.left";
    plain.query_row(count, [], |row| row.get(0)).ok()
}

/// Words that are not found where they are to be taken out stay there without a word of FTS5's.
const SILENT: &[&str] = &[
    "UPDATE search_index_idx SET pgno = 2 + pgno % 2 WHERE pgno > 3",
    "UPDATE search_index_idx SET pgno = (SELECT max(pgno) FROM search_index_idx)",
    "UPDATE search_index_idx SET pgno = (SELECT min(pgno) FROM search_index_idx)",
    "DELETE FROM search_index_idx WHERE term > x'3073'",
    "UPDATE OR REPLACE search_index_idx SET term = x'307a' WHERE term > x'3073'",
];

#[test]
fn no_word_of_what_was_removed_stays_in_an_index_that_somebody_changed() {
    let folder = tempfile::tempdir().unwrap();
    let clean = folder.path().join("clean.db");
    trail(&clean);
    let of_rows = DAMAGE.iter().filter(|damage| {
        damage.contains("search_messages ") || damage.contains("search_index_idx")
    });
    let mut wrong = Vec::new();
    for damage in of_rows.chain(SILENT) {
        for is_erased in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit.db");
            std::fs::copy(&clean, &path).unwrap();
            let plain = rusqlite::Connection::open(&path).unwrap();
            plain.execute_batch(damage).unwrap();
            drop(plain);
            let store = open(&path);
            if is_erased {
                for user in ["u-0", "u-1", "u-2"] {
                    let user = EraseSelector::User(user.to_owned());
                    let report = store.erase(&user, "why").unwrap();
                    assert!(report.is_fully_erased, "{damage}: {report:?}");
                }
            } else {
                let retention = Retention::new().content_older_than(Duration::from_secs(1));
                store.prune(&retention).unwrap();
            }
            close(store);
            let is_raw = raw(&path).iter().any(|file| {
                let holds = |word: &[u8]| file.windows(word.len()).any(|window| window == word);
                holds(b"secretu") || holds(b"quokka")
            });
            let left = words_left(&path);
            if is_raw || left != Some(0) {
                wrong.push(format!(
                    "erased {is_erased}: {damage}: {left:?} words, raw {is_raw}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of a request that was opened before the point up to which is pruned, and ended behind it, the response
/// is left. It goes with the next step, and takes its words with it.
#[test]
fn what_a_request_was_answered_that_is_half_pruned_leaves_no_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_micros()).unwrap();
    let hour = 3_600_000_000;
    let store = open(&path);
    let mut handles = Vec::new();
    for (id, age) in [("old", 9), ("new", 5)] {
        let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": id}]});
        let context = RequestContext::new("openai.chat")
            .request_id(id)
            .user_id("u")
            .started_at(auditlite::Timestamp::from_micros(now - age * hour));
        handles.push(store.recorder().open(context, body.to_string()).unwrap());
    }
    for handle in handles {
        let reply = r#"{"choices":[{"message":{"role":"assistant","content":"a platypus"}}]}"#;
        handle
            .complete(Completion::new().response_body(reply))
            .unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let prune = |hours: u64| {
        let retention = Retention::new().content_older_than(Duration::from_secs(hours * 3600));
        store.prune(&retention).unwrap().payloads
    };
    assert_eq!(prune(7), 1);
    drop(store);
    assert!(update_search_index(&path, |_| true).unwrap().is_none());
    let reader = ReadOnlyStore::open(&path).unwrap();
    assert_eq!(reader.verify(&compared()).unwrap().findings, []);
    drop(reader);
    let store = open(&path);
    let retention = Retention::new().content_older_than(Duration::from_secs(60));
    assert_eq!(store.prune(&retention).unwrap().payloads, 3);
    close(store);
    assert_eq!(words_left(&path), Some(0));
}

const DROPPING_CHILD: &str = "AUDITLITE_INDEX_DROPPING_CHILD";

/// Not a test of its own: opens the store whose index is to be dropped, and goes on until it is killed.
#[test]
fn child() {
    if let Some(path) = std::env::var_os(DROPPING_CHILD) {
        let _store = open(Path::new(&path));
        loop {
            std::thread::park();
        }
    }
}

#[test]
fn an_index_that_is_dropped_half_when_the_process_is_killed_goes_with_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = open(&path);
    // Some steps of dropping.
    for number in 0..1500 {
        let id = format!("r-{number}");
        let text = format!("platypus{number} of {id}");
        say(&store.recorder(), &id, &id, &id, &text);
    }
    close(store);
    assert!(update_search_index(&path, |_| true).unwrap().is_none());
    let plain = rusqlite::Connection::open(&path).unwrap();
    let off = "UPDATE search_index_config SET v = 0 WHERE k = 'secure-delete'";
    plain.execute_batch(off).unwrap();
    let state = || -> (bool, bool, i64) {
        let sql = "SELECT coalesce((SELECT is_dropped FROM search_state), 0), \
             (SELECT damaged_at FROM search_state) IS NOT NULL, \
             (SELECT count(*) FROM search_messages) + (SELECT count(*) FROM search_index_docsize)";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        plain.query_row(sql, [], read).unwrap()
    };
    let (_, _, mut before) = state();
    let mut halves = 0;
    for _ in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["changed::child", "--exact", "--nocapture"])
            .env(DROPPING_CHILD, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        loop {
            let (is_dropped, is_damaged, rows) = state();
            // Some of it is gone; or it was too quick, and is building already.
            if (is_dropped && rows < before) || (is_damaged && !is_dropped) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (is_dropped, is_damaged, rows) = state();
        assert!(is_damaged, "the mark is gone");
        if is_dropped && rows > 0 {
            halves += 1;
            before = rows;
            let reader = ReadOnlyStore::open(&path).unwrap();
            let found = reader
                .reader()
                .search("platypus*", &SearchOptions::default());
            assert_eq!(found.unwrap().hits, []);
            let findings = reader.verify(&VerifyOptions::default()).unwrap().findings;
            let is_told = |what: &str| what.contains("is being dropped");
            assert!(findings.iter().any(|finding| is_told(&finding.what)));
        }
        if !is_dropped {
            break;
        }
    }
    assert!(halves > 0, "it was never killed half-way");
    drop(plain);
    let store = open(&path);
    let report = store.erase(&EraseSelector::User("r-7".to_owned()), "why");
    assert!(report.unwrap().is_fully_erased);
    close(store);
    assert!(update_search_index(&path, |_| true).unwrap().is_none());
    let store = ReadOnlyStore::open(&path).unwrap();
    assert_eq!(store.verify(&compared()).unwrap().findings, []);
    let found = store
        .reader()
        .search("platypus8", &SearchOptions::default());
    assert_eq!(found.unwrap().hits.len(), 1);
}
