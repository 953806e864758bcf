//! What the index finds, and what is left of what is removed.

use super::texts::{LEVEL, unpack};
use super::*;
use crate::db::read::list::{self, Walk};
use crate::model::RequestFilter;

fn plan(filter: &RequestFilter, rows_max: Option<usize>) -> String {
    let mut connection = Connection::open_in_memory().unwrap();
    crate::db::connection::migrate::migrate(&mut connection).unwrap();
    let conditions = list::conditions(&connection, filter, Walk::Before(None))
        .unwrap()
        .unwrap();
    let sql = finding::matches_sql(filter, &conditions, rows_max);
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let mut values = vec!["word".to_owned().into()];
    values.extend(conditions.values);
    let rows = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
    let lines: Vec<String> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    lines.join("\n")
}

/// The index finds and sorts; nothing else is scanned.
#[test]
fn a_search_asks_the_index_first_and_the_rest_by_primary_key() {
    let filter = RequestFilter {
        user_id: Some("u".to_owned()),
        ..RequestFilter::default()
    };
    for filter in [RequestFilter::default(), filter] {
        for rows_max in [Some(20), None] {
            let plan = plan(&filter, rows_max);
            assert!(
                plan.starts_with("SCAN search_index VIRTUAL TABLE INDEX"),
                "{plan}"
            );
            let reads = plan.contains("SEARCH search_messages USING INTEGER PRIMARY KEY");
            assert_eq!(reads, filter != RequestFilter::default(), "{plan}");
            assert_eq!(plan.matches("SCAN").count(), 1, "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}

#[test]
fn snippets_mark_what_matches() {
    let text = "Über die Wörter: weather in Lyon\u{fdd0}";
    let found = finding::FoundMessage {
        request_seq: 0,
        is_reply: false,
        position: 0,
        role: "user".to_owned(),
        score: 0.0,
        packed: zstd::bulk::compress(text.as_bytes(), LEVEL).unwrap(),
    };
    let snippets = snippets(&[found], "\"worter\"", Form::Split).unwrap();
    let parts: Vec<_> = snippets[0]
        .iter()
        .map(|(text, is_match)| (text.as_str(), *is_match))
        .collect();
    assert_eq!(
        parts,
        [
            ("Über die ", false),
            ("Wörter", true),
            (": weather in Lyon\u{fffd}", false)
        ]
    );
}

fn request(connection: &Connection, opened_seq: i64, conversation: &str) {
    connection
        .execute(
            "INSERT INTO requests (opened_seq, ended_seq, status, request_id, opened_at, \
             conversation_id, is_streaming, tool_call_count, request_bytes) \
             VALUES (?1, ?1 + 1, 'completed', ?2, 0, ?3, 0, 0, 0)",
            params![opened_seq, format!("r-{opened_seq}"), conversation],
        )
        .unwrap();
}

fn matching(connection: &Connection, word: &str) -> Vec<u64> {
    let found = find(
        connection,
        word,
        &RequestFilter::default(),
        Order::Newest,
        10,
    )
    .unwrap();
    let messages = found.messages.iter();
    messages.map(|found| found.request_seq).collect()
}

/// Nothing of what is removed is left in the file, and what later requests repeat is looked at
/// again, once for each conversation.
#[test]
fn what_is_removed_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut connection = Connection::open(&path).unwrap();
    crate::db::connection::migrate::migrate(&mut connection).unwrap();
    connection
        .execute_batch("PRAGMA secure_delete = ON; PRAGMA journal_mode = DELETE")
        .unwrap();
    for (seq, conversation) in [(2, "a"), (4, "a"), (6, "b"), (8, "a"), (10, "a")] {
        request(&connection, seq, conversation);
    }
    for (key, (seq, text)) in (0..).zip([
        (2, "zanzibarquux is secret"),
        (4, "quokkaville xylophonist"),
        (6, "xylophonist elsewhere"),
    ]) {
        let message = NewMessage {
            request_seq: seq,
            is_reply: false,
            position: 0,
            role: "user",
            key: [key; 16],
            text,
        };
        assert!(add(&connection, &mut Packer::new(), &message).unwrap());
        assert!(
            !add(&connection, &mut Packer::new(), &message).unwrap(),
            "once is enough"
        );
    }
    set_next_seq(&connection, 11).unwrap();
    wait_for(&connection, 4).unwrap();
    assert_eq!(matching(&connection, "xylophonist"), [6, 4]);
    let holds = |word: &str| {
        let bytes = std::fs::read(&path).unwrap();
        bytes
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    assert!(holds("zanzibarquux"), "the test would not see it");
    let damage = in_transaction(&mut connection, |connection| {
        forget(connection, &[(4, 4), (2, 3), (77, 78)], None)
    });
    assert_eq!(damage.unwrap(), None);
    assert_eq!(matching(&connection, "xylophonist"), [6]);
    assert!(matching(&connection, "zanzibarquux").is_empty());
    let waiting: Vec<i64> = connection
        .prepare("SELECT opened_seq FROM search_pending")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(waiting, [8]);
    connection
        .execute_batch("INSERT INTO search_index (search_index) VALUES ('integrity-check')")
        .unwrap();
    assert!(!holds("zanzibarquux") && !holds("quokkaville"));
}

/// Dropping makes the tables from the schema's own text.
#[test]
fn a_dropped_index_is_as_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(folder.path().join("audit.db")).unwrap();
    crate::db::connection::migrate::migrate(&mut connection).unwrap();
    let schema = |connection: &Connection| -> Vec<(String, String)> {
        let sql = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    let before = schema(&connection);
    for number in 0..700_u64 {
        let text = format!("number {number}");
        let message = NewMessage {
            request_seq: number,
            is_reply: false,
            position: 0,
            role: "user",
            key: u128::from(number).to_be_bytes(),
            text: &text,
        };
        assert!(add(&connection, &mut Packer::new(), &message).unwrap());
    }
    give_up(&connection).unwrap();
    let steps = (0..10).take_while(|_| !drop_step(&mut connection).unwrap());
    assert_eq!(steps.count(), 3, "a step takes 512 rows");
    assert!(!extent(&connection).unwrap().unwrap().is_dropped);
    assert_eq!(schema(&connection), before);
    check_settings(&connection).unwrap();
    let text = connection.query_row("SELECT count(*) FROM search_messages", [], |row| row.get(0));
    assert_eq!(text, Ok(0));
}

#[test]
fn a_text_that_unpacks_to_more_than_can_be_is_damage() {
    let bomb = zstd::bulk::compress(&vec![b'a'; TEXT_BYTES_MAX + 1], LEVEL).unwrap();
    assert!(unpack(&bomb).is_err());
    assert!(unpack(b"no frame").is_err());
}

/// A word is looked up as the index has it: told apart once more, it is the same word. One that is cut off
/// for its length is, too.
#[test]
fn every_word_of_every_text_is_found_in_its_message() {
    let mut connection = Connection::open_in_memory().unwrap();
    crate::db::connection::migrate::migrate(&mut connection).unwrap();
    // Those that have another case, or signs around them, and the rest of their blocks.
    let blocks = [
        0..0x3100,
        0xa640..0xac00,
        0xf900..0x1_1000,
        0x1_e900..0x1_ea00,
    ];
    let characters: Vec<char> = blocks
        .into_iter()
        .flatten()
        .filter_map(char::from_u32)
        .collect();
    let mut texts: Vec<String> = characters
        .chunks(4096)
        .map(|some| {
            let words = some.iter().map(|c| format!("{c}\" A{c} {c}\u{301}"));
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    texts.push(format!("long {} end", "é".repeat(40_000)));
    for (number, text) in (0_u64..).zip(&texts) {
        let message = NewMessage {
            request_seq: number,
            is_reply: false,
            position: 0,
            role: "user",
            key: u128::from(number).to_be_bytes(),
            text,
        };
        assert!(add(&connection, &mut Packer::new(), &message).unwrap());
    }
    let words = Words::new(Form::Split).unwrap();
    for (number, _) in (0_u64..).zip(&texts) {
        let are_found = are_words_found(&connection, &words, number).unwrap();
        assert!(are_found, "text {number}");
    }
    let moved = "UPDATE search_messages SET message_id = message_id + 10000 WHERE request_seq = 2";
    connection.execute_batch(moved).unwrap();
    assert!(!are_words_found(&connection, &words, 2).unwrap());
}

#[test]
fn the_log_is_moved_unless_a_reader_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)",
        )
        .unwrap();
    connection
        .busy_timeout(std::time::Duration::from_millis(1))
        .unwrap();
    let write = "INSERT INTO t VALUES (zeroblob(100000))";
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count = || reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
    assert_eq!(count(), Ok(0));
    connection.execute_batch(write).unwrap();
    assert!(is_log_short(&connection, 100).unwrap());
    assert!(!is_log_short(&connection, 10).unwrap());
    assert_eq!(count(), Ok(0));
    reader.execute_batch("COMMIT").unwrap();
    assert!(is_log_short(&connection, 10).unwrap());
    let log = folder.path().join("audit.db-wal");
    assert_eq!(std::fs::metadata(log).unwrap().len(), 0);
}
