//! Cohere's first chat API (<https://docs.cohere.com/v1/reference/chat>): the reply is one text. A stream of events, one on
//! each line, ends with the whole response.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::cohere_usage::Usage;
use crate::model::{MessagePart, MessageToolCall};
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Label, List, Object, Raw, Text, text_of};
use crate::wire::request::ParsedRequest;

/// A response has one message.
const CHOICE: u64 = 0;
const REPLY: Slot = Slot::Text(0, 0);
/// Limit of calls of a response.
const CALLS_MAX: usize = 1024;
/// Limit of messages of a request before its newest.
const HISTORY_MAX: usize = 4096;

/// A response, or an event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    response_id: Text<'a>,
    #[serde(borrow)]
    generation_id: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    finish_reason: Text<'a>,
    #[serde(borrow)]
    tool_calls: List<Object<Call<'a>>, CALLS_MAX>,
    meta: Object<Usage>,
    #[serde(borrow)]
    response: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

/// The first API's calls have no ids.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    parameters: Raw<'a>,
}

pub(super) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    match event.event_type.as_str() {
        None => read(&event, joiner),
        Some("stream-end") => {
            let whole = event.response.map(RawValue::get);
            if let Some(Ok(whole)) = whole.map(serde_json::from_str::<Event<'_>>) {
                read(&whole, joiner);
            }
            facts::fail(event.error, joiner);
            joiner.finish_reason(CHOICE, event.finish_reason.as_str());
            joiner.end();
        }
        Some(kind) => {
            joiner.identify(event.generation_id.as_str(), None);
            joiner.role(CHOICE, Some("assistant"));
            if kind == "text-generation" {
                joiner.text(CHOICE, REPLY, event.text.as_str().unwrap_or_default());
            }
            read_calls(&event, joiner);
        }
    }
    true
}

fn read(whole: &Event<'_>, joiner: &mut Joiner) {
    let id = whole.response_id.as_str().or(whole.generation_id.as_str());
    joiner.identify(id, None);
    joiner.role(CHOICE, Some("assistant"));
    joiner.set_text(CHOICE, REPLY, whole.text.as_str().unwrap_or_default());
    read_calls(whole, joiner);
    if let Some(usage) = &whole.meta.0 {
        facts::count(usage.counts(), joiner);
    }
    facts::fail(whole.error, joiner);
    joiner.finish_reason(CHOICE, whole.finish_reason.as_str());
}

/// Each list has all calls, so a later one takes the place of an earlier one.
fn read_calls(event: &Event<'_>, joiner: &mut Joiner) {
    for (number, call) in (0..).zip(&event.tool_calls.0) {
        if let Some(call) = &call.0
            && let Some(joined) = joiner.call(CHOICE, Slot::Call(number))
        {
            *joined = MessageToolCall {
                tool_call_id: String::new(),
                tool_name: call.name.owned().unwrap_or_default(),
                input: call.parameters.map(text_of).unwrap_or_default(),
            };
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    preamble: Text<'a>,
    #[serde(borrow)]
    chat_history: List<Object<Said<'a>>, HISTORY_MAX>,
    #[serde(borrow)]
    message: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said<'a> {
    role: Label,
    #[serde(borrow)]
    message: Text<'a>,
}

/// Adds what a request of the first API says.
pub(super) fn request(body: &[u8], parsed: &mut ParsedRequest) {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return;
    };
    let mut said = |role: &str, text: &Text<'_>| {
        if let Some(text) = text.non_empty() {
            parsed.read_message(|parts| {
                parts.push(MessagePart::Text(text.to_owned()));
                Some(role.to_owned())
            });
        }
    };
    said("system", &request.preamble);
    for turn in request
        .chat_history
        .0
        .iter()
        .filter_map(|turn| turn.0.as_ref())
    {
        let role = match turn.role.0.as_deref() {
            Some("CHATBOT") => "assistant",
            Some("SYSTEM") => "system",
            Some("TOOL") => "tool",
            _ => "user",
        };
        said(role, &turn.message);
    }
    said("user", &request.message);
}
