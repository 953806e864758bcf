//! Counting the tokens of a request without answering it (Anthropic's `count_tokens`, Gemini's `countTokens`, OpenAI's
//! `input_tokens`). The count is the answer, not a use: nothing is generated, and nothing is billed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::Joiner;
use crate::wire::json::lenient::{Count, Raw};
use crate::wire::parts::Parts;
use crate::wire::protocols::{anthropic, gemini, openai_responses};
use crate::wire::request::ParsedRequest;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    input_tokens: Count,
    #[serde(rename = "totalTokens")]
    total_tokens: Count,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(body) = serde_json::from_slice::<Body>(frame.data) else {
        return false;
    };
    if body.input_tokens.0.or(body.total_tokens.0).is_some() {
        joiner.end();
    } else if let Some(error) = facts::bare_error(frame.data) {
        joiner.fail(error);
    }
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shape<'a> {
    #[serde(borrow)]
    contents: Raw<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
}

/// The request is the one whose tokens are counted.
pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(shape) = serde_json::from_slice::<Shape<'_>>(body) else {
        return false;
    };
    if shape.contents.is_some() {
        gemini::request(body, parsed)
    } else if shape.input.is_some() {
        openai_responses::request(body, parsed)
    } else {
        anthropic::request(body, parsed)
    }
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    if raw.get().contains("\"parts\"") {
        gemini::message(raw, parts)
    } else {
        anthropic::message(raw, parts)
    }
}
