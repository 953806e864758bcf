//! Requests with every field that a gateway can set, most of which `record` has no line for: all commands show them.

use std::time::Duration;

use auditlite::{
    ActorKind, Completion, Failure, Message, MessageToolCall, MessageToolResult, Recorder,
    Rejection, RequestContext, Store, Timestamp, Timing, ToolCall, Usage,
};

use crate::support::{Sandbox, assert_golden};

const STARTED_AT: i64 = 1_793_534_400_000_000;

fn timing() -> Timing {
    Timing::default()
        .latency_us(1_500_000)
        .upstream_latency_us(1_380_000)
        .time_to_first_chunk_us(210_000)
}

fn rich_context() -> RequestContext {
    let call = MessageToolCall::new("call-0", "find\u{1b}[31m", "{\"city\":\"Lyon\"}");
    let asked = Message::new("assistant", "").tool_call(call);
    let result = MessageToolResult::new("call-0", "18 °C\u{7}");
    let answered = Message::new("tool", "").tool_result(result);
    let hello = "What is the weather in Lyon?\n".repeat(20);
    // The protocol is not known, so that the messages cannot be derived from the body.
    RequestContext::new("")
        .request_id("rich")
        .started_at(Timestamp::from_micros(STARTED_AT))
        .user_id("u-1")
        .session_id("s-1")
        .context_id("task-9")
        .trace_id("t-1")
        .actor(ActorKind::Job, "nightly")
        .operation_name("chat")
        .url_path("/v1/chat/completions?key=not-recorded")
        .provider_name("openai")
        .client_model("fast")
        .request_model("gpt-4o")
        .is_streaming(true)
        .max_tokens(4096)
        .temperature(0.5)
        .top_p(1.0)
        .attribute("route_match", "default")
        .attribute("system_prompt_override", "Be brief.\nBe kind.\u{202e}")
        .messages(vec![Message::new("user", &hello), asked, answered])
}

fn rich_completion() -> Completion {
    let long_input = format!("{{\"numbers\":[{}1]}}", "1,".repeat(40));
    Completion::new()
        .usage(Usage::new(1200, 80).cache_write_input_tokens(100))
        .finish_reason("tool_calls")
        .finish_reason("stop")
        .tool_call(ToolCall::new(
            "call-1",
            "get_weather",
            "{\"city\":\"Lyon\"}",
        ))
        .tool_call(ToolCall::new("call-2", "add", long_input))
        .assistant_text("One moment.")
        .response_id("resp-1")
        .response_model("gpt-4o-2024-08-06")
        .http_status(200)
        .timing(timing())
        .response_body("thanks")
}

fn failing(recorder: &Recorder) {
    let context = RequestContext::new("openai.chat")
        .request_id("failing")
        .started_at(Timestamp::from_micros(STARTED_AT))
        .provider_name("openai")
        .request_model("gpt-4o");
    let mut handle = recorder.open(context, "{}").unwrap();
    handle.set_served_provider("azure");
    let failure = Failure::new("timeout")
        .error_message("upstream \u{1b}[31mtimed out\nafter 30 s")
        .usage(Usage::new(10, 0))
        .timing(timing());
    handle.fail(failure).unwrap();
}

fn recorded() -> Sandbox {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    let recorder = store.recorder();
    let handle = recorder.open(rich_context(), "hello").unwrap();
    handle.complete(rich_completion()).unwrap();
    failing(&recorder);
    let refused = RequestContext::new("openai.chat")
        .request_id("refused")
        .started_at(Timestamp::from_micros(STARTED_AT));
    let rejection = Rejection::new("quota_exceeded")
        .error_message("100 requests a day")
        .http_status(429)
        .timing(Timing::default().latency_us(40));
    let handle = recorder.open(refused, "{}").unwrap();
    handle.reject(rejection).unwrap();
    let gone = RequestContext::new("openai.chat").request_id("gone");
    drop(
        recorder
            .open(gone.started_at(Timestamp::from_micros(STARTED_AT)), "{}")
            .unwrap(),
    );
    assert!(store.close(Duration::from_secs(60)).is_complete);
    sandbox
}

#[test]
fn everything_is_shown() {
    let sandbox = recorded();
    let runs = [
        sandbox.run(&["show", "rich"]),
        sandbox.run(&["show", "rich", "--full", "--no-body"]),
        sandbox.run(&["show", "rich", "--json"]),
        sandbox.run(&["show", "failing", "--no-body"]),
        sandbox.run(&["show", "refused", "--no-body"]),
        sandbox.run(&["list", "--conversation", "task-9"]),
    ];
    assert_golden("everything", &sandbox, &runs);
}

#[test]
fn every_status_can_be_listed() {
    let sandbox = recorded();
    for (status, id) in [
        ("completed", "rich"),
        ("failed", "failing"),
        ("rejected", "refused"),
        ("abandoned", "gone"),
    ] {
        let listed = sandbox.run(&["list", "--json", "--status", status]).json();
        assert_eq!(listed.len(), 1, "{status}");
        assert_eq!(listed[0]["request_id"], id);
        assert_eq!(listed[0]["status"], status);
    }
    for status in ["pending", "interrupted"] {
        assert_eq!(sandbox.run(&["list", "--status", status]).exit, 1);
    }
}

#[test]
fn statistics_tell_the_ends_apart() {
    let stats = recorded().run(&["stats", "--json"]).json();
    let sums =
        ["requests", "completed", "failed", "rejected", "abandoned"].map(|sum| &stats[0][sum]);
    assert_eq!(sums, [4, 1, 1, 1, 1]);
    assert_eq!(stats[0]["input_tokens"], 1210);
    assert_eq!(stats[0]["cost_microdollars"], 0);
    assert_eq!(stats[0]["unpriced"], 2);
}

#[test]
fn what_came_so_far_of_a_long_response_is_shown_and_written() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("audit.db");
    let store = Store::builder(path)
        .response_pieces(Duration::MAX, 4096)
        .open()
        .unwrap();
    let context = RequestContext::new("").request_id("open");
    let mut handle = store.recorder().open(context, "{}").unwrap();
    let none = sandbox.run(&["payload", "open", "response"]);
    assert_eq!((none.exit, none.stdout.len()), (1, 0), "{}", none.stderr);
    let text = "so it goes. ".repeat(1000);
    handle.chunk(text.clone());
    handle.chunk("more");
    store.flush(Duration::from_secs(60)).unwrap();
    let shown = sandbox.run(&["show", "open"]);
    let text_shown = shown.text();
    assert!(text_shown.contains("11.7 KiB seen so far"), "{text_shown}");
    assert!(text_shown.contains("so it goes."), "{text_shown}");
    let json = sandbox.run(&["show", "open", "--json"]).json();
    assert_eq!(json[0]["response_bytes_so_far"], 12_000);
    assert_eq!(json[0]["response"], serde_json::Value::Null);
    let body = sandbox.run(&["payload", "open", "response"]);
    assert_eq!((body.exit, body.text()), (0, text.as_str()));
    assert!(body.stderr.contains("has not ended"), "{}", body.stderr);
    handle.complete(Completion::new()).unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    let json = sandbox.run(&["show", "open", "--json"]).json();
    assert_eq!(json[0]["response_bytes_so_far"], serde_json::Value::Null);
}

#[test]
fn reading_goes_on_while_a_store_writes() {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    let context = RequestContext::new("openai.chat").request_id("open");
    let handle = store.recorder().open(context, "{}").unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    let listed = sandbox
        .run(&["list", "--json", "--status", "pending"])
        .json();
    assert_eq!(listed[0]["request_id"], "open");
    let doctor = sandbox.run(&["doctor", "--json"]).json();
    assert_eq!(doctor[0]["is_being_written"], true);
    assert_eq!(doctor[0]["pending"], 1);
    // A second writer has to stay away.
    let run = sandbox.run_with(&["record", "-"], b"{\"request\":1}");
    assert_eq!(run.exit, 2);
    assert!(
        run.stderr.contains("open for writing elsewhere"),
        "{}",
        run.stderr
    );
    handle.complete(Completion::new()).unwrap();
}
