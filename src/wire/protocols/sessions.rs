//! Anthropic's sessions with managed agents (<https://platform.claude.com/docs/en/managed-agents>), and their dreams: the
//! events of a stream, and objects that are looked at.
//!
//! A stream tells what each request to a model used, once: these add up. The object of a session or of a thread, and
//! `session.usage`, tell what all turns have used so far, at every look: that is kept apart from the counts. A dream
//! counts once it is over.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::MessageToolResult;
use crate::wire::error::ResponseError;
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, Latest, List, Object, Raw, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of, result_text};
use crate::wire::protocols::anthropic::{self, StopDetails};
use crate::wire::request::{ITEMS_MAX, ParsedRequest};
use crate::wire::usage::AnthropicUsage;

/// What is said in a session is one message.
const CHOICE: u64 = 0;

/// Stands for the session's own status, where the stream has it. No id is written like this.
const SESSION_STATUS: &str = "session.status";

/// An event, or an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    event_id: Text<'a>,
    #[serde(borrow)]
    delta: Object<Delta<'a>>,
    #[serde(borrow)]
    content: Raw<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    mcp_tool_use_id: Text<'a>,
    #[serde(borrow)]
    error: Object<Failure<'a>>,
    #[serde(borrow)]
    stop_reason: Object<Kind<'a>>,
    #[serde(borrow)]
    stop_details: Object<StopDetails<'a>>,
    #[serde(borrow)]
    model_usage: Object<AnthropicUsage<'a>>,
    #[serde(borrow)]
    usage: Object<AnthropicUsage<'a>>,
    #[serde(borrow)]
    agent: Object<Agent<'a>>,
    /// Of a dream.
    #[serde(borrow)]
    model: Raw<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    data: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    index: Count,
    #[serde(borrow)]
    content: Object<Block<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    /// Whether the session tries again by itself.
    #[serde(borrow)]
    retry_status: Object<Kind<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Agent<'a> {
    #[serde(borrow)]
    model: Raw<'a>,
}

impl Failure<'_> {
    fn is_retried(&self) -> bool {
        let status = self.retry_status.0.as_ref();
        status.and_then(|status| status.kind.as_str()) == Some("retrying")
    }

    fn error(&self) -> ResponseError {
        ResponseError::new(self.kind.as_str(), self.message.as_str())
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    let id = event.id.as_str().unwrap_or_default();
    let agent = event.agent.0.as_ref().and_then(|agent| agent.model);
    if let Some(model) = event.model.or(agent).and_then(facts::name_of) {
        joiner.identify(None, Some(&model));
    }
    match event.kind.as_str().or(frame.name) {
        Some("session" | "session_thread" | "dream") => read_object(&event, joiner),
        Some("event_delta") => {
            if let Some(delta) = &event.delta.0 {
                let (number, _) = joiner.number(event.event_id.as_str().unwrap_or_default());
                let slot = Slot::Text(number, delta.index.0.unwrap_or(0));
                let block = delta.content.0.as_ref();
                let text = block.and_then(|block| block.text.as_str());
                joiner.text(CHOICE, slot, text.unwrap_or_default());
            }
        }
        Some("agent.message") => read_message(id, event.content, joiner),
        Some("agent.tool_use" | "agent.custom_tool_use" | "agent.mcp_tool_use") => {
            let (number, _) = joiner.number(id);
            if let Some(call) = joiner.call(CHOICE, Slot::Call(number)) {
                id.clone_into(&mut call.tool_call_id);
                call.tool_name = event.name.owned().unwrap_or_default();
                call.input = event.input.map(text_of).unwrap_or_default();
            }
        }
        Some("agent.tool_result" | "agent.mcp_tool_result") => {
            let (number, _) = joiner.number(id);
            let of = event.tool_use_id.owned();
            let result = MessageToolResult {
                tool_call_id: of
                    .or_else(|| event.mcp_tool_use_id.owned())
                    .unwrap_or_default(),
                text: event.content.map(result_text).unwrap_or_default(),
            };
            joiner.result(CHOICE, Slot::Result(number), result);
        }
        Some("span.model_request_end" | "span.outcome_evaluation_end") => {
            let usage = event.model_usage.0.as_ref().or(event.usage.0.as_ref());
            let (_, is_new) = joiner.number(id);
            if let Some(usage) = usage.filter(|_| is_new) {
                facts::add_counts(&usage.counts(), &usage.details(), joiner);
            }
        }
        Some("session.usage") => {
            if let Some(usage) = &event.usage.0 {
                joiner.details().merge(usage.so_far());
            }
        }
        Some("session.error") => {
            if let Some(error) = event.error.0.filter(|error| !error.is_retried()) {
                joiner.fail(error.error());
            }
        }
        Some(kind) if kind.starts_with("session.status_") => {
            joiner.number(SESSION_STATUS);
            read_status(&event, joiner);
        }
        // In a session's stream the session decides; in a thread's there may be nothing else.
        Some(kind) if kind.starts_with("session.thread_status_") => {
            if !joiner.has_number(SESSION_STATUS) {
                read_status(&event, joiner);
            }
        }
        Some("session.deleted" | "session_deleted") => joiner.end(),
        Some("error") => {
            joiner.fail(ResponseError::of_document(frame.data).unwrap_or_default());
        }
        Some(_) => {}
        // A list of what was before, of which nothing is counted again.
        None if event.data.is_some() => joiner.end(),
        None => {
            if let Some(error) = facts::bare_error(frame.data) {
                joiner.fail(error);
            }
        }
    }
    true
}

/// Whether the session, or a thread of it, is at work.
fn read_status(event: &Event<'_>, joiner: &mut Joiner) {
    let kind = event.kind.as_str().unwrap_or_default();
    match kind.rsplit_once("status_").map(|(_, status)| status) {
        Some("running") => joiner.go_on(),
        Some("idle") => {
            anthropic::refuse(event.stop_details.0.as_ref(), joiner);
            let reason = event.stop_reason.0.as_ref();
            joiner.finish_reason(CHOICE, reason.and_then(|reason| reason.kind.as_str()));
            joiner.end();
        }
        Some("terminated") => {
            joiner.finish_reason(CHOICE, Some("terminated"));
            joiner.end();
        }
        _ => {}
    }
}

/// A session, a thread of one, or a dream, as it is now.
fn read_object(event: &Event<'_>, joiner: &mut Joiner) {
    joiner.identify(event.id.as_str(), None);
    let status = event.status.as_str();
    let is_dream = event.kind.as_str() == Some("dream");
    // Of a cancelled dream the counts can still change.
    let is_over = is_dream && matches!(status, Some("completed" | "failed"));
    if let Some(usage) = &event.usage.0 {
        if is_over {
            joiner.update_usage(&usage.counts(), usage.details());
        } else {
            joiner.details().merge(usage.so_far());
        }
    }
    if let Some(error) = event.error.0.as_ref().filter(|_| status == Some("failed")) {
        joiner.fail(error.error());
    }
    joiner.finish_reason(CHOICE, status);
    joiner.end();
}

/// A whole message, of which pieces may have come before.
fn read_message(id: &str, content: Raw<'_>, joiner: &mut Joiner) {
    type Blocks<'a> = List<Object<Block<'a>>, CONTENT_PARTS_MAX>;
    let (number, _) = joiner.number(id);
    joiner.role(CHOICE, Some("assistant"));
    let blocks = content.and_then(|raw| serde_json::from_str::<Blocks<'_>>(raw.get()).ok());
    for (at, block) in (0..).zip(blocks.unwrap_or_default().0) {
        let block = block.0.unwrap_or_default();
        let text = block.text.as_str().unwrap_or_default();
        joiner.set_text(CHOICE, Slot::Text(number, at), text);
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    events: Latest<&'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    initial_events: Latest<&'a RawValue, ITEMS_MAX>,
    /// Of a dream.
    #[serde(borrow)]
    model: Raw<'a>,
}

/// Reads what is sent to a session.
pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    if body.is_empty() {
        return true;
    }
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.and_then(facts::name_of);
    parsed.read_messages(request.initial_events, message);
    parsed.read_messages(request.events, message);
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    custom_tool_use_id: Text<'a>,
}

/// An event that is sent: a message, the result of a tool, or another one, which leaves its kind.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let sent = serde_json::from_str::<Object<Sent<'_>>>(raw.get())
        .ok()?
        .0?;
    let kind = sent.kind.as_str().unwrap_or_default();
    let text = || sent.content.map(result_text).unwrap_or_default();
    if kind.ends_with("tool_result") {
        let of = sent.custom_tool_use_id.owned();
        parts.push(crate::model::MessagePart::ToolResult(MessageToolResult {
            tool_call_id: of.or_else(|| sent.tool_use_id.owned()).unwrap_or_default(),
            text: text(),
        }));
        return Some("tool".to_owned());
    }
    match kind {
        "user.message" | "system.message" => parts.text(&text()),
        kind => parts.other(Some(&kind_of(Some(kind)))),
    }
    let is_system = kind.starts_with("system.");
    Some(if is_system { "system" } else { "user" }.to_owned())
}
