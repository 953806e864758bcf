//! Cohere's second chat API (<https://docs.cohere.com/reference/chat>). Its requests have the messages and tools of OpenAI
//! chat. Where it says what it bills and what it counted, the former is the usage.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::config::TOOL_CALLS_MAX;
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Content, Count, List, Object, Raw, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of};
use crate::wire::protocols::cohere_usage::Usage;
use crate::wire::protocols::{cohere_v1, openai_chat};
use crate::wire::request::ParsedRequest;

/// A response has one choice.
const CHOICE: u64 = 0;
/// The plan comes before all content.
const PLAN: Slot = Slot::Thinking(u64::MAX, 0);

/// A whole response, or an event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    index: Count,
    #[serde(borrow)]
    delta: Object<Delta<'a>>,
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    finish_reason: Text<'a>,
    usage: Object<Usage>,
    #[serde(borrow)]
    error: Raw<'a>,
    // Only the first API has these.
    event_type: Option<IgnoredAny>,
    generation_id: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    message: Object<Piece<'a>>,
    #[serde(borrow)]
    finish_reason: Text<'a>,
    usage: Object<Usage>,
    #[serde(borrow)]
    error: Raw<'a>,
}

/// What an event brings of the message: one block, one call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Piece<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Object<Block<'a>>,
    #[serde(borrow)]
    tool_plan: Text<'a>,
    #[serde(borrow)]
    tool_calls: Object<Call<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Content<'a, Object<Block<'a>>, CONTENT_PARTS_MAX>,
    #[serde(borrow)]
    tool_plan: Text<'a>,
    #[serde(borrow)]
    tool_calls: List<Object<Call<'a>>, TOOL_CALLS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    function: Object<Function<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    if event.event_type.or(event.generation_id).is_some() {
        return cohere_v1::response(frame, joiner);
    }
    let index = event.index.0.unwrap_or(0);
    joiner.identify(event.id.as_str(), None);
    if let Some(usage) = event.usage.0 {
        facts::count(usage.counts(), joiner);
    }
    facts::fail(event.error, joiner);
    if let Some(delta) = event.delta.0 {
        if let Some(usage) = delta.usage.0 {
            facts::count(usage.counts(), joiner);
        }
        facts::fail(delta.error, joiner);
        if let Some(piece) = delta.message.0 {
            join(index, &piece, joiner);
        }
        joiner.finish_reason(CHOICE, delta.finish_reason.as_str());
    }
    let message = event.message.filter(|raw| raw.get().starts_with('{'));
    if let Some(message) = message {
        let Ok(message) = serde_json::from_str::<Message<'_>>(message.get()) else {
            return false;
        };
        read(&message, joiner);
    } else if event.kind.as_str().is_none()
        && let Some(error) = facts::bare_error(frame.data)
    {
        joiner.fail(error);
    }
    joiner.finish_reason(CHOICE, event.finish_reason.as_str());
    if event.kind.as_str() == Some("message-end") {
        joiner.end();
    }
    true
}

fn read(message: &Message<'_>, joiner: &mut Joiner) {
    joiner.role(CHOICE, message.role.as_str());
    joiner.thinking(CHOICE, PLAN, message.tool_plan.as_str().unwrap_or_default());
    match &message.content {
        Content::Absent => {}
        Content::Text(text) => joiner.text(CHOICE, Slot::Text(0, 0), text),
        Content::Parts(blocks) => {
            for (index, block) in (0..).zip(blocks) {
                if let Some(block) = &block.0 {
                    read_block(index, block, joiner);
                }
            }
        }
    }
    for (number, call) in (0..).zip(&message.tool_calls.0) {
        if let Some(call) = &call.0 {
            read_call(number, call, joiner);
        }
    }
}

fn join(index: u64, piece: &Piece<'_>, joiner: &mut Joiner) {
    joiner.role(CHOICE, piece.role.as_str());
    joiner.thinking(CHOICE, PLAN, piece.tool_plan.as_str().unwrap_or_default());
    if let Some(block) = &piece.content.0 {
        read_block(index, block, joiner);
    }
    if let Some(call) = &piece.tool_calls.0 {
        read_call(index, call, joiner);
    }
}

fn read_block(index: u64, block: &Block<'_>, joiner: &mut Joiner) {
    let thinking = block.thinking.as_str().unwrap_or_default();
    joiner.thinking(CHOICE, Slot::Thinking(index, 0), thinking);
    let text = block.text.as_str().unwrap_or_default();
    joiner.text(CHOICE, Slot::Text(index, 0), text);
    if !matches!(block.kind.as_str(), None | Some("text" | "thinking")) {
        let kind = kind_of(block.kind.as_str());
        joiner.other(CHOICE, Slot::Other(index), &kind);
    }
}

/// A call, its beginning, or a piece of its arguments.
fn read_call(number: u64, call: &Call<'_>, joiner: &mut Joiner) {
    let Some(joined) = joiner.call(CHOICE, Slot::Call(number)) else {
        return;
    };
    if let Some(id) = call.id.owned() {
        joined.tool_call_id = id;
    }
    if let Some(function) = &call.function.0 {
        if let Some(name) = function.name.owned() {
            joined.tool_name = name;
        }
        if let Some(arguments) = function.arguments {
            joined.input.push_str(&text_of(arguments));
        }
    }
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let is_read = openai_chat::request(body, parsed);
    if is_read && parsed.messages.is_empty() {
        cohere_v1::request(body, parsed);
    }
    is_read
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    openai_chat::message(raw, parts)
}
