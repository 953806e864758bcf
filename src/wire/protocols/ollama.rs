//! Ollama's own chat endpoint (<https://github.com/ollama/ollama/blob/main/docs/api.md>): one JSON
//! document, or one line of JSON for each piece.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::TOOL_CALLS_MAX;
use crate::model::{MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Count, Flag, Latest, List, Object, Raw, Real, Text, text_of};
use crate::wire::parts::Parts;
use crate::wire::request::{ITEMS_MAX, ParsedRequest, TOOLS_MAX, tool};
use crate::wire::usage::{Details, OllamaUsage};

/// A response has one choice.
const CHOICE: u64 = 0;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    message: Object<Message<'a>>,
    done: Flag,
    #[serde(borrow)]
    done_reason: Text<'a>,
    prompt_eval_count: Count,
    eval_count: Count,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    tool_calls: List<Object<Call<'a>>, TOOL_CALLS_MAX>,
    #[serde(borrow)]
    tool_call_id: Text<'a>,
    #[serde(borrow)]
    tool_name: Text<'a>,
    images: List<serde::de::IgnoredAny, TOOL_CALLS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    function: Object<Function<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
}

impl Call<'_> {
    /// A call without an id is identified by its name, to which its result refers.
    fn read(&self) -> MessageToolCall {
        let function = self.function.0.as_ref();
        let tool_name = function.and_then(|function| function.name.owned());
        let tool_name = tool_name.unwrap_or_default();
        MessageToolCall {
            tool_call_id: self.id.owned().unwrap_or_else(|| tool_name.clone()),
            tool_name,
            input: function
                .and_then(|function| function.arguments)
                .map(text_of)
                .unwrap_or_default(),
        }
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(None, event.model.as_str());
    // Proxies in front of it say what went wrong in other words.
    let is_foreign = event.message.0.is_none() && event.done.0.is_none();
    if (is_foreign || ResponseError::said(event.error).is_some())
        && let Some(error) = ResponseError::of_document(frame.data)
    {
        joiner.fail(error);
    }
    let usage = OllamaUsage {
        prompt_eval_count: event.prompt_eval_count,
        eval_count: event.eval_count,
    };
    joiner.replace_usage(usage.counts(), Details::default());
    if let Some(message) = event.message.0 {
        joiner.role(CHOICE, message.role.as_str());
        let thinking = message.thinking.as_str().unwrap_or_default();
        joiner.thinking(CHOICE, Slot::Thinking(0, 0), thinking);
        let text = message.content.as_str().unwrap_or_default();
        joiner.text(CHOICE, Slot::Text(0, 0), text);
        // Each call comes once and whole.
        for call in message
            .tool_calls
            .0
            .iter()
            .filter_map(|call| call.0.as_ref())
        {
            joiner.push(CHOICE, MessagePart::ToolCall(call.read()));
        }
    }
    joiner.is_unfinished = event.done.0 == Some(false);
    if event.done.0 == Some(true) {
        joiner.finish_reason(CHOICE, event.done_reason.as_str());
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
    messages: Latest<&'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tools: List<&'a RawValue, TOOLS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    pub(crate) num_predict: Count,
    pub(crate) temperature: Real,
    pub(crate) top_p: Real,
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
    parsed.tools.extend(request.tools.0.into_iter().map(tool));
    parsed.read_messages(request.messages, message);
    true
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let message = serde_json::from_str::<Object<Message<'_>>>(raw.get())
        .ok()?
        .0?;
    let role = message.role.owned()?;
    parts.thinking(message.thinking.as_str().unwrap_or_default());
    if role == "tool" {
        let id = message.tool_call_id.owned();
        parts.push(MessagePart::ToolResult(MessageToolResult {
            tool_call_id: id.or_else(|| message.tool_name.owned()).unwrap_or_default(),
            text: message.content.owned().unwrap_or_default(),
        }));
    } else {
        parts.text(message.content.as_str().unwrap_or_default());
    }
    for _ in &message.images.0 {
        parts.other(Some("image"));
    }
    for call in message
        .tool_calls
        .0
        .iter()
        .filter_map(|call| call.0.as_ref())
    {
        parts.push(MessagePart::ToolCall(call.read()));
    }
    Some(role)
}
