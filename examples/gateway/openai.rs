//! Reads from OpenAI-compatible bodies what an audit trail wants to know.
//!
//! It looks on and never decides: what cannot be read is left out, and the bytes that pass through
//! the gateway are never touched. Chat completions and embeddings, streamed or not.

use std::collections::BTreeMap;

use auditlite::{FINISH_REASONS_MAX, RequestContext, TOOL_CALLS_MAX, ToolCall, Usage};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// Longest response that is read when it is not a stream; a longer one is only passed on.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest event of a stream that is read; reading ends at a longer one.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// No more is added to a text or a tool's input that has reached this length.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// What a request says about itself. The fields are of any type, because clients are.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RequestFields {
    model: Value,
    stream: Value,
    max_tokens: Value,
    max_completion_tokens: Value,
    temperature: Value,
    top_p: Value,
}

impl RequestFields {
    /// The fields of a body; none of a body that is not a JSON object.
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body)
            // A key that occurs twice: take the last one, as most servers do.
            .or_else(|_| serde_json::from_slice(body).and_then(serde_json::from_value))
            .unwrap_or_default()
    }

    /// Adds them to a request's context.
    pub(crate) fn describe(&self, context: RequestContext) -> RequestContext {
        let mut context = context.is_streaming(self.stream.as_bool().unwrap_or(false));
        context.request_model = self.model.as_str().map(str::to_owned);
        context.max_tokens = self
            .max_completion_tokens
            .as_u64()
            .or_else(|| self.max_tokens.as_u64());
        context.temperature = self.temperature.as_f64();
        context.top_p = self.top_p.as_f64();
        context
    }
}

/// What a response said.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) error: Option<ApiError>,
    /// The text of the first choice.
    pub(crate) text: String,
    /// By the choice's index.
    finish_reasons: BTreeMap<u64, String>,
    /// By the choice's index and the call's.
    tool_calls: BTreeMap<(u64, u64), ToolCall>,
    is_chat: bool,
    is_done: bool,
}

/// An error in OpenAI's format.
#[derive(Debug)]
pub(crate) struct ApiError {
    /// A name of low cardinality, where it has one.
    pub(crate) error_type: Option<String>,
    pub(crate) message: Option<String>,
}

impl Answer {
    pub(crate) fn finish_reasons(&mut self) -> Vec<String> {
        std::mem::take(&mut self.finish_reasons)
            .into_values()
            .collect()
    }

    pub(crate) fn tool_calls(&mut self) -> Vec<ToolCall> {
        std::mem::take(&mut self.tool_calls).into_values().collect()
    }

    /// Takes in a whole response, or one event of a stream.
    fn read(&mut self, value: &Value) {
        if self.id.is_none() {
            self.id = text(value, "id");
        }
        if self.model.is_none() {
            self.model = text(value, "model");
        }
        if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(read_usage(usage));
        }
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            self.error = Some(read_error(error));
        }
        let choices = value.get("choices").and_then(Value::as_array);
        self.is_chat |= choices.is_some();
        for (position, choice) in (0..).zip(choices.into_iter().flatten()) {
            let index = number(choice, "index").unwrap_or(position);
            self.read_choice(index, choice);
        }
    }

    fn read_choice(&mut self, index: u64, choice: &Value) {
        if let Some(reason) = text(choice, "finish_reason")
            && self.finish_reasons.len() < FINISH_REASONS_MAX
        {
            self.finish_reasons.insert(index, reason);
        }
        let Some(message) = choice.get("delta").or_else(|| choice.get("message")) else {
            return;
        };
        if index == 0
            && let Some(piece) = message.get("content").and_then(Value::as_str)
        {
            add(&mut self.text, piece);
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for (position, call) in (0..).zip(calls.into_iter().flatten()) {
            let key = (index, number(call, "index").unwrap_or(position));
            if self.tool_calls.len() < TOOL_CALLS_MAX || self.tool_calls.contains_key(&key) {
                read_tool_call(self.tool_calls.entry(key).or_default(), call);
            }
        }
    }
}

/// The first piece of a streamed call brings id and name, the others more of the input.
fn read_tool_call(call: &mut ToolCall, piece: &Value) {
    if let Some(id) = text(piece, "id") {
        call.tool_call_id = id;
    }
    let Some(function) = piece.get("function") else {
        return;
    };
    if let Some(name) = text(function, "name") {
        call.tool_name = name;
    }
    if let Some(input) = function.get("arguments").and_then(Value::as_str) {
        add(&mut call.input, input);
    }
}

fn read_usage(value: &Value) -> Usage {
    let part = |of: &str, name: &str| value.get(of).and_then(|part| number(part, name));
    let mut usage = Usage::default();
    usage.input_tokens = number(value, "prompt_tokens");
    usage.output_tokens = number(value, "completion_tokens");
    usage.cache_read_input_tokens = part("prompt_tokens_details", "cached_tokens");
    usage.reasoning_output_tokens = part("completion_tokens_details", "reasoning_tokens");
    usage
}

fn read_error(value: &Value) -> ApiError {
    let name = |key| text(value, key).filter(|name| is_error_type(name));
    ApiError {
        error_type: name("code").or_else(|| name("type")),
        message: text(value, "message").or_else(|| value.as_str().map(str::to_owned)),
    }
}

/// Whether this is a name and no prose: names are grouped by, prose has no end of variety.
fn is_error_type(name: &str) -> bool {
    name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

fn add(text: &mut String, piece: &str) {
    if text.len() < TEXT_BYTES_MAX {
        text.push_str(piece);
    }
}

/// Reads a response while it passes by.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    format: Format,
    answer: Answer,
}

#[derive(Debug)]
enum Format {
    /// Server-sent events.
    Events {
        /// The line that has begun.
        line: Vec<u8>,
        /// The data of the event that has begun.
        data: Vec<u8>,
    },
    /// One JSON document; the chunks share their memory with those that are passed on.
    Document { chunks: Vec<Bytes>, bytes: usize },
    /// Anything else, and what was given up.
    Unread,
}

impl ResponseReader {
    /// A reader for a response with these headers.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let is_encoded = headers.contains_key(header::CONTENT_ENCODING);
        let media_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(|value| value.trim().to_ascii_lowercase());
        let format = match media_type.as_deref() {
            Some("text/event-stream") if !is_encoded => Format::Events {
                line: Vec::new(),
                data: Vec::new(),
            },
            Some("application/json") if !is_encoded => Format::Document {
                chunks: Vec::new(),
                bytes: 0,
            },
            _ => Format::Unread,
        };
        Self {
            format,
            answer: Answer::default(),
        }
    }

    /// Takes in the next chunk.
    pub(crate) fn feed(&mut self, chunk: &Bytes) {
        match &mut self.format {
            Format::Events { line, data } => {
                for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
                    line.extend_from_slice(piece);
                    if piece.ends_with(b"\n") {
                        read_line(line.trim_ascii_end(), data, &mut self.answer);
                        line.clear();
                    }
                }
                if line.len() + data.len() > EVENT_BYTES_MAX {
                    self.format = Format::Unread;
                }
            }
            Format::Document { chunks, bytes } => {
                *bytes += chunk.len();
                chunks.push(chunk.clone());
                if *bytes > DOCUMENT_BYTES_MAX {
                    self.format = Format::Unread;
                }
            }
            Format::Unread => {}
        }
    }

    /// The model that serves, once it is known.
    pub(crate) fn model(&self) -> Option<&str> {
        self.answer.model.as_deref()
    }

    /// Whether a stream said that it is over.
    pub(crate) fn is_done(&self) -> bool {
        self.answer.is_done
    }

    /// Whether this was the stream of a chat that ended without saying so.
    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(self.format, Format::Events { .. })
            && self.answer.is_chat
            && !self.answer.is_done
            && self.answer.finish_reasons.is_empty()
    }

    /// What was read of a response that has ended.
    pub(crate) fn finish(mut self) -> Answer {
        match self.format {
            Format::Events { line, mut data } => {
                read_line(line.trim_ascii_end(), &mut data, &mut self.answer);
                read_line(b"", &mut data, &mut self.answer);
            }
            Format::Document { chunks, .. } => {
                if let Ok(value) = serde_json::from_slice(&chunks.concat()) {
                    self.answer.read(&value);
                }
            }
            Format::Unread => {}
        }
        self.answer
    }
}

/// One line of an event stream (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
/// An empty one ends an event; of the others only those with data matter here.
fn read_line(line: &[u8], data: &mut Vec<u8>, answer: &mut Answer) {
    if let Some(more) = line.strip_prefix(b"data:") {
        if !data.is_empty() {
            data.push(b'\n');
        }
        data.extend_from_slice(more.trim_ascii_start());
    } else if line.is_empty() && !data.is_empty() {
        if data == b"[DONE]" {
            answer.is_done = true;
        } else if let Ok(value) = serde_json::from_slice(data) {
            answer.read(&value);
        }
        data.clear();
    }
}
