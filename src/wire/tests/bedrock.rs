//! Bedrock Converse.

use super::*;

const BEDROCK: WireProtocol = WireProtocol::BedrockConverse;

fn stream(messages: &[(&str, &str)]) -> Vec<u8> {
    let message = |(kind, payload): &(&str, &str)| {
        let header = if kind.ends_with("Exception") {
            ":exception-type"
        } else {
            ":event-type"
        };
        framing::aws_message(
            &[(header, kind), (":content-type", "application/json")],
            payload.as_bytes(),
        )
    };
    messages.iter().flat_map(message).collect()
}

const PIECES: [(&str, &str); 7] = [
    ("messageStart", r#"{"role":"assistant","p":"abc"}"#),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":1,"delta":{"text":"Hello"}}"#,
    ),
    (
        "contentBlockStart",
        r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"c","name":"f"}}}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"x\":"}}}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"1}"}}}"#,
    ),
    ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
];

#[test]
fn a_stream_of_events() {
    let mut pieces = PIECES.to_vec();
    pieces.push(("messageStop", r#"{"stopReason":"tool_use"}"#));
    pieces.push((
        "metadata",
        r#"{"usage":{"inputTokens":10,"outputTokens":5,"cacheReadInputTokens":64,"cacheWriteInputTokens":0}}"#,
    ));
    let response = ParsedResponse::parse(&BEDROCK, &stream(&pieces));
    assert_eq!(response.thinking(), "hm");
    assert_eq!(response.assistant_text(), "Hello");
    assert_eq!(response.tool_calls(), [call("c", "f", r#"{"x":1}"#)]);
    assert_eq!(response.finish_reasons, ["tool_use"]);
    let usage = Usage::new(74, 5)
        .cache_read_input_tokens(64)
        .cache_write_input_tokens(0);
    assert_eq!(response.usage, Some(usage));
    assert!(response.is_streamed && !response.is_broken_off);
}

#[test]
fn an_exception_in_the_middle_and_a_stream_that_breaks_off() {
    let mut pieces = PIECES.to_vec();
    let broken = ParsedResponse::parse(&BEDROCK, &stream(&pieces));
    assert!(broken.is_broken_off);
    pieces.push(("throttlingException", r#"{"message":"slow down"}"#));
    let response = ParsedResponse::parse(&BEDROCK, &stream(&pieces));
    let error = response.error.unwrap();
    assert_eq!(error.error_type.as_deref(), Some("throttlingException"));
    assert_eq!(error.message.as_deref(), Some("slow down"));
    assert!(!response.is_broken_off);
}

#[test]
fn requests_have_blocks_without_types() {
    let body = r#"{"system":[{"text":"be"}],"messages":[{"role":"user","content":[{"text":"hi"},{"image":{"format":"png"}}]},
        {"role":"assistant","content":[{"toolUse":{"toolUseId":"c","name":"f","input":{"x":1}}}]},
        {"role":"user","content":[{"toolResult":{"toolUseId":"c","content":[{"json":{"y":2}},{"text":"t"}]}}]}],
        "inferenceConfig":{"maxTokens":5,"temperature":0.5},"toolConfig":{"tools":[{"toolSpec":{"name":"f"}}],"toolChoice":{"auto":{}}}}"#;
    let request = request(BEDROCK, body);
    let expected = [
        "system: be",
        "user: hi",
        "assistant: [tool_call f {\"x\":1}]",
        "user: {\"y\":2}\nt",
    ];
    assert_eq!(flattened(&request.messages), expected);
    assert_eq!(
        request.messages[1].parts[1],
        MessagePart::Other("image".to_owned())
    );
    assert_eq!(
        (request.max_tokens, request.temperature),
        (Some(5), Some(0.5))
    );
    assert_eq!(request.tools[0].tool_name, "f");
}
