//! Gemini's interactions (<https://ai.google.dev/api/interactions>): what the model did is a list of steps, each of which
//! comes whole or as a beginning and pieces.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, List, Object, Raw, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of, result_text};
use crate::wire::request::{ParsedRequest, read_agent_request};
use crate::wire::usage::Counts;

/// Steps form one message.
const CHOICE: u64 = 0;
/// Limit of steps of a response.
const STEPS_MAX: usize = 4096;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    interaction: Raw<'a>,
    index: Count,
    #[serde(borrow)]
    step: Object<Step<'a>>,
    #[serde(borrow)]
    delta: Object<Step<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interaction<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    usage: Object<Usage>,
    #[serde(borrow)]
    steps: List<Object<Step<'a>>, STEPS_MAX>,
    #[serde(borrow)]
    errors: List<&'a RawValue, 1>,
    #[serde(borrow)]
    error: Raw<'a>,
}

/// A step, its beginning, or a piece of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Step<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    call_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
    #[serde(borrow)]
    summary: Raw<'a>,
    #[serde(borrow)]
    result: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    total_input_tokens: Count,
    total_output_tokens: Count,
    total_thought_tokens: Count,
    total_tool_use_tokens: Count,
    total_cached_tokens: Count,
    total_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
}

impl Usage {
    /// Thoughts and the prompts of tools are counted apart, as `generateContent` does, unless the total says that they are
    /// in the output.
    fn counts(&self) -> Counts {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        let input = add(self.total_input_tokens.0, self.total_tool_use_tokens.0);
        let without_thoughts = add(input, self.total_output_tokens.0);
        Counts {
            input,
            output: self.total_output_tokens.0,
            cache_read: self.total_cached_tokens.0,
            reasoning: self.total_thought_tokens.0,
            is_reasoning_apart: self.total_tokens.0.is_none()
                || self.total_tokens.0 != without_thoughts,
            ..Counts::default()
        }
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    let index = event.index.0.unwrap_or(0);
    let kind = event.event_type.as_str().or(frame.name);
    if let Some(interaction) = event.interaction {
        return read_whole(interaction.get().as_bytes(), joiner);
    }
    match kind {
        Some("step.start") => {
            if let Some(step) = event.step.0 {
                read_step(index, &step, joiner);
            }
        }
        Some("step.delta") => {
            if let Some(delta) = event.delta.0 {
                join(index, &delta, joiner);
            }
        }
        Some("error") => facts::fail(event.error, joiner),
        Some(_) => {}
        None => return read_whole(frame.data, joiner),
    }
    true
}

fn read_whole(body: &[u8], joiner: &mut Joiner) -> bool {
    let Ok(interaction) = serde_json::from_slice::<Interaction<'_>>(body) else {
        return false;
    };
    joiner.identify(interaction.id.as_str(), interaction.model.as_str());
    if let Some(usage) = interaction.usage.0 {
        facts::count(usage.counts(), joiner);
    }
    facts::fail(interaction.error, joiner);
    let status = interaction.status.as_str();
    if status == Some("failed") {
        facts::fail(interaction.errors.0.first().copied(), joiner);
    }
    if !interaction.steps.0.is_empty() {
        joiner.start_over();
    }
    for (index, step) in (0..).zip(&interaction.steps.0) {
        if let Some(step) = &step.0 {
            read_step(index, step, joiner);
        }
    }
    if !matches!(status, None | Some("in_progress")) {
        joiner.finish_reason(CHOICE, status);
        joiner.end();
    }
    if status.is_none()
        && interaction.id.as_str().is_none()
        && let Some(error) = facts::bare_error(body)
    {
        joiner.fail(error);
    }
    true
}

/// A whole step, or the beginning of one.
fn read_step(index: u64, step: &Step<'_>, joiner: &mut Joiner) {
    let kind = step.kind.as_str().unwrap_or_default();
    if let Some(tool) = kind.strip_suffix("_call") {
        if let Some(call) = joiner.call(CHOICE, Slot::Call(index)) {
            call.tool_call_id = step.id.owned().unwrap_or_default();
            call.tool_name = step.name.owned().unwrap_or_else(|| kind_of(Some(tool)));
            call.input = step.arguments.map(text_of).unwrap_or_default();
        }
        return;
    }
    match kind {
        "model_output" => {
            joiner.role(CHOICE, Some("assistant"));
            read_blocks(index, step.content, false, joiner);
        }
        "thought" => read_blocks(index, step.summary, true, joiner),
        "user_input" => {}
        kind if kind.ends_with("_result") => {
            let id = step.call_id.owned().or_else(|| step.id.owned());
            let result = crate::model::MessageToolResult {
                tool_call_id: id.unwrap_or_default(),
                text: step.result.map(result_text).unwrap_or_default(),
            };
            joiner.result(CHOICE, Slot::Result(index), result);
        }
        kind => joiner.other(CHOICE, Slot::Other(index), &kind_of(Some(kind))),
    }
}

fn read_blocks(index: u64, content: Raw<'_>, is_thought: bool, joiner: &mut Joiner) {
    type Blocks<'a> = List<Object<Block<'a>>, CONTENT_PARTS_MAX>;
    let blocks = content.and_then(|raw| serde_json::from_str::<Blocks<'_>>(raw.get()).ok());
    for block in blocks.unwrap_or_default().0 {
        let Some(block) = block.0 else { continue };
        match block.text.as_str() {
            Some(text) if is_thought => joiner.thinking(CHOICE, Slot::Thinking(index, 0), text),
            Some(text) => joiner.text(CHOICE, Slot::Text(index, 0), text),
            None => joiner.other(CHOICE, Slot::Other(index), &kind_of(block.kind.as_str())),
        }
    }
}

fn join(index: u64, delta: &Step<'_>, joiner: &mut Joiner) {
    match delta.kind.as_str() {
        Some("text") => {
            let text = delta.text.as_str().unwrap_or_default();
            joiner.text(CHOICE, Slot::Text(index, 0), text);
        }
        Some("thought_summary") => {
            let block = delta
                .content
                .and_then(|raw| serde_json::from_str::<Object<Block<'_>>>(raw.get()).ok()?.0);
            let text = block.as_ref().and_then(|block| block.text.as_str());
            joiner.thinking(CHOICE, Slot::Thinking(index, 0), text.unwrap_or_default());
        }
        Some("arguments_delta") => {
            if let Some(call) = joiner.call(CHOICE, Slot::Call(index)) {
                // A step begins with an empty object, which the first piece replaces.
                if call.input == "{}" {
                    call.input.clear();
                }
                let piece = delta.arguments.map(text_of).unwrap_or_default();
                call.input.push_str(&piece);
            }
        }
        Some(kind) if kind.ends_with("_call") => {
            if let Some(arguments) = delta.arguments
                && let Some(call) = joiner.call(CHOICE, Slot::Call(index))
            {
                call.input = text_of(arguments);
            }
        }
        _ => {}
    }
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    read_agent_request(body, parsed, message)
}

/// An item of the input: a step, or a block of content.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let step = serde_json::from_str::<Object<Step<'_>>>(raw.get())
        .ok()?
        .0?;
    if let Some(text) = step.text.as_str() {
        parts.text(text);
    } else if let Some(content) = step.content.or(step.result) {
        parts.text(&result_text(content));
    } else {
        parts.other(step.kind.as_str());
    }
    let is_model = step.kind.as_str() == Some("model_output");
    Some(if is_model { "assistant" } else { "user" }.to_owned())
}
