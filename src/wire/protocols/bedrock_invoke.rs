//! Amazon Bedrock InvokeModel, with and without stream
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>): the bodies are those of the
//! model's own maker, so their fields tell which protocol they are of. In a stream each event wraps one of them
//! (`{"bytes":"…"}`), which `response` unwraps for every protocol. A response does not name its model; the path does.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{anthropic, bedrock, cohere, completions, openai_chat};
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, List, Object, Raw, Text};
use crate::wire::parts::Parts;
use crate::wire::request::ParsedRequest;
use crate::wire::usage::Counts;

/// A response has one choice.
const CHOICE: u64 = 0;
/// Converse's word for the same.
const GUARDRAIL_INTERVENED: &str = "guardrail_intervened";
/// Limit of results of one response: makers return one.
const RESULTS_MAX: usize = 16;

/// Fields that tell the makers apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shape<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    choices: Raw<'a>,
    #[serde(borrow)]
    delta: Raw<'a>,
    // Nova: the fields and events of Converse.
    #[serde(borrow)]
    output: Raw<'a>,
    #[serde(borrow, rename = "messageStart")]
    message_start: Raw<'a>,
    #[serde(borrow, rename = "contentBlockStart")]
    block_start: Raw<'a>,
    #[serde(borrow, rename = "contentBlockDelta")]
    block_delta: Raw<'a>,
    #[serde(borrow, rename = "contentBlockStop")]
    block_stop: Raw<'a>,
    #[serde(borrow, rename = "messageStop")]
    message_stop: Raw<'a>,
    #[serde(borrow)]
    metadata: Raw<'a>,
    // Titan.
    #[serde(rename = "inputTextTokenCount")]
    titan_input: Count,
    #[serde(rename = "totalOutputTextTokenCount")]
    titan_output: Count,
    #[serde(borrow, rename = "outputText")]
    titan_text: Text<'a>,
    #[serde(borrow, rename = "completionReason")]
    titan_reason: Text<'a>,
    #[serde(borrow)]
    results: List<Object<TitanResult<'a>>, RESULTS_MAX>,
    // Llama.
    #[serde(borrow)]
    generation: Text<'a>,
    prompt_token_count: Count,
    generation_token_count: Count,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    // Mistral.
    #[serde(borrow)]
    outputs: List<Object<Said<'a>>, RESULTS_MAX>,
    // Cohere.
    #[serde(borrow)]
    finish_reason: Text<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
    // What Bedrock adds to the last event of a stream.
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Object<Metrics>,
    // What a guardrail did, in the event that ends the answer.
    #[serde(borrow, rename = "amazon-bedrock-guardrailAction")]
    guardrail_action: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TitanResult<'a> {
    token_count: Count,
    #[serde(borrow)]
    output_text: Text<'a>,
    #[serde(borrow)]
    completion_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metrics {
    input_token_count: Count,
    output_token_count: Count,
    cache_read_input_token_count: Count,
    cache_write_input_token_count: Count,
}

impl Metrics {
    /// Bedrock counts apart what was read from and written to the cache, as it does in Converse.
    fn counts(&self) -> Counts {
        Counts {
            input: self.input_token_count.0,
            output: self.output_token_count.0,
            cache_read: self.cache_read_input_token_count.0,
            cache_write: self.cache_write_input_token_count.0,
            is_cache_apart: true,
            ..Counts::default()
        }
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(shape) = serde_json::from_slice::<Shape<'_>>(frame.data) else {
        return false;
    };
    let is_read = by_shape(&shape, frame, joiner);
    if let Some(metrics) = shape.metrics.0
        && !joiner.has_counts()
    {
        facts::count(metrics.counts(), joiner);
    }
    // A stream that a guardrail blocked has one event, and no reason of the model's.
    if shape.guardrail_action.as_str() == Some("INTERVENED") && !joiner.has_ended() {
        joiner.finish_reason(CHOICE, Some(GUARDRAIL_INTERVENED));
        joiner.end();
    }
    is_read
}

fn by_shape(shape: &Shape<'_>, frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let nova = [
        ("messageStart", shape.message_start),
        ("contentBlockStart", shape.block_start),
        ("contentBlockDelta", shape.block_delta),
        ("contentBlockStop", shape.block_stop),
        ("messageStop", shape.message_stop),
        ("metadata", shape.metadata),
    ];
    let nova = nova.into_iter().find_map(|(name, raw)| Some((name, raw?)));
    let is_dashed = shape.kind.as_str().is_some_and(|kind| kind.contains('-'));
    if let Some((name, event)) = nova {
        let event = Frame {
            name: Some(name),
            is_error: false,
            data: event.get().as_bytes(),
        };
        return bedrock::response(&event, joiner);
    }
    if shape.output.is_some() {
        return bedrock::response(frame, joiner);
    }
    if is_dashed || (shape.kind.as_str().is_none() && shape.message.is_some()) {
        return cohere::response(frame, joiner);
    }
    if shape.kind.as_str().is_some() {
        return anthropic::response(frame, joiner);
    }
    if let Some(choices) = shape.choices {
        let is_text = choices.get().contains("\"text\"") && !choices.get().contains("\"message\"");
        return match is_text {
            true => completions::response(frame, joiner),
            false => openai_chat::response(frame, joiner),
        };
    }
    read_own(shape, frame, joiner);
    true
}

/// Titan, Llama and Mistral have shapes of their own.
fn read_own(shape: &Shape<'_>, frame: &Frame<'_>, joiner: &mut Joiner) {
    let mut output = shape.titan_output.0.or(shape.generation_token_count.0);
    let mut reason = shape.titan_reason.as_str().or(shape.stop_reason.as_str());
    let mut said: Vec<&str> = [&shape.titan_text, &shape.generation]
        .into_iter()
        .filter_map(Text::as_str)
        .collect();
    for result in shape
        .results
        .0
        .iter()
        .filter_map(|result| result.0.as_ref())
    {
        output = result.token_count.0.or(output);
        said.extend(result.output_text.as_str());
        reason = result.completion_reason.as_str().or(reason);
    }
    for part in shape.outputs.0.iter().filter_map(|part| part.0.as_ref()) {
        said.extend(part.text.as_str());
        reason = part.stop_reason.as_str().or(reason);
    }
    if !said.is_empty() {
        joiner.role(CHOICE, Some("assistant"));
    }
    for text in said {
        joiner.text(CHOICE, Slot::Text(0, 0), text);
    }
    let counts = Counts {
        input: shape.titan_input.0.or(shape.prompt_token_count.0),
        output,
        ..Counts::default()
    };
    facts::update(&counts, joiner);
    joiner.finish_reason(CHOICE, reason.or(shape.finish_reason.as_str()));
    if joiner.is_empty()
        && let Some(error) = facts::bare_error(frame.data)
    {
        joiner.fail(error);
    }
}

/// Fields that tell the makers' requests apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    anthropic_version: Raw<'a>,
    #[serde(borrow)]
    messages: Raw<'a>,
    #[serde(borrow, rename = "inferenceConfig")]
    inference_config: Raw<'a>,
    #[serde(borrow, rename = "schemaVersion")]
    schema_version: Raw<'a>,
    #[serde(borrow, rename = "inputText")]
    input_text: Text<'a>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    if request.anthropic_version.is_some() {
        anthropic::request(body, parsed)
    } else if request
        .inference_config
        .or(request.schema_version)
        .is_some()
    {
        bedrock::request(body, parsed)
    } else if request.messages.is_some() {
        openai_chat::request(body, parsed)
    } else if let Some(text) = request.input_text.as_str() {
        parsed.read_message(|parts| {
            parts.text(text);
            Some("user".to_owned())
        });
        true
    } else {
        completions::request(body, parsed)
    }
}

/// A message of whichever maker: Nova's blocks have no type.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    if raw.get().contains("\"type\"") {
        anthropic::message(raw, parts)
    } else if raw.get().contains("\"content\":\"") {
        openai_chat::message(raw, parts)
    } else {
        bedrock::message(raw, parts)
    }
}
