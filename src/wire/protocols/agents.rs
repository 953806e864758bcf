//! OpenAI's sessions with agents (<https://platform.openai.com/docs/api-reference/agents>): the events of a stream, and
//! objects that are looked at.
//!
//! A session has turns. A turn counts once, when it is over; the object of a session tells what all its turns have used
//! so far, at every look and in many events, which is kept apart from the counts. Items are those of responses.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{CacheWriteTokens, MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::error::ResponseError;
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, Input, Latest, List, Object, Raw, Text, text_of};
use crate::wire::parts::{Parts, kind_of, result_text};
use crate::wire::protocols::openai_responses;
use crate::wire::request::{ITEMS_MAX, ParsedRequest};
use crate::wire::usage::{Details, OpenAiUsage};

/// What is said in a session is one message.
const CHOICE: u64 = 0;
/// Limit of what a session waits for.
const ACTIONS_MAX: usize = 256;
/// What the names of all events begin with.
const PREFIX: &str = "agent.session.";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    object: Text<'a>,
    #[serde(borrow)]
    session: Raw<'a>,
    #[serde(borrow)]
    session_id: Text<'a>,
    #[serde(borrow)]
    turn: Object<Turn<'a>>,
    /// Of the turn.
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    #[serde(borrow)]
    item: Raw<'a>,
    #[serde(borrow)]
    item_id: Text<'a>,
    content_index: Count,
    summary_index: Count,
    #[serde(borrow)]
    delta: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Turn<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    subagent_id: Text<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Session<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    agent: Object<Agent<'a>>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    #[serde(borrow)]
    required_actions: List<Object<Action<'a>>, ACTIONS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Agent<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    service_tier: Text<'a>,
}

/// What the session waits for: a call of the client's function, or an approval.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Action<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    call_id: Text<'a>,
    #[serde(borrow)]
    request_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow)]
    request: Object<Asked<'a>>,
}

/// The call that is to be approved.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    role: Text<'a>,
}

impl Turn<'_> {
    fn is_over(&self) -> bool {
        let status = self.status.as_str();
        matches!(status, Some("completed" | "failed" | "cancelled"))
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    if frame.data.trim_ascii() == b"[DONE]" {
        joiner.end();
        return true;
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    // An object of another kind has the id of its session too.
    let session_id = event.session_id.as_str();
    joiner.identify(session_id.filter(|_| event.object.as_str().is_none()), None);
    if let Some(session) = event.session {
        return read_session(session.get().as_bytes(), false, joiner);
    }
    let kind = event.kind.as_str().or(frame.name).unwrap_or_default();
    let item = event.item_id.as_str().unwrap_or_default();
    match kind.strip_prefix(PREFIX) {
        Some("turn.item.added" | "turn.item.done") => {
            return event.item.is_none_or(|item| read_item(item, joiner));
        }
        Some(kind) if kind.starts_with("turn.output_text.") => {
            let (number, _) = joiner.number(item);
            let slot = Slot::Text(number, event.content_index.0.unwrap_or(0));
            joiner.role(CHOICE, Some("assistant"));
            match event.text.as_str() {
                Some(whole) => joiner.set_text(CHOICE, slot, whole),
                None => joiner.text(CHOICE, slot, event.delta.as_str().unwrap_or_default()),
            }
        }
        Some(kind) if kind.starts_with("turn.reasoning_summary_text.") => {
            let (number, _) = joiner.number(item);
            let summary = event.summary_index.0.unwrap_or(0);
            let slot = openai_responses::summary_slot(number, summary);
            match event.text.as_str() {
                Some(whole) => joiner.set_thinking(CHOICE, slot, whole),
                None => joiner.thinking(CHOICE, slot, event.delta.as_str().unwrap_or_default()),
            }
        }
        Some(_) => {
            if let Some(turn) = &event.turn.0 {
                read_turn(turn, event.usage.0.as_ref(), joiner);
            }
        }
        None if event.object.as_str() == Some("agent.session") => {
            return read_session(frame.data, true, joiner);
        }
        None if event.object.as_str() == Some("agent.session.turn") => {
            return read_looked_at(frame.data, joiner);
        }
        None if kind == "error" => facts::fail(event.error, joiner),
        None if event.object.as_str().is_some() => joiner.end(),
        None if kind.is_empty() => {
            if let Some(error) = facts::bare_error(frame.data) {
                joiner.fail(error);
            }
        }
        None => {}
    }
    true
}

/// A turn within a stream. It counts once, however many events tell that it is over.
fn read_turn(turn: &Turn<'_>, of_event: Option<&OpenAiUsage<'_>>, joiner: &mut Joiner) {
    let is_root = turn.subagent_id.non_empty().is_none();
    if !turn.is_over() {
        if is_root {
            joiner.go_on();
        }
        return;
    }
    let (_, is_new) = joiner.number(turn.id.as_str().unwrap_or_default());
    let usage = turn.usage.0.as_ref().or(of_event);
    if let Some(usage) = usage.filter(|_| is_new) {
        facts::add_counts(&usage.counts(), &usage.details(), joiner);
    }
    if is_root {
        finish_turn(turn, joiner);
    }
}

/// A turn as an object: nothing is counted before it is over.
fn read_looked_at(document: &[u8], joiner: &mut Joiner) -> bool {
    let Ok(turn) = serde_json::from_slice::<Turn<'_>>(document) else {
        return false;
    };
    joiner.identify(turn.id.as_str(), None);
    if let Some(usage) = &turn.usage.0 {
        match turn.is_over() {
            true => joiner.replace_usage(usage.counts(), usage.details()),
            false => joiner.details().merge(so_far(usage)),
        }
    }
    finish_turn(&turn, joiner);
    true
}

fn finish_turn(turn: &Turn<'_>, joiner: &mut Joiner) {
    if turn.status.as_str() == Some("failed") {
        let error = ResponseError::said(turn.error);
        joiner.fail(error.unwrap_or_else(|| ResponseError::new(Some("failed"), None)));
    }
    joiner.finish_reason(CHOICE, turn.status.as_str());
    joiner.end();
}

fn so_far(usage: &OpenAiUsage<'_>) -> Details {
    let mut details = Details::default();
    details.so_far(&usage.counts(), CacheWriteTokens::default(), None, &[]);
    details
}

/// A session as it is now: as an object, or in an event of a stream, which had the calls already.
fn read_session(document: &[u8], is_looked_at: bool, joiner: &mut Joiner) -> bool {
    let Ok(session) = serde_json::from_slice::<Session<'_>>(document) else {
        return false;
    };
    let agent = session.agent.0.unwrap_or_default();
    joiner.identify(session.id.as_str(), agent.model.as_str());
    let tier = agent.service_tier.as_str().filter(|tier| *tier != "auto");
    joiner
        .details()
        .name(tier, |details| &mut details.service_tier);
    if let Some(usage) = &session.usage.0 {
        joiner.details().merge(so_far(usage));
    }
    let status = session.status.as_str();
    if status == Some("failed") {
        let error = ResponseError::said(session.error);
        joiner.fail(error.unwrap_or_else(|| ResponseError::new(status, None)));
    }
    let actions = session.required_actions.0.iter();
    for action in actions.filter_map(|action| action.0.as_ref()) {
        read_action(action, joiner);
    }
    if is_looked_at {
        joiner.finish_reason(CHOICE, status);
        joiner.end();
    } else if matches!(status, Some("idle" | "requires_action" | "failed")) {
        // The turn says how an idle session came to its end.
        joiner.finish_reason(CHOICE, status.filter(|status| *status != "idle"));
        joiner.end();
    } else {
        joiner.go_on();
    }
    true
}

fn read_action(action: &Action<'_>, joiner: &mut Joiner) {
    let asked = action.request.0.as_ref();
    let kind = action.kind.as_str().unwrap_or_default();
    if !matches!(kind, "function_call" | "mcp_approval_request") {
        return;
    }
    let id = action.call_id.non_empty().or(action.request_id.non_empty());
    let id = id.unwrap_or_default();
    let name = action.name.non_empty();
    let name = name.or_else(|| asked?.name.non_empty()).unwrap_or(kind);
    let input = action.arguments.or_else(|| asked?.arguments);
    // The item of the same call has another id.
    let (number, _) = joiner.number(&format!("call {id}"));
    if joiner.has_call(CHOICE, id) {
        return;
    }
    if let Some(call) = joiner.call(CHOICE, Slot::Call(number)) {
        *call = MessageToolCall {
            tool_call_id: id.to_owned(),
            tool_name: kind_of(Some(name)),
            input: input.map(text_of).unwrap_or_default(),
        };
    }
}

/// An item as far as it is known. What the user said is repeated in a stream, and is no part of the reply.
fn read_item(raw: &RawValue, joiner: &mut Joiner) -> bool {
    let Ok(Object(Some(item))) = serde_json::from_str::<Object<Item<'_>>>(raw.get()) else {
        return false;
    };
    if item.role.as_str() == Some("user") {
        return true;
    }
    let (number, _) = joiner.number(item.id.as_str().unwrap_or_default());
    openai_responses::read_item(number, raw, joiner)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    agent: Object<Agent<'a>>,
    stream: crate::wire::json::lenient::Flag,
    #[serde(borrow)]
    input: Input<'a, &'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    events: Latest<&'a RawValue, ITEMS_MAX>,
}

/// Reads how a session begins, or what is sent to it.
pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    if body.is_empty() {
        return true;
    }
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.agent.0.and_then(|agent| agent.model.owned());
    parsed.is_streaming = request.stream.0.unwrap_or(false);
    parsed.read_input("user", request.input, message);
    parsed.read_messages(request.events, message);
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    call_id: Text<'a>,
    #[serde(borrow)]
    output: Raw<'a>,
    #[serde(borrow)]
    input: List<&'a RawValue, ITEMS_MAX>,
}

/// A message, or an event that is sent: messages, the result of a tool, or another one, which leaves its kind.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let sent = serde_json::from_str::<Object<Sent<'_>>>(raw.get())
        .ok()?
        .0?;
    match sent
        .kind
        .as_str()
        .and_then(|kind| kind.strip_prefix(PREFIX))
    {
        None => return openai_responses::message(raw, parts),
        Some("input.message") => {
            for message in sent.input.0 {
                openai_responses::message(message, parts);
            }
        }
        Some("input.tool_result") => {
            parts.push(MessagePart::ToolResult(MessageToolResult {
                tool_call_id: sent.call_id.owned().unwrap_or_default(),
                text: sent.output.map(result_text).unwrap_or_default(),
            }));
            return Some("tool".to_owned());
        }
        Some(kind) => parts.other(Some(&kind_of(Some(kind)))),
    }
    Some("user".to_owned())
}
