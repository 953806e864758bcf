//! OpenAI chat completions.

use super::*;

const CHAT: WireProtocol = WireProtocol::OpenAiChat;

#[test]
fn parallel_calls_whose_pieces_alternate() {
    let stream = events(&[
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":":2}"}},{"index":0,"function":{"arguments":"1}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
        "[DONE]",
    ]);
    let response = parse(CHAT, &stream);
    let expected = [call("a", "f", r#"{"x":1}"#), call("b", "g", r#"{"y":2}"#)];
    assert_eq!(response.tool_calls(), expected);
    assert!(!response.is_broken_off);
}

#[test]
fn calls_that_are_all_numbered_the_same() {
    let stream = events(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"1"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"2"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"3"}}]},"finish_reason":"stop"}]}"#,
    ]);
    let expected = [call("a", "f", "1"), call("b", "g", "23")];
    assert_eq!(parse(CHAT, &stream).tool_calls(), expected);
}

#[test]
fn several_choices_in_any_order() {
    let stream = events(&[
        r#"{"id":"i","choices":[{"index":1,"delta":{"role":"assistant","content":"B"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"A"}},{"index":1,"delta":{"content":"b"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
    ]);
    let response = parse(CHAT, &stream);
    assert_eq!(
        flattened(&response.messages),
        ["assistant: Aa", "assistant: Bb"]
    );
    assert_eq!(response.finish_reasons, ["stop", "length"]);
    assert_eq!(response.assistant_text(), "Aa");
}

#[test]
fn thinking_text_and_refusals_stay_apart() {
    let whole = r#"{"choices":[{"message":{"role":"assistant","reasoning_content":"hm","content":[
        {"type":"thinking","thinking":[{"type":"text","text":" hm"}]},{"type":"text","text":"yes"}],
        "refusal":"no"},"finish_reason":"stop"}],"model":"m"}"#;
    let response = parse(CHAT, whole);
    assert_eq!(response.thinking(), "hm hm");
    assert_eq!(response.assistant_text(), "yes");
    assert_eq!(response.refusal().as_deref(), Some("no"));
    assert!(!response.is_streamed);
}

#[test]
fn an_error_in_the_middle_keeps_what_came_before() {
    let stream = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n\
        event: error\ndata: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":502}}\n\n";
    let response = parse(CHAT, stream);
    let error = response.error.as_ref().unwrap();
    assert_eq!(error.error_type.as_deref(), Some("server_error"));
    assert_eq!(error.message.as_deref(), Some("overloaded"));
    assert_eq!(error.code.as_deref(), Some("502"));
    assert_eq!(response.assistant_text(), "Hel");
    assert!(!response.is_broken_off); // It says why it ended.
}

#[test]
fn a_stream_that_breaks_off_says_so() {
    let piece = r#"{"choices":[{"delta":{"content":"Hel"}}]}"#;
    for body in [
        events(&[piece]),
        format!("data: {piece}\n\ndata: {{\"choices\":[{{\"del"),
        ": waiting\n\n".to_owned(),
    ] {
        let response = parse(CHAT, &body);
        assert!(response.is_broken_off && response.is_streamed, "{body}");
        assert_eq!(response.unparsed, 0);
    }
    let cut = parse(CHAT, r#"{"choices":[{"message":{"content":"Hel"#);
    assert!(cut.is_broken_off && !cut.is_streamed);
    assert!(parse(CHAT, "<html>busy</html>").unparsed == 1);
    assert_eq!(parse(CHAT, ""), ParsedResponse::default());
}

#[test]
fn usage_is_that_of_the_last_event_that_has_it() {
    let stream = events(&[
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        "[DONE]",
    ]);
    let expected = Usage::new(5, 7).cache_read_input_tokens(4);
    assert_eq!(parse(CHAT, &stream).usage, Some(expected));
    let groq =
        events(&[r#"{"choices":[],"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":7}}}"#]);
    assert_eq!(parse(CHAT, &groq).usage, Some(Usage::new(5, 7)));
}

#[test]
fn errors_have_many_shapes() {
    for (body, error_type, message, code) in [
        (r#"{"error":"no key"}"#, None, "no key", None),
        (r#"{"detail":"no such model"}"#, None, "no such model", None),
        (
            r#"{"detail":[{"type":"missing","loc":["body"]}]}"#,
            Some("missing"),
            r#"[{"type":"missing","loc":["body"]}]"#,
            None,
        ),
        (
            r#"{"object":"error","message":"bad","type":"invalid","param":null,"code":"3051"}"#,
            Some("invalid"),
            "bad",
            Some("3051"),
        ),
        (
            r#"{"code":400,"reason":"INVALID","message":"bad"}"#,
            Some("INVALID"),
            "bad",
            Some("400"),
        ),
    ] {
        let error = parse(CHAT, body).error.unwrap();
        assert_eq!(error.error_type.as_deref(), error_type, "{body}");
        assert_eq!(error.message.as_deref(), Some(message), "{body}");
        assert_eq!(error.code.as_deref(), code, "{body}");
    }
}

#[test]
fn fields_of_unexpected_types_cost_nothing_else() {
    let body = r#"{"id":7,"model":"m","usage":[],"choices":[null,{"index":"x","message":{"content":{"a":1},
        "tool_calls":[5,{"id":"c","function":{"name":"f","arguments":{"x":1}}}]},"finish_reason":{}}],
        "new":{"deep":[[[]]]}}"#;
    let response = parse(CHAT, body);
    assert_eq!(response.response_model.as_deref(), Some("m"));
    assert_eq!(response.tool_calls(), [call("c", "f", r#"{"x":1}"#)]);
    assert_eq!((response.usage, response.unparsed), (None, 0));
}

#[test]
fn keys_that_occur_twice_and_half_pairs_are_repaired() {
    let body = r#"{"model":"a","model":"m","choices":[{"message":{"content":"x\ud83d"}}]}"#;
    let response = parse(CHAT, body);
    assert_eq!(response.response_model.as_deref(), Some("m"));
    assert_eq!(response.assistant_text(), "x\u{FFFD}");
}

#[test]
fn nesting_has_no_end_and_reading_does() {
    let deep = format!(
        "{{\"model\":\"m\",\"x\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(parse_once(&deep).response_model.as_deref(), Some("m"));
    let content = format!("{{\"choices\":{}", "[{\"a\":".repeat(100_000));
    assert!(parse_once(&content).is_broken_off);
}

fn parse_once(body: &str) -> ParsedResponse {
    ParsedResponse::parse(&CHAT, body.as_bytes())
}

#[test]
fn requests_of_all_shapes() {
    let body = r#"{"model":"m","max_tokens":1,"max_completion_tokens":2,"temperature":0,"top_p":0.5,
        "messages":[
        {"role":"developer","content":"be"},
        {"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:x"}}]},
        {"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"42"}]},
        {"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}],
        "tools":[{"type":"function","function":{"name":"f"}},{"type":"web_search"}],"tool_choice":"auto"}"#;
    let request = request(CHAT, body);
    assert_eq!(
        (request.max_tokens, request.temperature, request.top_p),
        (Some(2), Some(0.0), Some(0.5))
    );
    let expected = [
        "developer: be",
        "user: see",
        "assistant: hm\n[tool_call f {}]",
        "tool: 42",
        "assistant: no",
    ];
    assert_eq!(flattened(&request.messages), expected);
    assert_eq!(
        request.messages[1].parts[1],
        MessagePart::Other("image_url".to_owned())
    );
    let result: Vec<&MessageToolResult> = request.messages[3].tool_results().collect();
    assert_eq!(result[0].tool_call_id, "c");
    let names: Vec<&str> = request
        .tools
        .iter()
        .map(|tool| tool.tool_name.as_str())
        .collect();
    assert_eq!(names, ["f", "web_search"]);
    assert_eq!(request.tools[1].definition, r#"{"type":"web_search"}"#);
    assert_eq!(request.tool_choice.as_deref(), Some("auto"));
}
