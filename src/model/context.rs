//! What a gateway knows when a request arrives.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Timestamp, WireProtocol, setters};
use crate::error::named;

/// On whose behalf a request was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ActorKind {
    /// A person.
    User,
    /// A scheduled or background job.
    Job,
    /// An MCP client or server.
    Mcp,
}

named! {
    ActorKind, serialized elsewhere;
    User => "user",
    Job => "job",
    Mcp => "mcp",
}

/// Who or what made a request, if it is not (only) a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// The actor's id, at most 256 bytes.
    pub id: String,
}

/// What a gateway knows about a request when it arrives.
///
/// Every field is optional, and takes precedence over what a body says. Names follow OpenTelemetry's
/// GenAI conventions
/// (<https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>, without the `gen_ai.`
/// prefix) where these have one. Identifiers and names are at most 256 bytes: a longer one, or one with a NUL byte,
/// is recorded as its beginning and a digest ([`stored_identifier`](crate::stored_identifier)), and the record
/// names the field ([`RequestRecord::adjusted_fields`](crate::RequestRecord::adjusted_fields)).
/// [`check`](Self::check) reports it beforehand.
///
/// ```
/// use auditlite::{RequestContext, WireProtocol};
///
/// let context = RequestContext::new(WireProtocol::OpenAiChat)
///     .user_id("u-17")
///     .conversation_id("c-42")
///     .provider_name("openai")
///     .request_model("gpt-4o")
///     .is_streaming(true);
/// assert_eq!(context.request_model.as_deref(), Some("gpt-4o"));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RequestContext {
    /// The request's id. Default, also if it is empty: a new UUIDv7.
    pub request_id: Option<String>,
    /// The end user on whose behalf the request is made.
    pub user_id: Option<String>,
    /// The user's session in the client.
    pub session_id: Option<String>,
    /// The gateway's own grouping, for example a task or a thread.
    pub context_id: Option<String>,
    /// The conversation that the request continues. Requests are grouped by this, else by
    /// `context_id`, else by `session_id`.
    pub conversation_id: Option<String>,
    /// The distributed trace that the request belongs to.
    pub trace_id: Option<String>,
    /// Who or what made the request, where that is not (only) a user.
    pub actor: Option<Actor>,
    /// The operation, for example `chat` or `embeddings`.
    pub operation_name: Option<String>,
    /// The provider that the gateway routed to. A request that is refused before routing has none.
    pub provider_name: Option<String>,
    /// The model that the gateway routed to.
    pub request_model: Option<String>,
    /// The model that the client asked for, where it differs from `request_model`.
    pub client_model: Option<String>,
    /// Most tokens that the response may have.
    pub max_tokens: Option<u64>,
    /// Sampling temperature. A value that is not finite is left out.
    pub temperature: Option<f64>,
    /// Nucleus sampling. A value that is not finite is left out.
    pub top_p: Option<f64>,
    /// Whether a streamed response was asked for. Default: `false`.
    pub is_streaming: bool,
    /// The protocol of the bodies.
    pub wire_protocol: WireProtocol,
    /// Path of the request's URL. A query, which can carry a key, is neither recorded nor read. The path also
    /// tells the wire protocol if [`wire_protocol`](Self::wire_protocol) is unknown, and the model of Gemini's
    /// and Bedrock's requests.
    pub url_path: Option<String>,
    /// Free attributes, for example `route_match` or `system_prompt_override`: at most 64, keys up to 128 bytes,
    /// values up to 16 KiB. A longer key is recorded as its beginning and a digest; values are shortened, and
    /// further attributes left out; all of this is flagged.
    pub attributes: Vec<(String, String)>,
    /// Canonical messages, where the gateway has them anyway; of more than 16,384 the newest are kept,
    /// and flagged.
    pub messages: Option<Vec<Message>>,
    /// When the request arrived. Default: the time of the call that opens it. Meant for records of the past: if it
    /// is given, the handle's own times are ignored, and only those of [`Timing`](crate::Timing) are recorded.
    pub started_at: Option<Timestamp>,
    /// When the request arrived, by the monotonic clock. Default: the time of the call that opens it. For gateways
    /// that open a request only once they have its whole body: the latency then includes the upload.
    pub arrived: Option<std::time::Instant>,
    /// Whether the writer parses the request's body for fields that are not given here: the model, `max_tokens`,
    /// `temperature`, `top_p` and `is_streaming`. If `request_model` is given and the body names another one, that
    /// is `client_model`. Default: `true` if there is no `request_model`, since a gateway that knows the model has
    /// parsed the body already. Parsing costs the writer some microseconds, and the request thread nothing.
    pub read_body: Option<bool>,
    /// Whether bodies and other content of this request are kept. Default: as the store is set.
    pub capture: Option<crate::config::Capture>,
    /// Fields of the request, or of its end, that the caller changed, for example because an imported number does
    /// not fit: flagged like the changes that recording makes
    /// ([`RequestRecord::adjusted_fields`](crate::RequestRecord::adjusted_fields)). At most 64 names of ASCII letters,
    /// digits and underscores, each up to 64 bytes; others are left out.
    pub adjusted_fields: Vec<String>,
}

impl RequestContext {
    /// A context for a request in this wire protocol, given as a [`WireProtocol`] or by its name.
    pub fn new(wire_protocol: impl Into<WireProtocol>) -> Self {
        Self {
            wire_protocol: wire_protocol.into(),
            ..Self::default()
        }
    }

    setters! {
        text: request_id, user_id, session_id, context_id, conversation_id, trace_id,
            operation_name, provider_name, request_model, client_model, url_path;
        value: max_tokens: u64, temperature: f64, top_p: f64, messages: Vec<Message>,
            arrived: std::time::Instant, read_body: bool,
            capture: crate::config::Capture;
        list: adjusted_fields: String;
        time: started_at;
    }

    /// Sets [`actor`](Self::actor).
    #[must_use]
    pub fn actor(mut self, kind: ActorKind, id: impl Into<String>) -> Self {
        self.actor = Some(Actor {
            kind,
            id: id.into(),
        });
        self
    }

    /// Sets [`is_streaming`](Self::is_streaming).
    #[must_use]
    pub fn is_streaming(mut self, is_streaming: bool) -> Self {
        self.is_streaming = is_streaming;
        self
    }

    /// Adds one of the [`attributes`](Self::attributes). The last value of a key counts.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }
}

/// Prints ids and models; of attribute values and messages only how many there are.
impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("request_id", &self.request_id)
            .field("user_id", &self.user_id)
            .field("conversation_id", &self.conversation_id)
            .field("trace_id", &self.trace_id)
            .field("provider_name", &self.provider_name)
            .field("request_model", &self.request_model)
            .field("wire_protocol", &self.wire_protocol)
            .field("attributes", &self.attributes.len())
            .field("messages", &self.messages.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

/// One message of a request in canonical form, independent of the wire protocol.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`, or what the protocol calls it.
    pub role: String,
    /// The text, parts joined by a newline.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Tools that the message calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<MessageToolCall>,
    /// Results of earlier tool calls that the message brings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_results: Vec<MessageToolResult>,
}

impl Message {
    /// A message of this role that says this.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// Adds one of the [`tool_calls`](Self::tool_calls).
    #[must_use]
    pub fn tool_call(mut self, call: MessageToolCall) -> Self {
        self.tool_calls.push(call);
        self
    }

    /// Adds one of the [`tool_results`](Self::tool_results).
    #[must_use]
    pub fn tool_result(mut self, result: MessageToolResult) -> Self {
        self.tool_results.push(result);
        self
    }
}

/// Prints the role and sizes, never the text.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .field("text_bytes", &self.text.len())
            .field("tool_calls", &self.tool_calls.len())
            .field("tool_results", &self.tool_results.len())
            .finish()
    }
}

/// A tool call inside a [`Message`].
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MessageToolCall {
    /// The provider's id of the call.
    pub tool_call_id: String,
    /// The tool's name.
    pub tool_name: String,
    /// The input, as the text that was sent (usually JSON).
    pub input: String,
}

impl MessageToolCall {
    /// A call of this tool with this input.
    pub fn new(
        tool_call_id: impl Into<String>,
        tool_name: impl Into<String>,
        input: impl Into<String>,
    ) -> Self {
        Self {
            tool_call_id: tool_call_id.into(),
            tool_name: tool_name.into(),
            input: input.into(),
        }
    }
}

/// Prints id, name and size, never the input.
impl fmt::Debug for MessageToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageToolCall")
            .field("tool_call_id", &self.tool_call_id)
            .field("tool_name", &self.tool_name)
            .field("input_bytes", &self.input.len())
            .finish()
    }
}

/// A tool's result inside a [`Message`].
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MessageToolResult {
    /// The id of the call that this answers.
    pub tool_call_id: String,
    /// The result's text.
    pub text: String,
}

impl MessageToolResult {
    /// What the call of this id gave.
    pub fn new(tool_call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            tool_call_id: tool_call_id.into(),
            text: text.into(),
        }
    }
}

/// Prints id and size, never the text.
impl fmt::Debug for MessageToolResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageToolResult")
            .field("tool_call_id", &self.tool_call_id)
            .field("text_bytes", &self.text.len())
            .finish()
    }
}
