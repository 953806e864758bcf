//! OpenAI-compatible embeddings (<https://platform.openai.com/docs/api-reference/embeddings>).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::Joiner;
use crate::wire::json::lenient::{Input, Object, Text, text_of};
use crate::wire::parts::Parts;
use crate::wire::request::{ITEMS_MAX, ParsedRequest};
use crate::wire::usage::OpenAiUsage;

/// The vectors themselves are skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    data: Option<serde::de::IgnoredAny>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(body.id.as_str(), body.model.as_str());
    if let Some(usage) = body.usage.0 {
        joiner.replace_usage(usage.embedding_counts(), usage.details());
    }
    if body.data.is_none()
        && let Some(error) = ResponseError::of_document(frame.data)
    {
        joiner.fail(error);
    }
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    input: Input<'a, &'a RawValue, ITEMS_MAX>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    parsed.read_input("user", request.input, message);
    true
}

/// A text to embed. For input that comes as tokens, only that fact is kept.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    if raw.get().starts_with('"') {
        parts.text(&text_of(raw));
    } else {
        parts.other(Some("tokens"));
    }
    Some("user".to_owned())
}
