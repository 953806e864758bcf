//! Anthropic messages.

use super::*;

const ANTHROPIC: WireProtocol = WireProtocol::AnthropicMessages;
const START: &str = r#"{"type":"message_start","message":{"id":"i","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,
    "usage":{"input_tokens":10,"cache_read_input_tokens":64,"cache_creation_input_tokens":32,"output_tokens":1}}}"#;

#[test]
fn blocks_are_joined_by_their_index() {
    let stream = events(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"abc"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hel"}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"c","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"lo"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"d","name":"now","input":{}}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":20}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let response = parse(ANTHROPIC, &stream);
    assert_eq!(response.thinking(), "hm");
    assert_eq!(response.assistant_text(), "Hello");
    assert_eq!(
        response.tool_calls(),
        [call("c", "f", r#"{"x":1}"#), call("d", "now", "{}")]
    );
    let usage = Usage::new(106, 20)
        .cache_read_input_tokens(64)
        .cache_write_input_tokens(32);
    assert_eq!(response.usage, Some(usage));
    assert_eq!(response.finish_reasons, ["tool_use"]);
    assert!(!response.is_broken_off);
}

#[test]
fn an_error_in_the_middle_keeps_the_usage_so_far() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let response = parse(ANTHROPIC, &events(&[START, error]));
    assert_eq!(
        response.error.unwrap().error_type.as_deref(),
        Some("overloaded_error")
    );
    assert_eq!(response.usage.unwrap().input_tokens, Some(106));
    assert!(!response.is_broken_off);
    assert!(parse(ANTHROPIC, &events(&[START])).is_broken_off);
}

#[test]
fn tools_of_the_server_are_called_and_answered_in_one_response() {
    let body = r#"{"type":"message","id":"i","model":"m","role":"assistant","stop_reason":"refusal","content":[
        {"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"q"}},
        {"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","title":"T","url":"U","encrypted_content":"…"}]},
        {"type":"redacted_thinking","data":"…"}]}"#;
    let response = parse(ANTHROPIC, body);
    assert_eq!(
        response.tool_calls(),
        [call("s", "web_search", r#"{"query":"q"}"#)]
    );
    let results: Vec<_> = response.messages[0].tool_results().collect();
    assert_eq!(
        (results[0].tool_call_id.as_str(), results[0].text.as_str()),
        ("s", "T\nU")
    );
    assert_eq!(
        response.messages[0].parts[2],
        MessagePart::Other("redacted_thinking".to_owned())
    );
    assert_eq!(response.finish_reasons, ["refusal"]);
}

#[test]
fn requests_with_system_blocks_and_results() {
    let body = r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"be","cache_control":{"type":"ephemeral"}}],
        "messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},
        {"type":"tool_use","id":"c","name":"f","input":{"x": 1}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"42"},{"type":"image"}]},
        {"type":"image","source":{}}]}],"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"auto"}}"#;
    let request = request(ANTHROPIC, body);
    let expected = [
        "system: be",
        "user: hi",
        "assistant: hm\n[tool_call f {\"x\": 1}]",
        "user: 42",
    ];
    assert_eq!(flattened(&request.messages), expected);
    assert_eq!(request.tool_choice.as_deref(), Some(r#"{"type":"auto"}"#));
}
