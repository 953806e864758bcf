//! OpenAI's images, audio and videos (<https://platform.openai.com/docs/api-reference/images>, `audio`, `videos`). Requests
//! are JSON, or forms with files; answers are JSON, events, or the audio itself. A video is a job: its answer, and each
//! look at it, says how far it is.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Flag, List, Raw, Text};
use crate::wire::multipart;
use crate::wire::parts::Parts;
use crate::wire::request::ParsedRequest;

/// A response has one choice.
const CHOICE: u64 = 0;
/// Limit of images that are counted in a response.
const IMAGES_MAX: usize = 128;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    delta: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    usage: Raw<'a>,
    /// Of the model that wrote a drawing.
    #[serde(borrow)]
    svg_usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
    data: Option<List<serde::de::IgnoredAny, IMAGES_MAX>>,
    object: Option<serde::de::IgnoredAny>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(event.id.as_str(), event.model.as_str());
    if let Some(usage) = event.usage {
        facts::usage(usage, joiner);
    }
    if let Some(usage) = event.svg_usage {
        facts::drawing(usage, joiner);
    }
    facts::fail(event.error, joiner);
    let images = event.data.as_ref().map_or(0, |images| images.0.len());
    let kind = event.kind.as_str().or(frame.name);
    match kind {
        Some("transcript.text.delta") => {
            let delta = event.delta.as_str().unwrap_or_default();
            joiner.role(CHOICE, Some("assistant"));
            joiner.text(CHOICE, Slot::Text(0, 0), delta);
        }
        Some("transcript.text.done") => {
            let text = event.text.as_str().unwrap_or_default();
            joiner.role(CHOICE, Some("assistant"));
            joiner.set_text(CHOICE, Slot::Text(0, 0), text);
            joiner.end();
        }
        Some("image_generation.completed" | "image_edit.completed") => {
            joiner.role(CHOICE, Some("assistant"));
            joiner.other(CHOICE, Slot::Other(0), "image");
            joiner.end();
        }
        Some("speech.audio.done") => joiner.end(),
        Some(_) => {}
        None => {
            if let Some(text) = event.text.as_str() {
                joiner.role(CHOICE, Some("assistant"));
                joiner.text(CHOICE, Slot::Text(0, 0), text);
            }
            for number in (0_u64..).take(images) {
                joiner.role(CHOICE, Some("assistant"));
                joiner.other(CHOICE, Slot::Other(number), "image");
            }
            joiner.finish_reason(CHOICE, event.status.as_str());
            let is_answer =
                event.text.as_str().is_some() || event.data.is_some() || event.object.is_some();
            if is_answer {
                joiner.end();
            } else if let Some(error) = facts::bare_error(frame.data) {
                joiner.fail(error);
            }
        }
    }
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow, alias = "input")]
    prompt: Text<'a>,
    stream: Flag,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    if let Some((parts, is_complete)) = multipart::parts(body) {
        for part in parts {
            match (part.name, part.value) {
                ("model", Some(model)) => parsed.model = Some(model.to_owned()),
                ("stream", Some(value)) => parsed.is_streaming = value == "true",
                ("prompt", Some(prompt)) => said(prompt, parsed),
                (name, None) => parsed.read_message(|parts| {
                    parts.other(Some(name));
                    Some("user".to_owned())
                }),
                _ => {}
            }
        }
        return is_complete;
    }
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    parsed.is_streaming = request.stream.0.unwrap_or(false);
    if let Some(prompt) = request.prompt.non_empty() {
        said(prompt, parsed);
    }
    true
}

fn said(prompt: &str, parsed: &mut ParsedRequest) {
    parsed.read_message(|parts| {
        parts.text(prompt);
        Some("user".to_owned())
    });
}

pub(crate) fn message(_: &RawValue, _: &mut Parts<'_>) -> Option<String> {
    None
}
