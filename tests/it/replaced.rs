//! Bodies that another program deleted or replaced: no reader reports them as never kept, or as what was recorded.

use std::time::Duration;

use auditlite::{
    Capture, Completion, ConversationOptions, EraseSelector, ExportContent, ExportFormat,
    ExportOptions, PayloadSide, ReadError, ReadOnlyStore, RequestContext, Retention, Store,
    Timestamp, ToolCall,
};
use rusqlite::params;

use crate::support::{Folder, PATIENCE, close, sqlite};

const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"the question"}]}"#;
const RESPONSE: &str = r#"{"choices":[{"message":{"role":"assistant","content":"the answer"}}]}"#;

fn recorded() -> Folder {
    let folder = Folder::new();
    let store = folder
        .builder()
        .payload_bytes_max(32 * 1024)
        .open()
        .unwrap();
    for number in 0..6 {
        let context = RequestContext::new("openai.chat")
            .request_id(format!("r-{number}"))
            .user_id(format!("u-{number}"))
            .conversation_id(format!("c-{number}"))
            // Old enough to be pruned.
            .started_at(Timestamp::from_micros(
                1_700_000_000_000_000 + number * 3_600_000_000,
            ))
            .capture(match number {
                4 => Capture::MetadataOnly,
                _ => Capture::Full,
            });
        let request = match number {
            5 => REQUEST.replace("the question", &"long ".repeat(20_000)),
            _ => REQUEST.to_owned(),
        };
        let mut audit = store.recorder().open(context, request).unwrap();
        audit.set_upstream_body("forwarded");
        audit
            .complete(
                Completion::new()
                    .response_body(RESPONSE)
                    .assistant_text("the answer, handed over")
                    .tool_call(ToolCall::new("id", "weather", "{}")),
            )
            .unwrap();
        store.flush(PATIENCE).unwrap();
    }
    close(store);
    folder
}

/// What a reader says of the request's body: its bytes, or why there are none.
fn told(folder: &Folder, id: &str, side: PayloadSide) -> Result<Vec<u8>, String> {
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let request = reader.get(id).unwrap();
    match reader.payload(&request, side) {
        Ok(payload) => Ok(payload.bytes),
        Err(error @ (ReadError::NotKept { .. } | ReadError::Damaged(_))) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// Row of the body of the request's opening or end, or of what was handed over with it.
fn row_of(folder: &Folder, id: &str, side: PayloadSide, part: i64) -> i64 {
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let request = reader.get(id).unwrap();
    let seq = match side {
        PayloadSide::Request => request.opened_seq,
        _ => request.ended_seq.unwrap(),
    };
    i64::try_from(seq).unwrap() * 4 + part
}

/// Exports in every form. Those with this much content do not look at what is wrong.
fn exports(folder: &Folder, unseeing: &[ExportContent]) -> Vec<String> {
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let mut texts = Vec::new();
    for format in [
        ExportFormat::JsonLines,
        ExportFormat::Csv,
        ExportFormat::Otlp,
    ] {
        for content in [
            ExportContent::None,
            ExportContent::Excerpt,
            ExportContent::Full,
        ] {
            let mut options = ExportOptions::default();
            (options.format, options.content) = (format, content);
            // Without digests it looks at no body.
            options.has_digests = content == ExportContent::None;
            let mut out = Vec::new();
            let summary = reader.export(&options, &mut out).unwrap();
            let is_seen = !unseeing.contains(&content);
            assert_eq!(summary.damaged > 0, is_seen, "{format:?} {content:?}");
            texts.push(String::from_utf8(out).unwrap());
        }
    }
    let path = folder.join("plain.db");
    let mut options = ExportOptions::default();
    (options.format, options.content) = (ExportFormat::Sqlite, ExportContent::Full);
    assert!(reader.export_to_file(&options, &path).unwrap().damaged > 0);
    let reasons: String = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT group_concat(not_exported) FROM bodies", [], |row| {
            row.get(0)
        })
        .unwrap();
    texts.push(reasons);
    texts
}

#[test]
fn a_deleted_body_is_said_to_be_missing_and_not_to_have_been_shed() {
    let folder = recorded();
    let deleted = [
        row_of(&folder, "r-1", PayloadSide::Request, 0),
        row_of(&folder, "r-2", PayloadSide::Response, 0),
        row_of(&folder, "r-4", PayloadSide::Request, 0),
        row_of(&folder, "r-5", PayloadSide::Request, 0),
    ];
    let connection = sqlite(&folder);
    for id in deleted {
        let sql = "DELETE FROM payloads WHERE payload_id = ?1";
        assert_eq!(connection.execute(sql, [id]).unwrap(), 1);
    }
    drop(connection);
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let reader = store.reader();
    for (id, side) in [
        ("r-1", PayloadSide::Request),
        ("r-2", PayloadSide::Response),
        ("r-4", PayloadSide::Request),
        ("r-5", PayloadSide::Request),
    ] {
        let words = told(&folder, id, side).unwrap_err();
        assert!(
            words.contains("missing, though the log says that it was kept"),
            "{words}"
        );
        let request = reader.get(id).unwrap();
        let info = reader.body_info(&request, side).unwrap().unwrap();
        assert_eq!((info.removed, info.sha256), (Some("missing"), None));
        assert!(
            matches!(reader.transcript(&request), Err(ReadError::Damaged(_))),
            "{id}"
        );
    }
    assert_eq!(
        reader
            .conversation("c-1", &ConversationOptions::default())
            .unwrap()
            .damaged,
        1
    );
    for text in exports(&folder, &[]) {
        assert!(!text.contains("capacity"), "{text}");
    }
}

#[test]
fn what_was_handed_over_and_the_forwarded_digest_are_missed_too() {
    let folder = recorded();
    let connection = sqlite(&folder);
    for part in [1, 2] {
        let id = row_of(&folder, "r-0", PayloadSide::Response, part);
        let sql = "DELETE FROM payloads WHERE payload_id = ?1";
        assert_eq!(connection.execute(sql, [id]).unwrap(), 1);
    }
    drop(connection);
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let request = reader.get("r-0").unwrap();
    let is_damaged = |result: Result<(), ReadError>| matches!(result, Err(ReadError::Damaged(_)));
    assert!(is_damaged(reader.assistant_text(&request).map(drop)));
    assert!(is_damaged(reader.tool_calls(&request).map(drop)));
    assert!(is_damaged(reader.upstream_body(&request).map(drop)));
    assert!(
        reader
            .upstream_body(&reader.get("r-1").unwrap())
            .unwrap()
            .is_some()
    );
}

/// The commitment's inputs are replaced with the content, as an attacker does who knows the format.
fn replace(folder: &Folder, id: i64, body: &[u8], is_excerpt: bool) {
    use sha2::{Digest, Sha256};
    let packed = zstd::bulk::compress(body, 1).unwrap();
    let length = i64::try_from(body.len()).unwrap();
    let digest = Sha256::digest(body).to_vec();
    let connection = sqlite(folder);
    let changed = match is_excerpt {
        true => connection.execute(
            "UPDATE payloads SET kept = ?2, encoding = 1, base_id = NULL, \
             second_base_id = NULL, data = ?3 WHERE payload_id = ?1 AND head IS NOT NULL",
            params![id, length, packed],
        ),
        false => connection.execute(
            "UPDATE payloads SET sha256 = ?2, salt = randomblob(32), kept = ?3, length = ?3, \
             encoding = 1, base_id = NULL, second_base_id = NULL, data = ?4 WHERE payload_id = ?1",
            params![id, digest, length, packed],
        ),
    };
    assert_eq!(changed.unwrap(), 1);
}

#[test]
fn a_body_replaced_together_with_its_digest_and_salt_is_not_shown_as_genuine() {
    let forged = REQUEST.replace("the question", "a forgery!!!");
    assert_eq!(forged.len(), REQUEST.len());
    for (id, side, part, is_excerpt) in [
        ("r-1", PayloadSide::Request, 0, false),
        ("r-3", PayloadSide::Response, 0, false),
        ("r-5", PayloadSide::Request, 0, true),
        ("r-0", PayloadSide::Response, 1, false),
    ] {
        let folder = recorded();
        let row = row_of(&folder, id, side, part);
        match is_excerpt {
            false => replace(&folder, row, forged.as_bytes(), false),
            true => replace(&folder, row, &[b'x'; 16 * 1024], true),
        }
        let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
        let request = reader.get(id).unwrap();
        if part == 0 {
            let words = told(&folder, id, side).unwrap_err();
            assert!(words.contains("is not what was recorded"), "{words}");
        } else {
            assert!(matches!(
                reader.assistant_text(&request),
                Err(ReadError::Damaged(_))
            ));
        }
        if !is_excerpt {
            assert!(matches!(reader.transcript(&request), Err(ReadError::Damaged(_))) || part == 1);
        }
        let unseeing: &[ExportContent] = match part {
            // Without content, the bytes of an excerpt are not read,
            0 if is_excerpt => &[ExportContent::None],
            0 => &[],
            // and inputs of tool calls are in full exports only.
            _ => &[ExportContent::None, ExportContent::Excerpt],
        };
        for text in exports(&folder, unseeing) {
            assert!(!text.contains("forgery"), "{text}");
        }
    }
}

#[test]
fn what_is_said_to_be_kept_by_digest_only_is_not_believed_of_the_row() {
    let folder = recorded();
    let row = row_of(&folder, "r-1", PayloadSide::Response, 0);
    let sql = "UPDATE payloads SET data = NULL, kept = 0, encoding = 0, base_id = NULL, \
               second_base_id = NULL WHERE payload_id = ?1";
    assert_eq!(sqlite(&folder).execute(sql, [row]).unwrap(), 1);
    let words = told(&folder, "r-1", PayloadSide::Response).unwrap_err();
    assert!(words.contains("more or less of it is kept"), "{words}");
    // The one of which only the digest was to be kept.
    let words = told(&folder, "r-4", PayloadSide::Request).unwrap_err();
    assert!(words.contains("capture was off"), "{words}");
}

#[test]
fn a_row_in_the_table_of_removals_alone_excuses_nothing() {
    let folder = recorded();
    let row = row_of(&folder, "r-1", PayloadSide::Response, 0);
    let connection = sqlite(&folder);
    let sql = "DELETE FROM payloads WHERE payload_id = ?1";
    assert_eq!(connection.execute(sql, [row]).unwrap(), 1);
    for kind in ["erased", "content", "metadata"] {
        connection.execute("DELETE FROM removals", []).unwrap();
        let sql = "INSERT INTO removals (kind, first_seq, last_seq, seq, requests) \
                   VALUES (?1, ?2, ?2, 1, 0)";
        connection.execute(sql, params![kind, row / 4]).unwrap();
        let words = told(&folder, "r-1", PayloadSide::Response).unwrap_err();
        assert!(words.contains("missing, though"), "{kind}: {words}");
    }
}

#[test]
fn what_was_erased_pruned_or_shed_is_said_to_be() {
    let folder = recorded();
    let store = folder.open();
    let selector = EraseSelector::User("u-1".to_owned());
    store.erase(&selector, "asked for").unwrap();
    let mut retention = Retention::default();
    // A second before r-3, which stays.
    let since = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 3 * 3600 - 1);
    retention.content_older_than = since.elapsed().ok();
    store.prune(&retention).unwrap();
    let words = |id| told(&folder, id, PayloadSide::Request).unwrap_err();
    assert!(words("r-1").contains("(it was erased)"), "{}", words("r-1"));
    assert!(words("r-2").contains("(it was pruned)"), "{}", words("r-2"));
    assert_eq!(
        told(&folder, "r-3", PayloadSide::Request).unwrap(),
        REQUEST.as_bytes()
    );
    close(store);
    let folder = Folder::new();
    let store = folder.builder().capacity_bytes(1024 * 1024).open().unwrap();
    shed(&store);
    close(store);
    let words = told(&folder, "shed", PayloadSide::Request).unwrap_err();
    assert!(words.contains("want of capacity"), "{words}");
}

/// Records a request whose body is too long for the capacity.
fn shed(store: &Store) {
    let context = RequestContext::new("openai.chat").request_id("shed");
    let body = "x".repeat(4 * 1024 * 1024);
    let audit = store.recorder().open(context, body).unwrap();
    audit.complete(Completion::new()).unwrap();
}
