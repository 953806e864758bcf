//! OTLP/JSON: one span for each request, each line one `TracesData`. `docs/otlp.md` has the mapping.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use super::{Body, ExportContent, Item, Line, Sink, excerpt, json};
use crate::error::ExportError;
use crate::model::{
    CanonicalMessage, CostSource, MessagePart, RequestRecord, Status, Timestamp, UsageSource,
};
use crate::payload::{Hasher, sha256};

/// What precedes a span and follows it; 1.44.0 is the version of the semantic conventions whose names are used.
const BEFORE: &str = concat!(
    r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"auditlite"}}]},"#,
    r#""schemaUrl":"https://opentelemetry.io/schemas/1.44.0","#,
    r#""scopeSpans":[{"schemaUrl":"https://opentelemetry.io/schemas/1.44.0","#,
    r#""scope":{"name":"auditlite","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"spans":["#,
);
const AFTER: &str = "]}]}]}\n";
/// `SPAN_KIND_CLIENT`, `STATUS_CODE_OK` and `STATUS_CODE_ERROR` of `trace.proto`.
const KIND_CLIENT: u32 = 3;
const CODE_OK: u32 = 1;
const CODE_ERROR: u32 = 2;
const NANOS_PER_MICRO: i128 = 1_000;
const MICROS_PER_SECOND: f64 = 1_000_000.0;
const SPAN_ID_DIGITS: usize = 16;
const TRACE_ID_DIGITS: usize = 32;

/// Writes spans.
pub(super) struct Otlp {
    content: ExportContent,
    line: Line,
    /// The JSON of messages, which is a string in a line.
    messages: Line,
}

impl Otlp {
    pub(super) fn new(content: ExportContent) -> Self {
        Self {
            content,
            line: Line::default(),
            messages: Line::default(),
        }
    }
}

impl Sink for Otlp {
    fn begin(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }

    fn wants_messages(&self) -> bool {
        self.content != ExportContent::None
    }

    fn write(&mut self, item: &Item, out: &mut dyn Write) -> Result<(), ExportError> {
        let line = self.line.begin();
        line.extend_from_slice(BEFORE.as_bytes());
        span(line, &mut self.messages, item, self.content);
        line.extend_from_slice(AFTER.as_bytes());
        self.line.write(out)
    }
}

/// Writes the span of a request: attributes, messages if content is exported, lengths and digests of the bodies; times,
/// name and status. Members are in the order of their names.
///
/// Name, kind and status follow OpenTelemetry's conventions for generative AI. Ids are derived from the
/// record, so that a second export of the same request gives the same span.
fn span(line: &mut Vec<u8>, memory: &mut Line, item: &Item, content: ExportContent) {
    let record = &item.record;
    let operation = operation(record);
    line.extend_from_slice(b"{\"attributes\":[");
    let mut attributes = Attributes {
        line,
        is_first: true,
    };
    attributes.record(record, operation);
    if content != ExportContent::None {
        let reason = record.finish_reasons.first().map_or("stop", String::as_str);
        let sides = [
            ("gen_ai.input.messages", &item.messages, None),
            ("gen_ai.output.messages", &item.replies, Some(reason)),
        ];
        for (key, messages, reason) in sides {
            if !messages.is_empty() {
                let text = memory.begin();
                write_messages(text, messages, reason, content);
                attributes.value(&[key], "stringValue", |line| json::string(line, text));
            }
        }
    }
    for (key, body) in [("request", &item.request), ("response", &item.response)] {
        if body.is_unchecked() {
            attributes.flag(&["auditlite.", key, ".is_unchecked"]);
        }
        if let Body::Present { length, sha256, .. } = body {
            attributes.count(&["auditlite.", key, ".bytes"], *length);
            if let Some(digest) = sha256 {
                let key = ["auditlite.", key, ".sha256"];
                attributes.value(&key, "stringValue", |line| json::digest(line, digest));
            }
        }
    }
    let end = record.opened_at + Duration::from_micros(record.latency_us.unwrap_or(0));
    line.extend_from_slice(b"],\"endTimeUnixNano\":\"");
    json::value(line, &nanos(end));
    line.extend_from_slice(b"\",\"kind\":");
    json::value(line, &KIND_CLIENT);
    line.extend_from_slice(b",\"name\":\"");
    json::escape(line, operation.as_bytes());
    if let Some(model) = asked(record) {
        line.push(b' ');
        json::escape(line, model.as_bytes());
    }
    line.extend_from_slice(b"\",\"spanId\":\"");
    let digest = sha256(span_of(record).as_bytes());
    line.extend_from_slice(digest.hex().get(..SPAN_ID_DIGITS).unwrap_or_default());
    line.extend_from_slice(b"\",\"startTimeUnixNano\":\"");
    json::value(line, &nanos(record.opened_at));
    line.extend_from_slice(b"\",\"status\":{");
    // Not set where a request is pending: the outcome is unknown.
    if record.status != Status::Pending {
        let is_completed = record.status == Status::Completed;
        line.extend_from_slice(b"\"code\":");
        json::value(line, if is_completed { &CODE_OK } else { &CODE_ERROR });
        if !is_completed {
            line.extend_from_slice(b",\"message\":");
            let message = record.error_message.as_deref().unwrap_or_default();
            json::string(line, message.as_bytes());
        }
    }
    line.extend_from_slice(b"},\"traceId\":\"");
    trace_id(line, record);
    line.extend_from_slice(b"\"}");
}

/// Writes messages as the JSON text of the conventions.
fn write_messages(
    out: &mut Vec<u8>,
    messages: &[CanonicalMessage],
    finish_reason: Option<&str>,
    content: ExportContent,
) {
    let mut before = b'[';
    for message in messages {
        out.push(before);
        before = b',';
        out.push(b'{');
        if let Some(reason) = finish_reason {
            member(out, "finish_reason", reason);
            out.push(b',');
        }
        out.extend_from_slice(b"\"parts\":[");
        for (place, part) in message.parts.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write_part(out, part, content);
        }
        out.extend_from_slice(b"],");
        member(out, "role", &message.role);
        out.push(b'}');
    }
    out.push(b']');
}

fn member(out: &mut Vec<u8>, name: &str, text: &str) {
    json::string(out, name.as_bytes());
    out.push(b':');
    json::string(out, text.as_bytes());
}

fn write_part(out: &mut Vec<u8>, part: &MessagePart, content: ExportContent) {
    let cut = |text| match content {
        ExportContent::Excerpt => excerpt(text),
        _ => text,
    };
    let kind = match part {
        MessagePart::Text(text) | MessagePart::Refusal(text) => {
            out.push(b'{');
            member(out, "content", cut(text));
            "text"
        }
        MessagePart::Thinking(text) => {
            out.push(b'{');
            member(out, "content", cut(text));
            "reasoning"
        }
        MessagePart::ToolCall(call) => {
            out.extend_from_slice(b"{\"arguments\":");
            // As values, so that members are in one order and numbers in one form.
            let input: Option<serde_json::Value> = match content {
                ExportContent::Full => serde_json::from_str(&call.input).ok(),
                _ => None,
            };
            match input {
                Some(input) => json::value(out, &input),
                None => json::string(out, cut(&call.input).as_bytes()),
            }
            out.push(b',');
            member(out, "id", &call.tool_call_id);
            out.push(b',');
            member(out, "name", &call.tool_name);
            "tool_call"
        }
        MessagePart::ToolResult(result) => {
            out.push(b'{');
            member(out, "id", &result.tool_call_id);
            out.push(b',');
            member(out, "response", cut(&result.text));
            "tool_call_response"
        }
        MessagePart::Other(kind) => {
            out.push(b'{');
            member(out, "type", kind);
            out.push(b'}');
            return;
        }
    };
    out.push(b',');
    member(out, "type", kind);
    out.push(b'}');
}

/// What was done; the conventions require a name.
fn operation(record: &RequestRecord) -> &str {
    let by_protocol = match record.wire_protocol.as_deref() {
        Some("openai.embeddings") => "embeddings",
        Some("gemini.generate") => "generate_content",
        Some("openai.completions" | "ollama.generate") => "text_completion",
        Some("mcp") => "execute_tool",
        _ => "chat",
    };
    record.operation_name.as_deref().unwrap_or(by_protocol)
}

/// The model that was asked of the provider: the routed one, else the client's.
fn asked(record: &RequestRecord) -> Option<&str> {
    let routed = record.request_model.as_deref();
    routed.or(record.client_model.as_deref())
}

/// The attributes of a span. Absent values are left out. Names of the conventions come first; what they do
/// not name is under `auditlite.`.
struct Attributes<'l> {
    line: &'l mut Vec<u8>,
    is_first: bool,
}

impl Attributes<'_> {
    fn record(&mut self, record: &RequestRecord, operation: &str) {
        let texts = [
            ("gen_ai.operation.name", Some(operation)),
            ("auditlite.request_id", Some(record.request_id.as_str())),
            ("auditlite.status", Some(record.status.as_str())),
            ("gen_ai.provider.name", record.provider()),
            ("gen_ai.request.model", asked(record)),
            ("gen_ai.response.model", record.response_model.as_deref()),
            ("gen_ai.response.id", record.response_id.as_deref()),
            ("gen_ai.conversation.id", record.conversation()),
            ("user.id", record.user_id.as_deref()),
            ("session.id", record.session_id.as_deref()),
            ("error.type", record.error_type.as_deref()),
            ("auditlite.wire_protocol", record.wire_protocol.as_deref()),
            ("auditlite.client_model", record.client_model.as_deref()),
            ("auditlite.trace_id", record.trace_id.as_deref()),
            (
                "auditlite.usage_source",
                record.usage_source.map(UsageSource::as_str),
            ),
            (
                "auditlite.cost_source",
                record.cost_source.map(CostSource::as_str),
            ),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                self.text(&[key], value);
            }
        }
        let counts = [
            ("gen_ai.request.max_tokens", record.max_tokens),
            ("gen_ai.usage.input_tokens", record.input_tokens),
            ("gen_ai.usage.output_tokens", record.output_tokens),
            (
                "gen_ai.usage.cache_read.input_tokens",
                record.cache_read_input_tokens,
            ),
            (
                "gen_ai.usage.cache_creation.input_tokens",
                record.cache_write_input_tokens,
            ),
            (
                "gen_ai.usage.reasoning.output_tokens",
                record.reasoning_output_tokens,
            ),
            (
                "http.response.status_code",
                record.http_status.map(u64::from),
            ),
            ("auditlite.cost_microdollars", record.cost_microdollars),
            ("auditlite.price_book_seq", record.price_book_seq),
            ("auditlite.upstream_latency_us", record.upstream_latency_us),
        ];
        for (key, value) in counts {
            if let Some(value) = value {
                self.count(&[key], value);
            }
        }
        #[allow(clippy::cast_precision_loss)]
        // Seconds of a request: exact far beyond any of them.
        let first_chunk = record
            .time_to_first_chunk_us
            .map(|micros| micros as f64 / MICROS_PER_SECOND);
        let reals = [
            ("gen_ai.request.temperature", record.temperature),
            ("gen_ai.request.top_p", record.top_p),
            ("gen_ai.response.time_to_first_chunk", first_chunk),
        ];
        for (key, value) in reals {
            if let Some(value) = value {
                self.value(&[key], "doubleValue", |line| json::value(line, &value));
            }
        }
        if record.is_streaming {
            self.flag(&["auditlite.is_streaming"]);
        }
        if !record.finish_reasons.is_empty() {
            self.value(&["gen_ai.response.finish_reasons"], "arrayValue", |line| {
                let mut before: &[u8] = b"{\"values\":[{\"stringValue\":";
                for reason in &record.finish_reasons {
                    line.extend_from_slice(before);
                    before = b"},{\"stringValue\":";
                    json::string(line, reason.as_bytes());
                }
                line.extend_from_slice(b"}]}");
            });
        }
        for (key, value) in &record.attributes {
            self.text(&["auditlite.attribute.", key], value);
        }
    }

    fn text(&mut self, key: &[&str], value: &str) {
        self.value(key, "stringValue", |line| {
            json::string(line, value.as_bytes());
        });
    }

    /// 64-bit integers are strings in protobuf's JSON.
    fn count(&mut self, key: &[&str], value: u64) {
        self.value(key, "intValue", |line| {
            line.push(b'"');
            json::value(line, &value);
            line.push(b'"');
        });
    }

    /// One that is true.
    fn flag(&mut self, key: &[&str]) {
        self.value(key, "boolValue", |line| json::value(line, &true));
    }

    /// An attribute; its key is given in pieces.
    fn value(&mut self, key: &[&str], kind: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_first {
            self.line.push(b',');
        }
        self.is_first = false;
        self.line.extend_from_slice(b"{\"key\":\"");
        for piece in key {
            json::escape(self.line, piece.as_bytes());
        }
        self.line.extend_from_slice(b"\",\"value\":{\"");
        self.line.extend_from_slice(kind.as_bytes());
        self.line.extend_from_slice(b"\":");
        write(self.line);
        self.line.extend_from_slice(b"}}");
    }
}

/// OTLP has no times before 1970.
fn nanos(at: Timestamp) -> i128 {
    i128::from(at.as_micros().max(0)) * NANOS_PER_MICRO
}

/// What identifies the span of a request: its id, the same in every store, unless the id is shared.
fn span_of(record: &RequestRecord) -> Cow<'_, str> {
    if record.is_id_shared {
        Cow::Owned(format!("{}\0{}", record.request_id, record.opened_seq))
    } else {
        Cow::Borrowed(&record.request_id)
    }
}

/// Writes the recorded trace if it is a W3C trace id, otherwise one for each conversation of each user.
fn trace_id(line: &mut Vec<u8>, record: &RequestRecord) {
    let is_valid = |id: &str| {
        id.len() == TRACE_ID_DIGITS
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && id.bytes().any(|byte| byte != b'0')
    };
    match record.trace_id.as_deref().filter(|id| is_valid(id)) {
        Some(id) => line.extend(id.bytes().map(|byte| byte.to_ascii_lowercase())),
        None => {
            let of = match (&record.trace_id, record.conversation(), &record.user_id) {
                (Some(trace), ..) => Cow::Borrowed(trace.as_str()),
                // Identifiers contain no NUL.
                (None, Some(conversation), Some(user)) => {
                    Cow::Owned(format!("{user}\0{conversation}"))
                }
                (None, Some(conversation), None) => Cow::Borrowed(conversation),
                (None, None, _) => span_of(record),
            };
            let mut hasher = Hasher::default();
            hasher.update(b"trace ");
            hasher.update(of.as_bytes());
            let digest = hasher.finish();
            line.extend_from_slice(digest.hex().get(..TRACE_ID_DIGITS).unwrap_or_default());
        }
    }
}
