//! OpenAI chat completions, and all compatible servers
//! (<https://platform.openai.com/docs/api-reference/chat>).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::TOOL_CALLS_MAX;
use crate::model::{MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::calls::CallPiece;
use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::{CHOICES_MAX, Joiner, Slot};
use crate::wire::json::lenient::{
    Content, Count, Flag, Latest, List, Object, OneOrMany, Prose, Raw, Real, Skipped, Text, Texts,
    Wanted, text_of,
};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, result_text};
use crate::wire::request::{ITEMS_MAX, ParsedRequest, TOOLS_MAX, tool};
use crate::wire::usage::OpenAiUsage;

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "T: Texts"))]
struct Event<'a, T> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    #[serde(borrow)]
    service_tier: Text<'a>,
    #[serde(borrow)]
    x_groq: Object<Groq<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    choices: List<Object<Choice<'a, T>>, CHOICES_MAX>,
}

/// Where Groq puts the usage of a stream, and why it stopped early.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Groq<'a> {
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "T: Texts"))]
struct Choice<'a, T> {
    index: Count,
    #[serde(borrow)]
    finish_reason: Text<'a>,
    #[serde(borrow)]
    delta: Object<Message<'a, T>>,
    #[serde(borrow)]
    message: Object<Message<'a, T>>,
    /// Mistral: what an agent did, in place of one message.
    #[serde(borrow)]
    messages: List<Object<Message<'a, T>>, ITEMS_MAX>,
    /// Moonshot.
    #[serde(borrow)]
    usage: Object<OpenAiUsage<'a>>,
    /// OpenRouter: the upstream of this choice failed.
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "T: Texts"))]
struct Message<'a, T> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Prose<Content<'a, Object<Part<'a>>, CONTENT_PARTS_MAX>, T>,
    #[serde(borrow)]
    reasoning_content: Prose<Text<'a>, T>,
    #[serde(borrow)]
    reasoning: Prose<Text<'a>, T>,
    #[serde(borrow)]
    refusal: Prose<Text<'a>, T>,
    #[serde(borrow)]
    audio: Object<Audio<'a>>,
    /// TGI sends one call without a list.
    #[serde(borrow)]
    tool_calls: OneOrMany<Object<Call<'a>>, TOOL_CALLS_MAX>,
    #[serde(borrow)]
    function_call: Object<Function<'a>>,
    #[serde(borrow)]
    tool_call_id: Text<'a>,
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
    /// Mistral: a list of text parts.
    #[serde(borrow)]
    thinking: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Audio<'a> {
    #[serde(borrow)]
    transcript: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    index: Count,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    function: Object<Function<'a>>,
    #[serde(borrow)]
    custom: Object<Function<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    /// A string that holds JSON. Some servers send the JSON itself.
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
}

impl<T> Message<'_, T> {
    fn thinking(&self) -> Option<&str> {
        let first = self.reasoning_content.0.non_empty();
        first.or_else(|| self.reasoning.0.non_empty())
    }
}

impl<'a> Call<'a> {
    fn function(&self) -> Option<&Function<'a>> {
        self.function.0.as_ref().or(self.custom.0.as_ref())
    }
}

impl Function<'_> {
    fn input(&self) -> Option<String> {
        self.arguments.or(self.input).map(text_of)
    }

    fn has_input(&self) -> bool {
        let input = self.arguments.or(self.input);
        input.is_some_and(|input| input.get() != "\"\"")
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    if frame.data.trim_ascii() == b"[DONE]" {
        joiner.end_of_stream();
        return true;
    }
    if joiner.skips_texts {
        document::<Skipped>(frame, joiner)
    } else {
        document::<Wanted>(frame, joiner)
    }
}

fn document<T: Texts>(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_, T>>(frame.data) else {
        return false;
    };
    joiner.identify(event.id.as_str(), event.model.as_str());
    let groq = event.x_groq.0.unwrap_or_default();
    let is_usage_of_event = event.usage.0.is_some() || groq.usage.0.is_some();
    if let Some(usage) = event.usage.0.or(groq.usage.0) {
        let mut counts = usage.counts();
        counts.is_reasoning_apart |= counts_as_xai(event.model.as_str());
        joiner.replace_usage(counts, usage.details());
    }
    joiner
        .details()
        .name(event.service_tier.as_str(), |details| {
            &mut details.service_tier
        });
    let is_error = event.choices.0.is_empty() || ResponseError::said(event.error).is_some();
    if is_error && let Some(error) = ResponseError::of_document(frame.data) {
        joiner.fail(error);
    }
    if let Some(error) = ResponseError::said(groq.error) {
        joiner.fail(error);
    }
    for (position, choice) in (0..).zip(event.choices.0) {
        let Some(choice) = choice.0 else { continue };
        let index = choice.index.0.unwrap_or(position);
        if let Some(error) = ResponseError::said(choice.error) {
            joiner.fail(error);
        }
        if let Some(usage) = choice.usage.0.filter(|_| !is_usage_of_event) {
            joiner.replace_usage(usage.counts(), usage.details());
        }
        if let Some(message) = choice.delta.0.or(choice.message.0) {
            join(index, &message, joiner);
        }
        for message in choice
            .messages
            .0
            .iter()
            .filter_map(|message| message.0.as_ref())
        {
            // Results of tools that ran in between are no part of what the model said.
            if matches!(message.role.as_str(), None | Some("assistant")) {
                join(index, message, joiner);
            }
        }
        joiner.finish_reason(index, choice.finish_reason.as_str());
    }
    true
}

/// Whether this model's provider counts reasoning apart from the output. Its own total confirms it, where there is one.
fn counts_as_xai(model: Option<&str>) -> bool {
    model.is_some_and(|model| model.starts_with("grok-"))
}

/// Adds one message of a choice: a piece (`delta`) or the whole. Each field goes to its own slot, so that
/// pieces find their part again: thinking, text, audio with its transcript, refusal, then calls by their
/// number.
fn join<T>(choice: u64, message: &Message<'_, T>, joiner: &mut Joiner) {
    joiner.role(choice, message.role.as_str());
    if let Some(thinking) = message.thinking() {
        joiner.thinking(choice, Slot::Thinking(0, 0), thinking);
    }
    match &message.content.0 {
        Content::Absent => {}
        Content::Text(text) => joiner.text(choice, Slot::Text(0, 0), text),
        Content::Parts(parts) => {
            for part in parts.iter().filter_map(|part| part.0.as_ref()) {
                if let Some(thinking) = part.thinking {
                    joiner.thinking(choice, Slot::Thinking(0, 0), &result_text(thinking));
                } else if let Some(text) = part.text.non_empty() {
                    joiner.text(choice, Slot::Text(0, 0), text);
                }
            }
        }
    }
    if let Some(audio) = &message.audio.0 {
        joiner.other(choice, Slot::Other(0), "audio");
        let transcript = audio.transcript.as_str().unwrap_or_default();
        joiner.text(choice, Slot::Text(1, 0), transcript);
    }
    let refusal = message.refusal.0.as_str().unwrap_or_default();
    joiner.refusal(choice, Slot::Refusal(0, 0), refusal);
    for (position, call) in (0..).zip(&message.tool_calls.0) {
        let Some(call) = &call.0 else { continue };
        let number = call.index.0.unwrap_or(position);
        let function = call.function();
        let piece = CallPiece {
            id: call.id.as_str(),
            name: function.and_then(|function| function.name.as_str()),
            has_input: function.is_some_and(Function::has_input),
        };
        if let Some(joined) = joiner.numbered_call(choice, number, &piece)
            && let Some(function) = function
        {
            add(joined, function);
        }
    }
    // The older way to call a single function.
    if let Some(function) = &message.function_call.0
        && let Some(joined) = joiner.call(choice, Slot::Call(u64::MAX))
    {
        add(joined, function);
    }
}

/// The first piece of a streamed call brings the name, and the others bring more input.
fn add(call: &mut MessageToolCall, piece: &Function<'_>) {
    if let Some(name) = piece.name.owned() {
        call.tool_name = name;
    }
    call.input.push_str(&piece.input().unwrap_or_default());
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    max_tokens: Count,
    max_completion_tokens: Count,
    temperature: Real,
    top_p: Real,
    stream: Flag,
    #[serde(borrow)]
    messages: Latest<&'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tools: List<&'a RawValue, TOOLS_MAX>,
    #[serde(borrow)]
    functions: List<&'a RawValue, TOOLS_MAX>,
    #[serde(borrow)]
    tool_choice: Raw<'a>,
    #[serde(borrow)]
    function_call: Raw<'a>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    parsed.max_tokens = request.max_completion_tokens.0.or(request.max_tokens.0);
    parsed.temperature = request.temperature.0;
    parsed.top_p = request.top_p.0;
    parsed.is_streaming = request.stream.0.unwrap_or(false);
    parsed.tool_choice = request.tool_choice.or(request.function_call).map(text_of);
    let functions = request.functions.0.into_iter();
    parsed
        .tools
        .extend(request.tools.0.into_iter().chain(functions).map(tool));
    parsed.read_messages(request.messages, message);
    true
}

/// Reads one message of a request. A tool's answer becomes a single result, with the texts of its parts on
/// lines of their own. Other messages keep their parts in the order of the fields: thinking, content,
/// refusal, calls.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let message = serde_json::from_str::<Object<Message<'_, Wanted>>>(raw.get())
        .ok()?
        .0?;
    let role = message.role.owned()?;
    if let Some(thinking) = message.thinking() {
        parts.push(MessagePart::Thinking(thinking.to_owned()));
    }
    if role == "tool" || role == "function" {
        let text = match &message.content.0 {
            Content::Absent => String::new(),
            Content::Text(text) => text.clone().into_owned(),
            Content::Parts(parts) => {
                let texts = parts
                    .iter()
                    .filter_map(|part| part.0.as_ref()?.text.as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
        };
        parts.push(MessagePart::ToolResult(MessageToolResult {
            tool_call_id: message.tool_call_id.owned().unwrap_or_default(),
            text,
        }));
    } else {
        match &message.content.0 {
            Content::Absent => {}
            Content::Text(text) => parts.text(text),
            Content::Parts(content) => {
                for part in content.iter().filter_map(|part| part.0.as_ref()) {
                    read_part(part, parts);
                }
            }
        }
    }
    if let Some(refusal) = message.refusal.0.owned() {
        parts.push(MessagePart::Refusal(refusal));
    }
    for call in message
        .tool_calls
        .0
        .iter()
        .filter_map(|call| call.0.as_ref())
    {
        let mut joined = MessageToolCall {
            tool_call_id: call.id.owned().unwrap_or_default(),
            ..MessageToolCall::default()
        };
        if let Some(function) = call.function() {
            add(&mut joined, function);
        }
        parts.push(MessagePart::ToolCall(joined));
    }
    if let Some(function) = &message.function_call.0 {
        let mut joined = MessageToolCall::default();
        add(&mut joined, function);
        parts.push(MessagePart::ToolCall(joined));
    }
    Some(role)
}

fn read_part(part: &Part<'_>, parts: &mut Parts<'_>) {
    if let Some(thinking) = part.thinking {
        parts.push(MessagePart::Thinking(result_text(thinking)));
    } else if let Some(text) = part.text.as_str() {
        parts.text(text);
    } else if let Some(refusal) = part.refusal.owned() {
        parts.push(MessagePart::Refusal(refusal));
    } else {
        parts.other(part.kind.as_str());
    }
}
