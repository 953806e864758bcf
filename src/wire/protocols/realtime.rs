//! OpenAI's realtime sessions (<https://platform.openai.com/docs/api-reference/realtime-server-events>): the frames of the
//! socket are the body, one JSON document after another. A session has many responses; its usage is the sum of theirs.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{MessagePart, MessageToolCall};
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::Joiner;
use crate::wire::json::lenient::{List, Object, Raw, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts};
use crate::wire::protocols::{json, openai_responses};
use crate::wire::request::ParsedRequest;

/// What is said in a session is one message.
const CHOICE: u64 = 0;
/// Limit of items of one response.
const ITEMS_MAX: usize = 256;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    session: Object<Session<'a>>,
    #[serde(borrow)]
    response: Object<Response<'a>>,
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Session<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    status_details: Object<Details<'a>>,
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    output: List<Object<Item<'a>>, ITEMS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    call_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow)]
    content: List<Object<Block<'a>>, CONTENT_PARTS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    transcript: Text<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    if let Some(session) = event.session.0 {
        joiner.identify(session.id.as_str(), session.model.as_str());
        // A session without a response is whole too.
        joiner.end();
    }
    match event.kind.as_str() {
        Some("response.done") => {
            joiner.end();
            if let Some(response) = event.response.0 {
                read(&response, joiner);
            }
        }
        // The transcript of what the user said, which a model of its own made.
        Some("conversation.item.input_audio_transcription.completed") => {
            if let Some(usage) = event.usage {
                facts::add_usage(usage, joiner);
            }
        }
        Some("error") => facts::fail(event.error, joiner),
        Some(_) => {}
        None => {
            if let Some(error) = facts::bare_error(frame.data) {
                joiner.fail(error);
            }
        }
    }
    true
}

fn read(response: &Response<'_>, joiner: &mut Joiner) {
    if let Some(usage) = response.usage {
        facts::add_usage(usage, joiner);
    }
    if response.status.as_str() == Some("failed")
        && let Some(details) = &response.status_details.0
    {
        facts::fail(details.error, joiner);
    }
    joiner.role(CHOICE, Some("assistant"));
    for item in response.output.0.iter().filter_map(|item| item.0.as_ref()) {
        if let Some(arguments) = item.arguments {
            let id = item.call_id.owned().or_else(|| item.id.owned());
            let call = MessageToolCall {
                tool_call_id: id.unwrap_or_default(),
                tool_name: item.name.owned().unwrap_or_default(),
                input: text_of(arguments),
            };
            joiner.push(CHOICE, MessagePart::ToolCall(call));
            continue;
        }
        for block in item.content.0.iter().filter_map(|block| block.0.as_ref()) {
            let text = block.text.owned().or_else(|| block.transcript.owned());
            if let Some(text) = text.filter(|_| !joiner.skips_texts) {
                joiner.push(CHOICE, MessagePart::Text(text));
            }
        }
    }
    joiner.finish_reason(CHOICE, response.status.as_str());
}

/// The client's frames are events of their own; of one document, the model is read.
pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    body.is_empty() || json::request(body, parsed)
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    openai_responses::message(raw, parts)
}
