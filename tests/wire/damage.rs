//! Hostile and damaged bodies: no panic, no unbounded memory, and the properties that hold for
//! sound bodies hold for them as well.
//!
//! `AUDITLITE_FUZZ_SECONDS` (default 3) says for how long, `AUDITLITE_FUZZ_SEED` replays a run; a
//! failure prints the seed.

use std::process::Command;
use std::time::{Duration, Instant};

use auditlite::{
    CanonicalMessage, ParsedRequest, ParsedResponse, RequestSummary, ResponseParser, WireProtocol,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::corpus::samples;
use crate::{ALLOCATED, seeds};

const PROTOCOLS: [WireProtocol; 7] = [
    WireProtocol::OpenAiChat,
    WireProtocol::OpenAiResponses,
    WireProtocol::OpenAiEmbeddings,
    WireProtocol::AnthropicMessages,
    WireProtocol::GeminiGenerate,
    WireProtocol::BedrockConverse,
    WireProtocol::OllamaChat,
];

/// Bodies to begin with where there is no corpus, and beside it.
const SEEDS: [&str; 8] = [
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"tool","tool_call_id":"c","content":"r"}],"tools":[{"type":"function","function":{"name":"f"}}],"stream":true}"#,
    r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}},{"text":"t","thought":true}]}],"generationConfig":{"temperature":1}}"#,
    "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\ndata: {\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\",\"name\":\"f\"}}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[]}}\n\n",
    "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n,\r\n{\"usageMetadata\":{\"promptTokenCount\":3}}]",
    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n{\"done\":true,\"eval_count\":3}\n",
    r#"{"output":{"message":{"role":"assistant","content":[{"toolUse":{"toolUseId":"c","name":"f","input":{}}}]}},"stopReason":"tool_use","usage":{"inputTokens":1}}"#,
];

/// What is worth inserting into JSON, streams and binary frames.
const TOKENS: [&[u8]; 22] = [
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud83d",
    b",",
    b":",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"\n\n",
    b"\r",
    b"data: ",
    b"event: error\n",
    b"\xFF\xFE",
    b"\0\0\0\x10",
    b"{\"a\":{\"a\":{\"a\":",
    b"[DONE]",
];

fn damaged(random: &mut StdRng, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut body = bodies[random.random_range(0..bodies.len())].clone();
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..=body.len());
        let end = random.random_range(at..=body.len().min(at + 64));
        match random.random_range(0..7) {
            0 if at < body.len() => body[at] ^= 1 << random.random_range(0..8),
            1 => drop(body.drain(at..end)),
            2 => {
                let piece = body[at..end].to_vec();
                body.splice(at..at, piece);
            }
            3 => {
                let token = TOKENS[random.random_range(0..TOKENS.len())];
                body.splice(at..at, token.iter().copied());
            }
            4 => body.truncate(at),
            5 => {
                let other = &bodies[random.random_range(0..bodies.len())];
                let from = random.random_range(0..=other.len());
                body.truncate(at);
                body.extend(&other[from..]);
            }
            _ => {
                // A number becomes another one.
                if let Some(digit) = body.iter_mut().skip(at).find(|byte| byte.is_ascii_digit()) {
                    *digit = b'0' + random.random_range(0..10_u8);
                }
            }
        }
    }
    body
}

#[test]
fn damaged_bodies_are_read_as_far_as_they_go() {
    let seed = seeds::seed("AUDITLITE_FUZZ_SEED");
    let time = Duration::from_secs(seeds::number("AUDITLITE_FUZZ_SECONDS", 3));
    let mut random = StdRng::seed_from_u64(seed);
    let mut bodies: Vec<Vec<u8>> = SEEDS.iter().map(|body| body.as_bytes().to_vec()).collect();
    for exchange in samples(3) {
        bodies.extend([exchange.request, exchange.response]);
    }
    bodies.retain(|body| body.len() < 32 * 1024);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < time {
        count += 1;
        let protocol = &PROTOCOLS[random.random_range(0..PROTOCOLS.len())];
        let body = damaged(&mut random, &bodies);
        WireProtocol::detect("", &body);
        check_response(&mut random, protocol, &body);
        let next = damaged(&mut random, std::slice::from_ref(&body));
        check_request(protocol, &body, &next);
    }
    eprintln!("{count} damaged bodies in {time:?}, seed {seed}");
    assert!(count > 100);
}

fn check_response(random: &mut StdRng, protocol: &WireProtocol, body: &[u8]) {
    let whole = ParsedResponse::parse(protocol, body);
    let mut parser = ResponseParser::new(protocol);
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(random.random_range(1..=rest.len().min(300)));
        parser.feed(chunk);
        rest = more;
    }
    assert!(
        parser.finish() == whole,
        "chunks make a difference: {}",
        body.escape_ascii()
    );
    assert!(whole.finish_reasons.len() <= auditlite::FINISH_REASONS_MAX);
    let texts: usize = whole
        .messages
        .iter()
        .map(|message| message.flattened().len())
        .sum();
    // An escape of two bytes never becomes more than three; a part adds its brackets and names.
    let parts: usize = whole
        .messages
        .iter()
        .map(|message| message.parts.len())
        .sum();
    assert!(
        texts <= 3 * body.len() + 32 * parts,
        "{texts} of {}",
        body.len()
    );
}

fn check_request(protocol: &WireProtocol, body: &[u8], next: &[u8]) {
    let summary = RequestSummary::parse(protocol, "/v1beta/models/m:generateContent", body);
    let parsed = ParsedRequest::parse(protocol, "", body);
    assert!(parsed.messages.len() <= auditlite::MESSAGES_MAX + 1);
    assert!(summary.new_messages(protocol, body).len() as u64 <= summary.message_count);
    // A resumed parse equals a whole one, wherever the two bodies differ.
    let common = body.iter().zip(next).take_while(|(a, b)| a == b).count();
    let whole = RequestSummary::parse(protocol, "", next);
    for head in [common, common / 2] {
        for previous in [body, b""] {
            let resumed = summary.parse_next("", previous, next, head);
            assert_eq!(essence(&resumed), essence(&whole), "head {head}");
            assert!(resumed.first_new_message <= resumed.message_count);
        }
    }
}

fn essence(summary: &RequestSummary) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (
            summary.model.clone(),
            summary.max_tokens,
            summary.is_streaming,
        ),
        (
            summary.temperature.map(f64::to_bits),
            summary.top_p.map(f64::to_bits),
        ),
        (
            summary.message_count,
            summary.tool_count,
            summary.is_complete,
        ),
    )
}

/// Without optimisation parsing is some thirty times slower.
const BOMB_BYTES: usize = if cfg!(debug_assertions) {
    128 << 10
} else {
    8 << 20
};
const BOMB_EVENTS: u32 = if cfg!(debug_assertions) {
    6_000
} else {
    200_000
};

/// Bodies that are small on the wire and would be large as a tree of what they say.
fn bombs() -> Vec<Vec<u8>> {
    let many = |head: &str, item: &str, tail: &str| {
        let count = BOMB_BYTES / item.len();
        let mut body = head.as_bytes().to_vec();
        for _ in 0..count {
            body.extend(item.as_bytes());
        }
        body.extend(tail.as_bytes());
        body
    };
    vec![
        many("{\"messages\":[0", ",{}", "]}"),
        many("{\"messages\":[{\"role\":\"u\",\"content\":[{}", ",{}", "]}]}"),
        many("{\"messages\":[0", ",{\"role\":\"u\",\"content\":[{},{},{},{}]}", "]}"),
        many("{\"contents\":[0", ",{\"parts\":[{},{},{},{}]}", "]}"),
        many("{\"input\":[0", ",{\"type\":\"\",\"content\":[{},{}]}", "],\"tools\":[{},{}]}"),
        many("{\"tools\":[0", ",{}", "]}"),
        many("{\"choices\":[0", ",{}", "]}"),
        many("{\"choices\":[0", ",{\"message\":{\"tool_calls\":[{},{},{},{},{}]}}", "]}"),
        many("{\"choices\":[{\"message\":{\"content\":[{}", ",{}", "]}}]}"),
        many("{\"candidates\":[{\"content\":{\"parts\":[{}", ",{\"text\":\"\"}", "]}}]}"),
        many("{\"output\":[0", ",{\"content\":[{},{},{}]}", "]}"),
        many("{\"type\":\"message\",\"content\":[0", ",{}", "]}"),
        many("{\"output\":{\"message\":{\"content\":[0", ",{}", "]}}}"),
        many("", "data:{\"choices\":[{\"index\":9}]}\n\n", ""),
        many("", "[", ""),
        many("", "{\"a\":", ""),
        many("{\"model\":", "[", ""),
        many("data:\n", "data:\n", "\n"),
        many("{\"a\":0,\"a\":[0", ",{\"\":0}", "]}"),
        (0..BOMB_EVENTS)
            .flat_map(|at| format!("data:{{\"choices\":[{{\"index\":{at},\"delta\":{{\"content\":\"x\"}}}}]}}\n\n").into_bytes())
            .collect(),
        (0..BOMB_EVENTS)
            .flat_map(|at| format!("data:{{\"type\":\"content_block_start\",\"index\":{at},\"content_block\":{{\"type\":\"x\"}}}}\n\n").into_bytes())
            .collect(),
    ]
}

/// In a process of its own, so that the peak is that of parsing one body at a time.
#[test]
fn memory_is_bounded_by_the_body() {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "damage::parse_bombs", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    eprintln!("{said}");
}

#[test]
#[ignore = "a part of memory_is_bounded_by_the_body"]
fn parse_bombs() {
    /// Beyond a copy of the body while it is joined, and one of its texts.
    const BEYOND_BYTES_MAX: usize = 4 << 20;
    let bombs = bombs();
    let before = ALLOCATED.current_usage();
    for (number, body) in bombs.iter().enumerate() {
        let begun = Instant::now();
        ALLOCATED.reset_peak_usage();
        for protocol in &PROTOCOLS {
            let request = ParsedRequest::parse(protocol, "", body);
            let response = ParsedResponse::parse(protocol, body);
            RequestSummary::parse(protocol, "", body);
            let parts = |messages: &[CanonicalMessage]| -> usize {
                messages.iter().map(|message| message.parts.len()).sum()
            };
            // As their documentation states.
            assert!(response.messages.len() <= 128 && parts(&response.messages) <= 4096);
            assert!(request.messages.len() <= 1 + 16_384 && parts(&request.messages) <= 65_536);
            assert!(request.tools.len() <= 2 * 4096);
        }
        WireProtocol::detect("", body);
        let peak = ALLOCATED.peak_usage() - before;
        eprintln!(
            "bomb {number}: {} KiB, {:?}, peak {} KiB",
            body.len() >> 10,
            begun.elapsed(),
            peak >> 10
        );
        assert!(
            peak <= 2 * body.len() + BEYOND_BYTES_MAX,
            "bomb {number}: {} KiB",
            peak >> 10
        );
    }
}
