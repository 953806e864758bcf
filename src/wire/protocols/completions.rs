//! OpenAI's older completions (<https://platform.openai.com/docs/api-reference/completions>), and servers that are
//! compatible with them: a prompt in place of messages, a text in place of a message.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{CHOICES_MAX, Joiner, Slot};
use crate::wire::json::lenient::{Count, Flag, Input, List, Object, Raw, Real, Text, text_of};
use crate::wire::parts::Parts;
use crate::wire::request::{ITEMS_MAX, ParsedRequest};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    choices: List<Object<Choice<'a>>, CHOICES_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice<'a> {
    index: Count,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    finish_reason: Text<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    if frame.data.trim_ascii() == b"[DONE]" {
        joiner.end_of_stream();
        return true;
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(event.id.as_str(), event.model.as_str());
    if let Some(usage) = event.usage {
        facts::usage(usage, joiner);
    }
    facts::fail(event.error, joiner);
    if event.error.is_none()
        && event.choices.0.is_empty()
        && let Some(error) = facts::bare_error(frame.data)
    {
        joiner.fail(error);
    }
    for (position, choice) in (0..).zip(event.choices.0) {
        let Some(choice) = choice.0 else { continue };
        let index = choice.index.0.unwrap_or(position);
        let text = choice.text.as_str().unwrap_or_default();
        joiner.role(index, Some("assistant"));
        joiner.text(index, Slot::Text(0, 0), text);
        joiner.finish_reason(index, choice.finish_reason.as_str());
    }
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    max_tokens: Count,
    temperature: Real,
    top_p: Real,
    stream: Flag,
    #[serde(borrow)]
    prompt: Input<'a, &'a RawValue, ITEMS_MAX>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    parsed.max_tokens = request.max_tokens.0;
    parsed.temperature = request.temperature.0;
    parsed.top_p = request.top_p.0;
    parsed.is_streaming = request.stream.0.unwrap_or(false);
    parsed.read_input("user", request.prompt, message);
    true
}

/// One prompt of several. Of one that comes as tokens, only that fact is kept.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    if raw.get().starts_with('"') {
        parts.text(&text_of(raw));
    } else {
        parts.other(Some("tokens"));
    }
    Some("user".to_owned())
}
