//! Counts under every provider's names, and numbers that are none.

use super::*;

fn numbers(counts: Counts) -> [Option<u64>; 5] {
    let usage = counts.usage().unwrap_or_default();
    [
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_write_input_tokens,
        usage.reasoning_output_tokens,
    ]
}

fn openai(json: &str) -> [Option<u64>; 5] {
    numbers(serde_json::from_str::<OpenAiUsage>(json).unwrap().counts())
}

#[test]
fn openai_totals_include_their_parts() {
    let chat = r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
        "prompt_tokens_details":{"cached_tokens":64,"audio_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":5}}"#;
    let expected = [Some(100), Some(20), Some(64), None, Some(5)];
    assert_eq!(openai(chat), expected);
    let responses = r#"{"input_tokens":100,"output_tokens":20,
        "input_tokens_details":{"cached_tokens":64},
        "output_tokens_details":{"reasoning_tokens":5}}"#;
    assert_eq!(openai(responses), expected);
    let bare = r#"{"prompt_tokens":100.0,"completion_tokens":20,"prompt_tokens_details":null}"#;
    assert_eq!(openai(bare), [Some(100), Some(20), None, None, None]);
}

#[test]
fn reasoning_that_only_the_total_includes_is_output() {
    let xai = r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":125,
        "completion_tokens_details":{"reasoning_tokens":5}}"#;
    assert_eq!(openai(xai), [Some(100), Some(25), None, None, Some(5)]);
}

#[test]
fn cached_tokens_have_many_names() {
    for (json, read, write) in [
        (
            r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":8}"#,
            Some(8),
            None,
        ),
        (r#"{"prompt_tokens":9,"cached_tokens":8}"#, Some(8), None),
        (
            r#"{"prompt_tokens":9,"num_cached_tokens":8}"#,
            Some(8),
            None,
        ),
        (
            r#"{"prompt_tokens":9,"prompt_tokens_details":{"cache_write_tokens":7}}"#,
            None,
            Some(7),
        ),
        (
            r#"{"prompt_tokens":9,"cache_creation_input_tokens":7}"#,
            None,
            Some(7),
        ),
    ] {
        assert_eq!(openai(json), [Some(9), None, read, write, None], "{json}");
    }
}

#[test]
fn anthropic_and_bedrock_parts_are_added_to_the_total() {
    let json = r#"{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":64,
        "cache_creation_input_tokens":32,"output_tokens_details":{"thinking_tokens":5}}"#;
    let usage: AnthropicUsage = serde_json::from_str(json).unwrap();
    let expected = [Some(106), Some(20), Some(64), Some(32), Some(5)];
    assert_eq!(numbers(usage.counts()), expected);
    let json = r#"{"inputTokens":10,"outputTokens":20,"cacheReadInputTokens":64,
        "cacheWriteInputTokens":32,"totalTokens":126}"#;
    let usage: BedrockUsage = serde_json::from_str(json).unwrap();
    let expected = [Some(106), Some(20), Some(64), Some(32), None];
    assert_eq!(numbers(usage.counts()), expected);
}

#[test]
fn gemini_thoughts_are_output_and_tool_prompts_input() {
    let json = r#"{"promptTokenCount":100,"candidatesTokenCount":20,"thoughtsTokenCount":5,
        "cachedContentTokenCount":64,"toolUsePromptTokenCount":7,"totalTokenCount":132}"#;
    let usage: GeminiUsage = serde_json::from_str(json).unwrap();
    let expected = [Some(107), Some(25), Some(64), None, Some(5)];
    assert_eq!(numbers(usage.counts()), expected);
}

#[test]
fn later_counts_of_a_stream_win_and_keep_what_they_lack() {
    let first: AnthropicUsage = serde_json::from_str(
        r#"{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":64}"#,
    )
    .unwrap();
    let last: AnthropicUsage = serde_json::from_str(r#"{"output_tokens":20}"#).unwrap();
    let mut counts = first.counts();
    counts.update(&last.counts());
    assert_eq!(numbers(counts), [Some(74), Some(20), Some(64), None, None]);
}

#[test]
fn counts_that_are_stated_whole_replace_each_other() {
    let read = |json: &str| serde_json::from_str::<GeminiUsage>(json).unwrap().counts();
    let mut counts = read(r#"{"promptTokenCount":9,"candidatesTokenCount":21}"#);
    counts.replace(read(r#"{"promptTokenCount":87,"thoughtsTokenCount":78}"#));
    counts.replace(read(r#"{"trafficType":"ON_DEMAND"}"#));
    assert_eq!(numbers(counts), [Some(87), Some(78), None, None, Some(78)]);
}

#[test]
fn counts_are_read_under_any_names() {
    let numbers = |protocol: &str, json: &str| {
        let usage = Usage::from_json(&WireProtocol::from(protocol), json).unwrap_or_default();
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens,
            usage.cache_write_input_tokens,
            usage.reasoning_output_tokens,
        ]
    };
    let own = r#"{"input_tokens":100,"output_tokens":20,"cache_read_input_tokens":64,
        "cache_write_input_tokens":8,"reasoning_output_tokens":5}"#;
    let expected = [Some(100), Some(20), Some(64), Some(8), Some(5)];
    assert_eq!(numbers("anthropic.messages", own), expected);
    let anthropic = r#"{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":64,
        "cache_creation_input_tokens":32,"service_tier":"standard"}"#;
    let expected = [Some(106), Some(20), Some(64), Some(32), None];
    assert_eq!(numbers("", anthropic), expected);
    let read = r#"{"input_tokens":100,"cache_read_input_tokens":64}"#;
    assert_eq!(numbers("", read), [Some(100), None, Some(64), None, None]);
    assert_eq!(numbers("anthropic.messages", read)[0], Some(164));
    let gemini = r#"{"promptTokenCount":100,"candidatesTokenCount":20,"thoughtsTokenCount":5}"#;
    let expected = [Some(100), Some(25), None, None, Some(5)];
    assert_eq!(numbers("", gemini), expected);
    assert_eq!(numbers("openai.chat", gemini), expected);
    let ollama = r#"{"prompt_eval_count":9,"eval_count":5}"#;
    assert_eq!(numbers("", ollama)[..2], [Some(9), Some(5)]);
    for json in [r#"{"cost":0.1}"#, "7", "null", "{", ""] {
        assert_eq!(Usage::from_json(&WireProtocol::Unknown, json), None);
    }
}

#[test]
fn numbers_that_are_no_counts_are_told_and_cost_nothing_beside_them() {
    for (number, count, is_odd) in [
        ("18446744073709551615", Some(u64::MAX), false),
        ("18446744073709551616", Some(u64::MAX), false),
        ("1e308", Some(u64::MAX), false),
        ("1e400", Some(u64::MAX), false),
        ("1E+999999999999", Some(u64::MAX), false),
        ("7.0", Some(7), false),
        ("0.7e1", Some(7), false),
        ("-0.0", Some(0), false),
        ("1e-400", Some(0), false),
        ("null", None, false),
        ("-1", None, true),
        ("-1e400", None, true),
        ("1.5", None, true),
        (r#""7""#, None, true),
        ("true", None, true),
        ("[7]", None, true),
        (r#"{"a":7}"#, None, true),
    ] {
        for (protocol, input, output) in [
            ("openai.chat", "prompt_tokens", "completion_tokens"),
            ("openai.responses", "input_tokens", "output_tokens"),
            ("anthropic.messages", "input_tokens", "output_tokens"),
            (
                "gemini.generate",
                "promptTokenCount",
                "candidatesTokenCount",
            ),
            ("bedrock.converse", "inputTokens", "outputTokens"),
            ("ollama.chat", "prompt_eval_count", "eval_count"),
            ("", "input_tokens", "output_tokens"),
        ] {
            let json = format!(r#"{{"{input}":{number},"{output}":5}}"#);
            let usage = Usage::from_json(&WireProtocol::from(protocol), &json).unwrap();
            let found = (usage.input_tokens, usage.output_tokens, usage.is_unparsed);
            assert_eq!(found, (count, Some(5), is_odd), "{protocol} {json}");
        }
    }
}

#[test]
fn nothing_known_is_no_usage() {
    assert_eq!(
        serde_json::from_str::<OpenAiUsage>(r#"{"cost":0.1}"#)
            .unwrap()
            .counts()
            .usage(),
        None
    );
}
