//! Ollama's `generate` (<https://github.com/ollama/ollama/blob/main/docs/api.md>): a prompt in place of messages. Also
//! reads `embed`, whose response has the same counts.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, Flag, Input, Object, Raw, Text};
use crate::wire::parts::Parts;
use crate::wire::protocols::completions;
use crate::wire::protocols::ollama::Options;
use crate::wire::request::{ITEMS_MAX, ParsedRequest};
use crate::wire::usage::OllamaUsage;

/// A response has one choice.
const CHOICE: u64 = 0;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    response: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    done: Flag,
    #[serde(borrow)]
    done_reason: Text<'a>,
    prompt_eval_count: Count,
    eval_count: Count,
    embeddings: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    error: Raw<'a>,
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(None, event.model.as_str());
    facts::fail(event.error, joiner);
    let usage = OllamaUsage {
        prompt_eval_count: event.prompt_eval_count,
        eval_count: event.eval_count,
    };
    facts::count(usage.counts(), joiner);
    let thinking = event.thinking.as_str().unwrap_or_default();
    joiner.thinking(CHOICE, Slot::Thinking(0, 0), thinking);
    if let Some(text) = event.response.as_str() {
        joiner.role(CHOICE, Some("assistant"));
        joiner.text(CHOICE, Slot::Text(0, 0), text);
    }
    joiner.is_unfinished = event.done.0 == Some(false);
    if event.done.0 == Some(true) {
        joiner.finish_reason(CHOICE, event.done_reason.as_str());
        joiner.end();
    }
    if event.embeddings.is_some() {
        joiner.end();
    }
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    stream: Flag,
    options: Object<Options>,
    #[serde(borrow)]
    system: Text<'a>,
    #[serde(borrow, alias = "input")]
    prompt: Input<'a, &'a RawValue, ITEMS_MAX>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    // Ollama streams unless told otherwise.
    parsed.is_streaming = request.stream.0.unwrap_or(true);
    if let Some(options) = request.options.0 {
        parsed.max_tokens = options.num_predict.0;
        parsed.temperature = options.temperature.0;
        parsed.top_p = options.top_p.0;
    }
    if let Some(system) = request.system.non_empty() {
        parsed.read_system(|parts| {
            parts.text(system);
        });
    }
    parsed.read_input("user", request.prompt, message);
    true
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    completions::message(raw, parts)
}
