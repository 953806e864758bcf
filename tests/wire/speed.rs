//! How fast bodies are parsed; figures for changes of the parsers:
//! `cargo test --release --features cli --test wire -- --ignored --nocapture how_fast_bodies_are_parsed`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Instant;

use auditlite::{ParsedRequest, ParsedResponse, RequestSummary, WireProtocol};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of requests that are read of each file.
const BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize)]
struct Call<'a> {
    conversation: String,
    wire: String,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow)]
    response: &'a RawValue,
}

struct Calls {
    conversation: String,
    protocol: WireProtocol,
    request: Vec<u8>,
    response: Vec<u8>,
}

fn calls(path: &PathBuf) -> Vec<Calls> {
    let mut bytes = 0;
    let mut calls = Vec::new();
    for line in BufReader::new(File::open(path).unwrap()).lines() {
        let line = line.unwrap();
        let call: Call<'_> = serde_json::from_str(&line).unwrap();
        bytes += call.request.get().len();
        calls.push(Calls {
            conversation: call.conversation,
            protocol: WireProtocol::from(call.wire),
            request: call.request.get().as_bytes().to_vec(),
            response: call.response.get().as_bytes().to_vec(),
        });
        if bytes > BYTES_MAX {
            break;
        }
    }
    calls
}

/// Megabytes a second and microseconds a body; the best of three rounds.
fn measure(name: &str, calls: &[Calls], length: fn(&Calls) -> usize, mut read: impl FnMut(usize)) {
    let best = (0..3)
        .map(|_| {
            let begun = Instant::now();
            (0..calls.len()).for_each(&mut read);
            begun.elapsed()
        })
        .min()
        .unwrap();
    let bytes: usize = calls.iter().map(length).sum();
    #[allow(clippy::cast_precision_loss)]
    let (rate, each) = (
        bytes as f64 / best.as_secs_f64() / 1e6,
        best.as_secs_f64() * 1e6 / calls.len() as f64,
    );
    eprintln!("  {name:44} {rate:8.0} MB/s {each:8.2} us each");
}

#[test]
#[ignore = "a measurement; AUDITLITE_CALLS names files as benches/trajectories.py writes them"]
fn how_fast_bodies_are_parsed() {
    let files = std::env::var("AUDITLITE_CALLS").unwrap_or_default();
    for path in files.split_whitespace().map(PathBuf::from) {
        let calls = calls(&path);
        eprintln!("{}: {} calls", path.display(), calls.len());
        let request = |call: &Calls| call.request.len();
        let response = |call: &Calls| call.response.len();
        measure("summary", &calls, request, |at| {
            let call = &calls[at];
            std::hint::black_box(RequestSummary::parse(&call.protocol, "", &call.request));
        });
        // The common head is known from packing the body; finding it is not measured.
        let heads: Vec<Option<usize>> = (0..calls.len())
            .map(|at| {
                let before = &calls[at.checked_sub(1)?];
                let same = before.conversation == calls[at].conversation;
                let pairs = before.request.iter().zip(&calls[at].request);
                same.then(|| pairs.take_while(|(a, b)| a == b).count())
            })
            .collect();
        let mut last = RequestSummary::default();
        measure("summary, resumed", &calls, request, |at| {
            let call = &calls[at];
            last = match heads[at] {
                Some(head) => last.parse_next("", &calls[at - 1].request, &call.request, head),
                None => RequestSummary::parse(&call.protocol, "", &call.request),
            };
            std::hint::black_box(&last);
        });
        let mut last = RequestSummary::default();
        measure(
            "summary, resumed, and new messages",
            &calls,
            request,
            |at| {
                let call = &calls[at];
                last = match heads[at] {
                    Some(head) => last.parse_next("", &calls[at - 1].request, &call.request, head),
                    None => RequestSummary::parse(&call.protocol, "", &call.request),
                };
                std::hint::black_box(last.new_messages(&call.protocol, &call.request));
            },
        );
        measure("whole request", &calls, request, |at| {
            let call = &calls[at];
            std::hint::black_box(ParsedRequest::parse(&call.protocol, "", &call.request));
        });
        measure(
            "serde_json::Value (for comparison)",
            &calls,
            request,
            |at| {
                let call = &calls[at];
                let value: serde_json::Value = serde_json::from_slice(&call.request).unwrap();
                std::hint::black_box(value);
            },
        );
        measure("response", &calls, response, |at| {
            let call = &calls[at];
            std::hint::black_box(ParsedResponse::parse(&call.protocol, &call.response));
        });
    }
}
