//! Deferred capture: bodies are kept of requests that do not succeed, and the end decides which these are.

use std::time::Duration;

use auditlite::{
    Capture, Completion, EXCERPT_BYTES, EraseSelector, ExportContent, ExportFormat, ExportOptions,
    Failure, ListOptions, Message, PayloadSide, ReadError, ReadOnlyStore, Reader, Redaction,
    Rejection, RequestContext, RequestHandle, RequestRecord, Retention, Status, Store,
    StoreBuilder, VerifyOptions, WireProtocol,
};
use sha2::{Digest as _, Sha256};

use crate::support::{Folder, PATIENCE, close, sqlite};

const ASKED: &str = r#"{"model":"m","messages":[{"role":"user","content":"the asked words"}]}"#;
const ANSWERED: &str =
    r#"{"model":"m","choices":[{"message":{"role":"assistant","content":"the said words"}}]}"#;
const PROBLEM: &str = r#"{"error":{"message":"the said words","type":"overloaded"}}"#;
/// A stream that does not come to its end.
const BROKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"the said words\"}}]}\n\n";
const WHOLE: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"the said words\"}}]}\n\ndata: [DONE]\n\n";

pub(crate) fn builder(folder: &Folder) -> StoreBuilder {
    folder.builder().capture(Capture::Deferred)
}

fn open(store: &Store, id: &str) -> RequestHandle {
    let context = RequestContext::new(WireProtocol::OpenAiChat).request_id(id);
    store.recorder().open(context, ASKED).unwrap()
}

fn answered(store: &Store, id: &str, response: &'static str) -> RequestHandle {
    let mut audit = open(store, id);
    audit.chunk(response);
    audit
}

/// Checks that both bodies are in the file, or that their digests are.
fn check(reader: &Reader, id: &str, response: &str, is_kept: bool) -> RequestRecord {
    let request = reader.get(id).unwrap();
    let bodies = [
        (PayloadSide::Request, ASKED),
        (PayloadSide::Response, response),
    ];
    for (side, body) in bodies {
        let info = reader.body_info(&request, side).unwrap();
        let info = info.unwrap_or_else(|| panic!("{id} has no {side:?} body"));
        let kept = if is_kept { body.len() } else { 0 };
        assert_eq!(info.length, body.len() as u64, "{id}");
        assert_eq!(info.kept, kept as u64, "{id} {side:?}");
        assert_eq!(info.is_deferred, !is_kept, "{id} {side:?}");
        let digest: [u8; 32] = Sha256::digest(body).into();
        assert_eq!(info.sha256.unwrap().0, digest, "{id}");
        match reader.payload(&request, side) {
            Ok(found) => assert!(is_kept && found.bytes == body.as_bytes(), "{id} {side:?}"),
            Err(ReadError::NotKept { reason, length, .. }) => {
                assert!(!is_kept && length == body.len() as u64, "{id} {side:?}");
                assert!(reason.contains("deferred"), "{reason}");
            }
            Err(error) => panic!("{id}: {error}"),
        }
    }
    let said = reader.transcript(&request).unwrap();
    assert_eq!(!said.messages.is_empty(), is_kept, "{id}");
    request
}

/// What verification finds, with bodies and the search index, and what the doctor finds.
pub(crate) fn findings(folder: &Folder) -> Vec<String> {
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let options = VerifyOptions::new().compare_search(true);
    let found = store.verify(&options).unwrap().findings;
    let found = found.into_iter().map(|finding| finding.what);
    found.chain(store.doctor().unwrap().findings).collect()
}

/// Whether the file holds these words, packed or not: short bodies are stored as they are.
fn holds(folder: &Folder, words: &str) -> bool {
    let connection = sqlite(folder);
    let mut statement = connection
        .prepare("SELECT data FROM payloads WHERE data IS NOT NULL AND encoding = 0 UNION ALL SELECT data FROM payloads WHERE encoding = 1")
        .unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0));
    rows.unwrap().any(|data| {
        let data = data.unwrap();
        let data = zstd::decode_all(&*data).unwrap_or(data);
        String::from_utf8_lossy(&data).contains(words)
    })
}

#[test]
fn bodies_are_kept_of_requests_that_do_not_succeed() {
    let folder = Folder::new();
    let store = builder(&folder).open().unwrap();
    let finish = |id, response, status| answered(&store, id, response).finish(status).unwrap();
    finish("completed", ANSWERED, 200);
    finish("streamed", WHOLE, 200);
    finish("status", PROBLEM, 503);
    finish("error in it", PROBLEM, 200);
    finish("broken off", BROKEN, 200);
    let told = |id, status| {
        let mut completion = Completion::new();
        completion.http_status = status;
        answered(&store, id, ANSWERED).complete(completion).unwrap();
    };
    told("told", None);
    told("told 204", Some(204));
    told("told 429", Some(429));
    let failed = answered(&store, "failed", ANSWERED);
    failed.fail(Failure::new("timeout")).unwrap();
    let rejection = Rejection::new("quota").response_body(PROBLEM);
    open(&store, "rejected").reject(rejection).unwrap();
    drop(answered(&store, "abandoned", BROKEN));
    drop(answered(&store, "left at its end", WHOLE));
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let expected = [
        ("completed", Status::Completed, ANSWERED, false),
        ("streamed", Status::Completed, WHOLE, false),
        ("status", Status::Failed, PROBLEM, true),
        ("error in it", Status::Failed, PROBLEM, true),
        ("broken off", Status::Failed, BROKEN, true),
        ("told", Status::Completed, ANSWERED, false),
        ("told 204", Status::Completed, ANSWERED, false),
        ("told 429", Status::Completed, ANSWERED, true),
        ("failed", Status::Failed, ANSWERED, true),
        ("rejected", Status::Rejected, PROBLEM, true),
        ("abandoned", Status::Abandoned, BROKEN, true),
        ("left at its end", Status::Completed, WHOLE, false),
    ];
    for (id, status, response, is_kept) in expected {
        let request = check(&reader, id, response, is_kept);
        assert_eq!(request.status, status, "{id}");
    }
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn a_success_leaves_no_content_in_the_file() {
    let folder = Folder::new();
    let store = builder(&folder).search_index(true).open().unwrap();
    let mut context = RequestContext::new(WireProtocol::OpenAiChat).request_id("r-1");
    context = context.messages(vec![Message::new("user", "the handed words")]);
    let audit = store.recorder().open(context.clone(), ASKED).unwrap();
    let completion = Completion::new().response_body(ANSWERED);
    audit
        .complete(completion.assistant_text("the handed words too"))
        .unwrap();
    store.flush(PATIENCE).unwrap();
    let request = store.reader().get("r-1").unwrap();
    assert!(store.reader().messages(&request).unwrap().is_empty());
    assert_eq!(store.reader().assistant_text(&request).unwrap(), None);
    close(store);
    for words in ["asked words", "said words", "handed words"] {
        assert!(!holds(&folder, words), "{words}");
        let bytes = std::fs::read(folder.path()).unwrap();
        let is_there = bytes.windows(words.len()).any(|w| w == words.as_bytes());
        assert!(!is_there, "{words}");
    }
    // And the same words are there where it failed.
    let store = builder(&folder).open().unwrap();
    let audit = store
        .recorder()
        .open(context.request_id("r-2"), ASKED)
        .unwrap();
    let mut failure = Failure::new("timeout");
    failure.response_body = Some(ANSWERED.into());
    failure.assistant_text = Some("the handed words too".to_owned());
    audit.fail(failure).unwrap();
    store.flush(PATIENCE).unwrap();
    let request = check(&store.reader(), "r-2", ANSWERED, true);
    let messages = store.reader().messages(&request).unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].text, "the handed words");
    let text = store.reader().assistant_text(&request).unwrap();
    assert_eq!(text.as_deref(), Some("the handed words too"));
    close(store);
    for words in ["asked words", "said words", "handed words"] {
        assert!(holds(&folder, words), "{words}");
    }
    assert!(findings(&folder).is_empty());
}

#[test]
fn the_handle_has_the_last_word_up_to_the_end() {
    let folder = Folder::new();
    let store = builder(&folder).open().unwrap();
    let mut slow = answered(&store, "slow", ANSWERED);
    slow.set_capture(Capture::MetadataOnly);
    slow.set_capture(Capture::Full);
    slow.finish(200).unwrap();
    let mut private = answered(&store, "private", PROBLEM);
    private.set_capture(Capture::MetadataOnly);
    private.finish(500).unwrap();
    let mut again = answered(&store, "again", PROBLEM);
    again.set_capture(Capture::MetadataOnly);
    again.set_capture(Capture::Deferred);
    again.finish(500).unwrap();
    // One whose body is on its way to the disk is not decided about any more.
    let context = RequestContext::new("")
        .request_id("full")
        .capture(Capture::Full);
    let mut full = store.recorder().open(context, ASKED).unwrap();
    full.set_capture(Capture::MetadataOnly);
    full.chunk(ANSWERED);
    full.complete(Completion::new()).unwrap();
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    check(&reader, "slow", ANSWERED, true);
    check(&reader, "again", PROBLEM, true);
    let full = reader.get("full").unwrap();
    for side in [PayloadSide::Request, PayloadSide::Response] {
        assert!(reader.payload(&full, side).is_ok());
    }
    let private = reader.get("private").unwrap();
    let reason = |side| match reader.payload(&private, side) {
        Err(ReadError::NotKept { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(PayloadSide::Request).contains("deferred"));
    assert!(reason(PayloadSide::Response).contains("capture was off"));
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn one_request_can_be_deferred_or_not_whatever_the_store_is_set_to() {
    let folder = Folder::new();
    let store = folder.open();
    let context = RequestContext::new(WireProtocol::OpenAiChat);
    let deferred = context.clone().capture(Capture::Deferred);
    for (id, context) in [("kept", context), ("dropped", deferred)] {
        let mut audit = store
            .recorder()
            .open(context.request_id(id), ASKED)
            .unwrap();
        audit.chunk(ANSWERED);
        audit.finish(200).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    check(&store.reader(), "kept", ANSWERED, true);
    check(&store.reader(), "dropped", ANSWERED, false);
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn what_is_open_says_that_it_is_not_decided() {
    let folder = Folder::new();
    let store = builder(&folder).open().unwrap();
    let audit = open(&store, "r-1");
    audit.opened_receipt().wait(PATIENCE).unwrap();
    let request = store.reader().get("r-1").unwrap();
    let Err(ReadError::NotKept { reason, .. }) =
        store.reader().payload(&request, PayloadSide::Request)
    else {
        panic!("it is kept already");
    };
    assert_eq!(reason, "its capture is deferred until the request ends");
    // A store that is closed first never learns how it ends, as with a crash.
    close(store);
    drop(audit);
    let store = builder(&folder).open().unwrap();
    let request = store.reader().get("r-1").unwrap();
    assert_eq!(request.status, Status::Interrupted);
    let info = store.reader().body_info(&request, PayloadSide::Request);
    let info = info.unwrap().unwrap();
    assert!(info.is_deferred && info.kept == 0 && info.sha256.is_some());
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn a_deferred_body_is_the_base_of_no_other_and_has_none() {
    let folder = Folder::new();
    let store = folder.open();
    let long = "a turn that was said before. ".repeat(400);
    for number in 0..8 {
        let body = format!(r#"{{"turns":"{long}","number":{number}}}"#);
        let mut context = RequestContext::new("").conversation_id("c-1");
        if number % 2 == 0 {
            context = context.capture(Capture::Deferred);
        }
        let mut audit = store.recorder().open(context, body).unwrap();
        audit.chunk(long.clone());
        audit
            .finish(if number % 4 == 0 { 500 } else { 200 })
            .unwrap();
    }
    close(store);
    let bases: Vec<(i64, i64)> = sqlite(&folder)
        .prepare("SELECT payload_id, base_id FROM payloads WHERE base_id IS NOT NULL")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let late: Vec<i64> = sqlite(&folder)
        .prepare("SELECT payload_id FROM payloads WHERE payload_id % 4 = 3")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(late.len(), 2);
    assert!(
        !bases.is_empty(),
        "the others are packed against each other"
    );
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let reader = store.reader();
    let page = reader
        .list(
            &auditlite::RequestFilter::default(),
            &ListOptions::default(),
        )
        .unwrap();
    for request in page.requests.iter().rev().step_by(2) {
        let [opened, ended] = [request.opened_seq, request.ended_seq.unwrap()];
        for seq in [opened, ended] {
            let ids = seq.cast_signed() * 4..seq.cast_signed() * 4 + 4;
            let is_of = |id: &i64| ids.contains(id);
            assert!(
                !bases.iter().any(|(id, base)| is_of(id) || is_of(base)),
                "{seq}"
            );
        }
    }
    assert!(findings(&folder).is_empty());
}

#[test]
fn above_the_cap_an_excerpt_of_a_failure_is_kept() {
    const CAP: usize = 64 * 1024;
    let folder = Folder::new();
    let store = builder(&folder).payload_bytes_max(CAP).open().unwrap();
    let body = "0123456789abcdef".repeat(CAP / 8);
    for (id, status) in [("failed", 502), ("completed", 200)] {
        let context = RequestContext::new("").request_id(id);
        let mut audit = store.recorder().open(context, body.clone()).unwrap();
        for chunk in body.as_bytes().chunks(10_000) {
            audit.chunk(chunk.to_vec());
        }
        audit.finish(status).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    for side in [PayloadSide::Request, PayloadSide::Response] {
        let payload = reader
            .payload(&reader.get("failed").unwrap(), side)
            .unwrap();
        assert_eq!(payload.length, body.len() as u64);
        assert_eq!(payload.bytes.len(), 2 * EXCERPT_BYTES);
        let completed = reader.get("completed").unwrap();
        assert!(reader.payload(&completed, side).is_err());
        let info = reader.body_info(&completed, side).unwrap().unwrap();
        assert!(info.is_deferred);
    }
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn secrets_are_taken_out_of_what_is_held() {
    const KEY: &str = "sk-proj-SECRETSECRETSECRETSECRET";
    let folder = Folder::new();
    let redaction = Redaction::credentials("keys-1");
    let store = builder(&folder).redaction(redaction).open().unwrap();
    let body = format!(r#"{{"key":"{KEY}","words":"held words"}}"#);
    let mut audit = store
        .recorder()
        .open(RequestContext::new("").request_id("r-1"), body)
        .unwrap();
    audit.chunk(format!("{KEY} in the answer"));
    audit.finish(500).unwrap();
    store.flush(PATIENCE).unwrap();
    let request = store.reader().get("r-1").unwrap();
    let payload = store
        .reader()
        .payload(&request, PayloadSide::Request)
        .unwrap();
    let text = String::from_utf8(payload.bytes).unwrap();
    assert!(text.contains("held words") && !text.contains(KEY), "{text}");
    close(store);
    assert!(!holds(&folder, KEY));
    assert!(findings(&folder).is_empty());
}

#[test]
fn kept_bodies_are_erased_pruned_and_proven_like_others() {
    let folder = Folder::new();
    let store = builder(&folder).search_index(true).open().unwrap();
    for id in ["erased", "pruned"] {
        answered(&store, id, PROBLEM).finish(500).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    store
        .erase(&EraseSelector::Request("erased".to_owned()), "asked for")
        .unwrap();
    let request = store.reader().get("erased").unwrap();
    let Err(ReadError::NotKept { reason, .. }) =
        store.reader().payload(&request, PayloadSide::Request)
    else {
        panic!("it is still there");
    };
    assert!(reason.contains("erased"), "{reason}");
    check(&store.reader(), "pruned", PROBLEM, true);
    let retention = Retention::new().content_older_than(Duration::ZERO);
    store.prune(&retention).unwrap();
    let request = store.reader().get("pruned").unwrap();
    let Err(ReadError::NotKept { reason, .. }) =
        store.reader().payload(&request, PayloadSide::Request)
    else {
        panic!("it is still there");
    };
    assert!(reason.contains("pruned"), "{reason}");
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn a_kept_body_that_is_taken_out_of_the_file_is_missed() {
    let folder = Folder::new();
    let store = builder(&folder).open().unwrap();
    answered(&store, "r-1", PROBLEM).finish(500).unwrap();
    close(store);
    let gone = sqlite(&folder)
        .execute("DELETE FROM payloads WHERE payload_id % 4 = 3", [])
        .unwrap();
    assert_eq!(gone, 1);
    let found = findings(&folder);
    assert!(
        found
            .iter()
            .any(|line| line.contains("deferred request body")),
        "{found:?}"
    );
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let request = store.reader().get("r-1").unwrap();
    for error in [
        store
            .reader()
            .payload(&request, PayloadSide::Request)
            .unwrap_err(),
        store
            .reader()
            .body_info(&request, PayloadSide::Request)
            .unwrap_err(),
        store.reader().transcript(&request).unwrap_err(),
    ] {
        assert!(matches!(error, ReadError::Damaged(_)), "{error}");
    }
}

#[test]
fn the_end_keeps_the_body_that_the_opening_committed_to() {
    let folder = Folder::new();
    let store = builder(&folder).open().unwrap();
    answered(&store, "r-1", PROBLEM).finish(500).unwrap();
    close(store);
    let same = "SELECT count(DISTINCT salt || sha256), count(*) FROM payloads
        WHERE payload_id % 4 = 3 OR payload_id = (SELECT opened_seq * 4 FROM requests)";
    let counts = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let counted = sqlite(&folder).query_row(same, [], counts).unwrap();
    assert_eq!(counted, (1, 2), "one commitment, in both events");
    let changed = sqlite(&folder)
        .execute(
            "UPDATE payloads SET salt = randomblob(32) WHERE data IS NULL",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    let found = findings(&folder);
    let is_compared = |line: &String| line.contains("its opening committed to");
    assert!(found.iter().any(is_compared), "{found:?}");
}

#[test]
fn exports_have_what_was_kept_and_say_why_the_rest_is_not() {
    let folder = Folder::new();
    let store = builder(&folder).open().unwrap();
    answered(&store, "kept", PROBLEM).finish(500).unwrap();
    answered(&store, "dropped", ANSWERED).finish(200).unwrap();
    store.flush(PATIENCE).unwrap();
    let export = |format| {
        let options = ExportOptions::new().format(format);
        let mut out = Vec::new();
        let options = options.content(ExportContent::Full);
        store.reader().export(&options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let lines = export(ExportFormat::JsonLines);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let [request, response] = [&line["request"], &line["response"]];
        if line["request_id"] == "kept" {
            assert_eq!(request["text"], ASKED);
            assert_eq!(response["text"], PROBLEM);
            assert!(request["not_exported"].is_null());
        } else {
            for body in [request, response] {
                assert!(body["text"].is_null());
                let why = body["not_exported"].as_str().unwrap();
                assert_eq!(why, "its capture was deferred, and the request succeeded");
            }
        }
    }
    assert_eq!(lines.lines().count(), 2);
    // In OTLP as messages.
    let spans = export(ExportFormat::Otlp);
    assert_eq!(spans.matches("the asked words").count(), 1, "{spans}");
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn nothing_of_a_deferred_stream_is_written_before_its_end_and_its_request_stays_held() {
    const CAP: usize = 64 * 1024;
    let folder = Folder::new();
    let store = builder(&folder)
        .payload_bytes_max(CAP)
        .response_pieces(Duration::ZERO, 4096)
        .open()
        .unwrap();
    let mut audit = open(&store, "r-1");
    // Beyond the cap, so that the writer digests what came so far.
    for _ in 0..40 {
        audit.chunk(vec![b'x'; 4096]);
    }
    store.flush(PATIENCE).unwrap();
    let request = store.reader().get("r-1").unwrap();
    assert!(store.reader().response_so_far(&request).unwrap().is_none());
    let held = store.health().queued_bytes;
    assert!(held >= ASKED.len() as u64, "{held}");
    let pieces = "SELECT count(*) FROM response_pieces";
    let count = |sql| sqlite(&folder).query_row(sql, [], |row| row.get::<_, i64>(0));
    assert_eq!(count(pieces).unwrap(), 0);
    close(store);
    drop(audit);
    let store = builder(&folder).open().unwrap();
    let request = store.reader().get("r-1").unwrap();
    assert_eq!(request.status, Status::Interrupted);
    assert_eq!(request.response_bytes, None);
    close(store);
    assert!(findings(&folder).is_empty());
}
