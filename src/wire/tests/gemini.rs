//! Gemini.

use super::*;

const GEMINI: WireProtocol = WireProtocol::GeminiGenerate;
const PIECES: [&str; 3] = [
    r#"{"responseId":"r","modelVersion":"m","candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"Hel"}]}}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"lo"},{"functionCall":{"name":"f","args":{"x":1}}},{"functionCall":{"id":"2","name":"f","args":{}}}]}}]}"#,
    r#"{"candidates":[{"content":{},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":5,"thoughtsTokenCount":3}}"#,
];

#[test]
fn events_an_array_and_lines_say_the_same() {
    let expected = parse(GEMINI, &events(&PIECES));
    assert_eq!(expected.assistant_text(), "Hello");
    assert_eq!(expected.thinking(), "hm");
    assert_eq!(
        expected.tool_calls(),
        [call("f", "f", r#"{"x":1}"#), call("2", "f", "{}")]
    );
    assert_eq!(
        expected.usage,
        Some(Usage::new(9, 8).reasoning_output_tokens(3))
    );
    assert!(expected.is_streamed && !expected.is_broken_off);
    assert_eq!(
        parse(GEMINI, &format!("[{}]", PIECES.join("\n,\r\n"))),
        expected
    );
    let broken = parse(GEMINI, &format!("[{}", PIECES[0]));
    assert!(broken.is_broken_off);
    assert_eq!(broken.assistant_text(), "Hel");
}

#[test]
fn blocked_prompts_and_errors_in_an_array() {
    let blocked =
        r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9}}"#;
    let response = parse(GEMINI, blocked);
    assert_eq!(response.finish_reasons, ["SAFETY"]);
    let error = r#"[{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}]"#;
    let error = parse(GEMINI, error).error.unwrap();
    assert_eq!(error.error_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
    assert_eq!(error.code.as_deref(), Some("429"));
}

#[test]
fn candidates_are_read_in_the_order_of_their_indexes() {
    let body = r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"B"}]},"finishReason":2},
        {"index":0,"content":{"parts":[{"text":"A"},{"executableCode":{"language":"PYTHON","code":"1+1"}},
        {"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"2"}}]},"finishReason":"STOP"}]}"#;
    let response = parse(GEMINI, body);
    assert_eq!(response.finish_reasons, ["STOP", "MAX_TOKENS"]);
    let expected = [
        "assistant: A\n[tool_call code_execution 1+1]\n2",
        "assistant: B",
    ];
    assert_eq!(flattened(&response.messages), expected);
}

#[test]
fn requests_in_both_spellings() {
    for body in [
        r#"{"systemInstruction":{"parts":[{"text":"be"}]},"contents":[{"parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"x"}}]},
            {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"x":1}}}]}],"generationConfig":{"maxOutputTokens":5,"topP":0.5},
            "tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]},{"googleSearch":{}}]}"#,
        r#"{"system_instruction":{"parts":[{"text":"be"}]},"contents":[{"parts":[{"text":"hi"},{"inline_data":{"mime_type":"image/png","data":"x"}}]},
            {"role":"user","parts":[{"function_response":{"name":"f","response":{"x":1}}}]}],"generation_config":{"max_output_tokens":5,"top_p":0.5},
            "tools":[{"function_declarations":[{"name":"f"},{"name":"g"}]},{"googleSearch":{}}]}"#,
    ] {
        let request = request(GEMINI, body);
        let expected = ["system: be", "user: hi", "user: {\"x\":1}"];
        assert_eq!(flattened(&request.messages), expected);
        assert_eq!(
            request.messages[1].parts[1],
            MessagePart::Other("image".to_owned())
        );
        assert_eq!((request.max_tokens, request.top_p), (Some(5), Some(0.5)));
        let names: Vec<&str> = request
            .tools
            .iter()
            .map(|tool| tool.tool_name.as_str())
            .collect();
        assert_eq!(names, ["f", "g", "googleSearch"]);
        let summary = RequestSummary::parse(&GEMINI, "", body.as_bytes());
        assert_eq!((summary.max_tokens, summary.tool_count), (Some(5), 3));
    }
}

#[test]
fn what_was_said_in_audio_is_text() {
    let body = r#"{"candidates":[{"content":{"role":"model","parts":[{"inlineData":{"mimeType":"audio/pcm","data":"AA=="}},
        {"audioTranscription":{"text":"Hello","finished":true}}]},"finishReason":"STOP"}]}"#;
    let response = parse(WireProtocol::GeminiGenerate, body);
    assert_eq!(response.assistant_text(), "Hello");
}

#[test]
fn why_a_candidate_stopped_early_is_a_refusal() {
    let body = |reason: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"Hi"}}]}},"finishReason":"{reason}","finishMessage":"because"}}]}}"#
        )
    };
    for (reason, refusal) in [("PROHIBITED_CONTENT", Some("because")), ("STOP", None)] {
        let response = parse(WireProtocol::GeminiGenerate, &body(reason));
        assert_eq!(response.refusal().as_deref(), refusal, "{reason}");
        assert_eq!(response.finish_reasons, [reason]);
        assert_eq!(response.assistant_text(), "Hi");
    }
}
