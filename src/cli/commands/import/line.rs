//! One line of an export, as what is to be recorded.

use std::collections::BTreeMap;

use super::as_written;
use crate::cli::support::fields::{Fields, http_status as http_status_of};
use crate::cli::support::identity::{BodyIdentity, Identity, KnownBy, hexadecimal, missing_body};
use crate::cli::support::line_id::LineIds;
use crate::cli::support::time;
use auditlite::{
    ActorKind, Completion, CostSource, Failure, PayloadSide, Rejection, RequestContext, Status,
    Timestamp, Timing, ToolCall, Usage, UsageDetails, UsageSource,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Where a number comes from; a name of another version is as good as none.
fn source<T: std::str::FromStr>(
    line: &mut Fields<'_>,
    name: &'static str,
) -> Result<Option<T>, String> {
    let source = line.text(name, name)?;
    Ok(source.and_then(|source| source.parse().ok()))
}

/// A request that is to be recorded.
pub(super) struct Imported {
    pub(super) identity: Identity,
    pub(super) context: RequestContext,
    pub(super) request_body: Bytes,
    pub(super) response_provider_name: Option<String>,
    /// `None`: it had not ended.
    pub(super) ending: Option<Ending>,
    /// Bodies that the export does not have in full.
    pub(super) missing_bodies: u64,
}

/// How it ended.
pub(super) enum Ending {
    Completed(Completion),
    Failed(Failure),
    Rejected(Rejection),
    /// No end was reported; also interrupted by a crash.
    Abandoned {
        usage: Usage,
        http_status: Option<u16>,
        response_model: Option<String>,
        response_body: Option<Bytes>,
    },
}

/// The fields of `docs/export.md` that are read.
const FIELDS: &[&str] = &[
    "opened_seq",
    "request_id",
    "status",
    "opened_at",
    "latency_us",
    "upstream_latency_us",
    "time_to_first_chunk_us",
    "user_id",
    "session_id",
    "context_id",
    "conversation_id",
    "trace_id",
    "actor_type",
    "actor_id",
    "operation_name",
    "url_path",
    "provider_name",
    "response_provider_name",
    "client_model",
    "request_model",
    "response_model",
    "wire_protocol",
    "is_streaming",
    "max_tokens",
    "temperature",
    "top_p",
    "attributes",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "reasoning_output_tokens",
    "usage_source",
    "usage_details",
    "cost_microdollars",
    "cost_source",
    "finish_reasons",
    "response_id",
    "http_status",
    "error_type",
    "error_message",
    "tool_calls",
    "adjusted_fields",
    "body_flags",
    "is_erased",
    "request",
    "response",
];

/// What a line says. It is deserialized from a line as exports write it, in one pass; every other line is read field by
/// field ([`Line::read`]).
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(PartialEq))]
struct Line {
    #[serde(deserialize_with = "as_written::place")]
    opened_seq: String,
    #[serde(deserialize_with = "as_written::request_id")]
    request_id: String,
    #[serde(deserialize_with = "as_written::status")]
    status: Status,
    #[serde(deserialize_with = "as_written::opened_at")]
    opened_at: Option<Timestamp>,
    latency_us: Option<u64>,
    upstream_latency_us: Option<u64>,
    time_to_first_chunk_us: Option<u64>,
    user_id: Option<String>,
    session_id: Option<String>,
    context_id: Option<String>,
    conversation_id: Option<String>,
    trace_id: Option<String>,
    actor_type: Option<String>,
    actor_id: Option<String>,
    operation_name: Option<String>,
    url_path: Option<String>,
    provider_name: Option<String>,
    response_provider_name: Option<String>,
    client_model: Option<String>,
    request_model: Option<String>,
    response_model: Option<String>,
    wire_protocol: Option<String>,
    #[serde(default)]
    is_streaming: bool,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    reasoning_output_tokens: Option<u64>,
    usage_source: Option<UsageSource>,
    #[serde(default, deserialize_with = "as_written::usage_details")]
    usage_details: Option<Box<UsageDetails>>,
    cost_microdollars: Option<u64>,
    cost_source: Option<CostSource>,
    #[serde(default)]
    finish_reasons: Vec<String>,
    response_id: Option<String>,
    #[serde(default, deserialize_with = "as_written::http_status")]
    http_status: Option<u16>,
    error_type: Option<String>,
    error_message: Option<String>,
    #[serde(default, deserialize_with = "as_written::tool_calls")]
    tool_calls: Vec<ToolCall>,
    #[serde(default)]
    adjusted_fields: Vec<String>,
    #[serde(default)]
    body_flags: Vec<String>,
    #[serde(default)]
    is_erased: bool,
    #[serde(default, deserialize_with = "as_written::optional_object")]
    request: Option<Body>,
    #[serde(default, deserialize_with = "as_written::optional_object")]
    response: Option<Body>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(PartialEq))]
struct Body {
    /// Absent where the number is none that a length can be.
    #[serde(deserialize_with = "as_written::length")]
    length: Option<u64>,
    sha256: Option<String>,
    #[serde(default, rename = "head", deserialize_with = "as_written::is_number")]
    is_excerpt: bool,
    text: Option<String>,
    base64: Option<String>,
}

impl Imported {
    /// Reads a line of an export from the log `origin`: identity, context, bodies and end. A body that the export
    /// does not have is recorded as an attribute with its length and digest, so that a second import knows the
    /// request again.
    ///
    /// # Errors
    ///
    /// What is wrong with the line, in words.
    pub(super) fn parse(line: &[u8], origin: &str) -> Result<Self, String> {
        let (mut line, adjusted_fields) = Line::of(line)?;
        let origin = line.origin(origin);
        let mut identity = line.identity(origin.clone());
        let mut context = line.take_context(&origin, adjusted_fields);
        let (mut missing, mut bodies) = (0, [None, None]);
        let sides = [
            (PayloadSide::Request, line.request.take()),
            (PayloadSide::Response, line.response.take()),
        ];
        let places = bodies.iter_mut().zip(&mut identity.bodies);
        for ((side, body), (bytes, known)) in sides.into_iter().zip(places) {
            let Some(body) = body else { continue };
            let recorded = body.identity();
            *bytes = body
                .into_bytes()
                .map_err(|problem| format!("the {side} body {problem}"))?;
            match bytes {
                // The true length: it is what a later comparison finds in the file.
                Some(bytes) => known.length = u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                None => {
                    missing += 1;
                    context = context.attribute(missing_body(side), recorded.words());
                }
            }
            if known.length == 0 {
                known.sha256 = None;
            }
        }
        let [request_body, response_body] = bodies;
        let status = line.status;
        if status == Status::Interrupted {
            context = context.attribute("imported_status", status.as_str());
        }
        Ok(Self {
            identity,
            context,
            request_body: request_body.unwrap_or_default(),
            response_provider_name: line.response_provider_name.take(),
            ending: line.ending(response_body),
            missing_bodies: missing,
        })
    }
}

impl Line {
    /// Reads a line, and the recorded fields that differ from it. A line as exports write it costs one pass; any other
    /// one costs a second, which says what is wrong or brings it into bounds.
    fn of(text: &[u8]) -> Result<(Self, Vec<&'static str>), String> {
        if let Some(line) = Self::as_written(text) {
            return Ok((line, Vec::new()));
        }
        let mut fields = Fields::of_line(text, FIELDS)?;
        let line = Self::read(&mut fields, text)?;
        Ok((line, fields.into_adjusted()))
    }

    /// `None`: the line differs in some way from what exports write.
    fn as_written(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.trim_ascii_end()).ok()?;
        // A list would be taken for the fields in their order.
        let is_object = text.starts_with('{');
        is_object.then(|| serde_json::from_str(text).ok()).flatten()
    }

    /// Reads all fields of a line. Only those that every export has are demanded; everything else may be absent or out
    /// of its bounds, and is then noted and brought into them: a damaged field must not cost the request.
    fn read(line: &mut Fields<'_>, text: &[u8]) -> Result<Self, String> {
        let absent = |name: &str| format!("has no {name}; a line of `auditlite export` has one");
        let opened_seq = line
            .number("opened_seq")?
            .ok_or_else(|| absent("opened_seq"))?;
        let opened_seq = match opened_seq.count() {
            Some(seq) if opened_seq.is_exact() => seq.to_string(),
            // Not a seq, but still the line's place in its log: kept as text.
            _ => line
                .raw("opened_seq")
                .map(|raw| raw.get().to_owned())
                .unwrap_or_default(),
        };
        let status = line
            .text("status", "status")?
            .ok_or_else(|| absent("status"))?;
        let status = status
            .parse()
            .map_err(|_| format!("the status {status:?} is none"))?;
        let opened_at = opened_at(line)?;
        let mut request_id = line
            .text("request_id", "request_id")?
            .ok_or_else(|| absent("request_id"))?;
        if request_id.is_empty() {
            line.note("request_id");
            // Derived from the line, so that a second import gets the same id.
            let made = LineIds::default().id(text, false, opened_at);
            request_id = made.unwrap_or_default();
        }
        let http_status = line.count("http_status", "http_status")?;
        let http_status = http_status_of(line, http_status);
        Ok(Self {
            opened_seq,
            request_id,
            status,
            opened_at,
            latency_us: line.count("latency_us", "latency_us")?,
            upstream_latency_us: line.count("upstream_latency_us", "upstream_latency_us")?,
            time_to_first_chunk_us: line
                .count("time_to_first_chunk_us", "time_to_first_chunk_us")?,
            user_id: line.text("user_id", "user_id")?,
            session_id: line.text("session_id", "session_id")?,
            context_id: line.text("context_id", "context_id")?,
            conversation_id: line.text("conversation_id", "conversation_id")?,
            trace_id: line.text("trace_id", "trace_id")?,
            actor_type: line.text("actor_type", "actor")?,
            actor_id: line.text("actor_id", "actor")?,
            operation_name: line.text("operation_name", "operation_name")?,
            url_path: line.text("url_path", "url_path")?,
            provider_name: line.text("provider_name", "provider_name")?,
            response_provider_name: line
                .text("response_provider_name", "response_provider_name")?,
            client_model: line.text("client_model", "client_model")?,
            request_model: line.text("request_model", "request_model")?,
            response_model: line.text("response_model", "response_model")?,
            wire_protocol: line.text("wire_protocol", "wire_protocol")?,
            is_streaming: line.truth("is_streaming")?.unwrap_or(false),
            max_tokens: line.count("max_tokens", "max_tokens")?,
            temperature: line.decimal("temperature")?,
            top_p: line.decimal("top_p")?,
            attributes: line.named_texts("attributes")?,
            input_tokens: line.count("input_tokens", "input_tokens")?,
            output_tokens: line.count("output_tokens", "output_tokens")?,
            cache_read_input_tokens: line
                .count("cache_read_input_tokens", "cache_read_input_tokens")?,
            cache_write_input_tokens: line
                .count("cache_write_input_tokens", "cache_write_input_tokens")?,
            reasoning_output_tokens: line
                .count("reasoning_output_tokens", "reasoning_output_tokens")?,
            usage_source: source(line, "usage_source")?,
            usage_details: line.usage_details("usage_details")?,
            cost_microdollars: line.count("cost_microdollars", "cost_microdollars")?,
            cost_source: source(line, "cost_source")?,
            finish_reasons: line.texts("finish_reasons")?,
            response_id: line.text("response_id", "response_id")?,
            http_status,
            error_type: line.text("error_type", "error_type")?,
            error_message: line.text("error_message", "error_message")?,
            tool_calls: tool_calls(line)?,
            adjusted_fields: line.texts("adjusted_fields")?,
            body_flags: line.texts("body_flags")?,
            is_erased: line.truth("is_erased")?.unwrap_or(false),
            request: Body::read(line, "request", "request_bytes")?,
            response: Body::read(line, "response", "response_bytes")?,
        })
    }

    /// A request that was imported before keeps its first origin.
    fn origin(&self, origin: &str) -> [(String, String); 2] {
        let attribute = |name: &str, otherwise: String| {
            let value = self.attributes.get(name).cloned();
            (name.to_owned(), value.unwrap_or(otherwise))
        };
        [
            attribute("imported_from", origin.to_owned()),
            attribute("imported_seq", self.opened_seq.clone()),
        ]
    }

    fn identity(&self, origin: [(String, String); 2]) -> Identity {
        let bodies = [&self.request, &self.response];
        Identity {
            request_id: self.request_id.clone(),
            opened_at: self.opened_at,
            is_erased: self.is_erased,
            ids: [
                self.user_id.clone(),
                self.session_id.clone(),
                self.context_id.clone(),
                self.conversation_id.clone(),
                self.trace_id.clone(),
            ],
            bodies: bodies.map(|body| body.as_ref().map(Body::identity).unwrap_or_default()),
            known_by: KnownBy::Origin(origin),
        }
    }

    /// What the request began with, taken out of the line. `adjusted_fields` differ from the line.
    fn take_context(
        &mut self,
        origin: &[(String, String); 2],
        adjusted_fields: Vec<&'static str>,
    ) -> RequestContext {
        let mut context = RequestContext::new(self.wire_protocol.take().unwrap_or_default())
            .request_id(std::mem::take(&mut self.request_id))
            .is_streaming(self.is_streaming);
        // A record of the past, even if its time is not known.
        context.started_at = Some(self.opened_at.unwrap_or_else(Timestamp::now));
        context.user_id = self.user_id.take();
        context.session_id = self.session_id.take();
        context.context_id = self.context_id.take();
        context.conversation_id = self.conversation_id.take();
        context.trace_id = self.trace_id.take();
        context.operation_name = self.operation_name.take();
        context.url_path = self.url_path.take();
        context.provider_name = self.provider_name.take();
        context.client_model = self.client_model.take();
        context.request_model = self.request_model.take();
        context.max_tokens = self.max_tokens;
        context.temperature = self.temperature;
        context.top_p = self.top_p;
        // Bodies are not parsed again: the export has what was recorded of them. Only a body that could not be
        // parsed is parsed once more, which flags it again.
        context.read_body = Some(self.is_flagged("request_unparsed"));
        let kind = match self.actor_type.as_deref() {
            Some("user") => Some(ActorKind::User),
            Some("job") => Some(ActorKind::Job),
            Some("mcp") => Some(ActorKind::Mcp),
            _ => None,
        };
        if let Some((kind, id)) = kind.zip(self.actor_id.take()) {
            context = context.actor(kind, id);
        }
        // If there are too many attributes, the last are dropped; those of the origin come first.
        let is_origin = |key: &String| origin.iter().any(|(name, _)| name == key);
        let own = std::mem::take(&mut self.attributes).into_iter();
        let own = own.filter(|(key, _)| !is_origin(key));
        for (key, value) in origin.iter().cloned().chain(own) {
            context = context.attribute(key, value);
        }
        let adjusted_fields = adjusted_fields.into_iter().map(str::to_owned);
        let adjusted_before = std::mem::take(&mut self.adjusted_fields);
        context.adjusted_fields = adjusted_fields.chain(adjusted_before).collect();
        context
    }

    fn is_flagged(&self, flag: &str) -> bool {
        self.body_flags.iter().any(|own| own == flag)
    }

    /// How the request ended; `None`: it had not. The three ends that a gateway reports take the same fields, so a
    /// macro fills them; all other statuses become an abandoned request, which the bytes of the body describe.
    fn ending(self, body: Option<Bytes>) -> Option<Ending> {
        let mut usage = Usage::default();
        usage.input_tokens = self.input_tokens;
        usage.output_tokens = self.output_tokens;
        usage.cache_read_input_tokens = self.cache_read_input_tokens;
        usage.cache_write_input_tokens = self.cache_write_input_tokens;
        usage.reasoning_output_tokens = self.reasoning_output_tokens;
        let has_usage = usage != Usage::default();
        usage.source = self.usage_source;
        let mut timing = Timing::default();
        timing.latency_us = self.latency_us;
        timing.upstream_latency_us = self.upstream_latency_us;
        timing.time_to_first_chunk_us = self.time_to_first_chunk_us;
        let read_body = self.is_flagged("response_unparsed");
        macro_rules! fill {
            ($end:ident) => {
                $end.usage = has_usage.then_some(usage);
                $end.finish_reasons = self.finish_reasons;
                $end.tool_calls = self.tool_calls;
                $end.response_body = body;
                $end.response_id = self.response_id;
                $end.response_model = self.response_model;
                $end.http_status = self.http_status;
                $end.cost_microdollars = self.cost_microdollars;
                $end.cost_source = self.cost_source;
                $end.usage_details = self.usage_details;
                $end.timing = Some(timing);
                $end.read_body = read_body;
            };
        }
        let error_type = self.error_type.unwrap_or_default();
        Some(match self.status {
            Status::Pending => return None,
            Status::Completed => {
                let mut completion = Completion::new();
                fill!(completion);
                Ending::Completed(completion)
            }
            Status::Failed => {
                let mut failure = Failure::new(error_type);
                failure.error_message = self.error_message;
                fill!(failure);
                Ending::Failed(failure)
            }
            Status::Rejected => {
                let mut rejection = Rejection::new(error_type);
                rejection.error_message = self.error_message;
                rejection.response_body = body;
                rejection.http_status = self.http_status;
                rejection.timing = Some(timing);
                Ending::Rejected(rejection)
            }
            _ => Ending::Abandoned {
                usage,
                http_status: self.http_status,
                response_model: self.response_model,
                response_body: body,
            },
        })
    }
}

/// When it arrived; `None`: a time that cannot be recorded, which is noted.
fn opened_at(line: &mut Fields<'_>) -> Result<Option<Timestamp>, String> {
    let Some(number) = line.number("opened_at")? else {
        return Err("has no opened_at; a line of `auditlite export` has one".to_owned());
    };
    let micros = number.count().and_then(|at| i64::try_from(at).ok());
    let at = micros.filter(|at| time::RECORDABLE.contains(at));
    if at.is_none() || !number.is_exact() {
        line.note("started_at");
    }
    Ok(at.map(Timestamp::from_micros))
}

fn tool_calls(line: &mut Fields<'_>) -> Result<Vec<ToolCall>, String> {
    const FIELDS: &[&str] = &["tool_call_id", "tool_name", "input"];
    let mut calls = Vec::new();
    for (index, call) in line.list("tool_calls")?.into_iter().enumerate() {
        let within = |problem| format!("tool_calls[{index}]: {problem}");
        let mut call = Fields::of_text(call.get(), FIELDS).map_err(within)?;
        let mut text = |name| call.text(name, "tool_calls").map_err(within);
        let id = text("tool_call_id")?.unwrap_or_default();
        let name = text("tool_name")?.unwrap_or_default();
        calls.push(ToolCall::new(id, name, text("input")?.unwrap_or_default()));
        for field in call.into_adjusted() {
            line.note(field);
        }
    }
    Ok(calls)
}

impl Body {
    /// The body of a side, of which the line's `recorded` has the length.
    fn read(
        line: &mut Fields<'_>,
        side: &'static str,
        recorded: &'static str,
    ) -> Result<Option<Self>, String> {
        const FIELDS: &[&str] = &["length", "sha256", "head", "text", "base64"];
        let Some(raw) = line.raw(side) else {
            return Ok(None);
        };
        let within = |problem| format!("{side}: {problem}");
        let mut body = Fields::of_text(raw.get(), FIELDS).map_err(within)?;
        let length = body.number("length").map_err(within)?;
        let length = length.ok_or_else(|| format!("{side} has no length"))?;
        if !length.is_exact() {
            body.note(recorded);
        }
        let mut text = |name| body.text(name, recorded).map_err(within);
        let read = Self {
            length: length.count().filter(|_| length.is_exact()),
            sha256: text("sha256")?,
            text: text("text")?,
            base64: text("base64")?,
            is_excerpt: body.number("head").map_err(within)?.is_some(),
        };
        for field in body.into_adjusted() {
            line.note(field);
        }
        Ok(Some(read))
    }

    fn identity(&self) -> BodyIdentity {
        BodyIdentity {
            length: self.length.unwrap_or_default(),
            sha256: self.sha256.clone(),
        }
    }

    /// The whole body; `None` where the export does not have it.
    fn into_bytes(self) -> Result<Option<Bytes>, String> {
        if self.length == Some(0) {
            return Ok(Some(Bytes::new()));
        }
        if self.is_excerpt {
            return Ok(None);
        }
        let bytes = match (self.text, self.base64) {
            (Some(text), _) => Bytes::from(text),
            (None, Some(base64)) => STANDARD
                .decode(base64)
                .map(Bytes::from)
                .map_err(|error| format!("is not base64: {error}"))?,
            (None, None) => return Ok(None),
        };
        let length = u64::try_from(bytes.len()).ok();
        if self.length.is_some() && length != self.length {
            // The excerpt of an export with --content excerpt.
            return Ok(None);
        }
        let digest = hexadecimal(&Sha256::digest(&bytes));
        match &self.sha256 {
            Some(recorded) if *recorded == digest => Ok(Some(bytes)),
            // Without its length it may be an excerpt.
            _ if self.length.is_none() => Ok(None),
            Some(_) => Err("does not have the recorded digest".to_owned()),
            None => Ok(Some(bytes)),
        }
    }
}

#[cfg(test)]
mod tests;
