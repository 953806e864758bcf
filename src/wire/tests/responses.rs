//! OpenAI responses.

use super::*;

const RESPONSES: WireProtocol = WireProtocol::OpenAiResponses;
const STREAM: [&str; 6] = [
    r#"{"type":"response.created","response":{"id":"r","object":"response","model":"m","status":"in_progress","output":[],"usage":null}}"#,
    r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs","summary":[]}}"#,
    r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"hm"}"#,
    r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":""}}"#,
    r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"{\"x\":"}"#,
    r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"1}"}"#,
];

#[test]
fn deltas_count_where_the_stream_breaks_off() {
    let response = parse(RESPONSES, &events(&STREAM));
    assert_eq!(response.response_id.as_deref(), Some("r"));
    assert_eq!(response.thinking(), "hm");
    assert_eq!(response.tool_calls(), [call("c", "f", r#"{"x":1}"#)]);
    assert!(response.is_broken_off && response.finish_reasons.is_empty());
}

#[test]
fn the_final_event_has_the_last_word() {
    let last = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},
        "output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"yes"},{"type":"refusal","refusal":"no"}]},
        {"type":"mcp_call","id":"mcp","name":"ask","arguments":"{}","output":"42"},{"type":"web_search_call","id":"ws","action":{"query":"q"}}],
        "usage":{"input_tokens":9,"output_tokens":5,"output_tokens_details":{"reasoning_tokens":3}}}}"#;
    let mut documents = STREAM.to_vec();
    documents.push(last);
    let response = parse(RESPONSES, &events(&documents));
    assert_eq!(response.finish_reasons, ["max_output_tokens"]);
    assert_eq!(
        response.usage,
        Some(Usage::new(9, 5).reasoning_output_tokens(3))
    );
    assert_eq!(response.assistant_text(), "yes");
    assert_eq!(response.refusal().as_deref(), Some("no"));
    let expected = [
        call("mcp", "ask", "{}"),
        call("ws", "web_search", r#"{"query":"q"}"#),
    ];
    assert_eq!(response.tool_calls(), expected);
    assert!(!response.is_broken_off);
}

#[test]
fn failures_and_error_events() {
    let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"oh"}}}"#;
    let response = parse(RESPONSES, &events(&[STREAM[0], failed]));
    assert_eq!(
        response.error.unwrap().code.as_deref(),
        Some("server_error")
    );
    assert_eq!(response.finish_reasons, ["failed"]);
    let error = r#"{"type":"error","code":"rate_limit_exceeded","message":"slow down"}"#;
    let response = parse(RESPONSES, &events(&[STREAM[0], error]));
    assert_eq!(
        response.error.unwrap().message.as_deref(),
        Some("slow down")
    );
    assert!(!response.is_broken_off);
}

#[test]
fn input_mixes_messages_calls_and_results() {
    let body = r#"{"model":"m","instructions":"be","input":[{"role":"user","content":"hi"},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"42"},{"type":"input_image"}]},
        {"type":"item_reference","id":"x"}],"max_output_tokens":5,"stream":true}"#;
    let request = request(RESPONSES, body);
    let expected = [
        "system: be",
        "user: hi",
        "assistant: hm",
        "assistant: [tool_call f {}]",
        "tool: 42",
        "assistant: ",
    ];
    assert_eq!(flattened(&request.messages), expected);
    assert_eq!((request.max_tokens, request.is_streaming), (Some(5), true));
}
