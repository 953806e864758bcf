//! Usage: parts apart from their totals, counts in unusual places, final and partial ones, and details.

use super::*;
use crate::model::{CacheWriteTokens, ModalityTokens, UsageDetails};

fn usage(protocol: WireProtocol, body: &str) -> Usage {
    parse(protocol, body).usage.unwrap()
}

fn chat(usage: &str) -> String {
    format!(
        r#"{{"choices":[{{"message":{{"content":"x"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
    )
}

fn details(protocol: WireProtocol, body: &str) -> UsageDetails {
    *parse(protocol, body).usage_details.unwrap()
}

#[test]
fn zeros_after_counts_say_nothing() {
    let chunk = |usage: &str| format!(r#"{{"choices":[],"usage":{usage}}}"#);
    let first = chunk(
        r#"{"prompt_tokens":31,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":9}}"#,
    );
    let more = chunk(
        r#"{"prompt_tokens":0,"completion_tokens":12,"prompt_tokens_details":{"cached_tokens":0}}"#,
    );
    let zeros = chunk(r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#);
    let stream = events(&[&first, &more, &zeros, "[DONE]"]);
    assert_eq!(usage(WireProtocol::OpenAiChat, &stream), Usage::new(31, 12));
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":15,"cache_read_input_tokens":7,"output_tokens":1}}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":23}}"#;
    let found = usage(WireProtocol::AnthropicMessages, &events(&[start, delta]));
    assert_eq!(found, Usage::new(22, 23).cache_read_input_tokens(7));
}

#[test]
fn parts_apart_are_told_by_the_total_then_by_the_provider_then_by_their_size() {
    let reasoning = r#""completion_tokens_details":{"reasoning_tokens":30}"#;
    for (model, counts, output) in [
        (
            "m",
            r#""prompt_tokens":10,"completion_tokens":50,"total_tokens":60"#,
            50,
        ),
        (
            "m",
            r#""prompt_tokens":10,"completion_tokens":50,"total_tokens":90"#,
            80,
        ),
        ("m", r#""prompt_tokens":10,"completion_tokens":50"#, 50),
        ("m", r#""prompt_tokens":10,"completion_tokens":20"#, 50),
        (
            "m",
            r#""prompt_tokens":10,"completion_tokens":20,"total_tokens":30"#,
            20,
        ),
        ("grok-4", r#""prompt_tokens":10,"completion_tokens":50"#, 80),
        (
            "grok-4",
            r#""prompt_tokens":10,"completion_tokens":50,"total_tokens":60"#,
            50,
        ),
        (
            "m",
            r#""prompt_tokens":10,"completion_tokens":50,"citation_tokens":7"#,
            80,
        ),
    ] {
        let body = format!(
            r#"{{"model":"{model}","choices":[{{"finish_reason":"stop"}}],"usage":{{{counts},{reasoning}}}}}"#
        );
        let expected = Usage::new(10, output).reasoning_output_tokens(30);
        assert_eq!(
            usage(WireProtocol::OpenAiChat, &body),
            expected,
            "{model} {counts}"
        );
    }
    let cached = |counts: &str| {
        Usage::from_json(&WireProtocol::Unknown, counts)
            .unwrap()
            .input_tokens
    };
    assert_eq!(
        cached(r#"{"input_tokens":4,"output_tokens":23,"cache_read_input_tokens":2455}"#),
        Some(2459)
    );
    assert_eq!(
        cached(r#"{"input_tokens":4000,"output_tokens":23,"cache_read_input_tokens":2455}"#),
        Some(4000)
    );
    let total = r#"{"input_tokens":4000,"output_tokens":23,"total_tokens":6478,"cache_read_input_tokens":2455}"#;
    assert_eq!(cached(total), Some(6455));
    let gemini = r#"{"promptTokenCount":10,"candidatesTokenCount":50,"thoughtsTokenCount":30,"totalTokenCount":60}"#;
    assert_eq!(
        Usage::from_json(&WireProtocol::GeminiGenerate, gemini)
            .unwrap()
            .output_tokens,
        Some(50)
    );
}

#[test]
fn usage_within_a_choice_counts_where_the_event_has_none() {
    let choice = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":19,"completion_tokens":13}}]}"#;
    let stream = events(&[choice, "[DONE]"]);
    assert_eq!(usage(WireProtocol::OpenAiChat, &stream), Usage::new(19, 13));
    let both = r#"{"choices":[{"usage":{"prompt_tokens":1,"completion_tokens":1},"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":13}}"#;
    assert_eq!(usage(WireProtocol::OpenAiChat, both), Usage::new(19, 13));
}

#[test]
fn a_stream_that_breaks_off_has_partial_usage() {
    let start =
        r#"{"type":"message_start","message":{"usage":{"input_tokens":15,"output_tokens":1}}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":23}}"#;
    let partial = |protocol: &WireProtocol, documents: &[&str]| {
        let response = parse(protocol.clone(), &events(documents));
        response.usage.map(|_| response.is_usage_partial)
    };
    let anthropic = WireProtocol::AnthropicMessages;
    assert_eq!(partial(&anthropic, &[start]), Some(true));
    assert_eq!(partial(&anthropic, &[start, delta]), Some(false));
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    assert_eq!(partial(&anthropic, &[start, error]), Some(true));

    let chat = WireProtocol::OpenAiChat;
    let running = r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let other = r#"{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
    let stop = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    assert_eq!(partial(&chat, &[running]), Some(true));
    assert_eq!(
        partial(&chat, &[running, other]),
        Some(true),
        "the first choice goes on"
    );
    assert_eq!(partial(&chat, &[running, other, stop]), Some(false));
    assert_eq!(partial(&chat, &[running, "[DONE]"]), Some(false));
    assert_eq!(partial(&chat, &[stop]), None);

    let gemini = WireProtocol::GeminiGenerate;
    let running = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":9}}"#;
    let stop = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3}}"#;
    assert_eq!(partial(&gemini, &[running]), Some(true));
    assert_eq!(partial(&gemini, &[running, stop]), Some(false));

    let responses = WireProtocol::OpenAiResponses;
    let begun = r#"{"type":"response.in_progress","response":{"status":"in_progress","usage":{"input_tokens":9,"output_tokens":0}}}"#;
    let done = r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":9,"output_tokens":4}}}"#;
    assert_eq!(partial(&responses, &[begun]), Some(true));
    assert_eq!(partial(&responses, &[begun, done]), Some(false));
    let whole = r#"{"type":"message","usage":{"input_tokens":15,"output_tokens":1}}"#;
    assert!(!parse(anthropic, whole).is_usage_partial);
}

#[test]
fn iterations_that_the_counts_leave_out_are_added() {
    let start = r#"{"type":"message_start","message":{"model":"own","usage":{"input_tokens":15,"output_tokens":1}}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":20,"iterations":[
        {"type":"message","model":"own-alias","input_tokens":15,"output_tokens":20},
        {"type":"compaction","input_tokens":100,"output_tokens":10,"cache_read_input_tokens":30},
        {"type":"advisor_message","model":"adviser","input_tokens":200,"output_tokens":40,"cache_creation_input_tokens":8,
            "cache_creation":{"ephemeral_1h_input_tokens":8}},
        {"type":"advisor_message","model":"adviser","input_tokens":1,"output_tokens":2}]}}"#;
    let response = parse(WireProtocol::AnthropicMessages, &events(&[start, delta]));
    let expected = Usage::new(15 + 130 + 208 + 1, 20 + 10 + 40 + 2);
    let expected = expected
        .cache_read_input_tokens(30)
        .cache_write_input_tokens(8);
    assert_eq!(response.usage, Some(expected));
    let details = response.usage_details.unwrap();
    assert_eq!(details.cache_write.for_1h_tokens, Some(8));
    assert_eq!(details.other_models.len(), 1, "{details:?}");
    let adviser = &details.other_models[0];
    assert_eq!(adviser.model, "adviser");
    assert_eq!(
        adviser.usage,
        Usage::new(209, 42).cache_write_input_tokens(8)
    );
    assert_eq!(adviser.cache_write.for_1h_tokens, Some(8));
}

#[test]
fn zeros_beside_iterations_are_meant() {
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":100,"cache_read_input_tokens":900,"output_tokens":1}}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":181,"cache_read_input_tokens":0,"output_tokens":8,
        "iterations":[{"type":"compaction","input_tokens":100,"output_tokens":83,"cache_read_input_tokens":900},
        {"type":"message","input_tokens":181,"output_tokens":8}]}}"#;
    let found = usage(WireProtocol::AnthropicMessages, &events(&[start, delta]));
    assert_eq!(found, Usage::new(1181, 91).cache_read_input_tokens(900));
}

#[test]
fn the_model_that_took_over_is_the_one_that_served() {
    let iterations = r#"[{"type":"message","model":"asked","input_tokens":50,"output_tokens":3},
        {"type":"fallback_message","model":"served","input_tokens":60,"output_tokens":7}]"#;
    for (input, output, expected) in [
        (60, 7, Usage::new(110, 10)), // of the model that served only
        (110, 10, Usage::new(110, 10)),
    ] {
        let body = format!(
            r#"{{"type":"message","model":"asked","content":[{{"type":"text","text":"no"}},
            {{"type":"fallback","from":{{"model":"asked"}},"to":{{"model":"served"}}}},{{"type":"text","text":"yes"}}],
            "usage":{{"input_tokens":{input},"output_tokens":{output},"iterations":{iterations}}}}}"#
        );
        let response = parse(WireProtocol::AnthropicMessages, &body);
        assert_eq!(response.response_model.as_deref(), Some("served"));
        assert_eq!(response.usage, Some(expected));
        let details = response.usage_details.unwrap();
        let models: Vec<_> = details
            .other_models
            .iter()
            .map(|other| (other.model.as_str(), other.usage))
            .collect();
        assert_eq!(models, [("asked", Usage::new(50, 3))]);
    }
}

#[test]
fn anthropic_states_tier_speed_region_lifetimes_and_tools() {
    let body = r#"{"type":"message","usage":{"input_tokens":1,"output_tokens":2,"service_tier":"priority","speed":"fast",
        "inference_geo":"us","cache_creation_input_tokens":30,
        "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},
        "server_tool_use":{"web_search_requests":3,"web_fetch_requests":0}}}"#;
    let found = details(WireProtocol::AnthropicMessages, body);
    assert_eq!(found.service_tier.as_deref(), Some("priority"));
    assert_eq!(found.speed.as_deref(), Some("fast"));
    assert_eq!(found.region.as_deref(), Some("us"));
    let written = CacheWriteTokens {
        for_5m_tokens: Some(10),
        for_1h_tokens: Some(20),
        ..CacheWriteTokens::default()
    };
    assert_eq!(found.cache_write, written);
    let tools: Vec<_> = found
        .server_tools
        .iter()
        .map(|tool| (tool.tool_name.as_str(), tool.request_count))
        .collect();
    assert_eq!(tools, [("web_search", Some(3))]);
}

#[test]
fn openai_states_modalities_lifetimes_tier_and_the_tokens_of_tools() {
    let found = details(
        WireProtocol::OpenAiChat,
        &chat(
            r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"audio_tokens":60,"image_tokens":0,
            "text_tokens":40,"cached_tokens":9,"cached_tokens_details":{"audio_tokens":9}},
            "completion_tokens_details":{"audio_tokens":30,"video_tokens":1}}"#,
        ),
    );
    let tokens = |text, audio, video| ModalityTokens {
        text_tokens: text,
        audio_tokens: audio,
        video_tokens: video,
        ..ModalityTokens::default()
    };
    assert_eq!(found.input, tokens(Some(40), Some(60), None));
    assert_eq!(found.cache_read, tokens(None, Some(9), None));
    assert_eq!(found.output, tokens(None, Some(30), Some(1)));

    let body = r#"{"object":"response","status":"completed","service_tier":"flex","output":[
        {"type":"image_generation_call","id":"i","svg_usage":{"model":"draw","input_tokens":5,"output_tokens":6}}],
        "usage":{"input_tokens":20,"output_tokens":1,"input_tokens_details":{"cache_write_tokens":12,
        "cache_write_tokens_details":{"ttl_30m_tokens":4,"ttl_12h_tokens":8}}},
        "tool_usage":{"web_search":{"num_requests":2},"image_gen":{"input_tokens":7,"output_tokens":8}}}"#;
    let response = parse(WireProtocol::OpenAiResponses, body);
    assert_eq!(
        response.usage,
        Some(Usage::new(20, 1).cache_write_input_tokens(12))
    );
    let found = response.usage_details.unwrap();
    assert_eq!(found.service_tier.as_deref(), Some("flex"));
    assert_eq!(found.cache_write.for_30m_tokens, Some(4));
    assert_eq!(found.cache_write.for_12h_tokens, Some(8));
    let tools: Vec<_> = found
        .server_tools
        .iter()
        .map(|tool| {
            (
                tool.tool_name.as_str(),
                tool.model.as_deref(),
                tool.request_count,
                tool.usage,
            )
        })
        .collect();
    let expected = [
        ("web_search", None, Some(2), None),
        ("image_generation", None, None, Some(Usage::new(7, 8))),
        (
            "image_generation",
            Some("draw"),
            None,
            Some(Usage::new(5, 6)),
        ),
    ];
    assert_eq!(tools, expected);
}

#[test]
fn costs_are_read_as_each_provider_states_them() {
    for (usage, expected) in [
        (
            r#"{"prompt_tokens":1,"cost":0.00095,"is_byok":false,"cost_details":{"upstream_inference_cost":0.5}}"#,
            Some(950),
        ),
        (
            r#"{"prompt_tokens":1,"cost":5e-05,"is_byok":true,"cost_details":{"upstream_inference_cost":0.001}}"#,
            Some(1050),
        ),
        (
            r#"{"prompt_tokens":1,"cost":{"input_tokens_cost":0.1,"total_cost":0.630606}}"#,
            Some(630_606),
        ),
        (
            r#"{"prompt_tokens":1,"cost_in_usd_ticks":37756000}"#,
            Some(3776),
        ),
        (r#"{"prompt_tokens":1,"estimated_cost":0.000002}"#, Some(2)),
        (r#"{"prompt_tokens":1,"cost":0}"#, Some(0)),
        (r#"{"prompt_tokens":1,"cost":-1}"#, None),
        (r#"{"prompt_tokens":1,"cost":1e300}"#, None),
        (r#"{"prompt_tokens":1,"cost":"free"}"#, None),
        (r#"{"prompt_tokens":1,"cost":null}"#, None),
    ] {
        let response = parse(WireProtocol::OpenAiChat, &chat(usage));
        let found = response
            .usage_details
            .and_then(|details| details.stated_cost_microdollars);
        assert_eq!(found, expected, "{usage}");
    }
}

#[test]
fn gemini_states_modalities_and_the_kind_of_traffic() {
    let body = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1100,"responseTokenCount":10,
        "toolUsePromptTokenCount":5,"totalTokenCount":1115,"trafficType":"PROVISIONED_THROUGHPUT",
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":100},{"modality":"AUDIO","tokenCount":1000}],
        "toolUsePromptTokensDetails":[{"modality":"TEXT","tokenCount":5}],
        "responseTokensDetails":[{"modality":"IMAGE","tokenCount":10}]}}"#;
    let response = parse(WireProtocol::GeminiGenerate, body);
    assert_eq!(response.usage, Some(Usage::new(1105, 10)));
    let found = response.usage_details.unwrap();
    assert_eq!(
        found.service_tier.as_deref(),
        Some("PROVISIONED_THROUGHPUT")
    );
    assert_eq!(found.input.text_tokens, Some(105));
    assert_eq!(found.input.audio_tokens, Some(1000));
    assert_eq!(found.output.image_tokens, Some(10));
}

#[test]
fn bedrock_states_lifetimes_tier_and_latency() {
    let body = r#"{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn",
        "serviceTier":{"type":"flex"},"performanceConfig":{"latency":"optimized"},
        "usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":9,
        "cacheDetails":[{"inputTokens":9,"ttl":"1h"}]}}"#;
    let found = details(WireProtocol::BedrockConverse, body);
    assert_eq!(found.cache_write.for_1h_tokens, Some(9));
    assert_eq!(found.service_tier.as_deref(), Some("flex"));
    assert_eq!(found.speed.as_deref(), Some("optimized"));
}

#[test]
fn details_are_bounded_however_much_a_response_says() {
    let tools: Vec<String> = (0..100).map(|at| format!("\"t{at}_requests\":1")).collect();
    let iterations: Vec<String> = (0..100)
        .map(|at| format!(r#"{{"type":"advisor_message","model":"m{at}","input_tokens":18446744073709551615,"output_tokens":1}}"#))
        .collect();
    let body = format!(
        r#"{{"type":"message","usage":{{"input_tokens":1,"output_tokens":1,"speed":"{}","server_tool_use":{{{}}},"iterations":[{}]}}}}"#,
        "é".repeat(1000),
        tools.join(","),
        iterations.join(",")
    );
    let found = details(WireProtocol::AnthropicMessages, &body);
    assert_eq!(found.server_tools.len(), UsageDetails::LIST_MAX);
    assert_eq!(found.other_models.len(), UsageDetails::LIST_MAX);
    assert_eq!(found.speed.unwrap().len(), UsageDetails::NAME_BYTES_MAX);
    assert_eq!(
        found.other_models[0].usage.input_tokens,
        Some(crate::config::TOKENS_MAX)
    );
}

#[test]
fn nothing_special_has_no_details() {
    let usage = r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0}}"#;
    assert_eq!(
        parse(WireProtocol::OpenAiChat, &chat(usage)).usage_details,
        None
    );
}

#[test]
fn what_is_no_token_is_counted_in_its_own_units() {
    let unit = |protocol: WireProtocol, body: &str| {
        let units = details(protocol, body).billed_units;
        let units = units.into_iter().map(|billed| (billed.unit, billed.count));
        units.collect::<Vec<_>>()
    };
    let named = |units: &[(&str, u64)]| -> Vec<(String, u64)> {
        let units = units
            .iter()
            .map(|(unit, count)| ((*unit).to_owned(), *count));
        units.collect()
    };
    let by_length = r#"{"text":"Hi","usage":{"type":"duration","seconds":3.25}}"#;
    let media = unit(WireProtocol::OpenAiMedia, by_length);
    assert_eq!(media, named(&[("input_audio_ms", 3250)]));
    let mistral = chat(r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_audio_seconds":4}"#);
    let mistral = unit(WireProtocol::OpenAiChat, &mistral);
    assert_eq!(mistral, named(&[("input_audio_ms", 4000)]));
    let ocr =
        r#"{"model":"ocr","pages":[],"usage_info":{"pages_processed":3,"doc_size_bytes":99}}"#;
    let ocr = unit(WireProtocol::Unknown, ocr);
    assert_eq!(ocr, named(&[("pages", 3), ("document_bytes", 99)]));
    let rerank =
        r#"{"id":"r","results":[],"meta":{"billed_units":{"search_units":2,"image_tokens":0}}}"#;
    let rerank = unit(WireProtocol::Unknown, rerank);
    assert_eq!(rerank, named(&[("search_units", 2)]));
    let conversation = r#"{"conversation_id":"c","outputs":[{"type":"message.output","content":"Hi"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"connector_tokens":5,"connectors":{"web_search":2,"code_interpreter":0}}}"#;
    let conversation = details(WireProtocol::MistralConversations, conversation);
    assert_eq!(conversation.billed_units[0].count, 5);
    assert_eq!(conversation.server_tools[0].request_count, Some(2));
    assert_eq!(conversation.server_tools.len(), 1);
}

#[test]
fn predicted_tokens_are_told_apart() {
    let body = chat(
        r#"{"prompt_tokens":9,"completion_tokens":7,"completion_tokens_details":{"accepted_prediction_tokens":2,"rejected_prediction_tokens":3}}"#,
    );
    let details = details(WireProtocol::OpenAiChat, &body);
    assert_eq!(details.accepted_prediction_tokens, Some(2));
    assert_eq!(details.rejected_prediction_tokens, Some(3));
    assert_eq!(usage(WireProtocol::OpenAiChat, &body), Usage::new(9, 7));
}

#[test]
fn tokens_of_a_tool_have_modalities_too() {
    let body = r#"{"object":"response","status":"completed","output":[],"tool_usage":{"image_gen":{"input_tokens":9,"input_tokens_details":{"text_tokens":4,"image_tokens":5},"cached_tokens_details":{"cached_text_tokens":1,"cached_image_tokens":2},"output_tokens":7,"output_tokens_details":{"image_tokens":6,"text_tokens":1},"total_tokens":16}}}"#;
    let details_of = details(WireProtocol::OpenAiResponses, body);
    let tool = &details_of.server_tools[0];
    assert_eq!(tool.input.image_tokens, Some(5));
    assert_eq!(tool.cache_read.image_tokens, Some(2));
    assert_eq!(tool.output.text_tokens, Some(1));
    let drawing = r#"{"created":1,"data":[{}],"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7},"svg_usage":{"model":"gpt-svg","input_tokens":10,"output_tokens":20,"reasoning_tokens":5,"total_tokens":30}}"#;
    assert_eq!(usage(WireProtocol::OpenAiMedia, drawing), Usage::new(3, 4));
    let drawn = details(WireProtocol::OpenAiMedia, drawing);
    let tool = &drawn.server_tools[0];
    assert_eq!(tool.model.as_deref(), Some("gpt-svg"));
    assert_eq!(tool.usage.unwrap().output_tokens, Some(20));
    assert_eq!(tool.usage.unwrap().reasoning_output_tokens, Some(5));
}

#[test]
fn a_fallback_credit_says_what_became_of_it() {
    for (status, outcome) in [
        (r#"{"type":"redeemed"}"#, "redeemed"),
        (r#"{"type":"not_applied","reason":"expired"}"#, "expired"),
    ] {
        let body = format!(
            r#"{{"type":"message","content":[],"stop_reason":"end_turn","usage":{{"input_tokens":9,"output_tokens":2,"fallback_credit":{{"status":{status}}}}}}}"#
        );
        let found = details(WireProtocol::AnthropicMessages, &body);
        assert_eq!(found.fallback_credit.as_deref(), Some(outcome));
    }
}

#[test]
fn calls_that_openai_bills_are_counted_once_however_often_a_stream_tells_them() {
    let search = r#"{"type":"web_search_call","id":"w1","status":"completed","action":{"type":"search","query":"q"}}"#;
    let page = r#"{"type":"web_search_call","id":"w2","status":"completed","action":{"type":"open_page","url":"u"}}"#;
    let code = r#"{"type":"code_interpreter_call","id":"c1","status":"completed","code":"1"}"#;
    let files = r#"{"type":"file_search_call","id":"f1","status":"completed","queries":["q"]}"#;
    let own = r#"{"type":"function_call","id":"x","call_id":"x","name":"web_search_call","arguments":"{}"}"#;
    let items = [search, search, page, code, files, own].join(",");
    let body = format!(
        r#"{{"id":"r","object":"response","status":"completed","model":"m","output":[{items}],"usage":{{"input_tokens":1,"output_tokens":1}}}}"#
    );
    let added =
        format!(r#"{{"type":"response.output_item.added","output_index":0,"item":{search}}}"#);
    let done = format!(r#"{{"type":"response.completed","response":{body}}}"#);
    for body in [body, events(&[&added, &done])] {
        let found = details(WireProtocol::OpenAiResponses, &body);
        let tools = found.server_tools.iter();
        let counts: Vec<_> = tools
            .map(|tool| (tool.tool_name.as_str(), tool.request_count))
            .collect();
        assert_eq!(
            counts,
            [
                ("web_search", Some(2)),
                ("file_search", Some(1)),
                ("code_interpreter", Some(1))
            ]
        );
    }
}

#[test]
fn a_streams_last_mark_after_an_error_makes_no_counts_final() {
    for protocol in [WireProtocol::OpenAiChat, WireProtocol::OpenAiCompletions] {
        let piece = r#"{"object":"chat.completion.chunk","model":"m","choices":[{"index":0,"text":"H","delta":{"content":"H"},"finish_reason":null}],"usage":{"prompt_tokens":500,"completion_tokens":1}}"#;
        let failed = events(&[
            piece,
            r#"{"error":{"message":"boom","type":"server_error"}}"#,
            "[DONE]",
        ]);
        let failed = parse(protocol.clone(), &failed);
        assert!(failed.error.is_some() && !failed.is_broken_off);
        assert!(failed.is_usage_partial, "{protocol:?}");
        let whole = parse(protocol, &events(&[piece, "[DONE]"]));
        assert!(!whole.is_usage_partial && !whole.is_broken_off);
    }
}

#[test]
fn one_line_of_ollamas_stream_is_not_all_of_it() {
    for (protocol, said) in [
        (
            WireProtocol::OllamaChat,
            r#""message":{"role":"assistant","content":"Hi"}"#,
        ),
        (WireProtocol::OllamaGenerate, r#""response":"Hi""#),
    ] {
        let line = |done: &str| format!("{{\"model\":\"m\",{said}{done}}}\n");
        let cut = parse(protocol.clone(), &line(r#","done":false"#));
        assert!(cut.is_broken_off && cut.is_streamed, "{protocol:?}");
        let ended = r#","done":true,"done_reason":"stop","eval_count":2"#;
        let whole = parse(protocol.clone(), &(line(r#","done":false"#) + &line(ended)));
        assert!(!whole.is_broken_off && whole.is_streamed);
        for whole in [line(ended), line("")] {
            let whole = parse(protocol.clone(), &whole);
            assert!(!whole.is_broken_off && !whole.is_streamed);
        }
        let failed = format!("{{\"error\":\"no model\",{said},\"done\":false}}\n");
        assert!(!parse(protocol, &failed).is_broken_off);
    }
}
