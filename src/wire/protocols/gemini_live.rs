//! Gemini's live sessions (<https://ai.google.dev/api/live>): the frames of the socket are the body, one JSON document
//! after another. Each turn states its own usage, with what the session holds so far as its prompt; that of the session
//! is the sum.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::gemini::{self, Call, Message};
use crate::model::MessagePart;
use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Flag, List, Object, Raw, Text};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts};
use crate::wire::request::ParsedRequest;
use crate::wire::usage::GeminiUsage;

/// What the model says in a session is one message.
const CHOICE: u64 = 0;
/// Where what was said in audio is written down.
const TRANSCRIPT: Slot = Slot::Text(0, 0);

/// A frame of the server, or the first one of the client.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    setup: Object<Setup<'a>>,
    #[serde(borrow)]
    setup_complete: Object<SetUp<'a>>,
    #[serde(borrow)]
    server_content: Object<Content<'a>>,
    #[serde(borrow)]
    tool_call: Object<Calls<'a>>,
    #[serde(borrow)]
    usage_metadata: Object<GeminiUsage<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Setup<'a> {
    #[serde(borrow)]
    model: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SetUp<'a> {
    #[serde(borrow)]
    session_id: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Content<'a> {
    #[serde(borrow)]
    model_turn: Object<Message<'a>>,
    #[serde(borrow)]
    output_transcription: Object<Said<'a>>,
    turn_complete: Flag,
    interrupted: Flag,
    #[serde(borrow)]
    turn_complete_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Calls<'a> {
    #[serde(borrow)]
    function_calls: List<Object<Call<'a>>, CONTENT_PARTS_MAX>,
}

/// Reads one frame. A session is whole wherever it ends; a turn is not.
pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(Object(Some(event))) = serde_json::from_slice::<Object<Event<'_>>>(frame.data) else {
        return false;
    };
    if let Some(setup) = event.setup.0 {
        joiner.identify(None, setup.model.as_str());
    }
    if let Some(session) = event.setup_complete.0 {
        joiner.identify(session.session_id.as_str(), None);
        joiner.end();
    }
    if let Some(usage) = event.usage_metadata.0 {
        if let Some(counts) = usage.counts().usage() {
            joiner.add_usage(&counts);
        }
        joiner.details().add(&usage.details());
    }
    if let Some(content) = event.server_content.0 {
        read(&content, joiner);
    }
    for call in event.tool_call.0.unwrap_or_default().function_calls.0 {
        if let Some(call) = call.0 {
            joiner.role(CHOICE, Some("assistant"));
            joiner.push(CHOICE, MessagePart::ToolCall(call.read()));
        }
    }
    if event.error.is_some()
        && let Some(error) = ResponseError::said(event.error)
    {
        joiner.fail(error);
    }
    true
}

fn read(content: &Content<'_>, joiner: &mut Joiner) {
    if let Some(turn) = &content.model_turn.0 {
        joiner.role(CHOICE, Some("assistant"));
        gemini::join_message(CHOICE, turn, joiner);
    }
    if let Some(said) = &content.output_transcription.0 {
        joiner.role(CHOICE, Some("assistant"));
        joiner.text(CHOICE, TRANSCRIPT, said.text.as_str().unwrap_or_default());
    }
    if content.turn_complete.0 == Some(true) || content.interrupted.0 == Some(true) {
        joiner.end();
    }
    joiner.finish_reason(CHOICE, content.turn_complete_reason.as_str());
}

/// The first frame of the client, or any other one.
pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(Object(Some(event))) = serde_json::from_slice::<Object<Event<'_>>>(body) else {
        return false;
    };
    parsed.model = event.setup.0.and_then(|setup| setup.model.owned());
    true
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    gemini::message(raw, parts)
}
