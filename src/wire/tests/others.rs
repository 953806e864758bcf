//! Ollama, embeddings, and what holds for every protocol.

use super::*;

#[test]
fn ollama_streams_lines_and_ends_with_done() {
    let lines = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\n\
        {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Hi\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]},\"done\":false}\n";
    let broken = parse(WireProtocol::OllamaChat, lines);
    assert!(broken.is_broken_off);
    let end = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":9,\"eval_count\":5}\n";
    let response = parse(WireProtocol::OllamaChat, &format!("{lines}{end}"));
    assert_eq!(response.assistant_text(), "Hi");
    assert_eq!(response.thinking(), "hm");
    assert_eq!(response.tool_calls(), [call("f", "f", r#"{"x":1}"#)]);
    assert_eq!(response.usage, Some(Usage::new(9, 5)));
    assert!(response.is_streamed && !response.is_broken_off);
    let error = parse(
        WireProtocol::OllamaChat,
        &format!("{lines}{{\"error\":\"out of memory\"}}\n"),
    );
    assert_eq!(
        error.error.unwrap().message.as_deref(),
        Some("out of memory")
    );
}

#[test]
fn ollama_streams_unless_told_otherwise() {
    for (body, is_streaming) in [(r#"{"messages":[]}"#, true), (r#"{"stream":false}"#, false)] {
        assert_eq!(
            request(WireProtocol::OllamaChat, body).is_streaming,
            is_streaming
        );
        let summary = RequestSummary::parse(&WireProtocol::OllamaChat, "", body.as_bytes());
        assert_eq!(summary.is_streaming, is_streaming);
    }
}

#[test]
fn embeddings_are_passed_over_and_counted() {
    let body = r#"{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0}],"model":"m","usage":{"total_tokens":7}}"#;
    let response = parse(WireProtocol::OpenAiEmbeddings, body);
    assert_eq!(response.usage.unwrap().input_tokens, Some(7));
    assert_eq!(response.usage.unwrap().output_tokens, None);
    assert!(response.messages.is_empty() && response.error.is_none());
    let request = request(
        WireProtocol::OpenAiEmbeddings,
        r#"{"model":"m","input":["a",[1,2]]}"#,
    );
    assert_eq!(flattened(&request.messages), ["user: a", "user: "]);
}

#[test]
fn what_is_beyond_the_bound_is_not_read() {
    let event = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
    let mut parser = ResponseParser::new(&WireProtocol::OpenAiChat);
    parser.feed(event.as_bytes());
    parser.feed(b"\n\n");
    let comment = vec![b':'; 1 << 20];
    (0..64).for_each(|_| parser.feed(&comment));
    parser.feed(b"\n\ndata: [DONE]\n\n");
    let response = parser.finish();
    assert_eq!(response.assistant_text(), "a");
    assert!(response.unparsed == 1 && response.is_broken_off);
}

#[test]
fn protocols_that_are_not_known_are_left_unread() {
    let protocol = WireProtocol::from("another.protocol");
    assert_eq!(parse(protocol.clone(), r#"{"usage":{}}"#).unparsed, 1);
    assert_eq!(ParsedRequest::parse(&protocol, "", b"{}").unparsed, 1);
}

#[test]
fn a_summary_goes_on_where_the_history_ends() {
    let chat = WireProtocol::OpenAiChat;
    let body =
        |messages: &str, tail: &str| format!(r#"{{"model":"m","messages":[{messages}]{tail}}}"#);
    let first = body(
        r#"{"role":"user","content":"]}"},{"role":"assistant","content":"b"}"#,
        r#","max_tokens":5,"tools":[{},{}]"#,
    );
    let summary = RequestSummary::parse(&chat, "", first.as_bytes());
    let messages = r#"{"role":"user","content":"]}"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}"#;
    for (tail, max_tokens, tools) in [
        (r#","max_tokens":5,"tools":[{},{}]"#, Some(5), 2),
        (r#","max_tokens":6"#, Some(6), 0),
        ("", None, 0),
    ] {
        let next = body(messages, tail);
        let head = first
            .bytes()
            .zip(next.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        for previous in [first.as_bytes(), b""] {
            let resumed = summary.parse_next("", previous, next.as_bytes(), head);
            assert_eq!((resumed.message_count, resumed.first_new_message), (3, 2));
            assert_eq!(
                (resumed.max_tokens, resumed.tool_count),
                (max_tokens, tools)
            );
            assert!(resumed.is_complete);
            let new = resumed.new_messages(&chat, next.as_bytes());
            assert_eq!(flattened(&new), ["user: c"]);
            assert_eq!(new[0].position, 2);
        }
    }
    // The last message was rewritten: it counts as new.
    let edited = first.replace("\"b\"", "\"B\"");
    let resumed = summary.parse_next(
        "",
        first.as_bytes(),
        edited.as_bytes(),
        first.find("\"b\"").unwrap(),
    );
    assert_eq!((resumed.message_count, resumed.first_new_message), (2, 1));
    // Nothing in common: read from the start.
    let resumed = summary.parse_next("", first.as_bytes(), b"{\"messages\":[1]}", 2);
    assert_eq!((resumed.message_count, resumed.first_new_message), (1, 0));
}

#[test]
fn a_text_may_stand_for_the_list() {
    let responses = WireProtocol::OpenAiResponses;
    let body = br#"{"input":"hi","model":"m"}"#;
    let summary = RequestSummary::parse(&responses, "", body);
    assert_eq!((summary.message_count, summary.first_new_message), (1, 0));
    assert_eq!(
        flattened(&summary.new_messages(&responses, body)),
        ["user: hi"]
    );
    let embeddings = WireProtocol::OpenAiEmbeddings;
    let body = br#"{"input":["a","b"]}"#;
    let summary = RequestSummary::parse(&embeddings, "", body);
    assert_eq!(
        flattened(&summary.new_messages(&embeddings, body)),
        ["user: a", "user: b"]
    );
}

#[test]
fn a_summary_keeps_what_came_before_a_fault() {
    let summary = RequestSummary::parse(
        &WireProtocol::OpenAiChat,
        "",
        br#"{"model":"m","messages":[{},{"#,
    );
    assert_eq!(summary.model.as_deref(), Some("m"));
    assert!(!summary.is_complete);
    for body in ["", "[]", "{", "{}x", "null", "{\"a\"}", "{\"a\":}"] {
        let summary = RequestSummary::parse(&WireProtocol::OpenAiChat, "", body.as_bytes());
        assert!(!summary.is_complete, "{body}");
    }
}

#[test]
fn debug_shows_no_text() {
    let body = r#"{"choices":[{"message":{"content":"secret","refusal":"secret","tool_calls":[{"function":{"name":"f","arguments":"secret"}}]}}],
        "error":{"message":"secret"}}"#;
    let response = parse(WireProtocol::OpenAiChat, body);
    let request = request(
        WireProtocol::OpenAiChat,
        r#"{"messages":[{"role":"user","content":"secret"}],"tools":[{"d":"secret"}]}"#,
    );
    let parser = {
        let mut parser = ResponseParser::new(&WireProtocol::OpenAiChat);
        parser.feed(body.as_bytes());
        parser.feed(b"{\"choices\":[\"secret");
        parser
    };
    for shown in [
        format!("{response:?}"),
        format!("{request:?}"),
        format!("{parser:?}"),
    ] {
        assert!(
            !shown.contains("secret") && !shown.contains("115, 101, 99"),
            "{shown}"
        );
    }
}
