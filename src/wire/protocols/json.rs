//! Any other JSON: what nearly all providers have under the same names. Read like this, a response is flagged as such.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::Joiner;
use crate::wire::json::lenient::{Count, Object, Raw, Text};
use crate::wire::parts::Parts;
use crate::wire::request::ParsedRequest;
use crate::wire::usage::Counts;

/// How deeply the document that matters may be wrapped in others.
const DEPTH_MAX: usize = 4;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(
        borrow,
        alias = "model_name",
        alias = "modelVersion",
        alias = "model_id"
    )]
    model: Raw<'a>,
    #[serde(
        borrow,
        alias = "usage_metadata",
        alias = "usageMetadata",
        alias = "token_usage",
        alias = "usage_info"
    )]
    usage: Raw<'a>,
    #[serde(borrow)]
    meta: Object<Meta<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    response: Raw<'a>,
    #[serde(borrow)]
    result: Raw<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    data: Raw<'a>,
    prompt_eval_count: Count,
    eval_count: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    billed_units: Raw<'a>,
    #[serde(borrow)]
    tokens: Raw<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(text) = std::str::from_utf8(frame.data) else {
        return false;
    };
    // Whether more follows is unknown.
    joiner.end();
    let is_read = read(text, DEPTH_MAX, joiner);
    if is_read
        && joiner.is_empty()
        && let Some(error) = facts::bare_error(frame.data)
    {
        joiner.fail(error);
    }
    is_read
}

/// Reads a document, then what it wraps. The outermost model and usage win.
fn read(text: &str, depth: usize, joiner: &mut Joiner) -> bool {
    let Ok(Object(Some(document))) = serde_json::from_str::<Object<Document<'_>>>(text) else {
        return false;
    };
    let model = document.model.and_then(facts::name_of);
    joiner.identify(document.id.as_str(), model.as_deref());
    if let Some(usage) = document.usage {
        facts::usage(usage, joiner);
    } else if let Some(meta) = document.meta.0
        && let Some(counts) = meta.billed_units.or(meta.tokens)
    {
        facts::usage(counts, joiner);
    } else if document
        .prompt_eval_count
        .0
        .or(document.eval_count.0)
        .is_some()
    {
        let counts = Counts {
            input: document.prompt_eval_count.0,
            output: document.eval_count.0,
            ..Counts::default()
        };
        facts::count(counts, joiner);
    }
    facts::fail(document.error, joiner);
    let Some(depth) = depth.checked_sub(1) else {
        return true;
    };
    let inner = [
        document.response,
        document.result,
        document.message,
        document.data,
    ];
    for raw in inner.into_iter().flatten() {
        if raw.get().starts_with('{') {
            read(raw.get(), depth, joiner);
        }
    }
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(Object(Some(request))) = serde_json::from_slice::<Object<Request<'_>>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    true
}

pub(crate) fn message(_: &RawValue, _: &mut Parts<'_>) -> Option<String> {
    None
}
