//! One line of an export, as what is to be recorded.

use super::super::identity::{BodyIdentity, Identity, KnownBy, hexadecimal, missing_body};
use auditlite::{
    ActorKind, Completion, Failure, PayloadSide, Rejection, RequestContext, Status, Timing,
    ToolCall, Usage,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Times that can be recorded, from 1970 to 9999.
const OPENED_AT: std::ops::RangeInclusive<i64> = 0..=253_402_300_799_999_999;

/// A request on its way in.
pub(super) struct Imported {
    pub(super) identity: Identity,
    pub(super) context: RequestContext,
    pub(super) request_body: Bytes,
    pub(super) response_provider_name: Option<String>,
    /// `None`: it had not ended.
    pub(super) ending: Option<Ending>,
    /// Bodies of which the export had not all bytes.
    pub(super) missing_bodies: u64,
}

/// How it ended.
pub(super) enum Ending {
    Completed(Completion),
    Failed(Failure),
    Rejected(Rejection),
    /// Nobody said how; also interrupted by a crash.
    Abandoned {
        usage: Usage,
        http_status: Option<u16>,
        response_model: Option<String>,
        response_body: Option<Bytes>,
    },
}

/// The fields of `docs/export.md`.
#[derive(Debug, Deserialize)]
struct Line {
    opened_seq: u64,
    request_id: String,
    status: String,
    opened_at: i64,
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
    provider_name: Option<String>,
    response_provider_name: Option<String>,
    requested_model: Option<String>,
    request_model: Option<String>,
    response_model: Option<String>,
    wire_protocol: Option<String>,
    #[serde(default)]
    is_streaming: bool,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    #[serde(default)]
    attributes: std::collections::BTreeMap<String, String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    reasoning_output_tokens: Option<u64>,
    cost_microdollars: Option<u64>,
    #[serde(default)]
    finish_reasons: Vec<String>,
    response_id: Option<String>,
    http_status: Option<u16>,
    error_type: Option<String>,
    error_message: Option<String>,
    #[serde(default)]
    tool_calls: Vec<Call>,
    #[serde(default)]
    altered: Vec<String>,
    #[serde(default)]
    is_erased: bool,
    request: Option<Body>,
    response: Option<Body>,
}

#[derive(Debug, Deserialize)]
struct Call {
    tool_call_id: String,
    tool_name: String,
    input: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Body {
    length: u64,
    sha256: Option<String>,
    head: Option<u64>,
    text: Option<String>,
    base64: Option<String>,
}

impl Imported {
    /// # Errors
    ///
    /// What is wrong with the line, in words.
    pub(super) fn parse(line: &[u8], origin: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| format!("not a line of an export: {error}"))?;
        let status = Status::from_name(&line.status)
            .ok_or_else(|| format!("the status {:?} is none", line.status))?;
        if line.request_id.is_empty() {
            return Err("the request has no id".to_owned());
        }
        let origin = line.origin(origin);
        let mut context = line.context(&origin);
        let identity = line.identity(origin, [&line.request, &line.response]);
        let (mut missing, mut bodies) = (0, [None, None]);
        let sides = [
            (PayloadSide::Request, &line.request),
            (PayloadSide::Response, &line.response),
        ];
        for ((side, body), bytes) in sides.into_iter().zip(&mut bodies) {
            let Some(body) = body else { continue };
            *bytes = body
                .bytes()
                .map_err(|problem| format!("the {side} body {problem}"))?;
            if bytes.is_none() {
                missing += 1;
                context = context.attribute(missing_body(side), body.identity().words());
            }
        }
        let [request_body, response_body] = bodies;
        if status == Status::Interrupted {
            context = context.attribute("imported_status", status.name());
        }
        Ok(Self {
            identity,
            context,
            request_body: request_body.unwrap_or_default(),
            response_provider_name: line.response_provider_name.clone(),
            ending: line.ending(status, response_body),
            missing_bodies: missing,
        })
    }
}

impl Line {
    /// What was imported before keeps its first origin.
    fn origin(&self, origin: &str) -> [(String, String); 2] {
        let attribute = |name: &str, otherwise: String| {
            let value = self.attributes.get(name).cloned();
            (name.to_owned(), value.unwrap_or(otherwise))
        };
        [
            attribute("imported_from", origin.to_owned()),
            attribute("imported_seq", self.opened_seq.to_string()),
        ]
    }

    fn identity(&self, origin: [(String, String); 2], bodies: [&Option<Body>; 2]) -> Identity {
        Identity {
            request_id: self.request_id.clone(),
            opened_at: Some(self.opened_at).filter(|at| OPENED_AT.contains(at)),
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

    fn context(&self, origin: &[(String, String); 2]) -> RequestContext {
        let mut context = RequestContext::new(self.wire_protocol.clone().unwrap_or_default())
            .request_id(&self.request_id)
            .started_at(self.opened_at)
            .is_streaming(self.is_streaming);
        context.user_id.clone_from(&self.user_id);
        context.session_id.clone_from(&self.session_id);
        context.context_id.clone_from(&self.context_id);
        context.conversation_id.clone_from(&self.conversation_id);
        context.trace_id.clone_from(&self.trace_id);
        context.operation_name.clone_from(&self.operation_name);
        context.provider_name.clone_from(&self.provider_name);
        context.requested_model.clone_from(&self.requested_model);
        context.request_model.clone_from(&self.request_model);
        context.max_tokens = self.max_tokens;
        context.temperature = self.temperature;
        context.top_p = self.top_p;
        // What the trail did not say then, it does not say now, except that a body cannot be read.
        context.read_body = Some(self.is_flagged("request_unparsed"));
        let kind = match self.actor_type.as_deref() {
            Some("user") => Some(ActorKind::User),
            Some("job") => Some(ActorKind::Job),
            Some("mcp") => Some(ActorKind::Mcp),
            _ => None,
        };
        if let Some((kind, id)) = kind.zip(self.actor_id.clone()) {
            context = context.actor(kind, id);
        }
        // Where there are too many, the last ones go: never what says where it came from.
        let is_origin = |key: &String| origin.iter().any(|(name, _)| name == key);
        let own = self.attributes.iter().filter(|(key, _)| !is_origin(key));
        for (key, value) in origin.iter().map(|(key, value)| (key, value)).chain(own) {
            context = context.attribute(key, value);
        }
        context
    }

    fn is_flagged(&self, flag: &str) -> bool {
        self.altered.iter().any(|altered| altered == flag)
    }

    fn ending(self, status: Status, body: Option<Bytes>) -> Option<Ending> {
        let mut usage = Usage::default();
        usage.input_tokens = self.input_tokens;
        usage.output_tokens = self.output_tokens;
        usage.cache_read_input_tokens = self.cache_read_input_tokens;
        usage.cache_write_input_tokens = self.cache_write_input_tokens;
        usage.reasoning_output_tokens = self.reasoning_output_tokens;
        let has_usage = usage != Usage::default();
        let mut timing = Timing::default();
        timing.latency_us = self.latency_us;
        timing.upstream_latency_us = self.upstream_latency_us;
        timing.time_to_first_chunk_us = self.time_to_first_chunk_us;
        let read_body = self.is_flagged("response_unparsed");
        let tool_calls: Vec<ToolCall> = self
            .tool_calls
            .into_iter()
            .map(|call| {
                ToolCall::new(
                    call.tool_call_id,
                    call.tool_name,
                    call.input.unwrap_or_default(),
                )
            })
            .collect();
        macro_rules! fill {
            ($end:ident) => {
                $end.usage = has_usage.then_some(usage);
                $end.finish_reasons = self.finish_reasons;
                $end.tool_calls = tool_calls;
                $end.response_body = body;
                $end.response_id = self.response_id;
                $end.response_model = self.response_model;
                $end.http_status = self.http_status;
                $end.cost_microdollars = self.cost_microdollars;
                $end.timing = Some(timing);
                $end.read_body = read_body;
            };
        }
        let error_type = self.error_type.unwrap_or_default();
        Some(match status {
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

impl Body {
    fn identity(&self) -> BodyIdentity {
        BodyIdentity {
            length: self.length,
            sha256: self.sha256.clone(),
        }
    }

    /// The whole body; `None` where the export does not have it.
    fn bytes(&self) -> Result<Option<Bytes>, String> {
        if self.length == 0 {
            return Ok(Some(Bytes::new()));
        }
        if self.head.is_some() {
            return Ok(None);
        }
        let bytes = match (&self.text, &self.base64) {
            (Some(text), _) => Bytes::from(text.clone().into_bytes()),
            (None, Some(base64)) => STANDARD
                .decode(base64)
                .map(Bytes::from)
                .map_err(|error| format!("is not base64: {error}"))?,
            (None, None) => return Ok(None),
        };
        if u64::try_from(bytes.len()).ok() != Some(self.length) {
            // The excerpt of an export with --content excerpt.
            return Ok(None);
        }
        let digest = Sha256::digest(&bytes);
        let digest = hexadecimal(&digest);
        match &self.sha256 {
            Some(recorded) if *recorded != digest => {
                Err("does not have the recorded digest".to_owned())
            }
            _ => Ok(Some(bytes)),
        }
    }
}
