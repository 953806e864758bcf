//! Traffic: recorded exchanges, or generated conversations of the same shape.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use auditlite::{Completion, ParsedResponse, RequestContext, Usage, WireProtocol};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::arguments::Arguments;

/// What the text of a message begins with, in every protocol of the recorded traffic.
const TEXTS: [&[u8]; 2] = [b"\"content\":\"", b"\"text\":\""];

/// One finished exchange, in memory.
#[derive(Clone)]
pub struct Exchange {
    pub conversation: String,
    pub wire: String,
    pub model: String,
    pub request: Bytes,
    pub response: Bytes,
    /// What the response says, for the subject that is told everything.
    pub said: Arc<ParsedResponse>,
    /// Whether the bodies are JSON on one line, so that they fit into JSON Lines as they are.
    pub request_is_json: bool,
    pub response_is_json: bool,
}

impl Exchange {
    pub fn body_bytes(&self) -> usize {
        self.request.len() + self.response.len()
    }

    /// The request body as another conversation has it: with a number at the beginning of its first message.
    pub fn request_of(&self, number: usize) -> Bytes {
        let body = &self.request;
        let ends = |start| {
            let text = |text: &&&[u8]| body[start..].starts_with(text);
            TEXTS.iter().find(text).map(|text| start + text.len())
        };
        let start = (0..body.len()).find_map(ends).unwrap_or(0);
        let number = format!("{number:x} ");
        let mut made = Vec::with_capacity(body.len() + number.len());
        made.extend_from_slice(&body[..start]);
        made.extend_from_slice(number.as_bytes());
        made.extend_from_slice(&body[start..]);
        Bytes::from(made)
    }

    pub fn context(&self) -> RequestContext {
        RequestContext::new(self.wire.as_str())
            .user_id("user-17")
            .conversation_id(self.conversation.as_str())
            .provider_name("openai")
            .request_model(self.model.as_str())
    }

    pub fn completion(&self) -> Completion {
        Completion::new()
            .response_body(self.response.clone())
            .usage(Usage::new(1200, 80).cache_read_input_tokens(1024))
            .finish_reason("stop")
            .http_status(200)
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    conversation: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    wire: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(default)]
    request_body: Option<String>,
    #[serde(default)]
    response_body: Option<String>,
}

/// The traffic that the arguments ask for, described on stderr.
pub fn load(arguments: &Arguments) -> Vec<Exchange> {
    let exchanges = load_quietly(arguments);
    if arguments.corpus.is_empty() {
        eprintln!(
            "traffic: generated conversations (--corpus FILE… for recorded ones: docs/traffic.md)"
        );
    }
    let bytes: usize = exchanges.iter().map(Exchange::body_bytes).sum();
    eprintln!(
        "traffic: {} lifecycles, {:.1} KiB of bodies each",
        exchanges.len(),
        bytes as f64 / exchanges.len() as f64 / 1024.0
    );
    exchanges
}

/// The traffic that the arguments ask for.
pub fn load_quietly(arguments: &Arguments) -> Vec<Exchange> {
    let exchanges = if arguments.corpus.is_empty() {
        generated(arguments.limit)
    } else {
        let mut exchanges = Vec::new();
        for path in &arguments.corpus {
            read_file(path, arguments.limit, &mut exchanges);
        }
        exchanges
    };
    assert!(!exchanges.is_empty(), "there is no traffic in these files");
    exchanges
}

fn read_file(path: &Path, limit: usize, exchanges: &mut Vec<Exchange>) {
    let file = std::fs::File::open(path).unwrap_or_else(|error| {
        eprintln!("{}: {error}", path.display());
        std::process::exit(2);
    });
    let plain: Box<dyn BufRead> = if path.extension().is_some_and(|end| end == "zst") {
        let mut decoder = zstd::stream::read::Decoder::new(file).unwrap();
        decoder.window_log_max(27).unwrap();
        Box::new(BufReader::new(decoder))
    } else {
        Box::new(BufReader::new(file))
    };
    for line in plain.lines() {
        if exchanges.len() >= limit {
            return;
        }
        let line = line.unwrap();
        let line: Line<'_> = serde_json::from_str(&line).unwrap();
        let body = |raw: Option<&RawValue>, text: Option<String>| match (text, raw) {
            (Some(text), _) => {
                let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                (is_json && !text.contains('\n'), Bytes::from(text))
            }
            (None, Some(raw)) => (true, Bytes::copy_from_slice(raw.get().as_bytes())),
            (None, None) => (false, Bytes::new()),
        };
        let (request_is_json, request) = body(line.request, line.request_body);
        let (response_is_json, response) = body(line.response, line.response_body);
        let wire = line.wire.unwrap_or_default();
        let said = said(&wire, &response);
        exchanges.push(Exchange {
            conversation: line.conversation.or(line.source).unwrap_or_default(),
            wire,
            model: line.model.unwrap_or_else(|| "unknown".to_owned()),
            request,
            response,
            said,
            request_is_json,
            response_is_json,
        });
    }
}

fn said(wire: &str, response: &[u8]) -> Arc<ParsedResponse> {
    Arc::new(ParsedResponse::parse(&WireProtocol::from(wire), response))
}

/// Conversations of up to 30 turns: a system prompt that all share, and a history that grows.
fn generated(limit: usize) -> Vec<Exchange> {
    let mut words = Words(0x9E37_79B9_7F4A_7C15);
    let system = words.text(6000);
    let mut exchanges = Vec::new();
    for conversation in 0.. {
        let mut history =
            format!(r#"{{"model":"gpt-4o","messages":[{{"role":"system","content":"{system}"}}"#);
        for turn in 0..30 {
            if exchanges.len() >= limit {
                return exchanges;
            }
            let length = 200 + words.next() as usize % 2400;
            history.push_str(&format!(
                r#",{{"role":"user","content":"{}"}}"#,
                words.text(length)
            ));
            let length = 100 + words.next() as usize % 900;
            let answer = words.text(length);
            let response = Bytes::from(format!(
                r#"{{"id":"chatcmpl-{conversation}-{turn}","model":"gpt-4o","choices":[{{"index":0,"message":{{"role":"assistant","content":"{answer}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1200,"completion_tokens":80}}}}"#
            ));
            exchanges.push(Exchange {
                conversation: format!("conversation-{conversation}"),
                wire: "openai.chat".to_owned(),
                model: "gpt-4o".to_owned(),
                request: Bytes::from(format!("{history}]}}")),
                said: said("openai.chat", &response),
                response,
                request_is_json: true,
                response_is_json: true,
            });
            history.push_str(&format!(r#",{{"role":"assistant","content":"{answer}"}}"#));
        }
    }
    exchanges
}

/// Exchanges whose bodies have this many bytes and repeat nothing, each in a conversation of its own.
pub fn of_length(count: usize, bytes: usize) -> Vec<Exchange> {
    let mut words = Words(0x9E37_79B9_7F4A_7C15);
    let exchange = |number: usize| {
        let mut body = |begin: &str, end: &str| {
            let length = bytes.saturating_sub(begin.len() + end.len());
            let mut text = words.text(length);
            text.truncate(length);
            Bytes::from([begin, &text, end].concat())
        };
        let request = body(
            r#"{"model":"gpt-4o","messages":[{"role":"user","content":""#,
            r#""}]}"#,
        );
        let response = body(
            r#"{"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":""#,
            r#""},"finish_reason":"stop"}]}"#,
        );
        Exchange {
            conversation: format!("conversation-{number}"),
            wire: "openai.chat".to_owned(),
            model: "gpt-4o".to_owned(),
            request,
            said: said("openai.chat", &response),
            response,
            request_is_json: true,
            response_is_json: true,
        }
    };
    (0..count).map(exchange).collect()
}

/// Text with the entropy of words rather than of random bytes; the same in every run.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn text(&mut self, length: usize) -> String {
        const SYLLABLES: &[&str] = &[
            "ka", "to", "ri", "men", "sol", "ve", "da", "lin", "po", "ru", "gra", "ten", "is",
            "qua", "mo", "fer",
        ];
        let mut text = String::with_capacity(length + 16);
        while text.len() < length {
            for _ in 0..1 + self.next() % 4 {
                text.push_str(SYLLABLES[self.next() as usize % SYLLABLES.len()]);
            }
            text.push(' ');
        }
        text
    }
}
