//! Responses that tell the protocol themselves, and results of batches.

use super::*;

const CHAT: &str = r#"{"object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;
const CLAUDE: &str = r#"{"type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":4,"cache_read_input_tokens":5}}"#;

fn detect(path: &str, request: &str, response: &str) -> WireProtocol {
    WireProtocol::detect_exchange(path, request.as_bytes(), response.as_bytes())
}

#[test]
fn responses_name_their_protocols() {
    for (response, protocol) in [
        (CHAT, WireProtocol::OpenAiChat),
        (CLAUDE, WireProtocol::AnthropicMessages),
        (r#"{"choices":[{"message":{}}]}"#, WireProtocol::OpenAiChat),
        (
            r#"{"choices":[{"text":"a"}]}"#,
            WireProtocol::OpenAiCompletions,
        ),
        (r#"{"object":"response"}"#, WireProtocol::OpenAiResponses),
        (
            r#"{"data":[{"embedding":[1]}]}"#,
            WireProtocol::OpenAiEmbeddings,
        ),
        (r#"{"data":[{"b64_json":""}]}"#, WireProtocol::OpenAiMedia),
        (r#"[{"candidates":[]}]"#, WireProtocol::GeminiGenerate),
        (
            r#"{"output":{"message":{}},"stopReason":"end_turn"}"#,
            WireProtocol::BedrockConverse,
        ),
        (
            r#"{"message":{"role":"assistant"},"done":false}"#,
            WireProtocol::OllamaChat,
        ),
        (
            r#"{"response":"a","done":false}"#,
            WireProtocol::OllamaGenerate,
        ),
        (
            r#"{"id":"c","finish_reason":"COMPLETE","message":{"role":"assistant"}}"#,
            WireProtocol::CohereChat,
        ),
        (
            r#"{"generation_id":"g","text":"a"}"#,
            WireProtocol::CohereChat,
        ),
        (
            r#"{"object":"conversation.response","outputs":[]}"#,
            WireProtocol::MistralConversations,
        ),
        (
            r#"{"object":"interaction"}"#,
            WireProtocol::GeminiInteractions,
        ),
        (
            r#"{"setupComplete":{}}{"serverContent":{}}"#,
            WireProtocol::GeminiLive,
        ),
        (
            r#"{"type":"session.created"}{"type":"response.done"}"#,
            WireProtocol::OpenAiRealtime,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, WireProtocol::Mcp),
        (r#"{"object":"batch","id":"b"}"#, WireProtocol::Batches),
        (
            ": ping\n\ndata: {\"x\":1}\n\ndata: {\"object\":\"chat.completion.chunk\"}\n\n",
            WireProtocol::OpenAiChat,
        ),
        (
            "event: message_start\ndata: {\"type\":\"message_start\"}\n\n",
            WireProtocol::AnthropicMessages,
        ),
        (r#"{"error":{"message":"x"}}"#, WireProtocol::Unknown),
        (r#"{"model":"m","usage":{}}"#, WireProtocol::Unknown),
        ("[1]", WireProtocol::Unknown),
        ("", WireProtocol::Unknown),
    ] {
        assert_eq!(detect("", "{}", response), protocol, "{response}");
        assert_eq!(detect("/llm", "", response), protocol, "{response}");
    }
}

#[test]
fn the_path_decides_before_the_response_and_that_before_the_request() {
    let request = r#"{"model":"m","messages":[]}"#;
    assert_eq!(detect("", request, CLAUDE), WireProtocol::AnthropicMessages);
    assert_eq!(
        detect("/v1/chat/completions?a=1", request, CLAUDE),
        WireProtocol::OpenAiChat
    );
    assert_eq!(
        detect("/v1/rerank/", request, CLAUDE),
        WireProtocol::Unknown
    );
    assert_eq!(detect("", request, "[]"), WireProtocol::OpenAiChat);
}

#[test]
fn a_response_of_an_unknown_protocol_is_read_in_its_own() {
    for protocol in [WireProtocol::Unknown, WireProtocol::from("mine")] {
        let response = parse(protocol, CLAUDE);
        let usage = Usage::new(14, 4).cache_read_input_tokens(5);
        assert_eq!(response.usage, Some(usage));
        assert_eq!(response.assistant_text(), "Hi");
        assert_eq!(response.finish_reasons, ["end_turn"]);
        assert!(!response.is_generic && response.unparsed == 0);
    }
    let events = events(&[
        r#"{"x":1}"#,
        &CHAT
            .replace("completion\"", "completion.chunk\"")
            .replace("message", "delta"),
    ]);
    let response = parse(WireProtocol::Unknown, &events);
    assert_eq!(response.assistant_text(), "Hi");
}

#[test]
fn a_response_of_another_protocol_is_read_in_that_and_counted() {
    let response = parse(WireProtocol::OpenAiChat, CLAUDE);
    assert_eq!(
        response.usage,
        Some(Usage::new(14, 4).cache_read_input_tokens(5))
    );
    assert_eq!((response.unparsed, response.is_generic), (1, false));
    let events = events(&[CHAT]);
    let response = parse(WireProtocol::AnthropicMessages, &events);
    assert_eq!(response.usage, Some(Usage::new(9, 4)));
    assert_eq!((response.unparsed, response.is_generic), (1, false));
    // What says nothing of itself remains.
    let response = parse(WireProtocol::OpenAiChat, r#"{"usage":{"prompt_tokens":1}}"#);
    assert_eq!(response.unparsed, 0);
}

#[test]
fn results_of_batches_are_the_answers_within() {
    let line = format!(
        r#"{{"id":"br1","custom_id":"a","response":{{"status_code":200,"body":{CHAT}}},"error":null}}"#
    );
    for protocol in [WireProtocol::Unknown, WireProtocol::OpenAiChat] {
        let response = parse(protocol, &line);
        assert_eq!(response.usage, Some(Usage::new(9, 4)));
        let tier = response
            .usage_details
            .and_then(|details| details.service_tier);
        assert_eq!(tier.as_deref(), Some("batch"));
        assert_eq!((response.unparsed, response.is_generic), (0, false));
    }
    assert_eq!(detect("", "", &line), WireProtocol::OpenAiChat);
    let bedrock = format!(r#"{{"recordId":"r","modelInput":{{}},"modelOutput":{CLAUDE}}}"#);
    let response = parse(WireProtocol::Unknown, &bedrock);
    assert_eq!(response.assistant_text(), "Hi");
    let expired = r#"{"custom_id":"a","result":{"type":"expired"}}"#;
    let error = parse(WireProtocol::Unknown, expired).error.unwrap();
    assert_eq!(error.error_type.as_deref(), Some("expired"));
}

#[test]
fn a_file_of_results_is_a_batch_and_counts_nothing_itself() {
    let line = format!(r#"{{"custom_id":"a","result":{{"type":"succeeded","message":{CLAUDE}}}}}"#);
    let file = format!("{line}\n{line}\n");
    assert_eq!(detect("", "", &file), WireProtocol::Batches);
    assert_eq!(
        detect("/v1/files/f/content", "", &line),
        WireProtocol::Batches
    );
    let response = parse(WireProtocol::Batches, &file);
    assert_eq!((response.usage, response.error), (None, None));
    assert_eq!((response.unparsed, response.is_broken_off), (0, false));
    let results = BatchResult::list(file.as_bytes());
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].body, line.as_bytes());
    let failed = br#"{"id":"b1","custom_id":7,"response":{"status_code":400,"body":{}}}"#;
    let results = BatchResult::list(failed);
    assert_eq!(results[0].http_status, Some(400));
    assert_eq!(results[0].custom_id.as_deref(), Some("7"));
    for other in ["", "{}", "[]", r#"{"id":"b1","object":"batch"}"#, "x\ny"] {
        assert_eq!(BatchResult::list(other.as_bytes()), [], "{other}");
    }
}

#[test]
fn nothing_after_the_last_word_counts_even_without_a_line_end() {
    let stream = events(&[CHAT, "[DONE]"]);
    let body = format!(
        "{}\n{{\"usage\":{{\"prompt_tokens\":1}}}}",
        stream.trim_end()
    );
    let response = parse(WireProtocol::OpenAiChat, &body);
    assert_eq!(response.usage, Some(Usage::new(9, 4)));
    assert!(!response.is_broken_off && response.unparsed == 0);
}

#[test]
fn searches_that_gemini_lists_are_counted() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b"]}}]}"#;
    let details = parse(WireProtocol::GeminiGenerate, body)
        .usage_details
        .unwrap();
    assert_eq!(details.server_tools[0].tool_name, "web_search");
    assert_eq!(details.server_tools[0].request_count, Some(2));
}

#[test]
fn turns_of_live_sessions_are_added_up_by_modality() {
    let turn = r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":5,"responseTokenCount":2,"totalTokenCount":7,"responseTokensDetails":[{"modality":"AUDIO","tokenCount":2}]}}"#;
    let session = format!("{{\"setupComplete\":{{}}}}\n{turn}\n{turn}\n");
    let response = parse(WireProtocol::GeminiLive, &session);
    assert_eq!(response.usage, Some(Usage::new(10, 4)));
    let details = response.usage_details.unwrap();
    assert_eq!(details.output.audio_tokens, Some(4));
    assert!(!response.is_broken_off && !response.is_usage_partial);
}

#[test]
fn the_first_api_of_cohere_is_read_too() {
    let body = r#"{"model":"command-r","preamble":"be","chat_history":[{"role":"CHATBOT","message":"Hi"}],"message":"q"}"#;
    let request = request(WireProtocol::CohereChat, body);
    assert_eq!(
        flattened(&request.messages),
        ["system: be", "assistant: Hi", "user: q"]
    );
}
