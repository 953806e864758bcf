//! Which protocol a response is of, by its own words: for exchanges of which neither the path nor the request says it, and
//! for responses that are not of the protocol that the request was.

use serde::Deserialize;

use super::batch_line::{self, Answer};
use super::decoding;
use super::framing::{Frame, Framing};
use super::json::lenient::{Flag, List, Object, Raw, Text};
use crate::model::WireProtocol;

/// Frames that are looked at: comments, pings and empty beginnings come before what tells.
const FRAMES_MAX: u32 = 8;
/// Bytes that are framed at once, so that little is framed beyond the frame that tells.
const STEP_BYTES: usize = 16 * 1024;

/// What events of Anthropic's sessions begin with. Mistral's agents have events too (`agent.handoff`), and OpenAI's realtime
/// sessions.
const SESSION_EVENTS: [&str; 10] = [
    "session.status_",
    "session.thread_",
    "agent.message",
    "agent.thinking",
    "agent.tool_",
    "agent.mcp_tool_",
    "agent.custom_tool_",
    "agent.thread_",
    "span.",
    "workflow_run.",
];

/// Fields that only some protocols have, or that name it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Marks<'a> {
    #[serde(borrow)]
    object: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    jsonrpc: Text<'a>,
    #[serde(borrow)]
    choices: List<Object<Choice<'a>>, 1>,
    #[serde(borrow)]
    candidates: Raw<'a>,
    #[serde(borrow, rename = "promptFeedback")]
    prompt_feedback: Raw<'a>,
    #[serde(borrow, rename = "usageMetadata")]
    usage_metadata: Raw<'a>,
    #[serde(borrow, rename = "serverContent")]
    server_content: Raw<'a>,
    #[serde(borrow, rename = "setupComplete")]
    setup_complete: Raw<'a>,
    #[serde(borrow)]
    output: Raw<'a>,
    #[serde(borrow, rename = "stopReason")]
    converse_stop_reason: Raw<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    response: Raw<'a>,
    #[serde(borrow)]
    finish_reason: Raw<'a>,
    #[serde(borrow)]
    generation_id: Raw<'a>,
    #[serde(borrow)]
    conversation_id: Raw<'a>,
    #[serde(borrow)]
    role: Raw<'a>,
    done: Flag,
    #[serde(borrow)]
    vault_ids: Raw<'a>,
    #[serde(borrow)]
    data: List<Object<Item<'a>>, 1>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    delta: Raw<'a>,
    #[serde(borrow)]
    text: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    embedding: Raw<'a>,
    #[serde(borrow)]
    b64_json: Raw<'a>,
}

impl WireProtocol {
    /// The protocol of an exchange, where nobody names it: the end of the path decides, then what the response says of
    /// itself, then the fields of the request. Like [`detect`](Self::detect), but a response tells more than a request:
    /// many protocols have `model` and `messages`.
    ///
    /// ```
    /// use auditlite::WireProtocol;
    ///
    /// let request = br#"{"model":"claude","messages":[{"role":"user","content":"Hi"}]}"#;
    /// let response = br#"{"type":"message","role":"assistant","content":[],"usage":{"input_tokens":9}}"#;
    /// let protocol = WireProtocol::detect_exchange("", request, response);
    /// assert_eq!(protocol, WireProtocol::AnthropicMessages);
    /// ```
    pub fn detect_exchange(path: &str, request: &[u8], response: &[u8]) -> Self {
        if let Some(protocol) = super::path::by_path(path) {
            return protocol;
        }
        let decoded = decoding::decoded(response);
        let response = decoding::without_mark(decoded.as_deref().unwrap_or(response));
        // A file of results is no answer itself, even if it has one line.
        if batch_line::are_in(response, super::path::is_of_file(path)) {
            return Self::Batches;
        }
        of_body(response).unwrap_or_else(|| Self::detect(path, request))
    }
}

/// The protocol that a decoded response is of. `None`: it does not say.
fn of_body(body: &[u8]) -> Option<WireProtocol> {
    let mut framing = Framing::new();
    let (mut found, mut frames) = (None, 0_u32);
    let mut take = |frame: Frame<'_>| {
        if found.is_none() && frames < FRAMES_MAX {
            found = of_frame(&frame);
        }
        frames = frames.saturating_add(1);
        found.is_some() || frames >= FRAMES_MAX
    };
    for step in body.chunks(STEP_BYTES) {
        let mut is_told = false;
        framing.feed(step, &mut |frame| is_told |= take(frame));
        if is_told {
            return found;
        }
    }
    framing.finish(&mut |frame| {
        take(frame);
    });
    found.or_else(|| of_batch_line(body))
}

/// The protocol of the answer within a result of a batch.
fn of_batch_line(body: &[u8]) -> Option<WireProtocol> {
    let Answer::Document(document) = batch_line::answer(body.trim_ascii())? else {
        return None;
    };
    of_frame(&Frame {
        name: None,
        is_error: false,
        data: document.get().as_bytes(),
    })
}

/// The protocol that one document is of. `None`: it does not say.
pub(super) fn of_frame(frame: &Frame<'_>) -> Option<WireProtocol> {
    match frame.name {
        Some("messageStart" | "contentBlockStart" | "contentBlockDelta") => {
            return Some(WireProtocol::BedrockConverse);
        }
        Some("chunk") => return Some(WireProtocol::BedrockInvoke),
        _ => {}
    }
    let marks = serde_json::from_slice::<Object<Marks<'_>>>(frame.data);
    let marks = marks.ok()?.0?;
    let named = marks.object.as_str().and_then(of_object);
    named
        .or_else(|| of_event(marks.kind.as_str().or(marks.event_type.as_str())?))
        .or_else(|| marks.of_fields())
}

/// By the name that OpenAI and those like it give each kind of object.
fn of_object(object: &str) -> Option<WireProtocol> {
    Some(match object {
        "chat.completion" | "chat.completion.chunk" => WireProtocol::OpenAiChat,
        "text_completion" => WireProtocol::OpenAiCompletions,
        "response" => WireProtocol::OpenAiResponses,
        "conversation.response" => WireProtocol::MistralConversations,
        "interaction" => WireProtocol::GeminiInteractions,
        "video" => WireProtocol::OpenAiMedia,
        "batch" => WireProtocol::Batches,
        "response.input_tokens" => WireProtocol::CountTokens,
        "agent.session" | "agent.session.turn" => WireProtocol::OpenAiAgents,
        "thread.run"
        | "thread.run.step"
        | "thread.run.step.delta"
        | "thread.message"
        | "thread.message.delta" => WireProtocol::OpenAiAssistants,
        _ => return None,
    })
}

/// By the kind of an event, or of a document that has one.
fn of_event(kind: &str) -> Option<WireProtocol> {
    Some(match kind {
        "message"
        | "message_start"
        | "content_block_start"
        | "content_block_delta"
        | "message_delta" => WireProtocol::AnthropicMessages,
        "message_batch" => WireProtocol::Batches,
        "message-start" | "content-start" | "content-delta" | "message-end" | "stream-start"
        | "text-generation" | "stream-end" => WireProtocol::CohereChat,
        "step.start" | "step.delta" => WireProtocol::GeminiInteractions,
        kind if kind.starts_with("interaction.") => WireProtocol::GeminiInteractions,
        "session_thread" | "dream" | "event_start" | "event_delta" | "session.error"
        | "session.usage" | "session.deleted" => WireProtocol::AnthropicSessions,
        kind if kind.starts_with("agent.session.") => WireProtocol::OpenAiAgents,
        kind if SESSION_EVENTS.iter().any(|start| kind.starts_with(start)) => {
            WireProtocol::AnthropicSessions
        }
        kind if kind.starts_with("session.") || kind.starts_with("input_audio_buffer.") => {
            WireProtocol::OpenAiRealtime
        }
        // A response of a realtime session ends with an event of this name, one of the other API with its status.
        "response.done" => WireProtocol::OpenAiRealtime,
        kind if kind.starts_with("conversation.response.") => WireProtocol::MistralConversations,
        kind if kind.starts_with("response.") => WireProtocol::OpenAiResponses,
        kind if ["transcript.text.", "image_generation.", "image_edit."]
            .iter()
            .any(|start| kind.starts_with(start)) =>
        {
            WireProtocol::OpenAiMedia
        }
        _ => return None,
    })
}

impl Marks<'_> {
    /// By the fields that it has, where it does not name itself.
    fn of_fields(&self) -> Option<WireProtocol> {
        let is = |raw: Raw<'_>, start: char| raw.is_some_and(|raw| raw.get().starts_with(start));
        if self.jsonrpc.as_str() == Some("2.0") {
            return Some(WireProtocol::Mcp);
        }
        if let Some(Object(Some(choice))) = self.choices.0.first() {
            return match (choice.message.or(choice.delta), choice.text) {
                (Some(_), _) => Some(WireProtocol::OpenAiChat),
                (None, Some(_)) => Some(WireProtocol::OpenAiCompletions),
                (None, None) => None,
            };
        }
        if self.kind.as_str() == Some("session") && self.vault_ids.is_some() {
            return Some(WireProtocol::AnthropicSessions);
        }
        if self.server_content.or(self.setup_complete).is_some() {
            return Some(WireProtocol::GeminiLive);
        }
        if is(self.candidates, '[')
            || (self.usage_metadata.is_some() && self.prompt_feedback.is_some())
        {
            return Some(WireProtocol::GeminiGenerate);
        }
        if is(self.output, '{') && self.converse_stop_reason.is_some() {
            return Some(WireProtocol::BedrockConverse);
        }
        if self.done.0.is_some() {
            return match () {
                () if is(self.message, '{') => Some(WireProtocol::OllamaChat),
                () if is(self.response, '"') => Some(WireProtocol::OllamaGenerate),
                () => None,
            };
        }
        if self.generation_id.is_some()
            || (is(self.message, '{') && is(self.finish_reason, '"') && self.role.is_none())
        {
            return Some(WireProtocol::CohereChat);
        }
        if self.conversation_id.is_some() && is(self.output, '[') {
            return Some(WireProtocol::MistralConversations);
        }
        let item = self.data.0.first().and_then(|item| item.0.as_ref())?;
        match (item.embedding, item.b64_json) {
            (Some(_), _) => Some(WireProtocol::OpenAiEmbeddings),
            (None, Some(_)) => Some(WireProtocol::OpenAiMedia),
            (None, None) => None,
        }
    }
}
