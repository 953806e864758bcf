//! Transcripts: canonical messages from the recorded bodies, for pages, conversations and search.

mod conversation;

use std::sync::Arc;

use super::commitments::Check;
use super::content::{self, ContentReader};
use super::requests;
use crate::db::{Connection, Part, Walk, payload_id};
use crate::error::ReadError;
use crate::model::{
    CanonicalMessage, Digest, MessagePart, MessageToolCall, RequestFilter, RequestRecord,
    WireProtocol,
};
use crate::payload::Hasher;
use crate::wire::{ParsedRequest, ParsedResponse};

pub use conversation::{Conversation, ConversationMessage, ConversationOptions};
pub(crate) use conversation::{conversation, conversation_of, only_user};

/// Later requests in which the result of a tool call is looked for.
const LATER_REQUESTS_MAX: usize = 8;

/// What a request and its response said, in canonical form.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Transcript {
    /// The messages that the client sent, in order: history and new ones.
    pub messages: Vec<CanonicalMessage>,
    /// What the model said: one message for each choice.
    pub replies: Vec<CanonicalMessage>,
    /// Messages that the client sent before these: of more than 16,384, the newest are read.
    pub left_out: u64,
    /// Messages and parts of the bodies that could not be read.
    pub unparsed: u64,
    /// Events of the request whose lines in the log cannot be read: what was said in them could not be
    /// compared with what was recorded, and may be anything.
    pub unchecked: Vec<u64>,
}

/// The result of a tool, as a later request of the conversation carried it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ToolResult {
    /// The request that carried it first.
    pub request_id: String,
    /// A name that only that request has, see [`RequestRecord::reference`].
    pub reference: String,
    /// Its text.
    pub text: String,
}

/// Prints id and size, never the text.
impl std::fmt::Debug for ToolResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToolResult")
            .field("reference", &self.reference)
            .field("text_bytes", &self.text.len())
            .finish()
    }
}

/// Bodies that were kept whole and that the caller has read.
#[derive(Debug, Default)]
pub(crate) struct KnownBodies<'b> {
    pub(crate) request: Option<&'b [u8]>,
    pub(crate) response: Option<&'b [u8]>,
}

/// What a request and its response said. From the bodies, if these are kept whole and their protocol is
/// known; otherwise what the gateway passed.
pub(crate) fn transcript(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Transcript, ReadError> {
    transcript_with(connection, reader, request, &KnownBodies::default())
}

/// As [`transcript`], and reads no body again.
pub(crate) fn transcript_with(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
    known: &KnownBodies<'_>,
) -> Result<Transcript, ReadError> {
    let mut transcript = read(connection, reader, request, known)?;
    let events = [Some(request.opened_seq), request.ended_seq];
    let is_unchecked = |seq: &u64| reader.commitments.is_unchecked(*seq);
    transcript.unchecked = events.into_iter().flatten().filter(is_unchecked).collect();
    Ok(transcript)
}

/// Reads both bodies. Bodies come first, since they are the bytes that were sent; canonical messages and the
/// reply that the gateway passed are used only where a body gives nothing (not captured, or of an unknown
/// protocol). The protocol of the request's body, once it is known, is also the response's.
fn read(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
    known: &KnownBodies<'_>,
) -> Result<Transcript, ReadError> {
    let mut transcript = Transcript::default();
    let named = request
        .wire_protocol
        .as_deref()
        .map(WireProtocol::from)
        .unwrap_or_default();
    let mut protocol = named;
    let read_body;
    let sent = match known.request {
        Some(body) => Some(body),
        None => {
            read_body = request_body(connection, reader, request)?;
            read_body.as_ref().map(|body| body.as_slice())
        }
    };
    if let Some(body) = sent {
        if protocol == WireProtocol::Unknown {
            protocol = WireProtocol::detect("", body);
        }
        let parsed = ParsedRequest::parse(&protocol, "", body);
        transcript.messages = parsed.messages;
        transcript.left_out = parsed.left_out;
        transcript.unparsed = parsed.unparsed;
    }
    if transcript.messages.is_empty() {
        let handed_over = content::messages(connection, reader, request)?;
        transcript.messages = (0..).zip(handed_over).map(CanonicalMessage::from).collect();
    }
    let Some(ended_seq) = request.ended_seq else {
        return Ok(transcript);
    };
    let read_body;
    let said = match known.response {
        Some(body) => Some(body),
        None if request.response_bytes.unwrap_or(0) == 0 => None,
        None => {
            read_body = body(connection, reader, ended_seq, Part::Body)?;
            read_body.as_ref().map(|body| body.as_slice())
        }
    };
    if let Some(body) = said {
        let parsed = ParsedResponse::parse(&protocol, body);
        transcript.replies = parsed.messages;
        transcript.unparsed = transcript.unparsed.saturating_add(parsed.unparsed);
    }
    transcript.replies.retain(|reply| !reply.parts.is_empty());
    if transcript.replies.is_empty() {
        transcript
            .replies
            .extend(reply(connection, reader, request)?);
    }
    Ok(transcript)
}

/// What the gateway passed of the response, as one message.
fn reply(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Option<CanonicalMessage>, ReadError> {
    let text = content::end_content(connection, reader, request)?.assistant_text;
    let calls = content::tool_calls(connection, reader, request)?;
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

/// The request's body: with the opening, or with the end where its capture was deferred.
fn request_body(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Option<Arc<Vec<u8>>>, ReadError> {
    if request.request_bytes == 0 {
        return Ok(None);
    }
    if let Some(content) = body(connection, reader, request.opened_seq, Part::Body)? {
        return Ok(Some(content));
    }
    match content::end_with_body(connection, &mut reader.commitments, request)? {
        Some(seq) => body(connection, reader, seq, Part::RequestBody),
        None => Ok(None),
    }
}

/// A body that is kept whole.
fn body(
    connection: &Connection,
    reader: &mut ContentReader,
    seq: u64,
    part: Part,
) -> Result<Option<Arc<Vec<u8>>>, ReadError> {
    let id = payload_id(seq, part);
    let Some((row, content)) = reader.payloads.read(connection, id)? else {
        let absence = reader.commitments.absence(connection, seq, part)?;
        return absence.problem(seq).map_or(Ok(None), Err);
    };
    // Of an excerpt nothing is read.
    let check = reader.commitments.check(connection, id, &row, None)?;
    Ok(content.filter(|_| check != Check::Removed && row.head.is_none()))
}

/// What two messages share if they are the same one, sent again: role, text, tool calls and results.
/// Reasoning is left out, since clients do not send it back, and so is white space around texts.
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
                // The same input may have other white space when it is sent back.
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

/// For each call the result that a later request of the conversation carried, if one of the next eight did.
/// The requests are read in order until every call has its result.
pub(crate) fn tool_results(
    connection: &Connection,
    request: &RequestRecord,
    tool_call_ids: &[&str],
) -> Result<Vec<Option<ToolResult>>, ReadError> {
    let mut results = vec![None; tool_call_ids.len()];
    let Some(filter) = RequestFilter::conversation_of(request) else {
        return Ok(results);
    };
    if tool_call_ids.is_empty() {
        return Ok(results);
    }
    let walk = Walk::After(Some(request.opened_seq));
    let later = requests::list(connection, &filter, walk, LATER_REQUESTS_MAX)?;
    let mut reader = ContentReader::default();
    for request in &later.requests {
        let found = match transcript(connection, &mut reader, request) {
            Err(ReadError::Damaged(_)) => continue,
            found => found?,
        };
        // A result has no place to say that it may be anything.
        if !found.unchecked.is_empty() {
            continue;
        }
        let carried: Vec<_> = found
            .messages
            .iter()
            .flat_map(CanonicalMessage::tool_results)
            .collect();
        for (result, id) in results.iter_mut().zip(tool_call_ids) {
            if result.is_some() || id.is_empty() {
                continue;
            }
            // If an id is used twice, the last result answers the last call.
            let answer = carried
                .iter()
                .rev()
                .find(|result| result.tool_call_id == *id);
            *result = answer.map(|answer| ToolResult {
                request_id: request.request_id.clone(),
                reference: request.reference(),
                text: answer.text.clone(),
            });
        }
        if results.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(results)
}
