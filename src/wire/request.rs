//! What a request says, in any protocol.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Protocol;
use super::decoding;
use super::json::lenient::{Flag, Input, Latest, List, Object, Text};
use super::json::repair;
use super::parts::Parts;
use crate::config::MESSAGES_MAX;
use crate::model::{CanonicalMessage, WireProtocol};

/// Limit of messages (or items of another kind) that are read of a request.
pub(super) const ITEMS_MAX: usize = MESSAGES_MAX;
/// Limit of offered tools that are read of a request.
pub(super) const TOOLS_MAX: usize = 4096;
/// Limit of the parts of all messages together.
const REQUEST_PARTS_MAX: usize = 64 * 1024;

/// What a client's request says: parameters, messages, offered tools.
///
/// Nothing fails: what cannot be read is left out and [counted](Self::unparsed). Memory is bounded by the
/// length of the body, 16,384 messages, 65,536 parts and 4,096 tools. For the parameters alone use
/// [`RequestSummary`](crate::RequestSummary), which skips the messages. `Debug` prints no text.
///
/// ```
/// use auditlite::{ParsedRequest, WireProtocol};
///
/// let body = br#"{"model":"claude-sonnet-4-5","max_tokens":512,"system":"Be brief.",
///     "messages":[{"role":"user","content":"Hello"}],
///     "tools":[{"name":"weather","input_schema":{"type":"object"}}]}"#;
/// let request = ParsedRequest::parse(&WireProtocol::AnthropicMessages, "/v1/messages", body);
/// assert_eq!(request.model.as_deref(), Some("claude-sonnet-4-5"));
/// assert_eq!(request.messages.len(), 2); // the system prompt, and what the user said
/// assert_eq!(request.tools[0].tool_name, "weather");
/// ```
#[derive(Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ParsedRequest {
    /// The requested model; Gemini and Bedrock have it in the path.
    pub model: Option<String>,
    /// The most tokens that the response may have.
    pub max_tokens: Option<u64>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Whether the client asks for a streamed response.
    pub is_streaming: bool,
    /// System prompt, history and new messages, in order.
    pub messages: Vec<CanonicalMessage>,
    /// Tools that the model may call.
    pub tools: Vec<OfferedTool>,
    /// Which tool the model must or must not call, in the words of the protocol.
    pub tool_choice: Option<String>,
    /// The number of messages or parts that could not be read, and of parts beyond the limits.
    pub unparsed: u64,
    /// The number of messages in the list before those that are here: the newest 16,384 are read, or fewer
    /// if they have 65,536 parts. A message's position counts from the beginning of the list.
    pub left_out: u64,
    /// How many more parts may be read.
    pub(super) parts_used: usize,
}

/// A tool that a request offers to the model.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OfferedTool {
    /// The name of the tool, otherwise its type.
    pub tool_name: String,
    /// The definition as written in the request: JSON.
    pub definition: String,
}

/// Prints the name, and the length of the definition.
impl fmt::Debug for OfferedTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferedTool")
            .field("tool_name", &self.tool_name)
            .field("definition_bytes", &self.definition.len())
            .finish()
    }
}

impl ParsedRequest {
    /// Reads a whole request. `path` is that of its URL, or empty if unknown: for Gemini and Bedrock it
    /// names the model and says whether to stream. For a protocol that is unknown or not supported,
    /// everything remains unread.
    pub fn parse(protocol: &WireProtocol, path: &str, body: &[u8]) -> Self {
        let mut parsed = Self::default();
        let Some(protocol) = Protocol::of(protocol) else {
            parsed.unparsed = u64::from(!body.is_empty());
            return parsed;
        };
        let decoded = decoding::decoded(body);
        let body = decoding::without_mark(decoded.as_deref().unwrap_or(body));
        let is_read = (protocol.request)(body, &mut parsed) || {
            let repaired = repair::repaired(body);
            repaired.is_some_and(|body| (protocol.request)(&body, &mut parsed))
        };
        if !is_read {
            parsed.unparsed = 1;
        }
        super::path::complete(path, &mut parsed.model, &mut parsed.is_streaming);
        parsed
    }

    /// Adds messages. A function of the protocol reads them one by one and returns the role. The newest are
    /// read first, so that the limit cuts off the oldest.
    pub(super) fn read_messages(
        &mut self,
        messages: Latest<&RawValue, ITEMS_MAX>,
        read: fn(&RawValue, &mut Parts<'_>) -> Option<String>,
    ) {
        let before = self.messages.len();
        let mut left_out = messages.left_out;
        let mut raws = messages.items.into_iter().rev();
        while let Some(raw) = raws.next() {
            if self.parts_used >= REQUEST_PARTS_MAX {
                let more = u64::try_from(raws.len()).unwrap_or(u64::MAX);
                left_out = left_out.saturating_add(more).saturating_add(1);
                break;
            }
            self.read_message(|parts| read(raw, parts));
        }
        let mut newest_first = self.messages.split_off(before);
        newest_first.reverse();
        let first = u64::try_from(before).unwrap_or(u64::MAX);
        for (position, message) in (first.saturating_add(left_out)..).zip(&mut newest_first) {
            message.position = position;
        }
        self.messages.append(&mut newest_first);
        self.left_out = self.left_out.saturating_add(left_out);
    }

    /// Adds the system prompt, where the protocol keeps it apart from the messages. `read` collects its parts.
    pub(super) fn read_system(&mut self, read: impl FnOnce(&mut Parts<'_>)) {
        self.read_message(|parts| {
            read(parts);
            Some("system".to_owned())
        });
    }

    /// Adds an input: a text, which is one message of this role, or a list of messages.
    pub(super) fn read_input(
        &mut self,
        role: &str,
        input: Input<'_, &RawValue, ITEMS_MAX>,
        read: fn(&RawValue, &mut Parts<'_>) -> Option<String>,
    ) {
        match input {
            Input::Absent => {}
            Input::Text(text) => self.read_message(|parts| {
                parts.text(&text);
                Some(role.to_owned())
            }),
            Input::Items(items) => self.read_messages(items, read),
        }
    }

    /// Adds one message. `read` collects its parts and returns its role.
    pub(super) fn read_message(&mut self, read: impl FnOnce(&mut Parts<'_>) -> Option<String>) {
        let mut left = REQUEST_PARTS_MAX.saturating_sub(self.parts_used);
        let mut parts = Parts::new(&mut left, &mut self.unparsed);
        let role = read(&mut parts);
        let parts = parts.into_vec();
        self.parts_used = REQUEST_PARTS_MAX.saturating_sub(left);
        match role {
            Some(role) => self.messages.push(CanonicalMessage {
                position: u64::try_from(self.messages.len()).unwrap_or(u64::MAX),
                role,
                parts,
            }),
            None => self.unparsed = self.unparsed.saturating_add(1),
        }
    }
}

/// Prints everything except texts, and the lengths of texts.
impl fmt::Debug for ParsedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedRequest")
            .field("model", &self.model)
            .field("max_tokens", &self.max_tokens)
            .field("temperature", &self.temperature)
            .field("top_p", &self.top_p)
            .field("is_streaming", &self.is_streaming)
            .field("messages", &self.messages)
            .field("tools", &self.tools)
            .field("unparsed", &self.unparsed)
            .field("left_out", &self.left_out)
            .finish_non_exhaustive()
    }
}

/// A request to an agent of the provider's, which has its parameters there: instructions, an input and tools.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentRequest<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    stream: Flag,
    /// Mistral.
    #[serde(borrow)]
    instructions: Text<'a>,
    #[serde(borrow)]
    inputs: Input<'a, &'a RawValue, ITEMS_MAX>,
    /// Gemini.
    #[serde(borrow)]
    system_instruction: Text<'a>,
    #[serde(borrow)]
    input: Input<'a, &'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tools: List<&'a RawValue, TOOLS_MAX>,
}

/// Reads a request to an agent. `false`: it is none. A function of the protocol reads the items of its input.
pub(super) fn read_agent_request(
    body: &[u8],
    parsed: &mut ParsedRequest,
    message: fn(&RawValue, &mut Parts<'_>) -> Option<String>,
) -> bool {
    let Ok(request) = serde_json::from_slice::<AgentRequest<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    parsed.is_streaming = request.stream.0.unwrap_or(false);
    parsed.tools.extend(request.tools.0.into_iter().map(tool));
    let system = request.instructions.non_empty();
    if let Some(system) = system.or(request.system_instruction.non_empty()) {
        parsed.read_system(|parts| parts.text(system));
    }
    parsed.read_input("user", request.inputs, message);
    parsed.read_input("user", request.input, message);
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Definition<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    /// OpenAI chat and Ollama.
    #[serde(borrow)]
    function: Object<Named<'a>>,
    #[serde(borrow)]
    custom: Object<Named<'a>>,
    /// Bedrock.
    #[serde(borrow, rename = "toolSpec")]
    tool_spec: Object<Named<'a>>,
    /// MCP servers in OpenAI's responses.
    #[serde(borrow)]
    server_label: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

/// Reads an offered tool from its definition.
pub(super) fn tool(raw: &RawValue) -> OfferedTool {
    let definition = serde_json::from_str::<Object<Definition<'_>>>(raw.get());
    let name = definition
        .ok()
        .and_then(|object| object.0)
        .and_then(|tool| {
            let nested = [tool.function.0, tool.custom.0, tool.tool_spec.0];
            let nested = nested
                .into_iter()
                .flatten()
                .find_map(|named| named.name.owned());
            nested
                .or_else(|| tool.name.owned())
                .or_else(|| tool.server_label.owned())
                .or_else(|| tool.kind.owned())
        });
    OfferedTool {
        tool_name: name.unwrap_or_default(),
        definition: raw.get().to_owned(),
    }
}
