//! Batches: requests that are answered later, together. Creating one, and each look at it, uses no tokens: the object's
//! `usage` is that of the requests in it, and would be counted once a look.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::batch_line;
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::Joiner;
use crate::wire::json::lenient::{Raw, Text};
use crate::wire::parts::Parts;
use crate::wire::protocols::json;
use crate::wire::request::ParsedRequest;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Batch<'a> {
    #[serde(borrow, alias = "name")]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    if batch_line::answer(frame.data).is_some() {
        // A result, of a request of its own.
        joiner.end();
        return true;
    }
    let Ok(batch) = serde_json::from_slice::<Batch<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(batch.id.as_str(), batch.model.as_str());
    facts::fail(batch.error, joiner);
    if batch.id.as_str().is_none()
        && let Some(error) = facts::bare_error(frame.data)
    {
        joiner.fail(error);
    }
    joiner.end();
    true
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    json::request(body, parsed)
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    json::message(raw, parts)
}
