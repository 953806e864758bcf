//! Gemini `generateContent` and `streamGenerateContent` (<https://ai.google.dev/api/generate-content>),
//! including those of Vertex AI. Clients write the fields of requests in either spelling of Google's JSON
//! mapping.
//!
//! A call without an id is identified by its name, as Gemini itself does to match a result with its call.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::model::{MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::{CHOICES_MAX, Joiner, Slot};
use crate::wire::json::lenient::{
    Count, Flag, Label, Latest, List, Object, Raw, Real, Text, text_of,
};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of};
use crate::wire::request::{ITEMS_MAX, OfferedTool, ParsedRequest, TOOLS_MAX, tool};
use crate::wire::usage::{GeminiUsage, tool_calls};

/// Gemini's tool that searches the web, under the name that most providers have for it.
const WEB_SEARCH: &str = "web_search";
/// Limit of queries that are counted in a response.
const QUERIES_MAX: usize = 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    response_id: Text<'a>,
    #[serde(borrow)]
    model_version: Text<'a>,
    #[serde(borrow)]
    usage_metadata: Object<GeminiUsage<'a>>,
    #[serde(borrow)]
    candidates: List<Object<Candidate<'a>>, CHOICES_MAX>,
    #[serde(borrow)]
    prompt_feedback: Object<Feedback<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Candidate<'a> {
    index: Count,
    /// A name; a number if the client asked for `enum-encoding=int`.
    finish_reason: Label,
    /// Why it stopped, in prose.
    #[serde(borrow)]
    finish_message: Text<'a>,
    #[serde(borrow)]
    content: Object<Message<'a>>,
    grounding_metadata: Object<Grounding>,
}

/// What the model searched for. Each query of a search of the web is billed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Grounding {
    web_search_queries: List<IgnoredAny, QUERIES_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow)]
    block_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    parts: List<Object<Part<'a>>, CONTENT_PARTS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    thought: Flag,
    #[serde(borrow, alias = "function_call")]
    function_call: Object<Call<'a>>,
    #[serde(borrow, alias = "function_response")]
    function_response: Object<Call<'a>>,
    #[serde(borrow, alias = "executable_code")]
    executable_code: Object<Code<'a>>,
    #[serde(borrow, alias = "code_execution_result")]
    code_execution_result: Object<Code<'a>>,
    /// Calls of Gemini's own tools, and their results.
    #[serde(borrow, alias = "tool_call")]
    tool_call: Object<Call<'a>>,
    #[serde(borrow, alias = "tool_response")]
    tool_response: Object<Call<'a>>,
    /// What was said in audio.
    #[serde(borrow, alias = "audio_transcription")]
    audio_transcription: Object<Transcription<'a>>,
    #[serde(borrow, alias = "inline_data")]
    inline_data: Object<Blob<'a>>,
    #[serde(borrow, alias = "file_data")]
    file_data: Object<Blob<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Call<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, alias = "tool_type")]
    tool_type: Text<'a>,
    #[serde(borrow)]
    args: Raw<'a>,
    /// Vertex AI streams the arguments as values of paths, in calls that have nothing else.
    #[serde(borrow, alias = "partial_args")]
    partial_args: List<Object<PartialArgument<'a>>, CONTENT_PARTS_MAX>,
    #[serde(alias = "will_continue")]
    will_continue: Flag,
    #[serde(borrow)]
    response: Raw<'a>,
}

/// A value of the arguments, or a piece of a text. Without any it is null.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialArgument<'a> {
    #[serde(borrow, alias = "json_path")]
    json_path: Text<'a>,
    #[serde(borrow, alias = "string_value")]
    string_value: Text<'a>,
    #[serde(borrow, alias = "number_value")]
    number_value: Raw<'a>,
    #[serde(borrow, alias = "bool_value")]
    bool_value: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Code<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    output: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transcription<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow, alias = "mime_type")]
    mime_type: Text<'a>,
}

/// The name of Gemini's tool that runs the model's code.
const CODE_EXECUTION: &str = "code_execution";

impl Call<'_> {
    fn name(&self) -> String {
        let name = self.name.owned().or_else(|| self.tool_type.owned());
        name.unwrap_or_default()
    }

    fn id(&self) -> String {
        self.id.owned().unwrap_or_else(|| self.name())
    }

    pub(super) fn read(&self) -> MessageToolCall {
        MessageToolCall {
            tool_call_id: self.id(),
            tool_name: self.name(),
            input: self.args.map(text_of).unwrap_or_default(),
        }
    }
}

impl Part<'_> {
    /// A part has exactly one of these fields. They are checked from the most to the least frequent: text
    /// or thought, call, result, code that Gemini runs, the output of that code, what was said in audio, and last
    /// data, of which only the kind is kept.
    fn read(&self) -> Option<MessagePart> {
        if let Some(text) = self.text.non_empty() {
            let text = text.to_owned();
            return Some(if self.thought.0 == Some(true) {
                MessagePart::Thinking(text)
            } else {
                MessagePart::Text(text)
            });
        }
        if let Some(call) = self.function_call.0.as_ref().or(self.tool_call.0.as_ref()) {
            return Some(MessagePart::ToolCall(call.read()));
        }
        let result = self.function_response.0.as_ref();
        if let Some(result) = result.or(self.tool_response.0.as_ref()) {
            return Some(MessagePart::ToolResult(MessageToolResult {
                tool_call_id: result.id(),
                text: result.response.map(text_of).unwrap_or_default(),
            }));
        }
        let id = |code: &Code<'_>| code.id.owned().unwrap_or_else(|| CODE_EXECUTION.to_owned());
        if let Some(code) = &self.executable_code.0 {
            return Some(MessagePart::ToolCall(MessageToolCall {
                tool_call_id: id(code),
                tool_name: CODE_EXECUTION.to_owned(),
                input: code.code.owned().unwrap_or_default(),
            }));
        }
        if let Some(result) = &self.code_execution_result.0 {
            return Some(MessagePart::ToolResult(MessageToolResult {
                tool_call_id: id(result),
                text: result.output.owned().unwrap_or_default(),
            }));
        }
        if let Some(said) = &self.audio_transcription.0 {
            return Some(MessagePart::Text(said.text.owned()?));
        }
        let blob = self.inline_data.0.as_ref().or(self.file_data.0.as_ref())?;
        let kind = blob.mime_type.non_empty().unwrap_or("file");
        let kind = kind.split('/').next().unwrap_or(kind);
        Some(MessagePart::Other(kind_of(Some(kind))))
    }
}

pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
        return false;
    };
    joiner.identify(event.response_id.as_str(), event.model_version.as_str());
    if let Some(usage) = event.usage_metadata.0 {
        joiner.replace_usage(usage.counts(), usage.details());
    }
    let is_error = event.candidates.0.is_empty() || ResponseError::said(event.error).is_some();
    if is_error && let Some(error) = ResponseError::of_document(frame.data) {
        joiner.fail(error);
    }
    if let Some(feedback) = event.prompt_feedback.0 {
        // The prompt was blocked: there are no candidates, and this is the reason.
        joiner.finish_reason(0, feedback.block_reason.as_str());
    }
    for (position, candidate) in (0..).zip(event.candidates.0) {
        let Some(candidate) = candidate.0 else {
            continue;
        };
        let index = candidate.index.0.unwrap_or(position);
        if let Some(content) = candidate.content.0 {
            joiner.role(index, content.role.as_str().map(role));
            join_message(index, &content, joiner);
        }
        if let Some(grounding) = candidate.grounding_metadata.0 {
            let searches = grounding.web_search_queries.0.len();
            joiner
                .details()
                .server_tool(tool_calls(WEB_SEARCH, searches));
        }
        let reason = candidate.finish_reason.0.as_deref().map(finish_reason);
        if !matches!(reason, None | Some("STOP" | "MAX_TOKENS")) {
            let said = candidate.finish_message.as_str().unwrap_or_default();
            joiner.set_refusal(index, Slot::Refusal(0, 0), said);
        }
        joiner.finish_reason(index, reason);
    }
    true
}

/// Adds the parts of a message, or of a piece of one.
pub(super) fn join_message(choice: u64, message: &Message<'_>, joiner: &mut Joiner) {
    for part in message.parts.0.iter().filter_map(|part| part.0.as_ref()) {
        join(choice, part, joiner);
    }
}

/// The name of a numeric finish reason. From 6 on the numbers of Gemini and Vertex AI differ
/// (`google/ai/generativelanguage/v1beta/generative_service.proto` and
/// `google/cloud/aiplatform/v1/content.proto`), so those remain numbers.
fn finish_reason(reason: &str) -> &str {
    match reason {
        "0" => "FINISH_REASON_UNSPECIFIED",
        "1" => "STOP",
        "2" => "MAX_TOKENS",
        "3" => "SAFETY",
        "4" => "RECITATION",
        "5" => "OTHER",
        other => other,
    }
}

/// Adds a part or continues the last one: the pieces of a text are consecutive parts of the same kind, and those of a
/// call follow it until one says that no more will.
fn join(choice: u64, part: &Part<'_>, joiner: &mut Joiner) {
    let is_text = part.text.non_empty().is_some();
    if let Some(call) = part.function_call.0.as_ref().filter(|_| !is_text) {
        return join_call(choice, call, joiner);
    }
    let Some(part) = part.read() else { return };
    match (joiner.last_part(choice), &part) {
        (Some(MessagePart::Text(text)), MessagePart::Text(piece))
        | (Some(MessagePart::Thinking(text)), MessagePart::Thinking(piece)) => {
            text.push_str(piece);
        }
        _ => {
            joiner.push(choice, part);
        }
    }
}

fn join_call(choice: u64, call: &Call<'_>, joiner: &mut Joiner) {
    let has_name = call.name.non_empty().is_some();
    let slot = match joiner.open_call(choice) {
        Some(slot) if !has_name => slot,
        _ => joiner.push(choice, MessagePart::ToolCall(call.read())),
    };
    for argument in call
        .partial_args
        .0
        .iter()
        .filter_map(|item| item.0.as_ref())
    {
        join_argument(choice, slot, argument, joiner);
    }
    if let Some(args) = call.args {
        joiner.drop_parts(choice, slot);
        if let Some(call) = joiner.call(choice, slot) {
            call.input = text_of(args);
        }
    }
    let goes_on = call.will_continue.0 == Some(true);
    joiner.set_open_call(choice, goes_on.then_some(slot));
}

fn join_argument(choice: u64, slot: Slot, argument: &PartialArgument<'_>, joiner: &mut Joiner) {
    let path = argument.json_path.as_str().unwrap_or_default();
    let Some(value) = joiner.input_value(choice, slot, path) else {
        joiner.unparsed = joiner.unparsed.saturating_add(1);
        return;
    };
    if let Some(piece) = argument.string_value.as_str() {
        value.push_text(piece);
    } else if let Some(json) = argument.number_value.or(argument.bool_value) {
        value.set(json);
    }
}

/// Gemini calls the assistant `model`.
fn role(role: &str) -> &str {
    if role == "model" { "assistant" } else { role }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(alias = "generation_config")]
    generation_config: Object<GenerationConfig>,
    #[serde(borrow, alias = "system_instruction")]
    system_instruction: Object<Message<'a>>,
    #[serde(borrow)]
    contents: Latest<&'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tools: Raw<'a>,
    #[serde(borrow, alias = "tool_config")]
    tool_config: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GenerationConfig {
    #[serde(alias = "max_output_tokens")]
    pub(crate) max_output_tokens: Count,
    pub(crate) temperature: Real,
    #[serde(alias = "top_p")]
    pub(crate) top_p: Real,
}

/// A group of tools: functions of the client, or one of Google's own tools under its name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ToolGroup<'a> {
    #[serde(borrow, alias = "function_declarations")]
    function_declarations: List<&'a RawValue, TOOLS_MAX>,
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return false;
    };
    parsed.model = request.model.owned();
    if let Some(config) = request.generation_config.0 {
        parsed.max_tokens = config.max_output_tokens.0;
        parsed.temperature = config.temperature.0;
        parsed.top_p = config.top_p.0;
    }
    parsed.tool_choice = request.tool_config.map(text_of);
    if let Some(tools) = request.tools {
        read_tools(tools, parsed);
    }
    if let Some(system) = request.system_instruction.0 {
        parsed.read_system(|parts| {
            read_parts(&system, parts);
        });
    }
    parsed.read_messages(request.contents, message);
    true
}

fn read_tools(raw: &RawValue, parsed: &mut ParsedRequest) {
    let groups = serde_json::from_str::<List<&RawValue, TOOLS_MAX>>(raw.get());
    let mut groups = groups.unwrap_or_default().0;
    if raw.get().starts_with('{') {
        groups.push(raw); // A single group may stand for its list.
    }
    for group in groups {
        let read = serde_json::from_str::<Object<ToolGroup<'_>>>(group.get());
        let functions = read.ok().and_then(|group| group.0).unwrap_or_default();
        let functions = functions.function_declarations.0;
        let free_places = TOOLS_MAX.saturating_sub(parsed.tools.len());
        if functions.is_empty() && free_places > 0 {
            parsed.tools.push(OfferedTool {
                tool_name: kind_of(group.get().split('"').nth(1)),
                definition: group.get().to_owned(),
            });
        }
        parsed
            .tools
            .extend(functions.into_iter().take(free_places).map(tool));
    }
}

pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let message = serde_json::from_str::<Object<Message<'_>>>(raw.get())
        .ok()?
        .0?;
    read_parts(&message, parts);
    // Content without a role is the user's.
    Some(role(message.role.non_empty().unwrap_or("user")).to_owned())
}

fn read_parts(message: &Message<'_>, parts: &mut Parts<'_>) {
    for part in message.parts.0.iter().filter_map(|part| part.0.as_ref()) {
        if let Some(part) = part.read() {
            parts.push(part);
        }
    }
}
