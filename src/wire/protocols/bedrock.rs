//! Amazon Bedrock Converse and ConverseStream
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
//!
//! A response does not name its model; a request names it in its path.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, Latest, List, Object, Raw, Real, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of, result_text};
use crate::wire::request::{ITEMS_MAX, ParsedRequest, TOOLS_MAX, tool};
use crate::wire::usage::BedrockUsage;

/// A response has one choice.
const CHOICE: u64 = 0;

/// A whole response, or the payload of an event. Only the framing tells the kind of event.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    output: Object<Output<'a>>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    usage: Object<BedrockUsage>,
    #[serde(borrow)]
    service_tier: Object<Plain<'a>>,
    #[serde(borrow)]
    performance_config: Object<Performance<'a>>,
    #[serde(borrow)]
    role: Text<'a>,
    content_block_index: Count,
    #[serde(borrow)]
    start: Object<Block<'a>>,
    #[serde(borrow)]
    delta: Object<Block<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Output<'a> {
    #[serde(borrow)]
    message: Object<Message<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: List<&'a RawValue, CONTENT_PARTS_MAX>,
}

/// A block of content, its beginning, or a piece of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    reasoning_content: Object<Reasoning<'a>>,
    #[serde(borrow)]
    tool_use: Object<ToolUse<'a>>,
    #[serde(borrow)]
    tool_result: Object<ToolResult<'a>>,
    #[serde(borrow)]
    guard_content: Object<Guarded<'a>>,
    #[serde(borrow)]
    citations_content: Object<Cited<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow)]
    reasoning_text: Object<Plain<'a>>,
    /// In a stream.
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plain<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Performance<'a> {
    #[serde(borrow)]
    latency: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Guarded<'a> {
    #[serde(borrow)]
    text: Object<Plain<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cited<'a> {
    #[serde(borrow)]
    content: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    /// An object; in a stream, a string with a piece of it.
    #[serde(borrow)]
    input: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
}

impl Reasoning<'_> {
    fn text(&self) -> &str {
        let whole = self.reasoning_text.0.as_ref();
        let whole = whole.and_then(|text| text.text.as_str());
        whole.or_else(|| self.text.as_str()).unwrap_or_default()
    }
}

impl ToolResult<'_> {
    fn read(&self) -> MessageToolResult {
        MessageToolResult {
            tool_call_id: self.tool_use_id.owned().unwrap_or_default(),
            text: self.content.map(result_text).unwrap_or_default(),
        }
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    if let Some(usage) = event.usage.0 {
        joiner.update_usage(&usage.counts(), usage.details());
        joiner.counts_are_final(true);
    }
    let tier = event.service_tier.0.unwrap_or_default();
    joiner
        .details()
        .name(tier.kind.as_str(), |details| &mut details.service_tier);
    let speed = event.performance_config.0.unwrap_or_default();
    joiner
        .details()
        .name(speed.latency.as_str(), |details| &mut details.speed);
    joiner.role(CHOICE, event.role.as_str());
    let message = event.output.0.and_then(|output| output.message.0);
    if let Some(message) = &message {
        joiner.role(CHOICE, message.role.as_str());
        for (index, raw) in (0..).zip(&message.content.0) {
            join(index, raw, joiner);
        }
    }
    let index = event.content_block_index.0.unwrap_or(0);
    for block in [event.start.0, event.delta.0].into_iter().flatten() {
        join_block(index, &block, joiner);
    }
    joiner.finish_reason(CHOICE, event.stop_reason.as_str());
    if frame.name.is_none()
        && message.is_none()
        && let Some(error) = ResponseError::of_document(frame.data)
    {
        joiner.fail(error);
    }
    true
}

fn join(index: u64, raw: &RawValue, joiner: &mut Joiner) {
    let block = serde_json::from_str::<Object<Block<'_>>>(raw.get());
    let is_known = block.is_ok_and(|block| {
        let block = block.0;
        block.is_some_and(|block| join_block(index, &block, joiner))
    });
    if !is_known {
        joiner.other(CHOICE, Slot::Other(index), &first_key(raw));
    }
}

/// Adds what is known of a block; `false` if nothing is known.
fn join_block(index: u64, block: &Block<'_>, joiner: &mut Joiner) -> bool {
    if let Some(text) = block.text.as_str() {
        joiner.text(CHOICE, Slot::Text(index, 0), text);
    } else if let Some(reasoning) = &block.reasoning_content.0 {
        joiner.thinking(CHOICE, Slot::Thinking(index, 0), reasoning.text());
    } else if let Some(used) = &block.tool_use.0 {
        if let Some(call) = joiner.call(CHOICE, Slot::Call(index)) {
            if let Some(id) = used.tool_use_id.owned() {
                call.tool_call_id = id;
            }
            if let Some(name) = used.name.owned() {
                call.tool_name = name;
            }
            call.input
                .push_str(&used.input.map(text_of).unwrap_or_default());
        }
    } else if let Some(result) = &block.tool_result.0 {
        joiner.result(CHOICE, Slot::Result(index), result.read());
    } else if let Some(cited) = &block.citations_content.0 {
        let text = cited.content.map(result_text).unwrap_or_default();
        joiner.text(CHOICE, Slot::Text(index, 0), &text);
    } else {
        return false;
    }
    true
}

/// The only key of a block, which names its kind.
fn first_key(raw: &RawValue) -> String {
    kind_of(raw.get().split('"').nth(1))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    model_id: Text<'a>,
    inference_config: Object<InferenceConfig>,
    #[serde(borrow)]
    system: List<&'a RawValue, CONTENT_PARTS_MAX>,
    #[serde(borrow)]
    messages: Latest<&'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tool_config: Object<ToolConfig<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct InferenceConfig {
    pub(crate) max_tokens: Count,
    pub(crate) temperature: Real,
    pub(crate) top_p: Real,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ToolConfig<'a> {
    #[serde(borrow)]
    tools: List<&'a RawValue, TOOLS_MAX>,
    #[serde(borrow)]
    tool_choice: Raw<'a>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model_id.owned();
    if let Some(config) = request.inference_config.0 {
        parsed.max_tokens = config.max_tokens.0;
        parsed.temperature = config.temperature.0;
        parsed.top_p = config.top_p.0;
    }
    if let Some(config) = request.tool_config.0 {
        parsed.tools.extend(config.tools.0.into_iter().map(tool));
        parsed.tool_choice = config.tool_choice.map(text_of);
    }
    if !request.system.0.is_empty() {
        parsed.read_system(|parts| {
            for raw in &request.system.0 {
                read_block(raw, parts);
            }
        });
    }
    parsed.read_messages(request.messages, message);
    true
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let message = serde_json::from_str::<Object<Message<'_>>>(raw.get())
        .ok()?
        .0?;
    for raw in &message.content.0 {
        read_block(raw, parts);
    }
    message.role.owned()
}

fn read_block(raw: &RawValue, parts: &mut Parts<'_>) {
    let block = serde_json::from_str::<Object<Block<'_>>>(raw.get());
    let Some(block) = block.ok().and_then(|block| block.0) else {
        return parts.other(None);
    };
    let guarded = block.guard_content.0.as_ref();
    let guarded = guarded.and_then(|content| content.text.0.as_ref()?.text.as_str());
    if let Some(text) = block.text.as_str().or(guarded) {
        parts.text(text);
    } else if let Some(reasoning) = &block.reasoning_content.0 {
        parts.thinking(reasoning.text());
    } else if let Some(used) = &block.tool_use.0 {
        parts.push(MessagePart::ToolCall(MessageToolCall {
            tool_call_id: used.tool_use_id.owned().unwrap_or_default(),
            tool_name: used.name.owned().unwrap_or_default(),
            input: used.input.map(text_of).unwrap_or_default(),
        }));
    } else if let Some(result) = &block.tool_result.0 {
        parts.push(MessagePart::ToolResult(result.read()));
    } else if let Some(cited) = &block.citations_content.0 {
        parts.text(&cited.content.map(result_text).unwrap_or_default());
    } else {
        parts.other(Some(&first_key(raw)));
    }
}
