//! Protocols that are not those of the large providers' chats.

use std::io::Write;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Whole and byte by byte.
fn bytes(protocol: &WireProtocol, body: &[u8]) -> ParsedResponse {
    let response = ParsedResponse::parse(protocol, body);
    let mut parser = ResponseParser::new(protocol);
    body.chunks(1).for_each(|byte| parser.feed(byte));
    assert_eq!(parser.finish(), response, "byte by byte");
    response
}

const CHAT: &str = r#"{"id":"c1","model":"m","choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;

/// `{"model":"m","usage":{"prompt_tokens":9,"completion_tokens":4}}` as Brotli packs it (quality 5, window 22).
const BROTLI: &[u8] = include_bytes!("usage.json.br");

#[test]
fn compressed_bodies_are_read_however_they_are_cut() {
    let chat = WireProtocol::OpenAiChat;
    let plain = bytes(&chat, CHAT.as_bytes());
    assert_eq!(plain.usage, Some(Usage::new(9, 4)));
    assert_eq!(bytes(&chat, &gzip(CHAT.as_bytes())), plain);
    let zstd = zstd::bulk::compress(CHAT.as_bytes(), 3).unwrap();
    assert_eq!(bytes(&chat, &zstd), plain);
    assert_eq!(bytes(&chat, BROTLI).usage, Some(Usage::new(9, 4)));
    let stream = events(&[CHAT, "[DONE]"]);
    let streamed = bytes(&chat, &gzip(stream.as_bytes()));
    assert!(streamed.is_streamed && !streamed.is_broken_off);
    assert_eq!(streamed.assistant_text(), "Hi");
    // A stream that breaks off within its encoding.
    let whole = gzip(events(&[CHAT, CHAT]).as_bytes());
    let cut = bytes(&chat, whole.get(..whole.len() - 30).unwrap());
    assert!(cut.is_broken_off || cut.unparsed > 0);
}

#[test]
fn compressed_requests_are_read() {
    let chat = WireProtocol::OpenAiChat;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"q"}],"stream":true}"#;
    let packed = gzip(body.as_bytes());
    let parsed = ParsedRequest::parse(&chat, "", &packed);
    assert_eq!(flattened(&parsed.messages), ["user: q"]);
    let summary = RequestSummary::parse(&chat, "", &packed);
    assert!(summary.is_complete && summary.is_streaming);
    assert_eq!(
        (summary.model.as_deref(), summary.message_count),
        (Some("m"), 1)
    );
    assert_eq!(
        flattened(&summary.new_messages(&chat, &packed)),
        ["user: q"]
    );
    let next = summary.parse_next("", &packed, &packed, packed.len());
    assert_eq!(next.message_count, 1);
    assert_eq!(WireProtocol::detect("", &packed), chat);
}

/// A body that decodes to itself would otherwise exhaust the stack of the thread that reads it.
#[test]
fn what_is_encoded_twice_is_not_read() {
    let chat = WireProtocol::OpenAiChat;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"q"}]}"#;
    let packed = gzip(&gzip(body.as_bytes()));
    let summary = RequestSummary::parse(&chat, "", &packed);
    assert!(!summary.is_complete);
    assert_eq!((summary.model.as_deref(), summary.message_count), (None, 0));
    assert_eq!(summary.new_messages(&chat, &packed), []);
    assert_eq!(ParsedRequest::parse(&chat, "", &packed).unparsed, 1);
    assert_eq!(bytes(&chat, &packed).usage, None);
}

#[test]
fn a_byte_order_mark_is_no_part_of_json() {
    let chat = WireProtocol::OpenAiChat;
    let marked = format!("\u{feff}{CHAT}");
    assert_eq!(parse(chat.clone(), &marked), parse(chat.clone(), CHAT));
    let body = "\u{feff}{\"model\":\"m\",\"messages\":[]}";
    let summary = RequestSummary::parse(&chat, "", body.as_bytes());
    assert!(summary.is_complete && summary.model.as_deref() == Some("m"));
    assert_eq!(request(chat, body).model.as_deref(), Some("m"));
}

#[test]
fn what_follows_the_last_word_is_no_part_of_the_response() {
    let stream =
        events(&[CHAT, "[DONE]"]) + "data: {\"choices\":[{\"delta\":{\"content\":\"!\"}}]}\n\n";
    let response = parse(WireProtocol::OpenAiChat, &stream);
    assert_eq!(
        (response.assistant_text().as_str(), response.unparsed),
        ("Hi", 0)
    );
}

#[test]
fn json_of_another_shape_is_counted_and_read_by_what_it_is_or_what_is_common() {
    for protocol in [
        WireProtocol::OpenAiResponses,
        WireProtocol::AnthropicMessages,
    ] {
        let response = parse(protocol, CHAT);
        assert!(
            !response.is_generic && response.unparsed == 1,
            "{response:?}"
        );
        assert_eq!(response.assistant_text(), "Hi");
        assert_eq!(response.usage, Some(Usage::new(9, 4)));
        assert_eq!(response.response_model.as_deref(), Some("m"));
    }
    let nameless = r#"{"model":"m","usage":{"input_tokens":9}}"#;
    let response = parse(WireProtocol::GeminiGenerate, nameless);
    assert!(response.is_generic && response.unparsed == 1);
    let unknown = WireProtocol::from("another");
    let response = parse(
        unknown.clone(),
        r#"{"result":{"model":{"id":"m"},"usage":{"input_tokens":3}}}"#,
    );
    assert!(response.is_generic && response.unparsed == 0);
    assert_eq!(response.response_model.as_deref(), Some("m"));
    assert_eq!(response.usage.unwrap().input_tokens, Some(3));
    assert!(!parse(WireProtocol::OpenAiChat, CHAT).is_generic);
    for nothing in ["{}", "[1]", "<html>", "{\"a\":"] {
        let response = parse(unknown.clone(), nothing);
        assert!(!response.is_generic && response.unparsed > 0, "{nothing}");
    }
    // Texts alone are something, wanted or not.
    let body = r#"{"choices":[{"message":{"content":"Hi"}}]}"#;
    let parser = ResponseParser::new(&WireProtocol::OpenAiChat).without_texts();
    let response = parser.parse_whole(body.as_bytes());
    assert!(!response.is_generic && response.unparsed == 0);
}

#[test]
fn mcp_tells_transport_rpc_and_tool_apart() {
    let mcp = WireProtocol::Mcp;
    let ask = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","arguments":{"a":1},"_meta":{"example/toolUseId":"toolu_1"}}}"#;
    let asked = request(mcp.clone(), ask);
    let calls: Vec<_> = asked.messages[0].tool_calls().collect();
    assert_eq!(calls[0].tool_call_id, "toolu_1");
    assert_eq!(
        (calls[0].tool_name.as_str(), calls[0].input.as_str()),
        ("get", "{\"a\":1}")
    );
    assert_eq!(executed_call(&mcp, ask.as_bytes()).as_ref(), Some(calls[0]));
    assert_eq!(
        executed_call(&WireProtocol::OpenAiChat, ask.as_bytes()),
        None
    );

    let answer = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"21 C"}]}}"#;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    for body in [
        answer.to_owned(),
        events(&[progress, answer]),
        format!("{progress}\n{answer}\n"),
    ] {
        let response = parse(mcp.clone(), &body);
        assert_eq!(flattened(&response.messages), ["tool: 21 C"], "{body}");
        assert!(response.error.is_none() && !response.is_broken_off && response.unparsed == 0);
    }
    let failed = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"no"}],"isError":true}}"#;
    let error = parse(mcp.clone(), failed).error.unwrap();
    assert_eq!(error.error_type.as_deref(), Some("tool_error"));
    assert_eq!(error.message.as_deref(), Some("no"));
    let refused = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"bad"}}"#;
    let error = parse(mcp.clone(), refused).error.unwrap();
    assert_eq!(
        (error.code.as_deref(), error.message.as_deref()),
        (Some("-32602"), Some("bad"))
    );
    // Only progress: the answer is missing.
    assert!(parse(mcp, &events(&[progress])).is_broken_off);
}

#[test]
fn invoke_reads_each_makers_bodies() {
    let invoke = WireProtocol::BedrockInvoke;
    for (body, usage) in [
        (
            r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":5,"output_tokens":2}}"#,
            (5, 2),
        ),
        (
            r#"{"inputTextTokenCount":5,"results":[{"tokenCount":2,"outputText":"Hi","completionReason":"FINISH"}]}"#,
            (5, 2),
        ),
        (
            r#"{"generation":"Hi","prompt_token_count":5,"generation_token_count":2,"stop_reason":"stop"}"#,
            (5, 2),
        ),
        (
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"usage":{"inputTokens":5,"outputTokens":2}}"#,
            (5, 2),
        ),
        (CHAT, (9, 4)),
    ] {
        let response = parse(invoke.clone(), body);
        assert_eq!(response.assistant_text(), "Hi", "{body}");
        assert_eq!(response.usage, Some(Usage::new(usage.0, usage.1)), "{body}");
        assert!(!response.is_generic && response.unparsed == 0);
    }
    let error = parse(invoke, r#"{"message":"no access"}"#).error.unwrap();
    assert_eq!(error.message.as_deref(), Some("no access"));
}

#[test]
fn invoke_streams_are_unwrapped_in_any_protocol() {
    use base64::Engine;
    let wrapped = |document: &str| {
        let inner = base64::prelude::BASE64_STANDARD.encode(document);
        let payload = format!(r#"{{"bytes":"{inner}","p":"ab"}}"#);
        framing::aws_message(&[(":event-type", "chunk")], payload.as_bytes())
    };
    let nova = [
        r#"{"messageStart":{"role":"assistant"}}"#,
        r#"{"contentBlockDelta":{"delta":{"text":"Hi"},"contentBlockIndex":0}}"#,
        r#"{"messageStop":{"stopReason":"end_turn"}}"#,
        r#"{"metadata":{"usage":{"inputTokens":5,"outputTokens":2}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":2}}"#,
    ];
    let titan = [
        r#"{"outputText":"H","index":0,"completionReason":null,"inputTextTokenCount":5}"#,
        r#"{"outputText":"i","totalOutputTextTokenCount":2,"completionReason":"FINISH","amazon-bedrock-invocationMetrics":{"inputTokenCount":6,"outputTokenCount":3}}"#,
    ];
    let claude = [
        r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":2}}"#,
    ];
    for (protocol, documents) in [
        (WireProtocol::BedrockInvoke, &nova[..]),
        (WireProtocol::BedrockInvoke, &titan),
        (WireProtocol::BedrockInvoke, &claude),
        (WireProtocol::AnthropicMessages, &claude),
    ] {
        let body: Vec<u8> = documents.iter().flat_map(|text| wrapped(text)).collect();
        let response = bytes(&protocol, &body);
        assert_eq!(response.assistant_text(), "Hi", "{documents:?}");
        assert_eq!(response.usage, Some(Usage::new(5, 2)), "{documents:?}");
        assert!(!response.is_broken_off && response.unparsed == 0);
    }
}

#[test]
fn what_a_guardrail_blocked_is_complete() {
    use base64::Engine;
    let document = r#"{"outputText":"Blocked.","index":0,"totalOutputTextTokenCount":3,"inputTextTokenCount":6,"amazon-bedrock-guardrailAction":"INTERVENED"}"#;
    let inner = base64::prelude::BASE64_STANDARD.encode(document);
    let payload = format!(r#"{{"bytes":"{inner}"}}"#);
    let body = framing::aws_message(&[(":event-type", "chunk")], payload.as_bytes());
    let response = bytes(&WireProtocol::BedrockInvoke, &body);
    assert!(!response.is_broken_off);
    assert_eq!(response.finish_reasons, ["guardrail_intervened"]);
    assert_eq!(response.usage, Some(Usage::new(6, 3)));
    let unblocked = document.replace("INTERVENED", "NONE");
    let inner = base64::prelude::BASE64_STANDARD.encode(unblocked);
    let payload = format!(r#"{{"bytes":"{inner}"}}"#);
    let body = framing::aws_message(&[(":event-type", "chunk")], payload.as_bytes());
    assert!(bytes(&WireProtocol::BedrockInvoke, &body).is_broken_off);
}

#[test]
fn paths_and_bodies_name_the_protocols() {
    let detect = |path: &str, body: &str| WireProtocol::detect(path, body.as_bytes());
    for (path, protocol) in [
        ("/v1/completions", WireProtocol::OpenAiCompletions),
        ("/v1/fim/completions", WireProtocol::OpenAiChat),
        ("/v1/agents/completions", WireProtocol::OpenAiChat),
        ("/v1/chat/completions", WireProtocol::OpenAiChat),
        ("/v2/chat", WireProtocol::CohereChat),
        ("/api/generate", WireProtocol::OllamaGenerate),
        (
            "/model/anthropic.claude-3/invoke",
            WireProtocol::BedrockInvoke,
        ),
        (
            "/model/m/invoke-with-response-stream",
            WireProtocol::BedrockInvoke,
        ),
        ("/v1/messages/count_tokens", WireProtocol::CountTokens),
        ("/v1beta/models/g:countTokens", WireProtocol::CountTokens),
        ("/v1/conversations", WireProtocol::MistralConversations),
        ("/v1/conversations/c1", WireProtocol::MistralConversations),
        ("/mcp", WireProtocol::Mcp),
        ("/v1/images/generations", WireProtocol::OpenAiMedia),
        ("/v1/audio/transcriptions", WireProtocol::OpenAiMedia),
        ("/v1/audio/speech", WireProtocol::Unknown),
        ("/v1/videos/v1", WireProtocol::OpenAiMedia),
        ("/v1/batches/b1", WireProtocol::Batches),
        ("/v1/messages/batches", WireProtocol::Batches),
        ("/v1/messages/batches/b1/results", WireProtocol::Batches),
        ("/v1/realtime", WireProtocol::OpenAiRealtime),
        ("/v1beta/interactions", WireProtocol::GeminiInteractions),
    ] {
        assert_eq!(detect(path, "{}"), protocol, "{path}");
    }
    for (body, protocol) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            WireProtocol::Mcp,
        ),
        (
            r#"{"model":"m","prompt":"q","max_tokens":5}"#,
            WireProtocol::OpenAiCompletions,
        ),
        (
            r#"{"model":"m","prompt":"q","options":{}}"#,
            WireProtocol::OllamaGenerate,
        ),
        (r#"{"model":"m","prompt":"a cat"}"#, WireProtocol::Unknown),
    ] {
        assert_eq!(detect("", body), protocol, "{body}");
    }
    for (body, protocol) in [
        (r#"{"model":"m","input":"q"}"#, WireProtocol::Unknown),
        (
            r#"{"model":"m","input":"q","voice":"alloy"}"#,
            WireProtocol::Unknown,
        ),
        (
            r#"{"model":"m","input":"q","instructions":"i"}"#,
            WireProtocol::OpenAiResponses,
        ),
        (
            r#"{"model":"m","input":[{"role":"user"}]}"#,
            WireProtocol::OpenAiResponses,
        ),
    ] {
        assert_eq!(detect("/llm", body), protocol, "{body}");
    }
    let parsed = ParsedRequest::parse(
        &WireProtocol::BedrockInvoke,
        "/model/us.amazon.nova-lite-v1%3A0/invoke-with-response-stream",
        br#"{"inferenceConfig":{"maxTokens":7},"messages":[{"role":"user","content":[{"text":"q"}]}]}"#,
    );
    assert_eq!(parsed.model.as_deref(), Some("us.amazon.nova-lite-v1:0"));
    assert!(parsed.is_streaming && parsed.max_tokens == Some(7));
    assert_eq!(flattened(&parsed.messages), ["user: q"]);
}

#[test]
fn counting_tokens_uses_none() {
    let response = parse(WireProtocol::CountTokens, r#"{"input_tokens":14}"#);
    assert_eq!((response.usage, response.unparsed), (None, 0));
    assert!(!response.is_generic && response.error.is_none());
}

#[test]
fn cohere_plans_think_and_billed_tokens_count() {
    let body = r#"{"id":"c","finish_reason":"TOOL_CALL","message":{"role":"assistant","tool_plan":"look","content":[{"type":"text","text":"Hi"}],"tool_calls":[{"id":"t1","function":{"name":"f","arguments":"{}"}}]},"usage":{"billed_units":{"input_tokens":5,"output_tokens":2},"tokens":{"input_tokens":71,"output_tokens":2},"cached_tokens":3}}"#;
    let response = parse(WireProtocol::CohereChat, body);
    assert_eq!(response.tool_calls(), [call("t1", "f", "{}")]);
    assert_eq!(
        (
            response.thinking().as_str(),
            response.assistant_text().as_str()
        ),
        ("look", "Hi")
    );
    assert_eq!(response.usage.unwrap().input_tokens, Some(5));
    let stream = events(&[
        r#"{"type":"message-start","id":"c"}"#,
        r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"t1","function":{"name":"f","arguments":""}}}}}"#,
        r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#,
        r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":5,"output_tokens":2}}}}"#,
    ]);
    let response = parse(WireProtocol::CohereChat, &stream);
    assert_eq!(response.tool_calls(), [call("t1", "f", "{}")]);
    assert_eq!(response.usage, Some(Usage::new(5, 2)));
}

#[test]
fn looks_at_batches_use_nothing_however_often() {
    let body = r#"{"id":"batch_1","object":"batch","model":"m","usage":{"input_tokens":900,"output_tokens":80},"status":"completed"}"#;
    let response = parse(WireProtocol::Batches, body);
    assert_eq!((response.usage, response.error.is_none()), (None, true));
    assert_eq!(response.response_id.as_deref(), Some("batch_1"));
    assert!(!response.is_generic && response.unparsed == 0);
}

#[test]
fn images_transcripts_and_videos_state_their_usage() {
    let media = WireProtocol::OpenAiMedia;
    let usage = r#""usage":{"input_tokens":5,"output_tokens":2,"total_tokens":7}"#;
    let image = format!(r#"{{"created":1,"data":[{{"b64_json":"aa"}}],{usage}}}"#);
    let response = parse(media.clone(), &image);
    assert_eq!(response.usage, Some(Usage::new(5, 2)));
    assert_eq!(
        response.messages[0].parts,
        [MessagePart::Other("image".to_owned())]
    );
    let stream = events(&[
        r#"{"type":"transcript.text.delta","delta":"He"}"#,
        &format!(r#"{{"type":"transcript.text.done","text":"Hello",{usage}}}"#),
    ]);
    let response = parse(media.clone(), &stream);
    assert_eq!(
        (response.assistant_text().as_str(), response.usage),
        ("Hello", Some(Usage::new(5, 2)))
    );
    assert!(!response.is_broken_off && !response.is_generic);
    let failed = parse(
        media.clone(),
        r#"{"id":"v","object":"video","status":"failed","error":{"code":"c","message":"no"}}"#,
    );
    assert_eq!(failed.error.unwrap().code.as_deref(), Some("c"));

    let form = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nzz\r\n--x--\r\n";
    let parsed = request(media.clone(), form);
    assert_eq!(parsed.model.as_deref(), Some("whisper-1"));
    assert_eq!(
        parsed.messages[0].parts,
        [MessagePart::Other("file".to_owned())]
    );
    let summary = RequestSummary::parse(&media, "", form.as_bytes());
    assert!(summary.is_complete && summary.model.as_deref() == Some("whisper-1"));
}

#[test]
fn a_realtime_session_is_the_sum_of_its_responses() {
    let done = |id: &str, item: &str| {
        format!(
            r#"{{"type":"response.done","response":{{"id":"{id}","status":"completed","usage":{{"input_tokens":5,"output_tokens":2}},"output":[{item}]}}}}"#
        )
    };
    let frames = [
        r#"{"type":"session.created","session":{"id":"s","model":"gpt-realtime"}}"#.to_owned(),
        r#"{"type":"response.output_audio_transcript.delta","delta":"H"}"#.to_owned(),
        done(
            "r1",
            r#"{"type":"message","content":[{"type":"output_audio","transcript":"Hi"}]}"#,
        ),
        done(
            "r2",
            r#"{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"}"#,
        ),
    ];
    let response = parse(WireProtocol::OpenAiRealtime, &frames.join("\n"));
    assert_eq!(response.response_model.as_deref(), Some("gpt-realtime"));
    assert_eq!(response.usage, Some(Usage::new(10, 4)));
    assert_eq!(response.assistant_text(), "Hi");
    assert_eq!(response.tool_calls(), [call("c1", "f", "{}")]);
    assert!(!response.is_broken_off && response.unparsed == 0);
}

#[test]
fn interactions_are_read_whole_and_in_steps() {
    let gemini = WireProtocol::GeminiInteractions;
    let usage = r#""usage":{"total_input_tokens":5,"total_output_tokens":2,"total_thought_tokens":3,"total_tokens":10}"#;
    let steps = r#"[{"type":"thought","summary":[{"type":"text","text":"hm"}]},{"type":"model_output","content":[{"type":"text","text":"Hi"}]},{"type":"function_call","id":"c1","name":"f","arguments":{"a":1}}]"#;
    let whole =
        format!(r#"{{"id":"i","model":"g","status":"requires_action","steps":{steps},{usage}}}"#);
    let last = format!(
        r#"{{"event_type":"interaction.completed","interaction":{{"id":"i","model":"g","status":"requires_action",{usage}}}}}"#
    );
    let stream = events(&[
        r#"{"event_type":"interaction.created","interaction":{"id":"i","model":"g","status":"in_progress"}}"#,
        r#"{"event_type":"step.start","index":0,"step":{"type":"thought"}}"#,
        r#"{"event_type":"step.delta","index":0,"delta":{"type":"thought_summary","content":{"type":"text","text":"hm"}}}"#,
        r#"{"event_type":"step.start","index":1,"step":{"type":"model_output"}}"#,
        r#"{"event_type":"step.delta","index":1,"delta":{"type":"text","text":"Hi"}}"#,
        r#"{"event_type":"step.start","index":2,"step":{"type":"function_call","id":"c1","name":"f","arguments":{}}}"#,
        r#"{"event_type":"step.delta","index":2,"delta":{"type":"arguments_delta","arguments":"{\"a\":"}}"#,
        r#"{"event_type":"step.delta","index":2,"delta":{"type":"arguments_delta","arguments":"1}"}}"#,
        &last,
    ]);
    for body in [whole, stream] {
        let response = parse(gemini.clone(), &body);
        assert_eq!(
            (
                response.thinking().as_str(),
                response.assistant_text().as_str()
            ),
            ("hm", "Hi")
        );
        assert_eq!(response.tool_calls(), [call("c1", "f", "{\"a\":1}")]);
        let usage = response.usage.unwrap();
        assert_eq!(
            (usage.input_tokens, usage.output_tokens),
            (Some(5), Some(5))
        );
        assert_eq!(response.finish_reasons, ["requires_action"]);
        assert!(!response.is_broken_off && response.unparsed == 0, "{body}");
    }
}

#[test]
fn a_choice_of_several_messages_is_what_the_model_said_in_them() {
    let body = r#"{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"stop","messages":[{"role":"assistant","content":"A","tool_calls":[{"id":"t1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"no"},{"role":"assistant","content":"B"}]}]}"#;
    let response = parse(WireProtocol::OpenAiChat, body);
    assert_eq!(response.assistant_text(), "AB");
    assert_eq!(response.tool_calls(), [call("t1", "f", "{}")]);
}
