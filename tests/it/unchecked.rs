//! A log with lines that cannot be read: every reader flags the content that could not be compared with them, and
//! content that was removed properly raises no alarm.

use std::time::{Duration, Instant};

use auditlite::{
    Completion, ConversationOptions, EraseSelector, ExportContent, ExportFormat, ExportOptions,
    PayloadSide, ReadError, ReadOnlyStore, RequestContext, Retention, SearchOptions, Timestamp,
    ToolCall, update_search_index,
};
use rusqlite::params;

use crate::support::{Folder, PATIENCE, close, sqlite};

const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"the question"}]}"#;
const RESPONSE: &str = r#"{"choices":[{"message":{"role":"assistant","content":"the answer"}}]}"#;

/// Each event in a segment of its own.
fn recorded(count: i64) -> Folder {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..count {
        let context = RequestContext::new("openai.chat")
            .request_id(format!("r-{number}"))
            .user_id(format!("u-{number}"))
            .conversation_id(format!("c-{number}"))
            .started_at(Timestamp::from_micros(
                1_700_000_000_000_000 + number * 3_600_000_000,
            ));
        let audit = store.recorder().open(context, REQUEST).unwrap();
        store.flush(PATIENCE).unwrap();
        audit
            .complete(
                Completion::new()
                    .response_body(RESPONSE)
                    .tool_call(ToolCall::new("id", "weather", "{}")),
            )
            .unwrap();
        store.flush(PATIENCE).unwrap();
    }
    close(store);
    folder
}

/// What makes the log unreadable where the event is, in a statement that takes its seq.
const DAMAGES: [&str; 4] = [
    "UPDATE log_segments SET encoding = 9",
    "UPDATE log_segments SET data = zeroblob(length(data))",
    "UPDATE log_segments SET count = 0",
    "DELETE FROM log_segments",
];

fn damage(folder: &Folder, sql: &str, seq: u64) {
    let sql = format!(
        "{sql} WHERE first_seq = (SELECT max(first_seq) FROM log_segments WHERE first_seq <= ?1)"
    );
    let connection = sqlite(folder);
    connection
        .execute_batch("PRAGMA ignore_check_constraints = 1")
        .unwrap();
    let seq = i64::try_from(seq).unwrap();
    assert_eq!(connection.execute(&sql, [seq]).unwrap(), 1);
}

/// As an attacker does who knows the format.
fn replace_body(folder: &Folder, seq: u64, body: &str) {
    use sha2::{Digest, Sha256};
    let changed = sqlite(folder)
        .execute(
            "UPDATE payloads SET sha256 = ?2, salt = randomblob(32), kept = ?3, length = ?3, \
             encoding = 0, base_id = NULL, second_base_id = NULL, data = ?4 WHERE payload_id = ?1",
            params![
                i64::try_from(seq).unwrap() * 4,
                Sha256::digest(body).to_vec(),
                i64::try_from(body.len()).unwrap(),
                body.as_bytes()
            ],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

fn reader(folder: &Folder) -> auditlite::Reader {
    ReadOnlyStore::open(folder.path()).unwrap().reader()
}

fn opened_seq(folder: &Folder, id: &str) -> u64 {
    reader(folder).get(id).unwrap().opened_seq
}

#[test]
fn what_cannot_be_held_against_the_log_is_flagged_by_every_reader() {
    let forged = REQUEST.replace("the question", "a forgery!!!");
    for sql in DAMAGES {
        let folder = recorded(3);
        let request = reader(&folder).get("r-1").unwrap();
        let (seq, ended) = (request.opened_seq, request.ended_seq.unwrap());
        for (seq, body) in [(seq, &*forged), (ended, RESPONSE)] {
            damage(&folder, sql, seq);
            replace_body(&folder, seq, body);
        }
        let _ = update_search_index(folder.path(), |_| true);
        let reader = reader(&folder);
        let (request, other) = (reader.get("r-1").unwrap(), reader.get("r-0").unwrap());
        let body = reader.payload(&request, PayloadSide::Request).unwrap();
        assert!(body.is_unchecked, "{sql}");
        let info = reader.body_info(&request, PayloadSide::Request);
        assert!(info.unwrap().unwrap().is_unchecked, "{sql}");
        let transcript = reader.transcript(&request).unwrap();
        assert_eq!(transcript.unchecked, [seq, ended], "{sql}");
        for (result, event) in [
            (reader.offered_tools(&request).map(drop), seq),
            (reader.messages(&request).map(drop), seq),
            (reader.tool_calls(&request).map(drop), ended),
            (reader.response(&request).map(drop), ended),
            (reader.assistant_text(&request).map(drop), ended),
        ] {
            assert!(
                matches!(result, Err(ReadError::Unchecked { seq: of }) if of == event),
                "{sql}: {result:?}"
            );
        }
        let options = ConversationOptions::default();
        let conversation = reader.conversation("c-1", &options).unwrap();
        assert_eq!((conversation.unchecked, conversation.damaged), (1, 0));
        // The others are checked as ever.
        let body = reader.payload(&other, PayloadSide::Request).unwrap();
        assert!(!body.is_unchecked, "{sql}");
        assert!(reader.transcript(&other).unwrap().unchecked.is_empty());
        let options = ConversationOptions::default();
        assert_eq!(reader.conversation("c-0", &options).unwrap().unchecked, 0);
        for format in [
            ExportFormat::JsonLines,
            ExportFormat::Csv,
            ExportFormat::Otlp,
        ] {
            for content in ExportContent::ALL {
                let mut options = ExportOptions::default();
                (options.format, options.content) = (format, content);
                if content == ExportContent::None {
                    // Nothing is exported that could be compared with the log.
                    let summary = reader.export(&options, &mut std::io::sink()).unwrap();
                    assert_eq!((summary.unchecked, summary.damaged), (0, 0), "{sql}");
                    options.has_digests = true;
                }
                let mut out = Vec::new();
                let summary = reader.export(&options, &mut out).unwrap();
                assert_eq!(
                    (summary.unchecked, summary.damaged),
                    (1, 0),
                    "{sql} {format:?} {content:?}"
                );
                let text = String::from_utf8(out).unwrap();
                let mark = match format {
                    ExportFormat::JsonLines => "\"is_unchecked\":true",
                    ExportFormat::Csv => ",request",
                    _ => "auditlite.request.is_unchecked",
                };
                let marked = text.lines().filter(|line| line.contains(mark)).count();
                let heading = usize::from(format == ExportFormat::Csv);
                assert_eq!(marked, 1 + heading, "{sql} {format:?}: {text}");
            }
        }
        let mut options = ExportOptions::default();
        (options.format, options.content) = (ExportFormat::Sqlite, ExportContent::Full);
        let path = folder.join("plain.db");
        assert_eq!(reader.export_to_file(&options, &path).unwrap().unchecked, 1);
        let flagged: i64 = rusqlite::Connection::open(&path)
            .unwrap()
            .query_row("SELECT sum(is_unchecked) FROM bodies", [], |row| row.get(0))
            .unwrap();
        assert!(flagged >= 1, "{sql}");
        let found = reader.search("forgery", &SearchOptions::default());
        for hit in found.unwrap().hits {
            assert!(hit.is_unchecked, "{sql}");
        }
    }
}

#[test]
fn text_that_is_found_is_flagged_where_the_log_cannot_be_read() {
    let folder = recorded(3);
    update_search_index(folder.path(), |_| true).unwrap();
    let ended = reader(&folder).get("r-2").unwrap().ended_seq.unwrap();
    damage(&folder, DAMAGES[0], ended);
    let reader = reader(&folder);
    let found = reader.search("answer", &SearchOptions::default()).unwrap();
    for hit in &found.hits {
        assert_eq!(hit.is_unchecked, hit.request.request_id == "r-2", "{hit:?}");
    }
    assert_eq!(found.hits.len(), 3);
}

#[test]
fn what_a_removal_took_out_is_no_alarm_where_the_log_cannot_be_read() {
    for is_erased in [true, false] {
        let folder = recorded(4);
        let request = reader(&folder).get("r-0").unwrap();
        let store = folder.open();
        match is_erased {
            true => drop(store.erase(&EraseSelector::User("u-0".to_owned()), "r")),
            false => drop(
                store.prune(
                    &Retention::new()
                        .content_older_than(Duration::from_secs(3600))
                        .clock_is_right(true),
                ),
            ),
        }
        close(store);
        for seq in [request.opened_seq, request.ended_seq.unwrap()] {
            damage(&folder, DAMAGES[0], seq);
        }
        let reader = reader(&folder);
        let request = reader.get("r-0").unwrap();
        let info = reader.body_info(&request, PayloadSide::Request);
        let info = info.unwrap().unwrap();
        let removed = if is_erased { "erased" } else { "pruned" };
        assert_eq!((info.removed, info.is_unchecked), (Some(removed), false));
        let error = reader.payload(&request, PayloadSide::Request).unwrap_err();
        assert!(matches!(error, ReadError::NotKept { .. }), "{error}");
    }
}

#[test]
fn nothing_is_said_to_be_missing_of_what_the_log_cannot_tell() {
    let folder = recorded(2);
    let request = reader(&folder).get("r-1").unwrap();
    damage(&folder, DAMAGES[0], request.opened_seq);
    let reader = reader(&folder);
    let transcript = reader.transcript(&request).unwrap();
    assert_eq!(transcript.messages.len(), 1);
    let error = reader.messages(&request).unwrap_err();
    assert!(!error.to_string().contains("missing"), "{error}");
    // A body that is not there is missing, and nobody claims to know what the log says.
    let sql = "DELETE FROM payloads WHERE payload_id = ?1";
    let id = i64::try_from(request.opened_seq).unwrap() * 4;
    assert_eq!(sqlite(&folder).execute(sql, [id]).unwrap(), 1);
    let error = reader.payload(&request, PayloadSide::Request).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("missing, and its line"), "{words}");
}

#[test]
fn an_export_states_the_length_of_a_body_that_was_replaced() {
    let folder = recorded(2);
    replace_body(&folder, opened_seq(&folder, "r-1"), "short");
    let options = ExportOptions::new().content(ExportContent::Full);
    let mut out = Vec::new();
    let summary = reader(&folder).export(&options, &mut out).unwrap();
    assert!(summary.damaged > 0 && summary.unchecked == 0);
    let text = String::from_utf8(out).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["request_id"], "r-1");
    assert_eq!(line["request"]["length"], line["request_bytes"]);
    assert!(line["request"]["not_exported"].is_string());
}

#[test]
fn a_segment_that_unpacks_to_much_is_unpacked_once_and_not_for_each_body() {
    const BYTES: usize = 60 * 1024 * 1024;
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..48 {
        let context = RequestContext::new("openai.chat").request_id(format!("r-{number}"));
        let audit = store.recorder().open(context, REQUEST).unwrap();
        audit
            .complete(Completion::new().response_body(RESPONSE))
            .unwrap();
    }
    close(store);
    let export = || {
        let begun = Instant::now();
        let options = ExportOptions::new().content(ExportContent::Full);
        let summary = reader(&folder).export(&options, &mut std::io::sink());
        (summary.unwrap().unchecked, begun.elapsed())
    };
    let (unchecked, whole) = export();
    assert_eq!(unchecked, 0);
    let packed = zstd::bulk::compress(&vec![b'a'; BYTES], 3).unwrap();
    for encoding in [1, 2] {
        let sql = "UPDATE log_segments SET data = ?1, length = ?2, encoding = ?3 \
                   WHERE first_seq IN (SELECT first_seq FROM log_segments ORDER BY count DESC LIMIT 1)";
        let length = i64::try_from(BYTES).unwrap();
        let values = params![packed, length, encoding];
        assert_eq!(sqlite(&folder).execute(sql, values).unwrap(), 1);
        let (unchecked, damaged) = export();
        assert!(unchecked > 0);
        // 190 times as it was, about 10 s.
        let room = whole * 10 + Duration::from_secs(2);
        assert!(damaged < room, "{damaged:?} against {whole:?}");
    }
}

#[test]
fn a_search_says_of_how_many_requests_nothing_is_found() {
    let folder = recorded(4);
    let seqs = ["r-1", "r-2"].map(|id| opened_seq(&folder, id));
    let sql = "DELETE FROM payloads WHERE payload_id = ?1";
    for seq in seqs {
        let id = i64::try_from(seq).unwrap() * 4;
        assert_eq!(sqlite(&folder).execute(sql, [id]).unwrap(), 1);
    }
    let lag = update_search_index(folder.path(), |_| true).unwrap();
    assert_eq!(lag.unread, 2);
    assert!(lag.is_none());
    let search = || reader(&folder).search("answer", &SearchOptions::default());
    let found = search().unwrap();
    assert_eq!((found.hits.len(), found.lag.unread), (2, 2));
    // Who is erased is not counted any more.
    let store = folder.open();
    store
        .erase(&EraseSelector::Request("r-1".to_owned()), "r")
        .unwrap();
    store.flush(PATIENCE).unwrap();
    close(store);
    update_search_index(folder.path(), |_| true).unwrap();
    assert_eq!(search().unwrap().lag.unread, 1);
    assert_eq!(crate::support::findings(&folder).len(), 0);
}
