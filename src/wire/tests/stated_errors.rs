//! Errors where they should not be: in fields of their own, between events, in a stream's last words.

use super::*;

fn error(protocol: WireProtocol, body: &str) -> [Option<String>; 3] {
    let error = parse(protocol, body).error.unwrap_or_default();
    [error.error_type, error.code, error.message]
}

fn texts(texts: [Option<&str>; 3]) -> [Option<String>; 3] {
    texts.map(|text| text.map(str::to_owned))
}

const CHUNK: &str = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;

#[test]
fn an_error_beside_the_events_is_found() {
    let chat = WireProtocol::OpenAiChat;
    let event = format!("data: {CHUNK}\n\n");
    for (tail, kind, message) in [
        (
            "error: {\"code\":400,\"message\":\"m\",\"type\":\"t\"}\n\n",
            Some("t"),
            "m",
        ),
        (
            "error: {\"message\":\"m\",\"type\":\"t\"}\n\ndata: [DONE]\n\n",
            Some("t"),
            "m",
        ),
        (
            "{\"error\":{\"message\":\"m\",\"type\":\"t\"}}\n",
            Some("t"),
            "m",
        ),
        (
            "{\"error\":{\"message\":\"m\",\"type\":\"t\"}}\n\ndata: [DONE]\n\n",
            Some("t"),
            "m",
        ),
        (
            "{\n  \"error\": {\n    \"message\": \"m\",\n    \"type\": \"t\"\n  }\n}\n\n",
            Some("t"),
            "m",
        ),
        (
            "{\"error\":{\"message\":\"m\",\"type\":\"t\"}}\ndata: [DONE]\n\n",
            Some("t"),
            "m",
        ),
        ("event: error\ndata: {\"message\":\"m\"}\n\n", None, "m"),
        (
            "event: error\ndata: upstream timed out\n\n",
            None,
            "upstream timed out",
        ),
        (
            "data: {\"error\":{\"message\":\"m\",\"type\":\"None\",\"code\":\"t\"}}\n\n",
            None,
            "m",
        ),
        (
            "data: {\"choices\":[],\"x_groq\":{\"error\":\"m\"}}\n\ndata: [DONE]\n\n",
            None,
            "m",
        ),
        (
            "data: {\"choices\":[{\"index\":0,\"error\":{\"message\":\"m\"}}]}\n\n",
            None,
            "m",
        ),
    ] {
        let body = format!("{event}{tail}");
        let found = parse(chat.clone(), &body);
        let said = found.error.clone().unwrap_or_default();
        assert_eq!(said.message.as_deref(), Some(message), "{tail}");
        assert_eq!(said.error_type.as_deref(), kind, "{tail}");
        assert_eq!(found.assistant_text(), "Hi", "{tail}");
        assert!(!found.is_broken_off, "{tail}");
    }
}

#[test]
fn what_says_that_there_is_no_error_is_none() {
    for none in ["null", "false", "\"\"", "{}", "[]", "0"] {
        let body = format!(
            r#"{{"error":{none},"choices":[{{"message":{{"content":"x"}},"finish_reason":"stop","error":{none}}}],"x_groq":{{"error":{none}}}}}"#
        );
        assert_eq!(parse(WireProtocol::OpenAiChat, &body).error, None, "{none}");
    }
}

#[test]
fn documents_that_are_only_an_error_are_read_in_every_protocol() {
    for protocol in [
        WireProtocol::OpenAiChat,
        WireProtocol::OpenAiResponses,
        WireProtocol::OpenAiEmbeddings,
        WireProtocol::AnthropicMessages,
        WireProtocol::GeminiGenerate,
        WireProtocol::BedrockConverse,
        WireProtocol::OllamaChat,
    ] {
        for (body, expected) in [
            (r#"{"error":"m"}"#, [None, None, Some("m")]),
            (r#"{"code":"c","error":"m"}"#, [None, Some("c"), Some("m")]),
            (
                r#"{"error":{"message":"m","type":"t","code":"c"}}"#,
                [Some("t"), Some("c"), Some("m")],
            ),
            (
                r#"[{"error":{"code":429,"message":"m","status":"S"}}]"#,
                [Some("S"), Some("429"), Some("m")],
            ),
        ] {
            let found = error(protocol.clone(), body);
            assert_eq!(found, texts(expected), "{protocol} {body}");
        }
        for body in [r#"{"detail":"m"}"#, r#"{"message":"m"}"#] {
            let found = error(protocol.clone(), body);
            assert_eq!(found, texts([None, None, Some("m")]), "{protocol} {body}");
        }
    }
}

#[test]
fn a_response_that_failed_without_an_error_is_one() {
    let body = r#"{"object":"response","status":"failed","error":null,"output":[]}"#;
    let found = error(WireProtocol::OpenAiResponses, body);
    assert_eq!(found, texts([Some("failed"), None, None]));
}

#[test]
fn an_exception_of_the_framing_is_an_error_in_every_protocol() {
    let headers = [
        (":message-type", "exception"),
        (":exception-type", "throttlingException"),
    ];
    let body = framing::aws_message(&headers, br#"{"message":"m"}"#);
    let headers = [
        (":message-type", "error"),
        (":error-code", "internal"),
        (":error-message", "m"),
    ];
    let coded = framing::aws_message(&headers, b"");
    let found = ParsedResponse::parse(&WireProtocol::BedrockConverse, &coded)
        .error
        .unwrap();
    assert_eq!(
        (found.error_type.as_deref(), found.message.as_deref()),
        (Some("internal"), Some("m"))
    );
    for protocol in [
        WireProtocol::BedrockConverse,
        WireProtocol::AnthropicMessages,
    ] {
        let found = ParsedResponse::parse(&protocol, &body).error.unwrap();
        assert_eq!(found.error_type.as_deref(), Some("throttlingException"));
        assert_eq!(found.message.as_deref(), Some("m"));
    }
}
