//! A request's lifecycle, from its opening to what a reader gets back.

use auditlite::{
    ActorKind, Completion, Failure, ListOptions, Message, PayloadSide, ReadOnlyStore, Rejection,
    RequestContext, RequestFilter, Status, Timing, ToolCall, Usage, WireProtocol,
};

use crate::support::{Folder, PATIENCE, close};

fn full_context() -> RequestContext {
    RequestContext::new(WireProtocol::OpenAiChat)
        .request_id("r-1")
        .user_id("u-1")
        .session_id("s-1")
        .context_id("x-1")
        .conversation_id("c-1")
        .trace_id("t-1")
        .actor(ActorKind::Job, "nightly")
        .operation_name("chat")
        .provider_name("openai")
        .client_model("best")
        .request_model("gpt-4o")
        .max_tokens(4096)
        .temperature(0.7)
        .top_p(0.95)
        .is_streaming(true)
        .attribute("route_match", "/v1/chat/completions")
        .attribute("system_prompt_override", "be kind \"now\"\n")
        .messages(vec![Message::new("user", "hello")])
}

#[test]
fn every_field_of_a_completed_request_comes_back() {
    let folder = Folder::new();
    let store = folder.open();
    let mut audit = store.recorder().open(full_context(), r#"{"q":1}"#).unwrap();
    assert_eq!(audit.request_id(), "r-1");
    audit.opened_receipt().wait(PATIENCE).unwrap();
    let pending = store.reader().get("r-1").unwrap();
    assert_eq!((pending.status, pending.ended_seq), (Status::Pending, None));
    assert_eq!(pending.request_bytes, 7);

    audit.set_served_model("");
    audit.set_served_model("gpt-4o-2024-08-06");
    audit.set_served_model("gpt-4o-2024-08-06");
    audit.set_served_provider("azure.ai.openai");
    audit.set_upstream_body(r#"{"q":1,"model":"gpt-4o"}"#);
    audit.upstream_started();
    audit.chunk("data: a\n\n");
    audit.chunk("data: b\n\n");
    audit.upstream_ended();
    let receipt = audit
        .complete(
            Completion::new()
                .usage(
                    Usage::new(1000, 200)
                        .cache_read_input_tokens(400)
                        .cache_write_input_tokens(50)
                        .reasoning_output_tokens(30),
                )
                .finish_reason("stop")
                .finish_reason("tool_calls")
                .tool_call(ToolCall::new("call-1", "weather", r#"{"city":"Köln"}"#))
                .assistant_text("it rains")
                .response_id("chatcmpl-1")
                .http_status(200)
                .timing(
                    Timing::default()
                        .latency_us(1234)
                        .time_to_first_chunk_us(99),
                ),
        )
        .unwrap();
    receipt.wait(PATIENCE).unwrap();
    assert!(receipt.is_durable());
    close(store);

    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let request = reader.get("r-1").unwrap();
    assert_eq!(request.status, Status::Completed);
    assert_eq!(request.user_id.as_deref(), Some("u-1"));
    assert_eq!(request.session_id.as_deref(), Some("s-1"));
    assert_eq!(request.context_id.as_deref(), Some("x-1"));
    assert_eq!(request.conversation(), Some("c-1"));
    assert_eq!(request.trace_id.as_deref(), Some("t-1"));
    assert_eq!(request.actor_type.as_deref(), Some("job"));
    assert_eq!(request.actor_id.as_deref(), Some("nightly"));
    assert_eq!(request.operation_name.as_deref(), Some("chat"));
    assert_eq!(request.provider_name.as_deref(), Some("openai"));
    assert_eq!(request.provider(), Some("azure.ai.openai"));
    assert_eq!(request.client_model.as_deref(), Some("best"));
    assert_eq!(request.request_model.as_deref(), Some("gpt-4o"));
    assert_eq!(request.model(), Some("gpt-4o-2024-08-06"));
    assert_eq!(request.wire_protocol.as_deref(), Some("openai.chat"));
    assert!(request.is_streaming);
    assert_eq!(request.max_tokens, Some(4096));
    assert_eq!(
        (request.temperature, request.top_p),
        (Some(0.7), Some(0.95))
    );
    assert_eq!(request.attributes[1].1, "be kind \"now\"\n");
    assert_eq!(request.input_tokens, Some(1000));
    assert_eq!(request.output_tokens, Some(200));
    assert_eq!(request.cache_read_input_tokens, Some(400));
    assert_eq!(request.cache_write_input_tokens, Some(50));
    assert_eq!(request.reasoning_output_tokens, Some(30));
    assert_eq!(request.cost_microdollars, None);
    assert_eq!(request.finish_reasons, ["stop", "tool_calls"]);
    assert_eq!(request.response_id.as_deref(), Some("chatcmpl-1"));
    assert_eq!(request.http_status, Some(200));
    assert_eq!(request.latency_us, Some(1234));
    assert_eq!(request.time_to_first_chunk_us, Some(99));
    assert!(request.upstream_latency_us.is_some());
    assert_eq!(request.response_bytes, Some(18));
    assert!(request.adjusted_fields.is_empty());

    let body = reader.payload(&request, PayloadSide::Request).unwrap();
    assert_eq!(body.bytes, br#"{"q":1}"#);
    let body = reader.payload(&request, PayloadSide::Response).unwrap();
    assert_eq!(body.bytes, b"data: a\n\ndata: b\n\n");
    let prepared = reader.upstream_body(&request).unwrap().unwrap();
    assert_eq!(prepared.length, 24);
    let calls = reader.tool_calls(&request).unwrap();
    assert_eq!(calls[0].tool_name, "weather");
    assert_eq!(calls[0].input.as_deref(), Some(r#"{"city":"Köln"}"#));
    assert_eq!(reader.messages(&request).unwrap()[0].text, "hello");
    let text = reader.assistant_text(&request).unwrap();
    assert_eq!(text.as_deref(), Some("it rains"));
}

#[test]
fn a_request_ends_in_each_of_the_ways() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    let open = |id: &str| {
        let context = RequestContext::new("").request_id(id).request_model("m");
        recorder.open(context, "body").unwrap()
    };
    let _ = open("completed").complete(Completion::new().response_body("ok"));
    let _ = open("failed").fail(
        Failure::new("timeout")
            .error_message("upstream did not answer")
            .http_status(504)
            .usage(Usage::default().input_tokens(7))
            .response_body("partial"),
    );
    let _ = recorder.reject(
        RequestContext::new("").request_id("rejected"),
        "no key",
        Rejection::new("unauthorized").http_status(401),
    );
    let mut abandoned = open("abandoned");
    abandoned.chunk("so far");
    drop(abandoned);
    store.flush(PATIENCE).unwrap();

    let reader = store.reader();
    for status in [
        Status::Completed,
        Status::Failed,
        Status::Rejected,
        Status::Abandoned,
    ] {
        let filter = RequestFilter::new().statuses([status]);
        let page = reader.list(&filter, &ListOptions::new().limit(10)).unwrap();
        assert_eq!(page.requests.len(), 1, "{status}");
        assert_eq!(page.requests[0].request_id, status.as_str());
    }
    let failed = reader.get("failed").unwrap();
    assert_eq!(failed.error_type.as_deref(), Some("timeout"));
    assert_eq!(
        failed.error_message.as_deref(),
        Some("upstream did not answer")
    );
    assert_eq!(failed.http_status, Some(504));
    assert_eq!(failed.input_tokens, Some(7));
    let rejected = reader.get("rejected").unwrap();
    assert_eq!((rejected.provider(), rejected.model()), (None, None));
    let abandoned = reader.get("abandoned").unwrap();
    let body = reader.payload(&abandoned, PayloadSide::Response).unwrap();
    assert_eq!(body.bytes, b"so far");
    close(store);
}
