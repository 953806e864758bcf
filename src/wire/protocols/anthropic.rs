//! Anthropic messages (<https://docs.anthropic.com/en/api/messages>).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{
    Content, Count, Flag, Latest, List, Object, Raw, Real, Text, text_of,
};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of, result_text};
use crate::wire::request::{ITEMS_MAX, ParsedRequest, TOOLS_MAX, tool};
use crate::wire::usage::AnthropicUsage;

/// A response has one choice.
const CHOICE: u64 = 0;

/// A whole response, or an event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Object<Body<'a>>,
    index: Count,
    #[serde(borrow)]
    content_block: Object<Block<'a>>,
    #[serde(borrow)]
    delta: Object<Delta<'a>>,
    #[serde(borrow)]
    usage: Object<AnthropicUsage<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(borrow)]
    stop_details: Object<StopDetails<'a>>,
    #[serde(borrow)]
    usage: Object<AnthropicUsage<'a>>,
    #[serde(borrow)]
    content: List<Object<Block<'a>>, CONTENT_PARTS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
    #[serde(borrow)]
    to: Object<Named<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    partial_json: Text<'a>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(borrow)]
    stop_details: Object<StopDetails<'a>>,
}

/// Why the model refused.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StopDetails<'a> {
    #[serde(borrow)]
    category: Text<'a>,
    #[serde(borrow)]
    explanation: Text<'a>,
}

/// A model that took over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    model: Text<'a>,
}

/// What a block is, whatever its exact type: tools of the client, of Anthropic and of MCP servers are used
/// and answered in the same way.
enum Kind {
    Text,
    Thinking,
    ToolUse,
    ToolResult,
    Other,
}

impl Block<'_> {
    fn kind(&self) -> Kind {
        match self.kind.as_str() {
            Some("text") => Kind::Text,
            Some("thinking") => Kind::Thinking,
            Some(kind) if kind.ends_with("tool_use") => Kind::ToolUse,
            Some(kind) if kind.ends_with("tool_result") => Kind::ToolResult,
            // Some compatible servers omit the type.
            None if self.text.as_str().is_some() => Kind::Text,
            _ => Kind::Other,
        }
    }

    fn result(&self) -> MessageToolResult {
        MessageToolResult {
            tool_call_id: self.tool_use_id.owned().unwrap_or_default(),
            text: self.content.map(result_text).unwrap_or_default(),
        }
    }
}

/// Reads one event of a stream, or a whole response (`type: "message"`). A stream begins with a message
/// without content, starts each block, and adds deltas to it by its index; usage arrives in the first and
/// in the last event. An unknown kind of event is ignored, unless it is an error.
pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    let index = event.index.0.unwrap_or(0);
    if ResponseError::said(event.error).is_some() {
        joiner.fail(ResponseError::of_document(frame.data).unwrap_or_default());
        return true;
    }
    match event.kind.as_str().or(frame.name) {
        Some("message_start") => {
            if let Some(body) = event.message.0 {
                read_body(&body, joiner);
                // The counts of a stream's beginning are those of the input.
                joiner.counts_are_final(false);
            }
        }
        Some("content_block_start") => {
            if let Some(block) = event.content_block.0 {
                read_block(index, &block, joiner);
            }
        }
        Some("content_block_delta") => {
            if let Some(delta) = event.delta.0 {
                join(index, &delta, joiner);
            }
        }
        Some("message_delta") => {
            if let Some(delta) = event.delta.0 {
                refuse(delta.stop_details.0.as_ref(), joiner);
                joiner.finish_reason(CHOICE, delta.stop_reason.as_str());
            }
            if let Some(usage) = event.usage.0 {
                read_usage(&usage, joiner);
                if usage.has_output() {
                    joiner.counts_are_final(true);
                }
            }
        }
        Some("message_stop") => joiner.end(),
        Some("message") => {
            let Ok(body) = serde_json::from_slice::<Body<'_>>(frame.data) else {
                return false;
            };
            read_body(&body, joiner);
        }
        _ => {
            if let Some(error) = ResponseError::of_document(frame.data) {
                joiner.fail(error);
            }
        }
    }
    true
}

fn read_body(body: &Body<'_>, joiner: &mut Joiner) {
    joiner.identify(body.id.as_str(), body.model.as_str());
    joiner.role(CHOICE, body.role.as_str());
    if let Some(usage) = &body.usage.0 {
        read_usage(usage, joiner);
    }
    for (index, block) in (0..).zip(&body.content.0) {
        if let Some(block) = &block.0 {
            read_block(index, block, joiner);
        }
    }
    refuse(body.stop_details.0.as_ref(), joiner);
    joiner.finish_reason(CHOICE, body.stop_reason.as_str());
}

fn read_usage(usage: &AnthropicUsage<'_>, joiner: &mut Joiner) {
    joiner.update_usage(&usage.counts(), usage.details());
    if let Some(model) = usage.fallback_model() {
        joiner.serve(model);
    }
}

/// Keeps what a refusal is about, and its prose.
pub(super) fn refuse(details: Option<&StopDetails<'_>>, joiner: &mut Joiner) {
    let Some(details) = details else { return };
    let said = [&details.category, &details.explanation];
    let said: Vec<&str> = said.into_iter().filter_map(Text::non_empty).collect();
    joiner.set_refusal(CHOICE, Slot::Refusal(0, 0), &said.join(": "));
}

/// A whole block, or the beginning of one.
fn read_block(index: u64, block: &Block<'_>, joiner: &mut Joiner) {
    match block.kind() {
        Kind::Text => {
            let text = block.text.as_str().unwrap_or_default();
            joiner.text(CHOICE, Slot::Text(index, 0), text);
        }
        Kind::Thinking => {
            let thinking = block.thinking.as_str().unwrap_or_default();
            joiner.thinking(CHOICE, Slot::Thinking(index, 0), thinking);
        }
        Kind::ToolUse => {
            if let Some(call) = joiner.call(CHOICE, Slot::Call(index)) {
                call.tool_call_id = block.id.owned().unwrap_or_default();
                call.tool_name = block.name.owned().unwrap_or_default();
                call.input = block.input.map(text_of).unwrap_or_default();
            }
        }
        Kind::ToolResult => joiner.result(CHOICE, Slot::Result(index), block.result()),
        Kind::Other => {
            if let Some(model) = block.to.0.as_ref().and_then(|to| to.model.non_empty()) {
                joiner.serve(model);
            }
            let kind = kind_of(block.kind.as_str());
            joiner.other(CHOICE, Slot::Other(index), &kind);
        }
    }
}

fn join(index: u64, delta: &Delta<'_>, joiner: &mut Joiner) {
    let text = delta.text.as_str().unwrap_or_default();
    joiner.text(CHOICE, Slot::Text(index, 0), text);
    let thinking = delta.thinking.as_str().unwrap_or_default();
    joiner.thinking(CHOICE, Slot::Thinking(index, 0), thinking);
    if let Some(piece) = delta.partial_json.non_empty()
        && let Some(call) = joiner.call(CHOICE, Slot::Call(index))
    {
        // A block begins with an empty object, which the first piece replaces.
        if call.input == "{}" {
            call.input.clear();
        }
        call.input.push_str(piece);
    }
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
    system: Content<'a, Object<Block<'a>>, CONTENT_PARTS_MAX>,
    #[serde(borrow)]
    messages: Latest<&'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tools: List<&'a RawValue, TOOLS_MAX>,
    #[serde(borrow)]
    tool_choice: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Content<'a, Object<Block<'a>>, CONTENT_PARTS_MAX>,
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
    parsed.tool_choice = request.tool_choice.map(text_of);
    parsed.tools.extend(request.tools.0.into_iter().map(tool));
    if !matches!(request.system, Content::Absent) {
        parsed.read_system(|parts| {
            read_content(&request.system, parts);
        });
    }
    parsed.read_messages(request.messages, message);
    true
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let message = serde_json::from_str::<Object<Message<'_>>>(raw.get())
        .ok()?
        .0?;
    read_content(&message.content, parts);
    message.role.owned()
}

fn read_content(
    content: &Content<'_, Object<Block<'_>>, CONTENT_PARTS_MAX>,
    parts: &mut Parts<'_>,
) {
    match content {
        Content::Absent => {}
        Content::Text(text) => parts.text(text),
        Content::Parts(blocks) => {
            for block in blocks.iter().filter_map(|block| block.0.as_ref()) {
                match block.kind() {
                    Kind::Text => parts.text(block.text.as_str().unwrap_or_default()),
                    Kind::Thinking => parts.thinking(block.thinking.as_str().unwrap_or_default()),
                    Kind::ToolUse => parts.push(MessagePart::ToolCall(MessageToolCall {
                        tool_call_id: block.id.owned().unwrap_or_default(),
                        tool_name: block.name.owned().unwrap_or_default(),
                        input: block.input.map(text_of).unwrap_or_default(),
                    })),
                    Kind::ToolResult => parts.push(MessagePart::ToolResult(block.result())),
                    Kind::Other => parts.other(block.kind.as_str()),
                }
            }
        }
    }
}
