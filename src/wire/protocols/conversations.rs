//! Mistral's conversations (<https://docs.mistral.ai/api/#tag/beta.conversations>): what an agent did is a list of entries,
//! each of which comes whole or in pieces.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Content, Count, List, Object, Raw, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of};
use crate::wire::protocols::openai_chat;
use crate::wire::request::{ParsedRequest, read_agent_request};

/// Entries form one message.
const CHOICE: u64 = 0;
/// Limit of entries of a response.
const ENTRIES_MAX: usize = 4096;

/// A whole response, or an event, which is a piece of an entry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    conversation_id: Text<'a>,
    #[serde(borrow)]
    outputs: List<Object<Entry<'a>>, ENTRIES_MAX>,
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    object: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    code: Count,
    output_index: Count,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    tool_call_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
    content_index: Count,
    #[serde(borrow)]
    content: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Chunk<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Raw<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    let Ok(entry) = serde_json::from_slice::<Entry<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(event.conversation_id.as_str(), None);
    if let Some(usage) = event.usage {
        facts::usage(usage, joiner);
    }
    facts::fail(event.error, joiner);
    for (position, entry) in (0..).zip(event.outputs.0.iter()) {
        if let Some(entry) = &entry.0 {
            read_entry(position, entry, joiner);
        }
    }
    let kind = entry.kind.as_str().or(frame.name).unwrap_or_default();
    match kind {
        "conversation.response.done" => joiner.end(),
        "conversation.response.error" => {
            let mut error = crate::wire::error::ResponseError::new(None, event.message.as_str());
            error.code = event.code.0.map(|code| code.to_string());
            joiner.fail(error);
        }
        _ if !kind.is_empty() => {
            read_entry(event.output_index.0.unwrap_or(0), &entry, joiner);
        }
        _ if event.object.as_str().is_none() && event.outputs.0.is_empty() => {
            if let Some(error) = facts::bare_error(frame.data) {
                joiner.fail(error);
            }
        }
        _ => {}
    }
    true
}

/// Adds an entry, or a piece of one.
fn read_entry(position: u64, entry: &Entry<'_>, joiner: &mut Joiner) {
    joiner.identify(None, entry.model.as_str());
    match entry.kind.as_str().unwrap_or_default() {
        "message.output" | "message.output.delta" => {
            joiner.role(CHOICE, Some("assistant"));
            if let Some(content) = entry.content {
                let at = entry.content_index.0.unwrap_or(0);
                read_content(position, at, content, joiner);
            }
        }
        "function.call"
        | "function.call.delta"
        | "tool.execution"
        | "tool.execution.started"
        | "tool.execution.delta" => {
            if let Some(call) = joiner.call(CHOICE, Slot::Call(position)) {
                let id = entry.tool_call_id.owned().or_else(|| entry.id.owned());
                call.tool_call_id = id.unwrap_or_default();
                if let Some(name) = entry.name.owned() {
                    call.tool_name = name;
                }
                let arguments = entry.arguments.map(text_of).unwrap_or_default();
                call.input.push_str(&arguments);
            }
        }
        "agent.handoff" | "agent.handoff.started" => {
            joiner.other(CHOICE, Slot::Other(position), "agent.handoff");
        }
        _ => {}
    }
}

/// The content of a message: a text, one chunk, or several.
fn read_content(position: u64, at: u64, content: &RawValue, joiner: &mut Joiner) {
    type Chunks<'a> = Content<'a, Object<Chunk<'a>>, CONTENT_PARTS_MAX>;
    if content.get().starts_with('{') {
        if let Ok(Object(Some(chunk))) = serde_json::from_str::<Object<Chunk<'_>>>(content.get()) {
            read_chunk(position, at, &chunk, joiner);
        }
        return;
    }
    match serde_json::from_str::<Chunks<'_>>(content.get()) {
        Ok(Content::Text(text)) => joiner.text(CHOICE, Slot::Text(position, at), &text),
        Ok(Content::Parts(chunks)) => {
            for (at, chunk) in (at..).zip(&chunks) {
                if let Some(chunk) = &chunk.0 {
                    read_chunk(position, at, chunk, joiner);
                }
            }
        }
        Ok(Content::Absent) | Err(_) => {}
    }
}

fn read_chunk(position: u64, at: u64, chunk: &Chunk<'_>, joiner: &mut Joiner) {
    let text = chunk.text.as_str().unwrap_or_default();
    joiner.text(CHOICE, Slot::Text(position, at), text);
    if let Some(thinking) = chunk.thinking {
        let thinking = crate::wire::parts::result_text(thinking);
        joiner.thinking(CHOICE, Slot::Thinking(position, at), &thinking);
    }
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    read_agent_request(body, parsed, message)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

/// An input is a message as in OpenAI chat; other entries leave their kind.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    if let Some(role) = openai_chat::message(raw, parts) {
        return Some(role);
    }
    let kind = serde_json::from_str::<Object<Kind<'_>>>(raw.get())
        .ok()?
        .0?;
    parts.other(Some(&kind_of(kind.kind.as_str())));
    Some("assistant".to_owned())
}
