//! Compares the parsers with `expectation.py`, which reads the same exchanges by code of its own.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use auditlite::{ParsedRequest, ParsedResponse, RequestSummary, WireProtocol};
use serde_json::{Value, json};

use crate::corpus::{Exchange, exchanges};

/// Share of exchanges that must agree, of each protocol and aspect.
const AGREEMENT_MIN: f64 = 0.99;

/// Exchanges that are read otherwise than expected: name, aspect, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// What is no JSON of its protocol at all.
const UNREADABLE: &[(&str, &str)] = &[
    (
        "anthropic_completion_error.yaml:0",
        "a message that is a string, sent to provoke an error",
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct/GenSync-JSON.yaml:0",
        "HTML of a bad gateway",
    ),
    (
        "perplexity/testdata/TestClient/errors/bad_apiKey/GenS",
        "HTML of a refused key",
    ),
    (
        "test_openai/test_text_response.yaml:0",
        "a test server's plain text",
    ),
];

/// Streams that the recorder or the provider cut off.
const BROKEN_OFF: &[(&str, &str)] = &[];

/// The bar holds for these; of the others every difference must be a known one all the same.
const ASPECTS: [&str; 8] = [
    "usage", "model", "finish", "calls", "id", "error", "text", "request",
];

/// What the script reads of each.
pub(crate) fn expectations(exchanges: &[Exchange]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/expectation.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: String = exchanges.iter().map(|e| e.line.clone() + "\n").collect();
    let feeder = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let values: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(values.len(), exchanges.len());
    values
}

/// JSON as a value, so that white space and order make no difference; else the text.
fn input(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn found(exchange: &Exchange, protocol: &WireProtocol) -> Value {
    let response = ParsedResponse::parse(protocol, &exchange.response);
    let usage = response.usage.map(|usage| {
        json!({
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "read": usage.cache_read_input_tokens,
            "write": usage.cache_write_input_tokens,
            "reasoning": usage.reasoning_output_tokens,
        })
    });
    let calls: Vec<Value> = response
        .tool_calls()
        .iter()
        .map(|call| json!([call.tool_call_id, call.tool_name, input(&call.input)]))
        .collect();
    let summary = RequestSummary::parse(protocol, &exchange.path, &exchange.request);
    json!({
        "usage": usage,
        "model": response.response_model,
        "finish": response.finish_reasons,
        "calls": calls,
        "id": response.response_id,
        "error": response.error.as_ref().map(|error| input(error.message.as_deref().unwrap_or(""))),
        "text": response.assistant_text(),
        "request": summary.is_complete.then(|| json!({
            "model": summary.model,
            "max_tokens": summary.max_tokens,
            "temperature": summary.temperature,
            "top_p": summary.top_p,
            "stream": summary.is_streaming,
            "messages": summary.message_count,
            "tools": summary.tool_count,
        })),
    })
}

/// Makes numbers comparable: `1` and `1.0` are the same temperature.
fn normalised(aspect: &str, mut value: Value) -> Value {
    if aspect == "request" && value.is_object() {
        for key in ["temperature", "top_p"] {
            value[key] = json!(value[key].as_f64());
        }
    }
    if aspect == "calls" {
        for call in value.as_array_mut().unwrap() {
            if let Some(text) = call[2].as_str() {
                call[2] = input(text);
            }
        }
    }
    if aspect == "error"
        && let Some(text) = value.as_str()
    {
        value = input(text);
    }
    value
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[test]
fn recorded_exchanges_are_read_as_their_documentation_says() {
    let exchanges = exchanges();
    if exchanges.is_empty() {
        return;
    }
    let expectations = expectations(&exchanges);
    let mut table: BTreeMap<(String, &str), [usize; 2]> = BTreeMap::new();
    let mut differences = Vec::new();
    let mut used = Vec::new();
    for (exchange, expected) in exchanges.iter().zip(&expectations) {
        let protocol = exchange.protocol();
        let found = found(exchange, &protocol); // No exchange may panic, supported or not.
        if !exchange.is_supported() {
            assert!(expected.is_null());
            continue;
        }
        for aspect in ASPECTS {
            let expected = normalised(aspect, expected[aspect].clone());
            let found = normalised(aspect, found[aspect].clone());
            if is_empty(&expected) && is_empty(&found) {
                continue;
            }
            let counts = table.entry((exchange.wire.clone(), aspect)).or_default();
            counts[1] += 1;
            if expected == found {
                counts[0] += 1;
                continue;
            }
            let exception = EXCEPTIONS
                .iter()
                .find(|(name, of, _)| *name == exchange.name && *of == aspect);
            match exception {
                Some((name, of, reason)) => {
                    used.push((*name, *of));
                    eprintln!("exception: {name}: {of}: {reason}");
                }
                None => differences.push(format!(
                    "{} ({}): {aspect}\n  expected {expected}\n  found    {found}",
                    exchange.name, exchange.wire
                )),
            }
        }
    }
    let mut short = Vec::new();
    for ((wire, aspect), [agreed, of]) in &table {
        eprintln!("{wire:20} {aspect:8} {agreed:5} of {of:5} agree");
        #[allow(clippy::cast_precision_loss)]
        if (*agreed as f64) < AGREEMENT_MIN * (*of as f64) {
            short.push((wire, aspect));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences without a reason:\n{}",
        differences.len(),
        differences[..differences.len().min(40)].join("\n")
    );
    assert!(short.is_empty(), "below the bar: {short:?}");
    let unused: Vec<_> = EXCEPTIONS
        .iter()
        .filter(|(name, of, _)| !used.contains(&(name, of)))
        .collect();
    assert!(
        unused.is_empty(),
        "exceptions that are none any more: {unused:?}"
    );
}

#[test]
fn nothing_of_a_recorded_exchange_is_left_unread() {
    let mut unread = Vec::new();
    let mut broken_off = Vec::new();
    for exchange in exchanges()
        .iter()
        .filter(|exchange| exchange.is_supported())
    {
        let protocol = exchange.protocol();
        let request = ParsedRequest::parse(&protocol, &exchange.path, &exchange.request);
        if request.unparsed > 0 {
            unread.push(format!("{} ({}): request", exchange.name, exchange.wire));
        }
        let response = ParsedResponse::parse(&protocol, &exchange.response);
        if response.unparsed > 0 {
            unread.push(format!("{} ({}): response", exchange.name, exchange.wire));
        }
        if response.is_broken_off {
            broken_off.push(format!("{} ({})", exchange.name, exchange.wire));
        }
        let summary = RequestSummary::parse(&protocol, &exchange.path, &exchange.request);
        assert_eq!(
            (
                &summary.model,
                summary.max_tokens,
                summary.is_streaming,
                summary.tool_count
            ),
            (
                &request.model,
                request.max_tokens,
                request.is_streaming,
                request.tools.len() as u64
            ),
            "{}",
            exchange.name
        );
        let new = summary.new_messages(&protocol, &exchange.request);
        let listed = &request.messages[request.messages.len() - new.len()..];
        assert!(
            new.iter()
                .zip(listed)
                .all(|(a, b)| (&a.role, &a.parts) == (&b.role, &b.parts))
        );
    }
    unread.retain(|name| !UNREADABLE.iter().any(|(known, _)| name.contains(known)));
    broken_off.retain(|name| !BROKEN_OFF.iter().any(|(known, _)| name.contains(known)));
    assert!(unread.is_empty(), "unread: {unread:#?}");
    assert!(broken_off.is_empty(), "broken off: {broken_off:#?}");
}

#[test]
fn protocols_are_told_apart() {
    let mut by_body = BTreeMap::new();
    for exchange in exchanges() {
        let expected = match exchange.protocol() {
            WireProtocol::Other(_) => WireProtocol::Unknown,
            known => known,
        };
        let detected = WireProtocol::detect(&exchange.path, &exchange.request);
        // The recordings name the other protocols by families, older versions included.
        if exchange.is_supported() {
            assert_eq!(detected, expected, "{} {}", exchange.name, exchange.path);
        }
        if exchange.is_supported() {
            let counts: &mut [usize; 2] = by_body.entry(exchange.wire.clone()).or_default();
            counts[1] += 1;
            counts[0] += usize::from(WireProtocol::detect("", &exchange.request) == expected);
        }
    }
    for (wire, [right, of]) in by_body {
        eprintln!("{wire:20} by the body alone: {right} of {of}");
    }
}
