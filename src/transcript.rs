//! What was said: canonical messages from the recorded bodies, for pages, conversations and search.

use std::collections::HashMap;

use crate::chain::Recent;
use crate::config::IDENTIFIER_BYTES_MAX;
use crate::db::{Connection, Part, Walk, payload_id};
use crate::error::ReadError;
use crate::payload::Hasher;
use crate::query;
use crate::record::{
    CanonicalMessage, Digest, MessagePart, MessageToolCall, RequestFilter, RequestRecord,
    WireProtocol,
};
use crate::wire::{ParsedRequest, ParsedResponse};

/// Most requests of a conversation that are read.
const CONVERSATION_REQUESTS_MAX: usize = 1_000;
/// Most bytes of texts that a conversation takes in memory.
const CONVERSATION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Later requests that are searched for the result of a tool call.
const LATER_REQUESTS_MAX: usize = 8;

/// What a request and its response said, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Transcript {
    /// The messages that the client sent, in order: history and what is new.
    pub messages: Vec<CanonicalMessage>,
    /// What the model said: one message for each choice.
    pub replies: Vec<CanonicalMessage>,
    /// Messages and parts of the bodies that could not be read.
    pub unparsed: u64,
}

/// A conversation: each of its messages once.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Conversation {
    /// The requests, oldest first, at most 1,000.
    pub requests: Vec<RequestRecord>,
    /// The messages, in the order in which they first appeared.
    pub messages: Vec<ConversationMessage>,
    /// Requests of which the row or a body is damaged; what they said is missing.
    pub damaged: u64,
    /// Whether there are more requests, or more text, than are read (1,000; 64 MiB).
    pub is_cut: bool,
}

/// A message, and who carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversationMessage {
    /// The message.
    pub message: CanonicalMessage,
    /// Whether it first appeared as what the model said, not in a request.
    pub is_reply: bool,
    /// Index, in the conversation's requests, of the first that it was part of.
    pub first: usize,
    /// Index of the last one.
    pub last: usize,
    /// How many of them it was part of, the one that it was the reply of included.
    pub requests: usize,
}

/// What a tool returned, as a later request of the conversation carried it.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ToolResult {
    /// The request that carried it first.
    pub request_id: String,
    /// Its text.
    pub text: String,
}

/// Prints id and size, never the text.
impl std::fmt::Debug for ToolResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToolResult")
            .field("request_id", &self.request_id)
            .field("text_bytes", &self.text.len())
            .finish()
    }
}

/// What a request and its response said. From the bodies where these are kept whole and their
/// protocol is known, else what the gateway handed over.
pub(crate) fn transcript(
    connection: &Connection,
    recent: &mut Recent,
    request: &RequestRecord,
) -> Result<Transcript, ReadError> {
    let mut transcript = Transcript::default();
    let named = request
        .wire_protocol
        .as_deref()
        .map(WireProtocol::from)
        .unwrap_or_default();
    let mut protocol = named;
    if let Some(body) = body(
        connection,
        recent,
        request.opened_seq,
        request.request_bytes,
    )? {
        if protocol == WireProtocol::Unknown {
            protocol = WireProtocol::detect("", &body);
        }
        let parsed = ParsedRequest::parse(&protocol, "", &body);
        transcript.messages = parsed.messages;
        transcript.unparsed = parsed.unparsed;
    }
    if transcript.messages.is_empty() {
        let handed_over = query::messages(connection, request)?;
        transcript.messages = (0..).zip(handed_over).map(CanonicalMessage::from).collect();
    }
    let Some(ended_seq) = request.ended_seq else {
        return Ok(transcript);
    };
    let length = request.response_bytes.unwrap_or(0);
    if let Some(body) = body(connection, recent, ended_seq, length)? {
        let parsed = ParsedResponse::parse(&protocol, &body);
        transcript.replies = parsed.messages;
        transcript.unparsed = transcript.unparsed.saturating_add(parsed.unparsed);
    }
    transcript.replies.retain(|reply| !reply.parts.is_empty());
    if transcript.replies.is_empty() {
        transcript.replies.extend(reply(connection, request)?);
    }
    Ok(transcript)
}

/// What the gateway handed over of the response, as one message.
fn reply(
    connection: &Connection,
    request: &RequestRecord,
) -> Result<Option<CanonicalMessage>, ReadError> {
    let text = query::end_content(connection, request)?.assistant_text;
    let calls = query::tool_calls(connection, request)?;
    if text.is_none() && calls.is_empty() {
        return Ok(None);
    }
    let calls = calls.into_iter().map(|call| {
        MessagePart::ToolCall(MessageToolCall {
            tool_call_id: call.tool_call_id,
            tool_name: call.tool_name,
            input: call.input.unwrap_or_default(),
        })
    });
    Ok(Some(CanonicalMessage {
        position: 0,
        role: "assistant".to_owned(),
        parts: text
            .map(MessagePart::Text)
            .into_iter()
            .chain(calls)
            .collect(),
    }))
}

/// A body that is kept whole.
fn body(
    connection: &Connection,
    recent: &mut Recent,
    seq: u64,
    length: u64,
) -> Result<Option<std::sync::Arc<Vec<u8>>>, ReadError> {
    if length == 0 {
        return Ok(None);
    }
    let found = recent.read(connection, payload_id(seq, Part::Body))?;
    Ok(found.and_then(|(row, content)| content.filter(|_| row.head.is_none())))
}

/// What two messages have in common that are the same one, sent again: role, text, tool calls and
/// results. Reasoning is left out, which clients do not send back, and so are blanks around texts.
pub(crate) fn message_key(message: &CanonicalMessage) -> Digest {
    let mut hasher = Hasher::default();
    let mut field = |kind: &str, text: &str| {
        hasher.update(kind.as_bytes());
        hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    field("role", &message.role);
    for part in &message.parts {
        match part {
            MessagePart::Text(text) if text.trim().is_empty() => {}
            MessagePart::Text(text) | MessagePart::Refusal(text) => field("text", text.trim()),
            MessagePart::Thinking(_) => {}
            MessagePart::ToolCall(call) => {
                field("id", &call.tool_call_id);
                field("call", &call.tool_name);
                // The same input may be spaced in another way when it is sent back.
                match serde_json::from_str::<serde_json::Value>(&call.input) {
                    Ok(input) => field("input", &input.to_string()),
                    Err(_) => field("input", call.input.trim()),
                }
            }
            MessagePart::ToolResult(result) => {
                field("id", &result.tool_call_id);
                field("result", result.text.trim());
            }
            MessagePart::Other(kind) => field("other", kind),
        }
    }
    hasher.finish()
}

/// What is held of a message.
fn bytes_of(message: &CanonicalMessage) -> usize {
    let part = |part: &MessagePart| match part {
        MessagePart::Text(text)
        | MessagePart::Thinking(text)
        | MessagePart::Refusal(text)
        | MessagePart::Other(text) => text.len(),
        MessagePart::ToolCall(call) => call.input.len().saturating_add(IDENTIFIER_BYTES_MAX),
        MessagePart::ToolResult(result) => result.text.len().saturating_add(IDENTIFIER_BYTES_MAX),
    };
    message.parts.iter().map(part).sum::<usize>() + size_of::<ConversationMessage>()
}

/// The conversation of this id. Index: `requests_by_conversation`.
pub(crate) fn conversation(connection: &Connection, id: &str) -> Result<Conversation, ReadError> {
    let filter = RequestFilter {
        conversation_id: Some(id.to_owned()),
        ..RequestFilter::default()
    };
    let page = query::list(
        connection,
        &filter,
        Walk::After(None),
        CONVERSATION_REQUESTS_MAX,
    )?;
    if page.newest().is_none() {
        return Err(ReadError::NotFound(id.to_owned()));
    }
    let unreadable = u64::try_from(page.unreadable.len()).unwrap_or(u64::MAX);
    let mut conversation = join(connection, page.requests, page.next.is_some())?;
    conversation.damaged = conversation.damaged.saturating_add(unreadable);
    Ok(conversation)
}

/// The messages of these requests, each once.
pub(crate) fn join(
    connection: &Connection,
    requests: Vec<RequestRecord>,
    is_cut: bool,
) -> Result<Conversation, ReadError> {
    let mut conversation = Conversation {
        is_cut,
        ..Conversation::default()
    };
    let mut recent = Recent::default();
    // Where the nth message of a key stands: the same word may be said more than once.
    let mut places: HashMap<(Digest, usize), usize> = HashMap::new();
    let mut bytes = 0_usize;
    // The keys of the messages, and where those of the request before stand: most of a request repeats
    // it, and what is equal need not be digested again.
    let (mut keys, mut before): (Vec<Digest>, Vec<usize>) = (Vec::new(), Vec::new());
    for request in requests {
        let request_index = conversation.requests.len();
        let found = match transcript(connection, &mut recent, &request) {
            Ok(found) => found,
            Err(ReadError::Damaged(_)) => {
                conversation.damaged = conversation.damaged.saturating_add(1);
                Transcript::default()
            }
            Err(error) => return Err(error),
        };
        conversation.requests.push(request);
        let mut seen: HashMap<Digest, usize> = HashMap::new();
        let sent = found.messages.into_iter().map(|message| (message, false));
        let said = found.replies.into_iter().map(|message| (message, true));
        let mut stands = Vec::new();
        for (index, (message, is_reply)) in sent.chain(said).enumerate() {
            let known = before.get(index).copied().filter(|place| {
                let known = conversation.messages.get(*place);
                known.is_some_and(|known| {
                    known.message.role == message.role && known.message.parts == message.parts
                })
            });
            let key = known.and_then(|place| keys.get(place).copied());
            let key = key.unwrap_or_else(|| message_key(&message));
            let nth = seen.entry(key).or_insert(0);
            let place = *places
                .entry((key, *nth))
                .or_insert(conversation.messages.len());
            *nth = nth.saturating_add(1);
            stands.push(place);
            match conversation.messages.get_mut(place) {
                Some(known) => {
                    known.last = request_index;
                    known.requests = known.requests.saturating_add(1);
                }
                None => {
                    bytes = bytes.saturating_add(bytes_of(&message));
                    if bytes > CONVERSATION_BYTES_MAX {
                        conversation.is_cut = true;
                        return Ok(conversation);
                    }
                    conversation.messages.push(ConversationMessage {
                        message,
                        is_reply,
                        first: request_index,
                        last: request_index,
                        requests: 1,
                    });
                    keys.push(key);
                }
            }
        }
        before = stands;
    }
    Ok(conversation)
}

/// For each call the result that a later request of the conversation carried, if one of the next
/// eight did.
pub(crate) fn tool_results(
    connection: &Connection,
    request: &RequestRecord,
    tool_call_ids: &[&str],
) -> Result<Vec<Option<ToolResult>>, ReadError> {
    let mut results = vec![None; tool_call_ids.len()];
    let Some(conversation_id) = request.conversation() else {
        return Ok(results);
    };
    if tool_call_ids.is_empty() {
        return Ok(results);
    }
    let filter = RequestFilter {
        conversation_id: Some(conversation_id.to_owned()),
        ..RequestFilter::default()
    };
    let walk = Walk::After(Some(request.opened_seq));
    let later = query::list(connection, &filter, walk, LATER_REQUESTS_MAX)?;
    let mut recent = Recent::default();
    for request in &later.requests {
        let found = match transcript(connection, &mut recent, request) {
            Err(ReadError::Damaged(_)) => continue,
            found => found?,
        };
        let carried: Vec<_> = found
            .messages
            .iter()
            .flat_map(CanonicalMessage::tool_results)
            .collect();
        for (result, id) in results.iter_mut().zip(tool_call_ids) {
            if result.is_some() || id.is_empty() {
                continue;
            }
            // Ids that are used twice: the last one answers the last call.
            let answer = carried
                .iter()
                .rev()
                .find(|result| result.tool_call_id == *id);
            *result = answer.map(|answer| ToolResult {
                request_id: request.request_id.clone(),
                text: answer.text.clone(),
            });
        }
        if results.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(results)
}
