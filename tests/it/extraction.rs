//! What the writer parses from bodies if the gateway reports only the HTTP status.

#![allow(clippy::string_slice)] // Of texts that are ASCII.

use auditlite::{
    Completion, Failure, MessagePart, PayloadSide, PriceBook, RequestContext, RequestRecord,
    Status, Store, Usage, WireProtocol,
};

use crate::support::{Folder, PATIENCE, close, findings};

const REQUEST: &str = r#"{"model":"gpt-4o","max_tokens":64,"temperature":0.5,"top_p":0.9,"stream":true,"messages":[{"role":"user","content":"Weather in Paris?"}],"tools":[{"type":"function","function":{"name":"weather","parameters":{}}}]}"#;

const STREAM: &str = "data: {\"id\":\"c-1\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Look\"}}]}\n\n\
data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"function\":{\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":\"}}]}}]}\n\n\
data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"Paris\\\"}\"}}]}}]}\n\n\
data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n\
data: {\"id\":\"c-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":100,\"prompt_tokens_details\":{\"cached_tokens\":400}}}\n\n\
data: [DONE]\n\n";

fn priced(folder: &Folder) -> Store {
    let prices = r#"{"prices":[{"provider":"openai","model":"gpt-4o-20*","input":2.5,"output":10.0,"cache_read":1.25}]}"#;
    folder
        .builder()
        .price_book(PriceBook::from_json(prices).unwrap())
        .open()
        .unwrap()
}

fn context(id: &str) -> RequestContext {
    RequestContext::new(WireProtocol::OpenAiChat)
        .request_id(id)
        .provider_name("openai")
}

/// Records a response in chunks of seven bytes and ends it with this status.
fn finish(store: &Store, id: &str, response: &str, status: u16) -> RequestRecord {
    finish_as(store, context(id), REQUEST, response, status)
}

fn finish_as(
    store: &Store,
    context: RequestContext,
    request: &'static str,
    response: &str,
    status: u16,
) -> RequestRecord {
    let id = context.request_id.clone().unwrap();
    let mut audit = store.recorder().open(context, request).unwrap();
    for chunk in response.as_bytes().chunks(7) {
        audit.chunk(chunk.to_vec());
    }
    audit.finish(status).unwrap().wait(PATIENCE).unwrap();
    store.reader().get(&id).unwrap()
}

#[test]
fn a_status_and_the_bytes_are_enough() {
    let folder = Folder::new();
    let store = priced(&folder);
    let found = finish(&store, "r", STREAM, 200);
    assert_eq!(found.status, Status::Completed);
    assert_eq!(found.request_model.as_deref(), Some("gpt-4o"));
    assert_eq!(found.max_tokens, Some(64));
    assert_eq!((found.temperature, found.top_p), (Some(0.5), Some(0.9)));
    assert!(found.is_streaming && !found.is_unparsed());
    assert_eq!(found.response_model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert_eq!(found.response_id.as_deref(), Some("c-1"));
    assert_eq!(
        (found.input_tokens, found.output_tokens),
        (Some(1000), Some(100))
    );
    assert_eq!(found.cache_read_input_tokens, Some(400));
    assert_eq!(
        found.cost_microdollars,
        Some(600 * 25 / 10 + 400 * 125 / 100 + 1000)
    );
    assert_eq!(found.finish_reasons, ["tool_calls"]);
    assert!(found.time_to_first_chunk_us.is_some());

    let reader = store.reader();
    let calls = reader.tool_calls(&found).unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (calls[0].tool_call_id.as_str(), calls[0].tool_name.as_str()),
        ("call_1", "weather")
    );
    assert_eq!(calls[0].input.as_deref(), Some(r#"{"city":"Paris"}"#));
    assert_eq!(reader.transcript(&found).unwrap().replies[0].text(), "Look");
    let body = reader.payload(&found, PayloadSide::Response).unwrap();
    assert_eq!(body.bytes, STREAM.as_bytes());
    assert_eq!(store.health().unparsed_bodies, 0);
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
}

#[test]
fn what_is_given_wins() {
    let folder = Folder::new();
    let store = folder.open();
    let context = context("r")
        .request_model("routed")
        .max_tokens(1)
        .temperature(0.0)
        .is_streaming(false)
        .read_body(true);
    let mut audit = store.recorder().open(context, REQUEST).unwrap();
    audit.chunk(STREAM);
    audit.set_usage(Usage::new(7, 8));
    audit.set_served_model("told");
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    let found = store.reader().get("r").unwrap();
    assert_eq!(found.request_model.as_deref(), Some("routed"));
    assert_eq!(
        found.client_model.as_deref(),
        Some("gpt-4o"),
        "what the client asked for"
    );
    assert_eq!(
        (found.max_tokens, found.temperature, found.top_p),
        (Some(1), Some(0.0), Some(0.9))
    );
    assert_eq!(
        (found.input_tokens, found.cache_read_input_tokens),
        (Some(7), None)
    );
    assert_eq!(found.response_model.as_deref(), Some("told"));
    close(store);
}

#[test]
fn errors_fail_the_request_wherever_they_come() {
    let folder = Folder::new();
    let store = folder.open();
    let limited =
        r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
    let found = finish(&store, "status", limited, 429);
    assert_eq!(
        (found.status, found.http_status),
        (Status::Failed, Some(429))
    );
    assert_eq!(found.error_type.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(found.error_message.as_deref(), Some("slow down"));

    let half = STREAM
        .find("data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{},")
        .unwrap();
    let event =
        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":503}}\n\n";
    let found = finish(&store, "event", &format!("{}{event}", &STREAM[..half]), 200);
    assert_eq!(found.status, Status::Failed);
    assert_eq!(found.error_type.as_deref(), Some("server_error"));
    assert_eq!(found.tool_call_count, 1, "what came before it counts");

    let found = finish(&store, "broken", &STREAM[..half], 200);
    assert_eq!(found.status, Status::Failed);
    assert_eq!(found.error_type.as_deref(), Some("incomplete_stream"));

    let found = finish(&store, "html", "<html>Bad gateway</html>", 502);
    assert_eq!(
        (found.status, found.error_type.as_deref()),
        (Status::Failed, Some("502"))
    );
    assert!(found.is_unparsed());
    let found = finish(&store, "empty", "", 503);
    assert_eq!(
        (found.status, found.error_type.as_deref()),
        (Status::Failed, Some("503"))
    );
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_recorded_flagged_and_counted() {
    let folder = Folder::new();
    let store = folder.open();
    let found = finish_as(
        &store,
        context("r"),
        "{\"model\":\"m\", no JSON",
        "nor this",
        200,
    );
    assert!(found.is_unparsed());
    assert_eq!(found.body_flags, ["request_unparsed", "response_unparsed"]);
    assert_eq!(
        found.request_model.as_deref(),
        Some("m"),
        "what comes before the fault counts"
    );
    assert_eq!(store.health().unparsed_bodies, 2);
    let reader = store.reader();
    let body = |side| reader.payload(&found, side).unwrap().bytes;
    assert_eq!(body(PayloadSide::Request), b"{\"model\":\"m\", no JSON");
    assert_eq!(body(PayloadSide::Response), b"nor this");
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
}

#[test]
fn unknown_protocols_are_left_alone() {
    let folder = Folder::new();
    let store = folder.open();
    let context = RequestContext::new("in-house").request_id("r");
    let found = finish_as(&store, context, REQUEST, "nothing known", 200);
    assert_eq!(
        (found.status, found.request_model.as_deref()),
        (Status::Completed, None)
    );
    assert!(!found.is_unparsed());
    close(store);
}

#[test]
fn the_path_tells_protocol_and_model() {
    let folder = Folder::new();
    let store = folder.open();
    let context = RequestContext::default()
        .request_id("r")
        .url_path("/v1beta/models/gemini-2.5-pro:streamGenerateContent?key=secret-in-a-query");
    let request = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}],"generationConfig":{"maxOutputTokens":9}}"#;
    let response = r#"data: {"candidates":[{"content":{"parts":[{"text":"Hello"}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5},"modelVersion":"gemini-2.5-pro"}"#;
    let found = finish_as(&store, context, request, &format!("{response}\n\n"), 200);
    assert_eq!(found.wire_protocol.as_deref(), Some("gemini.generate"));
    assert_eq!(found.request_model.as_deref(), Some("gemini-2.5-pro"));
    let path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent";
    assert_eq!(found.url_path.as_deref(), Some(path));
    assert_eq!((found.max_tokens, found.is_streaming), (Some(9), true));
    assert_eq!(
        (found.input_tokens, found.output_tokens),
        (Some(3), Some(2))
    );
    assert_eq!(
        store.reader().transcript(&found).unwrap().replies[0].text(),
        "Hello"
    );
    close(store);
    let file = std::fs::read(folder.path()).unwrap();
    assert!(
        !file
            .windows(18)
            .any(|bytes| bytes == b"secret-in-a-query\"")
    );
}

#[test]
fn a_client_that_goes_away() {
    let folder = Folder::new();
    let store = folder.open();
    let end = STREAM.find("data: [DONE]").unwrap();
    let half = STREAM
        .find("data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{},")
        .unwrap();
    for (id, seen) in [("after", &STREAM[..end]), ("amid", &STREAM[..half])] {
        let mut audit = store.recorder().open(context(id), REQUEST).unwrap();
        audit.set_http_status(200);
        audit.chunk(seen);
        drop(audit);
    }
    // Of another protocol nobody knows how it ends.
    let unknown = RequestContext::new("my own").request_id("unknown");
    let mut audit = store.recorder().open(unknown, REQUEST).unwrap();
    audit.set_http_status(200);
    audit.chunk("data: {\"a\":1}\n\ndata: [DONE]\n\n");
    drop(audit);
    store.flush(PATIENCE).unwrap();
    let after = store.reader().get("after").unwrap();
    assert_eq!(
        (after.status, after.input_tokens),
        (Status::Completed, Some(1000))
    );
    let amid = store.reader().get("amid").unwrap();
    assert_eq!(amid.status, Status::Abandoned);
    assert_eq!(amid.response_model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert_eq!(amid.tool_call_count, 1);
    let unknown = store.reader().get("unknown").unwrap();
    assert_eq!(unknown.status, Status::Abandoned);
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
}

/// Records the stream with these ends, and what was asked for of the first.
fn ended(read_body: bool) -> (RequestRecord, RequestRecord) {
    let folder = Folder::new();
    let store = folder.open();
    let mut audit = store.recorder().open(context("failed"), REQUEST).unwrap();
    audit.chunk(STREAM);
    let failure = Failure::new("timeout").error_message("too slow");
    audit.fail(failure.read_body(read_body)).unwrap();
    let mut audit = store
        .recorder()
        .open(context("completed"), REQUEST)
        .unwrap();
    // Half of a stream, which `finish` would call failed too.
    audit.chunk(&STREAM[..STREAM.find("data: [DONE]").unwrap() - 20]);
    let completion = Completion::new().http_status(200).finish_reason("told");
    let completion = completion.read_body(read_body);
    audit.complete(completion).unwrap().wait(PATIENCE).unwrap();
    let failed = store.reader().get("failed").unwrap();
    let completed = store.reader().get("completed").unwrap();
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
    (failed, completed)
}

#[test]
fn explicit_ends_are_filled_in_where_they_ask_for_it() {
    let (failed, completed) = ended(true);
    assert_eq!(
        (failed.status, failed.error_type.as_deref()),
        (Status::Failed, Some("timeout"))
    );
    assert_eq!(failed.error_message.as_deref(), Some("too slow"));
    assert_eq!(
        (failed.input_tokens, failed.tool_call_count),
        (Some(1000), 1)
    );
    assert_eq!(
        (completed.status, completed.error_type.as_deref()),
        (Status::Failed, Some("incomplete_stream")),
        "decided as `finish` does"
    );
    assert_eq!(completed.finish_reasons, ["told"]);
    assert_eq!(completed.response_id.as_deref(), Some("c-1"));
    assert_eq!(completed.tool_call_count, 1);
}

#[test]
fn explicit_ends_are_taken_as_they_are() {
    let (failed, completed) = ended(false);
    assert_eq!(completed.status, Status::Completed, "the gateway's word");
    for found in [failed, completed] {
        assert_eq!((found.input_tokens, found.tool_call_count), (None, 0));
        assert_eq!((found.response_id, found.response_model), (None, None));
        assert_eq!(found.body_flags, [""; 0]);
    }
}

#[test]
fn a_request_is_read_where_its_context_has_no_model_or_asks_for_it() {
    let folder = Folder::new();
    let store = folder.open();
    let named = |id: &str| context(id).request_model("gpt-4o");
    for (context, max_tokens) in [
        (context("bare"), Some(64)),
        (context("bare, off").read_body(false), None),
        (named("named"), None),
        (named("named, on").read_body(true), Some(64)),
    ] {
        let found = finish_as(&store, context, REQUEST, STREAM, 200);
        assert_eq!(found.max_tokens, max_tokens, "{}", found.request_id);
        assert_eq!(found.input_tokens, Some(1000), "{}", found.request_id);
    }
    let garbage = finish_as(&store, named("garbage"), "no JSON", STREAM, 200);
    assert!(!garbage.is_unparsed(), "nothing looked at it");
    close(store);
}

#[test]
fn a_response_above_the_cap_is_read_as_it_comes() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .payload_bytes_max(16 * 1024)
        .open()
        .unwrap();
    let event = "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"many words \"}}]}\n\n";
    let long = format!("{}{STREAM}", event.repeat(60_000));
    let mut audit = store.recorder().open(context("r"), REQUEST).unwrap();
    for chunk in long.as_bytes().chunks(4099) {
        audit.chunk(chunk.to_vec());
    }
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    let found = store.reader().get("r").unwrap();
    assert_eq!(
        (found.status, found.input_tokens),
        (Status::Completed, Some(1000))
    );
    assert_eq!(found.tool_call_count, 1);
    assert_eq!(found.response_bytes, Some(long.len() as u64));
    let body = store
        .reader()
        .payload(&found, PayloadSide::Response)
        .unwrap();
    assert!(body.is_truncated());
    close(store);
}

#[test]
fn conversations_are_read_as_if_each_request_stood_alone() {
    let folder = Folder::new();
    let store = folder.open();
    let mut messages = String::from(r#"{"role":"system","content":"Be brief."}"#);
    for turn in 0..40 {
        let (model, tokens) = (if turn < 20 { "first" } else { "second" }, 10 + turn);
        messages.push_str(&format!(
            r#",{{"role":"user","content":"question {turn} {}"}}"#,
            "x".repeat(90)
        ));
        let body =
            format!(r#"{{"messages":[{messages}],"model":"{model}","max_tokens":{tokens}}}"#);
        let context = context(&format!("r-{turn}")).conversation_id("c");
        let audit = store.recorder().open(context, body).unwrap();
        audit.finish(200).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    for turn in 0..40 {
        let found = store.reader().get(&format!("r-{turn}")).unwrap();
        let model = if turn < 20 { "first" } else { "second" };
        assert_eq!(found.request_model.as_deref(), Some(model), "{turn}");
        assert_eq!(found.max_tokens, Some(10 + turn));
        assert!(!found.is_unparsed());
    }
    close(store);
}

#[test]
fn reading_can_be_off() {
    let folder = Folder::new();
    let store = folder.builder().read_bodies(false).open().unwrap();
    let found = finish(&store, "r", STREAM, 200);
    assert_eq!(
        (found.status, found.request_model.as_deref()),
        (Status::Completed, None)
    );
    assert_eq!(found.input_tokens, None);
    let found = finish(&store, "s", STREAM, 500);
    assert_eq!(
        (found.status, found.error_type.as_deref()),
        (Status::Failed, Some("500"))
    );
    close(store);
}

#[test]
fn a_tool_call_can_be_followed_to_its_result() {
    let folder = Folder::new();
    let store = folder.open();
    let asked = finish_as(
        &store,
        context("asks").conversation_id("c"),
        REQUEST,
        STREAM,
        200,
    );
    let other = r#"{"model":"gpt-4o","messages":[{"role":"tool","tool_call_id":"call_1","content":"of another conversation"}]}"#;
    finish_as(
        &store,
        context("other").conversation_id("d"),
        other,
        "{}",
        200,
    );
    let next = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Weather in Paris?"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Paris\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"18 degrees"}]}"#;
    finish_as(
        &store,
        context("brings").conversation_id("c"),
        next,
        "{}",
        200,
    );
    let reader = store.reader();
    let results = reader.tool_results(&asked, &["call_1", "call_2"]).unwrap();
    let result = results[0].as_ref().unwrap();
    assert_eq!(
        (result.request_id.as_str(), result.text.as_str()),
        ("brings", "18 degrees")
    );
    assert_eq!(results[1], None);

    let brings = reader.get("brings").unwrap();
    let messages = reader.transcript(&brings).unwrap().messages;
    let roles: Vec<&str> = messages
        .iter()
        .map(|message| message.role.as_str())
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert!(
        matches!(&messages[1].parts[..], [MessagePart::ToolCall(call)] if call.tool_name == "weather")
    );
    let tools = reader.offered_tools(&asked).unwrap();
    assert_eq!(tools.len(), 1);
    assert_eq!(tools[0].tool_name, "weather");
    close(store);
}
