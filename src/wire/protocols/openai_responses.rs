//! OpenAI responses (<https://platform.openai.com/docs/api-reference/responses>).
//!
//! A response is a list of items; messages, reasoning and calls matter here. The input of a request is a
//! list of the same items, mixed with plain messages.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::billed_calls::read_billed_calls;
use crate::model::{MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::error::ResponseError;
use crate::wire::facts;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{
    Content, Count, Flag, Input, List, Object, Raw, Real, Text, text_of,
};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of, result_text};
use crate::wire::request::{ITEMS_MAX, ParsedRequest, TOOLS_MAX, tool};
use crate::wire::usage::{OpenAiUsage, tool_runs};

/// Limit of items that are read of a response.
const OUTPUT_ITEMS_MAX: usize = 4096;
/// A response has one choice.
const CHOICE: u64 = 0;

/// An event of a stream, or a whole response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    response: Raw<'a>,
    #[serde(borrow)]
    item: Raw<'a>,
    output_index: Count,
    content_index: Count,
    summary_index: Count,
    #[serde(borrow)]
    delta: Text<'a>,
    command_index: Count,
    #[serde(borrow)]
    command: Text<'a>,
    // What the end of a part repeats as a whole.
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    refusal: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
    #[serde(borrow)]
    code: Raw<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    output: Raw<'a>,
    #[serde(borrow)]
    object: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    incomplete_details: Object<Incomplete<'a>>,
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    #[serde(borrow)]
    service_tier: Text<'a>,
    #[serde(borrow)]
    tool_usage: Object<ToolUsage<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    output: List<&'a RawValue, OUTPUT_ITEMS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Text<'a>,
}

/// What the provider's own tools used, beside the usage of the model.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolUsage<'a> {
    #[serde(borrow)]
    image_gen: Object<OpenAiUsage<'a>>,
    web_search: Object<Runs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runs {
    num_requests: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    call_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    content: Content<'a, Object<Part<'a>>, CONTENT_PARTS_MAX>,
    #[serde(borrow)]
    summary: List<Object<Part<'a>>, CONTENT_PARTS_MAX>,
    // The input of a call; each kind of call has one of these.
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
    #[serde(borrow)]
    action: Raw<'a>,
    #[serde(borrow)]
    actions: Raw<'a>,
    #[serde(borrow)]
    operation: Raw<'a>,
    #[serde(borrow)]
    code: Raw<'a>,
    #[serde(borrow)]
    queries: Raw<'a>,
    #[serde(borrow)]
    command: Raw<'a>,
    #[serde(borrow)]
    request: Raw<'a>,
    #[serde(borrow)]
    output: Raw<'a>,
    #[serde(borrow)]
    result: Raw<'a>,
    #[serde(borrow)]
    tools: Raw<'a>,
    /// Of a call of an MCP server.
    #[serde(borrow)]
    error: Raw<'a>,
    /// Of a model that draws.
    #[serde(borrow)]
    svg_usage: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    refusal: Text<'a>,
}

impl<'a> Item<'a> {
    /// A plain message has no type.
    fn kind(&self) -> &str {
        self.kind.non_empty().unwrap_or("message")
    }

    fn call_id(&self) -> String {
        let id = self.call_id.owned().or_else(|| self.id.owned());
        id.unwrap_or_default()
    }

    /// The name of the tool that this item calls, if it is a call. The provider's own tools are named by
    /// their kind.
    fn tool_name(&self) -> Option<String> {
        let kind = match self.kind() {
            // A program that calls tools; a call that waits for approval.
            kind @ ("program"
            | "mcp_approval_request"
            | "computer_use_approval_request"
            | "command_execution") => kind,
            kind => kind.strip_suffix("_call")?,
        };
        Some(self.name.owned().unwrap_or_else(|| kind_of(Some(kind))))
    }

    fn input(&self) -> Option<String> {
        let raw: Raw<'a> = self.arguments.or(self.input);
        let raw = raw.or(self.actions.filter(|actions| actions.get() != "[]"));
        let raw = raw.or(self.action).or(self.operation);
        let raw = raw.or(self.code).or(self.queries);
        let raw = raw.or(self.command).or(self.request).map(text_of);
        // A subagent is told what to do in words.
        let words = || {
            self.content_text()
                .filter(|_| self.kind().contains("subagent"))
        };
        raw.or_else(words)
    }

    fn content_text(&self) -> Option<String> {
        let parts = self.parts();
        let texts = parts.iter().filter_map(|(_, part)| part.text.as_str());
        let text = texts.collect::<Vec<_>>().join("\n");
        Some(text).filter(|text| !text.is_empty())
    }

    /// What a tool returned, in an item of its own.
    fn result(&self) -> MessageToolResult {
        let output = self.output.or(self.result).or(self.tools);
        MessageToolResult {
            tool_call_id: self.call_id(),
            text: output.map(result_text).unwrap_or_default(),
        }
    }

    /// What a call of the provider's own tool returned, in the same item.
    fn own_result(&self) -> Option<MessageToolResult> {
        let output = self.error.or(self.output)?;
        // An error has no text, but a kind, a code and a message.
        let text = Some(result_text(output)).filter(|text| !text.is_empty());
        Some(MessageToolResult {
            tool_call_id: self.call_id(),
            text: text.unwrap_or_else(|| text_of(output)),
        })
    }

    fn parts(&self) -> Vec<(u64, &Part<'a>)> {
        let Content::Parts(parts) = &self.content else {
            return Vec::new();
        };
        let parts = (0..).zip(parts.iter().map(|part| part.0.as_ref()));
        parts.filter_map(|(at, part)| Some((at, part?))).collect()
    }
}

/// Reads one event of a stream, or a whole response. Deltas add to the slot of their item; an item's
/// beginning and end are read as a whole item, which replaces the deltas. Events that carry a `response`
/// have all items so far. What remains is either a whole response as a document, or an error.
pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    if frame.data.trim_ascii() == b"[DONE]" {
        return true;
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    let output = event.output_index.0.unwrap_or(0);
    let content = event.content_index.0.unwrap_or(0);
    let delta = event.delta.as_str().unwrap_or_default();
    match event.kind.as_str().or(frame.name) {
        Some("response.output_text.delta") => {
            joiner.text(CHOICE, Slot::Text(output, content), delta);
        }
        Some("response.refusal.delta") => {
            joiner.refusal(CHOICE, Slot::Refusal(output, content), delta);
        }
        Some("response.reasoning_text.delta") => {
            joiner.thinking(CHOICE, Slot::Thinking(output, content), delta);
        }
        Some("response.reasoning_summary_text.delta") => {
            let summary = event.summary_index.0.unwrap_or(0);
            joiner.thinking(CHOICE, summary_slot(output, summary), delta);
        }
        Some(
            "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta"
            | "response.mcp_call_arguments.delta"
            | "response.code_interpreter_call_code.delta",
        ) => {
            if let Some(call) = joiner.call(CHOICE, Slot::Call(output)) {
                call.input.push_str(delta);
            }
        }
        Some("response.output_text.done") => {
            let text = event.text.as_str().unwrap_or_default();
            joiner.set_text(CHOICE, Slot::Text(output, content), text);
        }
        Some("response.refusal.done") => {
            let refusal = event.refusal.as_str().unwrap_or_default();
            joiner.set_refusal(CHOICE, Slot::Refusal(output, content), refusal);
        }
        Some("response.reasoning_text.done") => {
            let text = event.text.as_str().unwrap_or_default();
            joiner.set_thinking(CHOICE, Slot::Thinking(output, content), text);
        }
        Some("response.reasoning_summary_text.done") => {
            let summary = event.summary_index.0.unwrap_or(0);
            let text = event.text.as_str().unwrap_or_default();
            joiner.set_thinking(CHOICE, summary_slot(output, summary), text);
        }
        Some(
            "response.function_call_arguments.done"
            | "response.custom_tool_call_input.done"
            | "response.mcp_call_arguments.done"
            | "response.code_interpreter_call_code.done",
        ) => {
            let input = event.arguments.or(event.input).or(event.code);
            let input = input.map(text_of).filter(|input| !input.is_empty());
            if let Some(call) = joiner.call(CHOICE, Slot::Call(output)) {
                call.input = input.unwrap_or_else(|| std::mem::take(&mut call.input));
                if call.tool_name.is_empty() {
                    call.tool_name = event.name.owned().unwrap_or_default();
                }
            }
        }
        Some(kind) if kind.starts_with("response.shell_call_command.") => {
            let command = event.command_index.0.unwrap_or(0);
            if let Some(known) = joiner.command(CHOICE, Slot::Call(output), command) {
                match event.command.as_str() {
                    Some(whole) => whole.clone_into(known),
                    None => known.push_str(delta),
                }
            }
        }
        Some("response.output_item.added" | "response.output_item.done") => {
            return event
                .item
                .is_none_or(|item| read_item(output, item, joiner));
        }
        Some("error") => {
            joiner.fail(ResponseError::of_document(frame.data).unwrap_or_default());
        }
        _ => {
            if let Some(body) = event.response {
                return read_body(body.get().as_bytes(), joiner);
            }
            // Some events have an output too.
            let is_event = event
                .kind
                .as_str()
                .is_some_and(|kind| kind.starts_with("response."));
            let is_whole = event.output.is_some() || event.object.as_str() == Some("response");
            if is_whole && !is_event {
                return read_body(frame.data, joiner);
            }
            if !is_event && let Some(error) = ResponseError::of_document(frame.data) {
                joiner.fail(error);
            }
        }
    }
    true
}

/// Summaries are numbered separately from the content of the same item.
pub(super) fn summary_slot(output: u64, summary: u64) -> Slot {
    Slot::Thinking(output, summary.saturating_add(1 << 32))
}

/// A whole response: as a document, or in the events that begin and end a stream.
fn read_body(body: &[u8], joiner: &mut Joiner) -> bool {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else {
        return false;
    };
    joiner.identify(body.id.as_str(), body.model.as_str());
    let status = body.status.as_str();
    let is_pending = matches!(status, Some("queued" | "in_progress"));
    if let Some(usage) = body.usage.0 {
        joiner.replace_usage(usage.counts(), usage.details());
        joiner.counts_are_final(!is_pending);
    }
    joiner
        .details()
        .name(body.service_tier.as_str(), |details| {
            &mut details.service_tier
        });
    read_billed_calls(&body.output.0, joiner);
    read_tool_usage(&body.tool_usage.0.unwrap_or_default(), joiner);
    if let Some(error) = ResponseError::said(body.error) {
        joiner.fail(error);
    } else if status == Some("failed") {
        joiner.fail(ResponseError::new(status, None));
    }
    if !body.output.0.is_empty() {
        joiner.start_over();
    }
    for (position, item) in (0..).zip(body.output.0) {
        if !read_item(position, item, joiner) {
            joiner.unparsed = joiner.unparsed.saturating_add(1);
        }
    }
    if !is_pending {
        let incomplete = body.incomplete_details.0;
        let reason = incomplete
            .as_ref()
            .and_then(|details| details.reason.non_empty());
        joiner.finish_reason(CHOICE, reason.or(status));
    }
    true
}

fn read_tool_usage(tools: &ToolUsage<'_>, joiner: &mut Joiner) {
    if let Some(searches) = &tools.web_search.0 {
        let runs = tool_runs("web_search", searches.num_requests);
        joiner.details().server_tool(runs);
    }
    if let Some(images) = &tools.image_gen.0 {
        let tokens = images.of_tool("image_generation", None);
        joiner.details().server_tool(tokens);
    }
}

/// Reads an item as far as it is known: at its beginning it may lack what later pieces bring. `false`: it
/// is not an item.
///
/// A call of one of the provider's own tools carries its result too. Of other items, messages and reasoning
/// are read part by part; an item of an unknown kind leaves its kind only.
pub(super) fn read_item(position: u64, raw: &RawValue, joiner: &mut Joiner) -> bool {
    let Ok(Object(Some(item))) = serde_json::from_str::<Object<Item<'_>>>(raw.get()) else {
        return false;
    };
    if let Some(name) = item.tool_name() {
        if let Some(call) = joiner.call(CHOICE, Slot::Call(position)) {
            call.tool_call_id = item.call_id();
            call.tool_name = name;
            if let Some(input) = item.input() {
                call.input = input;
                joiner.drop_parts(CHOICE, Slot::Call(position));
            }
        }
        if let Some(result) = item.own_result() {
            joiner.result(CHOICE, Slot::Result(position), result);
        }
        if let Some(usage) = item.svg_usage {
            facts::drawing(usage, joiner);
        }
        return true;
    }
    match item.kind() {
        "message" => {
            joiner.role(CHOICE, item.role.as_str());
            for (at, part) in item.parts() {
                // Deltas have brought it already, unless this is the whole response.
                let text = part.text.as_str().unwrap_or_default();
                joiner.set_text(CHOICE, Slot::Text(position, at), text);
                let refusal = part.refusal.as_str().unwrap_or_default();
                joiner.set_refusal(CHOICE, Slot::Refusal(position, at), refusal);
            }
        }
        "reasoning" => {
            for (at, part) in (0..).zip(&item.summary.0) {
                let text = part.0.as_ref().and_then(|part| part.text.as_str());
                let slot = summary_slot(position, at);
                joiner.set_thinking(CHOICE, slot, text.unwrap_or_default());
            }
            for (at, part) in item.parts() {
                let text = part.text.as_str().unwrap_or_default();
                joiner.set_thinking(CHOICE, Slot::Thinking(position, at), text);
            }
        }
        kind if kind.ends_with("_output") => {
            joiner.result(CHOICE, Slot::Result(position), item.result());
        }
        kind => {
            joiner.other(CHOICE, Slot::Other(position), &kind_of(Some(kind)));
            if let Some(failed) = item.own_result().filter(|_| item.error.is_some()) {
                joiner.result(CHOICE, Slot::Result(position), failed);
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
    max_output_tokens: Count,
    temperature: Real,
    top_p: Real,
    stream: Flag,
    #[serde(borrow)]
    instructions: Input<'a, &'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    input: Input<'a, &'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tools: List<&'a RawValue, TOOLS_MAX>,
    #[serde(borrow)]
    tool_choice: Raw<'a>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    parsed.max_tokens = request.max_output_tokens.0;
    parsed.temperature = request.temperature.0;
    parsed.top_p = request.top_p.0;
    parsed.is_streaming = request.stream.0.unwrap_or(false);
    parsed.tool_choice = request.tool_choice.map(text_of);
    parsed.tools.extend(request.tools.0.into_iter().map(tool));
    parsed.read_input("system", request.instructions, message);
    parsed.read_input("user", request.input, message);
    true
}

/// Reads one item of a request's input and returns its role. Items other than messages have no role: calls
/// and reasoning are the assistant's, and outputs are the tool's.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let item = serde_json::from_str::<Object<Item<'_>>>(raw.get())
        .ok()?
        .0?;
    if let Some(tool_name) = item.tool_name() {
        parts.push(MessagePart::ToolCall(MessageToolCall {
            tool_call_id: item.call_id(),
            tool_name,
            input: item.input().unwrap_or_default(),
        }));
        if let Some(result) = item.own_result() {
            parts.push(MessagePart::ToolResult(result));
        }
        return Some("assistant".to_owned());
    }
    match item.kind() {
        "message" => {
            match &item.content {
                Content::Absent => {}
                Content::Text(text) => parts.text(text),
                Content::Parts(_) => {
                    for (_, part) in item.parts() {
                        read_part(part, parts);
                    }
                }
            }
            Some(item.role.owned().unwrap_or_else(|| "user".to_owned()))
        }
        "reasoning" => {
            let summary = item.summary.0.iter().filter_map(|part| part.0.as_ref());
            let content = item.parts().into_iter().map(|(_, part)| part);
            for part in summary.chain(content) {
                parts.thinking(part.text.as_str().unwrap_or_default());
            }
            Some("assistant".to_owned())
        }
        kind if kind.ends_with("_output") => {
            parts.push(MessagePart::ToolResult(item.result()));
            Some("tool".to_owned())
        }
        kind => {
            parts.other(Some(kind));
            Some(item.role.owned().unwrap_or_else(|| "assistant".to_owned()))
        }
    }
}

fn read_part(part: &Part<'_>, parts: &mut Parts<'_>) {
    if let Some(text) = part.text.as_str() {
        parts.text(text);
    } else if let Some(refusal) = part.refusal.owned() {
        parts.push(MessagePart::Refusal(refusal));
    } else {
        parts.other(part.kind.as_str());
    }
}
