//! OTLP/JSON: one span for each request, each line one `TracesData`. `docs/otlp.md` has the mapping.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Body, ExportContent, Item, Sink, excerpt};
use crate::error::ExportError;
use crate::model::{CanonicalMessage, MessagePart, RequestRecord, Status, Timestamp};
use crate::payload::sha256;

/// Version of the semantic conventions whose names are used.
const SEMANTIC_CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.44.0";
/// `SPAN_KIND_CLIENT`, `STATUS_CODE_OK` and `STATUS_CODE_ERROR` of `trace.proto`.
const KIND_CLIENT: u32 = 3;
const CODE_OK: u32 = 1;
const CODE_ERROR: u32 = 2;
const NANOS_PER_MICRO: i128 = 1_000;
const MICROS_PER_SECOND: f64 = 1_000_000.0;
const TRACE_ID_DIGITS: usize = 32;

/// Writes spans.
pub(super) struct Otlp {
    content: ExportContent,
}

impl Otlp {
    pub(super) fn new(content: ExportContent) -> Self {
        Self { content }
    }
}

impl Sink for Otlp {
    fn begin(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }

    fn wants_messages(&self) -> bool {
        self.content != ExportContent::None
    }

    fn write(&mut self, item: &Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        let line = json!({"resourceSpans": [{
            "resource": {"attributes": [text("service.name", "auditlite")]},
            "scopeSpans": [{
                "scope": {"name": "auditlite", "version": env!("CARGO_PKG_VERSION")},
                "spans": [self.span(item)],
                "schemaUrl": SEMANTIC_CONVENTIONS,
            }],
            "schemaUrl": SEMANTIC_CONVENTIONS,
        }]});
        serde_json::to_writer(&mut *out, &line)
            .map_err(|error| ExportError::Output(error.into()))?;
        out.write_all(b"\n").map_err(ExportError::Output)
    }
}

impl Otlp {
    /// Builds the span of a request: name, times, status and attributes, then messages if content is
    /// exported, then lengths and digests of the bodies.
    ///
    /// Name, kind and status follow OpenTelemetry's conventions for generative AI. Ids are derived from the
    /// record, so that a second export of the same request gives the same span.
    fn span(&self, item: &Item<'_>) -> Value {
        let record = item.record;
        let operation = operation(record);
        let mut name = operation.to_owned();
        let model = record
            .request_model
            .as_ref()
            .or(record.client_model.as_ref());
        if let Some(model) = model {
            name.push(' ');
            name.push_str(model);
        }
        let end = record.opened_at + Duration::from_micros(record.latency_us.unwrap_or(0));
        let status = match record.status {
            Status::Completed => json!({"code": CODE_OK}),
            // Not set: the outcome is unknown.
            Status::Pending => json!({}),
            _ => {
                let message = record.error_message.as_deref().unwrap_or_default();
                json!({"code": CODE_ERROR, "message": message})
            }
        };
        let mut attributes = attributes(record, operation);
        if self.content != ExportContent::None {
            let reason = record.finish_reasons.first().map_or("stop", String::as_str);
            let sides = [
                ("gen_ai.input.messages", &item.messages, None),
                ("gen_ai.output.messages", &item.replies, Some(reason)),
            ];
            for (key, messages, reason) in sides {
                if !messages.is_empty() {
                    attributes.push(text(key, &self.messages(messages, reason)));
                }
            }
        }
        for (key, body) in [("request", &item.request), ("response", &item.response)] {
            if body.is_unchecked() {
                let key = format!("auditlite.{key}.is_unchecked");
                attributes.push(json!({"key": key, "value": {"boolValue": true}}));
            }
            if let Body::Present { length, sha256, .. } = body {
                attributes.push(count(&format!("auditlite.{key}.bytes"), *length));
                if let Some(digest) = sha256 {
                    attributes.push(text(
                        &format!("auditlite.{key}.sha256"),
                        &digest.to_string(),
                    ));
                }
            }
        }
        json!({
            "traceId": trace_id(record),
            "spanId": hex(&sha256(span_of(record).as_bytes()).0, 8),
            "name": name,
            "kind": KIND_CLIENT,
            "startTimeUnixNano": nanos(record.opened_at),
            "endTimeUnixNano": nanos(end),
            "attributes": attributes,
            "status": status,
        })
    }

    /// Messages as the JSON text of the conventions.
    fn messages(&self, messages: &[CanonicalMessage], finish_reason: Option<&str>) -> String {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| {
                let parts: Vec<Value> = message.parts.iter().map(|part| self.part(part)).collect();
                let mut object = Map::new();
                object.insert("role".to_owned(), message.role.as_str().into());
                object.insert("parts".to_owned(), parts.into());
                if let Some(reason) = finish_reason {
                    object.insert("finish_reason".to_owned(), reason.into());
                }
                Value::Object(object)
            })
            .collect();
        Value::Array(messages).to_string()
    }

    fn part(&self, part: &MessagePart) -> Value {
        let cut = |text: &str| match self.content {
            ExportContent::Excerpt => excerpt(text).to_owned(),
            _ => text.to_owned(),
        };
        match part {
            MessagePart::Text(text) | MessagePart::Refusal(text) => {
                json!({"type": "text", "content": cut(text)})
            }
            MessagePart::Thinking(text) => json!({"type": "reasoning", "content": cut(text)}),
            MessagePart::ToolCall(call) => {
                let input = match self.content {
                    ExportContent::Full => serde_json::from_str(&call.input).ok(),
                    _ => None,
                };
                json!({
                    "type": "tool_call",
                    "id": call.tool_call_id,
                    "name": call.tool_name,
                    "arguments": input.unwrap_or_else(|| Value::from(cut(&call.input))),
                })
            }
            MessagePart::ToolResult(result) => json!({
                "type": "tool_call_response",
                "id": result.tool_call_id,
                "response": cut(&result.text),
            }),
            MessagePart::Other(kind) => json!({"type": kind}),
        }
    }
}

/// What was done; the conventions require a name.
fn operation(record: &RequestRecord) -> &str {
    let by_protocol = match record.wire_protocol.as_deref() {
        Some("openai.embeddings") => "embeddings",
        Some("gemini.generate") => "generate_content",
        _ => "chat",
    };
    record.operation_name.as_deref().unwrap_or(by_protocol)
}

/// The attributes of a span. Absent values are left out. Names of the conventions come first; what they do
/// not name is under `auditlite.`.
fn attributes(record: &RequestRecord, operation: &str) -> Vec<Value> {
    let mut attributes = vec![
        text("gen_ai.operation.name", operation),
        text("auditlite.request_id", &record.request_id),
        text("auditlite.status", record.status.as_str()),
    ];
    let provider = record.provider();
    // The model that was asked of the provider: the routed one, else the client's.
    let asked = record
        .request_model
        .as_deref()
        .or(record.client_model.as_deref());
    let texts = [
        ("gen_ai.provider.name", provider),
        ("gen_ai.request.model", asked),
        ("gen_ai.response.model", record.response_model.as_deref()),
        ("gen_ai.response.id", record.response_id.as_deref()),
        ("gen_ai.conversation.id", record.conversation()),
        ("user.id", record.user_id.as_deref()),
        ("session.id", record.session_id.as_deref()),
        ("error.type", record.error_type.as_deref()),
        ("auditlite.wire_protocol", record.wire_protocol.as_deref()),
        ("auditlite.client_model", record.client_model.as_deref()),
        ("auditlite.trace_id", record.trace_id.as_deref()),
    ];
    attributes.extend(
        texts
            .iter()
            .filter_map(|(key, value)| Some(text(key, (*value)?))),
    );
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
        ("auditlite.upstream_latency_us", record.upstream_latency_us),
    ];
    attributes.extend(
        counts
            .iter()
            .filter_map(|(key, value)| Some(count(key, (*value)?))),
    );
    #[allow(clippy::cast_precision_loss)] // Seconds of a request: exact far beyond any of them.
    let first_chunk = record
        .time_to_first_chunk_us
        .map(|micros| micros as f64 / MICROS_PER_SECOND);
    let reals = [
        ("gen_ai.request.temperature", record.temperature),
        ("gen_ai.request.top_p", record.top_p),
        ("gen_ai.response.time_to_first_chunk", first_chunk),
    ];
    attributes.extend(
        reals.iter().filter_map(|(key, value)| {
            Some(json!({"key": key, "value": {"doubleValue": (*value)?}}))
        }),
    );
    if record.is_streaming {
        attributes.push(json!({"key": "auditlite.is_streaming", "value": {"boolValue": true}}));
    }
    if !record.finish_reasons.is_empty() {
        let values: Vec<Value> = record
            .finish_reasons
            .iter()
            .map(|reason| json!({"stringValue": reason}))
            .collect();
        attributes.push(json!({
            "key": "gen_ai.response.finish_reasons",
            "value": {"arrayValue": {"values": values}},
        }));
    }
    for (key, value) in &record.attributes {
        attributes.push(text(&format!("auditlite.attribute.{key}"), value));
    }
    attributes
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// 64-bit integers are strings in protobuf's JSON.
fn count(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

/// OTLP has no times before 1970.
fn nanos(at: Timestamp) -> String {
    (i128::from(at.as_micros().max(0)) * NANOS_PER_MICRO).to_string()
}

/// What identifies the span of a request: its id, the same in every store, unless the id is shared.
fn span_of(record: &RequestRecord) -> Cow<'_, str> {
    if record.is_id_shared {
        Cow::Owned(format!("{}\0{}", record.request_id, record.opened_seq))
    } else {
        Cow::Borrowed(&record.request_id)
    }
}

/// The recorded trace if it is a W3C trace id, otherwise one for each conversation of each user.
fn trace_id(record: &RequestRecord) -> String {
    let is_valid = |id: &str| {
        id.len() == TRACE_ID_DIGITS
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && id.bytes().any(|byte| byte != b'0')
    };
    match record.trace_id.as_deref().filter(|id| is_valid(id)) {
        Some(id) => id.to_ascii_lowercase(),
        None => {
            let of = match (&record.trace_id, record.conversation(), &record.user_id) {
                (Some(trace), ..) => trace.clone(),
                // Identifiers contain no NUL.
                (None, Some(conversation), Some(user)) => format!("{user}\0{conversation}"),
                (None, Some(conversation), None) => conversation.to_owned(),
                (None, None, _) => span_of(record).into_owned(),
            };
            hex(&sha256(format!("trace {of}").as_bytes()).0, 16)
        }
    }
}

fn hex(bytes: &[u8], count: usize) -> String {
    bytes
        .iter()
        .take(count)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
