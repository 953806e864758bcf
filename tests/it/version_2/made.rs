//! Makes the fixture: records one of everything. Run once, before version 2 was released:
//!
//! ```text
//! rm tests/fixtures/version_2.*
//! cargo test --all-features --test it version_2::made::make_the_fixture -- --ignored --exact
//! ```

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use auditlite::{
    ActorKind, Capture, Completion, EraseSelector, Failure, Message, MessageToolCall, Recorder,
    Redaction, Rejection, RequestHandle, Retention, Timestamp, ToolCall, Usage, WireProtocol,
};

use super::*;

const HOUR_US: i64 = 3_600_000_000;
const PIECE: usize = 4096;
/// The smallest cap, so that an excerpt is small.
const CAP: usize = 16 * 1024;

fn context(id: &str) -> auditlite::RequestContext {
    auditlite::RequestContext::new(WireProtocol::OpenAiChat)
        .request_id(id)
        .provider_name("openai")
        .url_path("/v1/chat/completions")
}

fn asked(words: &str) -> String {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": words}]}).to_string()
}

fn answered(words: &str) -> String {
    json!({
        "id": "chatcmpl-1", "model": "gpt-4o-2024-08-06",
        "choices": [{"message": {"role": "assistant", "content": words}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7},
    })
    .to_string()
}

fn hours_ago(hours: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_micros() as i64 - hours * HOUR_US
}

fn open(recorder: &Recorder, id: &str) -> RequestHandle {
    recorder.open(context(id), asked(id)).unwrap()
}

fn finished(recorder: &Recorder, id: &str, status: u16) {
    let mut audit = open(recorder, id);
    audit.chunk(answered(id));
    audit.finish(status).unwrap();
}

/// Removals, deltas, every end that a gateway tells, and everything that a request can have.
fn first_opening(folder: &Folder) -> RequestHandle {
    let pieces = (Duration::from_secs(3600), PIECE);
    let store = builder(folder)
        .search_index(true)
        .payload_bytes_max(CAP)
        .response_pieces(pieces.0, pieces.1)
        .open()
        .unwrap();
    let recorder = store.recorder();
    for (id, hours) in [("pruned with metadata", 50), ("pruned content", 30)] {
        let past = context(id)
            .started_at(Timestamp::from_micros(hours_ago(hours)))
            .user_id("u-1");
        let mut audit = recorder.open(past, asked(id)).unwrap();
        audit.chunk(answered(id));
        audit.finish(200).unwrap();
        store.flush(PATIENCE).unwrap();
    }
    let mut history = String::new();
    for turn in 0..6 {
        history.push_str(&format!("turn {turn} of this talk. ").repeat(20));
        let id = format!("turn-{turn}");
        let talk = context(&id).conversation_id("c-1").user_id("u-1");
        let mut audit = recorder.open(talk, asked(&history)).unwrap();
        audit.chunk(answered(&format!("an answer to turn {turn}")));
        audit.finish(200).unwrap();
    }
    streamed(&recorder);
    failures(&recorder);
    described_requests(&recorder);
    finished(&recorder, "to be erased", 200);
    store.flush(PATIENCE).unwrap();
    let erased = EraseSelector::Request("to be erased".to_owned());
    store.erase(&erased, "the fixture asks for it").unwrap();
    let retention = Retention::new()
        .content_older_than(Duration::from_secs(20 * 3600))
        .metadata_older_than(Duration::from_secs(40 * 3600));
    store.prune(&retention).unwrap();
    // Left open: the next opening states that it was interrupted, with what came.
    let interrupted = half_streamed(&store, context("interrupted"));
    close(store);
    interrupted
}

/// A request whose response has not ended, of which pieces are in the file.
fn half_streamed(store: &Store, context: auditlite::RequestContext) -> RequestHandle {
    let id = context.request_id.clone().unwrap();
    let mut audit = store.recorder().open(context, asked(&id)).unwrap();
    for part in 0..3 {
        let words = format!("part {part} ").repeat(PIECE / 7);
        let data = json!({"choices": [{"delta": {"content": words}}]});
        audit.chunk(format!("data: {data}\n\n"));
        store.flush(PATIENCE).unwrap();
    }
    let request = store.reader().get(&id).unwrap();
    assert!(store.reader().response_so_far(&request).unwrap().is_some());
    audit
}

fn streamed(recorder: &Recorder) {
    let context = context("streamed with a tool call").is_streaming(true);
    let mut audit = recorder
        .open(context, asked("what is the weather"))
        .unwrap();
    audit.upstream_started();
    for delta in [
        json!({"choices": [{"delta": {"role": "assistant", "content": "I ask for the weather."}}]}),
        json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "call-1",
            "function": {"name": "weather", "arguments": "{\"city\":"}}]}}]}),
        json!({"choices": [{"delta": {"tool_calls": [{"index": 0,
            "function": {"arguments": "\"Bonn\"}"}}]}, "finish_reason": "tool_calls"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 16}}}),
    ] {
        audit.chunk(format!("data: {delta}\n\n"));
    }
    audit.chunk("data: [DONE]\n\n");
    audit.upstream_ended();
    audit.finish(200).unwrap();
    let mut long = open(recorder, "above the cap");
    for part in 0..10 {
        long.chunk(format!("{part} of a long response. ").repeat(200));
    }
    long.finish(200).unwrap();
}

fn failures(recorder: &Recorder) {
    let mut failed = open(recorder, "failed");
    failed.chunk(r#"{"error":{"message":"slow down","type":"rate_limit"}}"#);
    failed.finish(429).unwrap();
    let told = Failure::new("timeout").response_body("half an ans");
    let told = told.error_message("no answer in 30 s");
    open(recorder, "failed as told").fail(told).unwrap();
    let rejection = Rejection::new("quota").response_body("no");
    recorder
        .reject(context("rejected"), asked("rejected"), rejection)
        .unwrap();
    let mut abandoned = open(recorder, "abandoned");
    abandoned.set_http_status(200);
    abandoned.set_usage(Usage::new(5, 1));
    drop(abandoned);
}

fn described_requests(recorder: &Recorder) {
    let mut served = open(recorder, "served by another");
    served.set_served_model("gpt-4o-mini");
    served.set_served_provider("azure");
    served.set_upstream_body(asked("another body than the client's"));
    served.finish(200).unwrap();
    let mut late = open(recorder, "late facts");
    late.set_user_id("u-late");
    late.set_conversation_id("c-late");
    late.set_attribute("team", "blue");
    late.finish(200).unwrap();
    let everything = context("everything")
        .user_id("u-".repeat(200))
        .session_id("s-1")
        .context_id("x-1")
        .trace_id("0af7651916cd43dd8448eb211c80319c")
        .actor(ActorKind::Job, "nightly")
        .operation_name("chat")
        .client_model("best")
        .request_model("gpt-4o")
        .max_tokens(1000)
        .temperature(0.5)
        .top_p(0.9)
        .messages(vec![
            Message::new("user", "a handed question about the weather"),
            Message::new("assistant", "").tool_call(MessageToolCall::new("call-0", "clock", "{}")),
        ]);
    let everything = (0..40).fold(everything, |context, number| {
        context.attribute(
            format!("key-{number}"),
            format!("value {number} ").repeat(60),
        )
    });
    let completion = Completion::new()
        .assistant_text("a handed answer")
        .tool_call(ToolCall::new("call-1", "weather", r#"{"city":"Bonn"}"#))
        .usage(Usage::new(100, 20).cache_read_input_tokens(50))
        .cost_microdollars(1234)
        .finish_reason("stop")
        .response_id("resp-1")
        .http_status(200);
    let audit = recorder.open(everything, &b"\xff\x00 no text"[..]).unwrap();
    audit.complete(completion).unwrap();
    let unparsed = recorder
        .open(context("unparsed"), "{not of its protocol")
        .unwrap();
    unparsed
        .complete(Completion::new().response_body("{nor this"))
        .unwrap();
    let empty = recorder.open(context("empty"), "").unwrap();
    empty.complete(Completion::new()).unwrap();
    for (id, capture, status) in [
        ("metadata only", Capture::MetadataOnly, 200),
        ("deferred and dropped", Capture::Deferred, 200),
        ("deferred and kept", Capture::Deferred, 500),
    ] {
        let context = context(id).capture(capture);
        let context = context.messages(vec![Message::new("user", format!("handed: {id}"))]);
        let mut audit = recorder.open(context, asked(id)).unwrap();
        audit.chunk(answered(id));
        audit.finish(status).unwrap();
    }
    // Of no protocol, so that the handed messages count.
    let context = auditlite::RequestContext::new("").request_id("deferred messages");
    let context = context.capture(Capture::Deferred);
    let context = context.messages(vec![Message::new("user", "a deferred question")]);
    let audit = recorder.open(context, "").unwrap();
    audit.fail(Failure::new("timeout")).unwrap();
}

/// Redaction, one that fails, and a body that was shed.
fn second_opening(folder: &Folder) {
    let redaction = Redaction::credentials("keys-1").and(|text: &[u8]| {
        match text.windows(10).any(|window| window == b"unreadable") {
            true => Err("it is unreadable".into()),
            false => Ok(None),
        }
    });
    let store = builder(folder)
        .redaction(redaction)
        .payload_bytes_max(CAP)
        .capacity_bytes(64 * 1024)
        .open()
        .unwrap();
    let recorder = store.recorder();
    let secret = asked("my key is sk-proj-SECRETSECRETSECRETSECRET");
    let mut redacted = recorder.open(context("redacted"), secret).unwrap();
    redacted.chunk(answered("redacted"));
    redacted.finish(200).unwrap();
    let withheld = recorder
        .open(context("withheld"), asked("unreadable"))
        .unwrap();
    withheld.finish(200).unwrap();
    let shed = recorder
        .open(context("shed"), "x".repeat(60 * 1024))
        .unwrap();
    shed.finish(200).unwrap();
    close(store);
}

/// What is open when the file is kept: one with pieces, one whose capture is deferred.
fn third_opening(folder: &Folder) -> [RequestHandle; 2] {
    let store = builder(folder)
        .search_index(true)
        .capture(Capture::Deferred)
        .response_pieces(Duration::from_secs(3600), PIECE)
        .open()
        .unwrap();
    let deferred = open(&store.recorder(), "open and deferred");
    let streaming = half_streamed(&store, context("open").capture(Capture::Full));
    let until = Instant::now() + PATIENCE;
    while store.reader().search_lag().unwrap().missing_since.is_some() {
        assert!(
            Instant::now() < until,
            "the search index is built in idle time"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    close(store);
    [deferred, streaming]
}

#[test]
#[ignore = "wrote the fixture, once"]
fn make_the_fixture() {
    if fixture("version_2.db.zst").exists() {
        return;
    }
    fs::create_dir_all(fixture("")).unwrap();
    if !fixture("version_2.key").exists() {
        let key = SigningKey::generate("test.example/version-2").unwrap();
        fs::write(fixture("version_2.key"), key.to_secret_text() + "\n").unwrap();
    }
    let folder = Folder::new();
    let interrupted = first_opening(&folder);
    second_opening(&folder);
    let open = third_opening(&folder);
    drop((interrupted, open));
    let pages = crate::support::sqlite(&folder);
    pages
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(pages);
    let wal = fs::metadata(folder.join("audit.db-wal")).map_or(0, |wal| wal.len());
    assert_eq!(wal, 0, "all of it is in the file");
    assert_eq!(findings(&folder), Vec::<String>::new());
    let expected = serde_json::to_string_pretty(&contents(&folder)).unwrap();
    fs::write(fixture("version_2.json"), expected + "\n").unwrap();
    fs::copy(anchor(&folder), fixture("version_2.anchor")).unwrap();
    let file = fs::read(folder.path()).unwrap();
    fs::write(
        fixture("version_2.db.zst"),
        zstd::encode_all(&*file, 19).unwrap(),
    )
    .unwrap();
}
