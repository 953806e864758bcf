//! Recorded exchanges.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use auditlite::WireProtocol;
use base64::Engine as _;
use serde::{Deserialize, Serialize};

pub(crate) struct Exchange {
    /// Where it was recorded.
    pub(crate) name: String,
    pub(crate) wire: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    /// All of it, as a line of JSON.
    pub(crate) line: String,
}

impl Exchange {
    pub(crate) fn protocol(&self) -> WireProtocol {
        WireProtocol::from(self.wire.as_str())
    }

    /// Whether it is of one of the protocols that the independent script reads too. The others have tests of their
    /// own, and are drawn from their SDKs' types.
    pub(crate) fn is_supported(&self) -> bool {
        matches!(
            self.protocol(),
            WireProtocol::OpenAiChat
                | WireProtocol::OpenAiResponses
                | WireProtocol::OpenAiEmbeddings
                | WireProtocol::AnthropicMessages
                | WireProtocol::GeminiGenerate
                | WireProtocol::BedrockConverse
                | WireProtocol::OllamaChat
        )
    }

    /// The same exchange, with a response that stops there.
    pub(crate) fn cut(&self, at: usize) -> Self {
        let response = self.response[..at].to_vec();
        let mut line: Line = serde_json::from_str(&self.line).unwrap();
        line.response_body = base64::engine::general_purpose::STANDARD.encode(&response);
        line.response_body_encoding = Some("base64".to_owned());
        Self {
            name: format!("{} cut at {at}", self.name),
            wire: self.wire.clone(),
            path: self.path.clone(),
            status: self.status,
            request: self.request.clone(),
            response,
            line: serde_json::to_string(&line).unwrap(),
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Line {
    source: String,
    seq: u64,
    wire: String,
    path: String,
    status: u16,
    request_body: String,
    response_body: String,
    response_body_encoding: Option<String>,
}

pub(crate) fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let path = std::env::var_os("AUDITLITE_CORPUS").map_or(beside, PathBuf::from);
    let is_exchanges = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("exchanges-");
    let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
    if entries
        .map(|entry| entry.file_name())
        .any(|name| is_exchanges(&name))
    {
        return Some(path);
    }
    eprintln!("SKIPPED: no recorded traffic; AUDITLITE_CORPUS names its folder (docs/traffic.md)");
    None
}

/// All exchanges, or none where there is no corpus.
pub(crate) fn exchanges() -> Vec<Exchange> {
    let Some(folder) = folder() else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("exchanges-") && name.ends_with(".jsonl.zst")
        })
        .collect();
    paths.sort();
    let mut exchanges = Vec::new();
    for path in paths {
        let mut decoder = zstd::stream::read::Decoder::new(File::open(&path).unwrap()).unwrap();
        decoder.window_log_max(27).unwrap();
        let lines = BufReader::new(decoder).lines();
        exchanges.extend(lines.map(|line| exchange(&line.unwrap())));
    }
    exchanges
}

fn exchange(line: &str) -> Exchange {
    let mut parsed: Line = serde_json::from_str(line).unwrap();
    let engine = base64::engine::general_purpose::STANDARD;
    // One recorder wrote base64 wherever a body had a byte that is not ASCII, and did not say so.
    let is_unmarked = parsed.response_body_encoding.is_none()
        && engine
            .decode(&parsed.response_body)
            .is_ok_and(|bytes| b"{:".iter().all(|known| bytes.contains(known)));
    if is_unmarked {
        parsed.response_body_encoding = Some("base64".to_owned());
    }
    let line = serde_json::to_string(&parsed).unwrap();
    let mut response = parsed.response_body.into_bytes();
    if parsed.response_body_encoding.is_some() {
        response = engine.decode(response).unwrap();
    }
    Exchange {
        name: format!("{}:{}", parsed.source, parsed.seq),
        wire: parsed.wire,
        path: parsed.path,
        status: parsed.status,
        request: parsed.request_body.into_bytes(),
        response,
        line,
    }
}

/// A few exchanges of each supported protocol and kind of response, the same ones every time:
/// `each` of the shortest streams, whole responses and errors that are not trivial.
pub(crate) fn samples(each: usize) -> Vec<Exchange> {
    let mut all = exchanges();
    all.retain(|exchange| exchange.is_supported() && exchange.response.len() > 200);
    all.sort_by_key(|exchange| exchange.response.len());
    let mut counts = HashMap::new();
    all.retain(|exchange| {
        let start = exchange.response.trim_ascii_start().first().copied();
        let has_tools = exchange
            .response
            .windows(4)
            .any(|window| window.eq_ignore_ascii_case(b"tool"));
        let kind = (
            exchange.wire.clone(),
            start,
            exchange.status >= 400,
            has_tools,
        );
        let count = counts.entry(kind).or_insert(0);
        *count += 1;
        *count <= each
    });
    all
}
