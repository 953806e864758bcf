//! OpenAI's assistants (<https://platform.openai.com/docs/api-reference/runs>): runs on threads, their steps and messages,
//! each as an object or in the events of a stream.
//!
//! A run counts once it is over; a step's usage is a part of its run's.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::TOOL_CALLS_MAX;
use crate::wire::error::ResponseError;
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, List, Object, Raw, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of};
use crate::wire::protocols::openai_chat;
use crate::wire::request::{ParsedRequest, read_agent_request};
use crate::wire::usage::OpenAiUsage;

/// What is said in a run is one message.
const CHOICE: u64 = 0;

/// A run, a step, a message, or a piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    object: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    #[serde(borrow)]
    last_error: Raw<'a>,
    #[serde(borrow)]
    incomplete_details: Object<Incomplete<'a>>,
    #[serde(borrow)]
    required_action: Object<Action<'a>>,
    #[serde(borrow)]
    step_details: Object<Calls<'a>>,
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: List<Object<Block<'a>>, CONTENT_PARTS_MAX>,
    #[serde(borrow)]
    delta: Object<Delta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Action<'a> {
    #[serde(borrow)]
    submit_tool_outputs: Object<Calls<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    content: List<Object<Block<'a>>, CONTENT_PARTS_MAX>,
    #[serde(borrow)]
    step_details: Object<Calls<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Calls<'a> {
    #[serde(borrow)]
    tool_calls: List<Object<Call<'a>>, TOOL_CALLS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    index: Count,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    function: Object<Tool<'a>>,
    #[serde(borrow)]
    code_interpreter: Object<Tool<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    index: Count,
    #[serde(borrow)]
    text: Object<Value<'a>>,
    #[serde(borrow)]
    refusal: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Value<'a> {
    #[serde(borrow)]
    value: Text<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    if frame.data.trim_ascii() == b"[DONE]" {
        joiner.end();
        return true;
    }
    let Ok(document) = serde_json::from_slice::<Document<'_>>(frame.data) else {
        return false;
    };
    match document.object.as_str() {
        Some("thread.run") => read_run(&document, joiner),
        Some("thread.run.step") => read_step(&document, joiner),
        Some("thread.message") => read_message(&document, &document.content, true, joiner),
        Some("thread.message.delta") => {
            if let Some(delta) = &document.delta.0 {
                read_message(&document, &delta.content, false, joiner);
            }
        }
        Some("thread.run.step.delta") => {
            let delta = document.delta.0.as_ref();
            if let Some(details) = delta.and_then(|delta| delta.step_details.0.as_ref()) {
                let (step, _) = joiner.number(document.id.as_str().unwrap_or_default());
                for (at, call) in (0..).zip(&details.tool_calls.0) {
                    if let Some(call) = &call.0 {
                        read_call(step, at, call, false, joiner);
                    }
                }
            }
        }
        // A list of what was before, or a thread.
        Some(_) => joiner.end(),
        None => {
            if let Some(error) = facts::bare_error(frame.data) {
                joiner.fail(error);
            }
        }
    }
    true
}

fn read_run(run: &Document<'_>, joiner: &mut Joiner) {
    joiner.identify(run.id.as_str(), run.model.as_str());
    let status = run.status.as_str();
    let is_over = !matches!(
        status,
        None | Some("queued" | "in_progress" | "requires_action" | "cancelling")
    );
    if let Some(usage) = run.usage.0.as_ref().filter(|_| is_over) {
        joiner.replace_usage(usage.counts(), usage.details());
    }
    if matches!(status, Some("failed" | "expired")) {
        let error = ResponseError::said(run.last_error);
        joiner.fail(error.unwrap_or_else(|| ResponseError::new(status, None)));
    }
    let action = run.required_action.0.as_ref();
    if let Some(wanted) = action.and_then(|action| action.submit_tool_outputs.0.as_ref()) {
        for call in wanted
            .tool_calls
            .0
            .iter()
            .filter_map(|call| call.0.as_ref())
        {
            // Steps had it before.
            if !joiner.has_call(CHOICE, call.id.as_str().unwrap_or_default()) {
                let (number, _) = joiner.number(call.id.as_str().unwrap_or_default());
                read_call(number, 0, call, true, joiner);
            }
        }
    }
    if is_over || status == Some("requires_action") {
        let incomplete = run.incomplete_details.0.as_ref();
        let reason = incomplete.and_then(|details| details.reason.non_empty());
        joiner.finish_reason(CHOICE, reason.or(status));
        joiner.end();
    }
}

fn read_step(step: &Document<'_>, joiner: &mut Joiner) {
    joiner.identify(step.id.as_str(), None);
    if let Some(error) = ResponseError::said(step.last_error) {
        joiner.fail(error);
    }
    if let Some(details) = &step.step_details.0 {
        let (number, _) = joiner.number(step.id.as_str().unwrap_or_default());
        for (at, call) in (0..).zip(&details.tool_calls.0) {
            if let Some(call) = &call.0 {
                read_call(number, at, call, true, joiner);
            }
        }
    }
}

/// A whole call, or a piece of one.
fn read_call(step: u64, at: u64, call: &Call<'_>, is_whole: bool, joiner: &mut Joiner) {
    let number = call.index.0.unwrap_or(at);
    let (number, _) = joiner.number(&format!("{step} call {number}"));
    let Some(known) = joiner.call(CHOICE, Slot::Call(number)) else {
        return;
    };
    if let Some(id) = call.id.owned() {
        known.tool_call_id = id;
    }
    let tool = call
        .function
        .0
        .as_ref()
        .or(call.code_interpreter.0.as_ref());
    let name = tool.and_then(|tool| tool.name.owned());
    if let Some(name) = name {
        known.tool_name = name;
    } else if known.tool_name.is_empty()
        && let Some(kind) = call.kind.non_empty().filter(|kind| *kind != "function")
    {
        known.tool_name = kind_of(Some(kind));
    }
    let input = tool.and_then(|tool| tool.arguments.or(tool.input));
    if let Some(input) = input.map(text_of) {
        if is_whole {
            known.input.clear();
        }
        known.input.push_str(&input);
    }
}

fn read_message(
    message: &Document<'_>,
    content: &List<Object<Block<'_>>, CONTENT_PARTS_MAX>,
    is_whole: bool,
    joiner: &mut Joiner,
) {
    if message.role.as_str() == Some("user") {
        return joiner.end();
    }
    let (number, _) = joiner.number(message.id.as_str().unwrap_or_default());
    joiner.role(CHOICE, Some("assistant"));
    for (at, block) in (0..).zip(&content.0) {
        let Some(block) = &block.0 else { continue };
        let at = block.index.0.unwrap_or(at);
        let text = block.text.0.as_ref().and_then(|text| text.value.as_str());
        let (text, refusal) = (text.unwrap_or_default(), block.refusal.as_str());
        let refusal = refusal.unwrap_or_default();
        let (text_at, refusal_at) = (Slot::Text(number, at), Slot::Refusal(number, at));
        if is_whole {
            joiner.set_text(CHOICE, text_at, text);
            joiner.set_refusal(CHOICE, refusal_at, refusal);
        } else {
            joiner.text(CHOICE, text_at, text);
            joiner.refusal(CHOICE, refusal_at, refusal);
        }
    }
}

/// A run is asked for with a model, instructions and tools; its messages are in the thread.
pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    body.is_empty() || read_agent_request(body, parsed, message)
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    openai_chat::message(raw, parts)
}
