//! Messages in canonical form, as read from the bodies of any supported wire protocol.

use std::borrow::Cow;
use std::fmt;

use super::{Message, MessageToolCall, MessageToolResult};

/// One message of a request or response, independent of the wire protocol that it was read from.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CanonicalMessage {
    /// Its place in the body, from 0. A system prompt that stands apart comes first.
    pub position: u64,
    /// `system`, `user`, `assistant` or `tool`, or what the protocol calls it.
    pub role: String,
    /// What it consists of, in order.
    pub parts: Vec<MessagePart>,
}

/// One part of a [`CanonicalMessage`].
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(
    feature = "serde",
    serde(tag = "kind", content = "content", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum MessagePart {
    /// Text.
    Text(String),
    /// The model's reasoning, or its summary, as far as the provider shows it.
    Thinking(String),
    /// The model's refusal, if the protocol distinguishes it from text.
    Refusal(String),
    /// A tool that the model asked to have called, be it by the client or by the provider.
    ToolCall(MessageToolCall),
    /// What a tool returned.
    ToolResult(MessageToolResult),
    /// Anything else, of which only the kind is kept: `image`, `audio`, `file`, or the protocol's name for it.
    Other(String),
}

impl CanonicalMessage {
    /// The parts as one text, each on a line of its own: text, thinking, refusals and the text of
    /// tool results as they are; a tool call as `[tool_call NAME INPUT]`; anything else left out.
    ///
    /// ```
    /// use auditlite::{ParsedRequest, WireProtocol};
    ///
    /// let body = r#"{"messages":[{"role":"user","content":[
    ///     {"type":"image_url","image_url":{"url":"data:…"}}, {"type":"text","text":"What is this?"}]}]}"#;
    /// let request = ParsedRequest::parse(&WireProtocol::OpenAiChat, "", body.as_bytes());
    /// assert_eq!(request.messages[0].flattened(), "What is this?");
    /// ```
    pub fn flattened(&self) -> String {
        self.flat().into_owned()
    }

    /// As [`flattened`](Self::flattened); borrowed where the message has one part.
    pub(crate) fn flat(&self) -> Cow<'_, str> {
        if let [part] = self.parts.as_slice()
            && let Some(text) = part.said()
        {
            return Cow::Borrowed(text);
        }
        let lines = self.parts.iter().filter_map(|part| match part {
            MessagePart::ToolCall(call) => Some(Cow::Owned(format!(
                "[tool_call {} {}]",
                call.tool_name, call.input
            ))),
            other => other.said().map(Cow::Borrowed),
        });
        let lines: Vec<Cow<'_, str>> = lines.collect();
        Cow::Owned(lines.join("\n"))
    }

    /// The text parts, joined; thinking, refusals and tools left out.
    pub fn text(&self) -> String {
        self.joined(|part| match part {
            MessagePart::Text(text) => Some(text),
            _ => None,
        })
    }

    /// The thinking parts, joined.
    pub fn thinking(&self) -> String {
        self.joined(|part| match part {
            MessagePart::Thinking(text) => Some(text),
            _ => None,
        })
    }

    /// The refusals, joined.
    pub fn refusal(&self) -> String {
        self.joined(|part| match part {
            MessagePart::Refusal(text) => Some(text),
            _ => None,
        })
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &MessageToolCall> {
        self.parts.iter().filter_map(|part| match part {
            MessagePart::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// The tool results, in order.
    pub fn tool_results(&self) -> impl Iterator<Item = &MessageToolResult> {
        self.parts.iter().filter_map(|part| match part {
            MessagePart::ToolResult(result) => Some(result),
            _ => None,
        })
    }

    fn joined(&self, text_of: impl Fn(&MessagePart) -> Option<&String>) -> String {
        let texts: Vec<&str> = self
            .parts
            .iter()
            .filter_map(|part| text_of(part).map(String::as_str))
            .collect();
        texts.join("\n")
    }
}

impl MessagePart {
    /// What was said, by the model, the client or a tool.
    fn said(&self) -> Option<&str> {
        match self {
            Self::Text(text)
            | Self::Thinking(text)
            | Self::Refusal(text)
            | Self::ToolResult(MessageToolResult { text, .. }) => Some(text),
            Self::ToolCall(_) | Self::Other(_) => None,
        }
    }
}

/// A message that the gateway passed, and its position.
impl From<(u64, Message)> for CanonicalMessage {
    fn from((position, message): (u64, Message)) -> Self {
        let text = (!message.text.is_empty()).then_some(MessagePart::Text(message.text));
        let calls = message.tool_calls.into_iter().map(MessagePart::ToolCall);
        let results = message.tool_results.into_iter();
        Self {
            position,
            role: message.role,
            parts: text
                .into_iter()
                .chain(calls)
                .chain(results.map(MessagePart::ToolResult))
                .collect(),
        }
    }
}

/// Role, text (with thinking and refusals), tool calls and tool results, apart from each other.
impl From<&CanonicalMessage> for Message {
    fn from(message: &CanonicalMessage) -> Self {
        Self {
            role: message.role.clone(),
            text: message.joined(|part| match part {
                MessagePart::Text(text)
                | MessagePart::Thinking(text)
                | MessagePart::Refusal(text) => Some(text),
                _ => None,
            }),
            tool_calls: message.tool_calls().cloned().collect(),
            tool_results: message.tool_results().cloned().collect(),
        }
    }
}

/// Prints position, role and how many parts there are, never a text.
impl fmt::Debug for CanonicalMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanonicalMessage")
            .field("position", &self.position)
            .field("role", &self.role)
            .field("parts", &self.parts)
            .finish()
    }
}

/// Prints kinds and sizes, never a text.
impl fmt::Debug for MessagePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} B)", text.len()),
            Self::Thinking(text) => write!(f, "Thinking({} B)", text.len()),
            Self::Refusal(text) => write!(f, "Refusal({} B)", text.len()),
            Self::ToolCall(call) => call.fmt(f),
            Self::ToolResult(result) => result.fmt(f),
            Self::Other(kind) => f.debug_tuple("Other").field(kind).finish(),
        }
    }
}
