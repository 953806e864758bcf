//! What the path of a URL says: the protocol, the model, and whether to stream.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::decoding;
use super::json::lenient::{Object, Raw, Text};
use crate::model::WireProtocol;

impl WireProtocol {
    /// The protocol of a request, from the path of its URL (a query is ignored) and its body.
    ///
    /// The end of the path decides, if it is that of a known protocol or of another known endpoint. What
    /// precedes it does not matter, so proxies may add prefixes. Otherwise the fields of the body decide.
    /// [`Unknown`](Self::Unknown): neither tells.
    ///
    /// ```
    /// use auditlite::WireProtocol;
    ///
    /// let detect = |path, body: &str| WireProtocol::detect(path, body.as_bytes());
    /// assert_eq!(detect("/openai/v1/chat/completions", ""), WireProtocol::OpenAiChat);
    /// assert_eq!(detect("/v1beta/models/gemini-2.5-pro:generateContent", ""), WireProtocol::GeminiGenerate);
    /// assert_eq!(detect("/v1/messages/count_tokens", "{}"), WireProtocol::CountTokens);
    /// let body = r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#;
    /// assert_eq!(detect("/llm", body), WireProtocol::GeminiGenerate);
    /// ```
    pub fn detect(path: &str, body: &[u8]) -> Self {
        let path = path.split(['?', '#']).next().unwrap_or(path);
        by_path(path).unwrap_or_else(|| by_body(path, body))
    }
}

/// `None` if the path is not known.
///
/// Only the ending counts, but for sessions, threads, conversations, batches and videos, which have folders. Threads
/// come early, since their messages look like Anthropic's but are of another kind; then the known protocols; then endpoints that must not be decided by their bodies.
pub(super) fn by_path(path: &str) -> Option<WireProtocol> {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let path = path.trim_end_matches('/');
    let ends = |ending: &str| path.ends_with(ending);
    let known = [
        ("/chat/completions", WireProtocol::OpenAiChat),
        ("/responses", WireProtocol::OpenAiResponses),
        ("/embeddings", WireProtocol::OpenAiEmbeddings),
        (":generateContent", WireProtocol::GeminiGenerate),
        (":streamGenerateContent", WireProtocol::GeminiGenerate),
        ("/v1/chat", WireProtocol::CohereChat),
        ("/v2/chat", WireProtocol::CohereChat),
        ("/fim/completions", WireProtocol::OpenAiChat),
        ("/agents/completions", WireProtocol::OpenAiChat),
        ("/completions", WireProtocol::OpenAiCompletions),
        ("/api/generate", WireProtocol::OllamaGenerate),
        ("/api/embed", WireProtocol::OllamaGenerate),
        ("/invoke", WireProtocol::BedrockInvoke),
        ("/invoke-with-response-stream", WireProtocol::BedrockInvoke),
        ("/count_tokens", WireProtocol::CountTokens),
        (":countTokens", WireProtocol::CountTokens),
        ("/input_tokens", WireProtocol::CountTokens),
        ("/mcp", WireProtocol::Mcp),
        ("/images/generations", WireProtocol::OpenAiMedia),
        ("/images/edits", WireProtocol::OpenAiMedia),
        ("/images/variations", WireProtocol::OpenAiMedia),
        ("/audio/transcriptions", WireProtocol::OpenAiMedia),
        ("/audio/translations", WireProtocol::OpenAiMedia),
        ("/videos", WireProtocol::OpenAiMedia),
        ("/realtime", WireProtocol::OpenAiRealtime),
        (".BidiGenerateContent", WireProtocol::GeminiLive),
        (".BidiGenerateContentConstrained", WireProtocol::GeminiLive),
        ("/interactions", WireProtocol::GeminiInteractions),
        ("/batches", WireProtocol::Batches),
        (":batchGenerateContent", WireProtocol::Batches),
        ("/converse", WireProtocol::BedrockConverse),
        ("/converse-stream", WireProtocol::BedrockConverse),
        ("/api/chat", WireProtocol::OllamaChat),
        // OpenAI's assistants have messages of another kind; Vertex AI serves Anthropic's models.
        ("/messages", WireProtocol::AnthropicMessages),
        (":rawPredict", WireProtocol::AnthropicMessages),
        (":streamRawPredict", WireProtocol::AnthropicMessages),
    ];
    let is_under = |folder: &str| {
        let mut places = path.match_indices(folder);
        places.any(|(at, _)| matches!(path.as_bytes().get(at + folder.len()), None | Some(b'/')))
    };
    if is_under("/agents/sessions") {
        return Some(WireProtocol::OpenAiAgents);
    }
    if is_under("/v1/sessions") || is_under("/v1/dreams") {
        return Some(WireProtocol::AnthropicSessions);
    }
    if path.contains("/threads/") {
        return Some(match is_under("/runs") {
            true => WireProtocol::OpenAiAssistants,
            false => WireProtocol::Unknown,
        });
    }
    if path.ends_with("/conversations") || path.contains("/conversations/") {
        return Some(WireProtocol::MistralConversations);
    }
    // A look at a batch, or its results, of which the lines are requests of their own.
    if path.contains("/batches/") {
        return Some(WireProtocol::Batches);
    }
    if path.contains("/videos/") && !path.ends_with("/content") {
        return Some(WireProtocol::OpenAiMedia);
    }
    let found = known.into_iter().find(|(ending, _)| ends(ending));
    if let Some((_, protocol)) = found {
        return Some(protocol);
    }
    // Other endpoints, whose bodies look similar.
    let other = [
        ":embedContent",
        ":batchEmbedContents",
        ":predict",
        "/compact",
        "/decisions",
        // The answer is the audio itself.
        "/audio/speech",
        "/moderations",
        "/rerank",
    ];
    let is_other = other.into_iter().any(ends);
    is_other.then_some(WireProtocol::Unknown)
}

/// Whether the path is that of the content of a file at a provider.
pub(super) fn is_of_file(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    path.contains("/files/") && (path.ends_with("/content") || path.ends_with(":download"))
}

/// Fields that only some protocols have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    messages: Raw<'a>,
    #[serde(borrow)]
    contents: Raw<'a>,
    #[serde(borrow)]
    jsonrpc: Text<'a>,
    #[serde(borrow)]
    prompt: Raw<'a>,
    #[serde(borrow)]
    instructions: Raw<'a>,
    #[serde(borrow)]
    previous_response_id: Raw<'a>,
    #[serde(borrow)]
    max_output_tokens: Raw<'a>,
    #[serde(borrow)]
    reasoning: Raw<'a>,
    #[serde(borrow)]
    include: Raw<'a>,
    #[serde(borrow)]
    store: Raw<'a>,
    #[serde(borrow)]
    temperature: Raw<'a>,
    #[serde(borrow)]
    stream: Raw<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
    #[serde(borrow)]
    system: Raw<'a>,
    #[serde(borrow)]
    encoding_format: Raw<'a>,
    #[serde(borrow)]
    anthropic_version: Raw<'a>,
    #[serde(borrow)]
    max_tokens: Raw<'a>,
    #[serde(borrow)]
    tools: Raw<'a>,
    #[serde(borrow)]
    options: Raw<'a>,
    #[serde(borrow)]
    keep_alive: Raw<'a>,
    #[serde(borrow)]
    format: Raw<'a>,
    #[serde(borrow, rename = "inferenceConfig")]
    inference_config: Raw<'a>,
    #[serde(borrow, rename = "toolConfig")]
    tool_config: Raw<'a>,
}

fn by_body(path: &str, body: &[u8]) -> WireProtocol {
    let decoded = decoding::decoded(body);
    let body = decoding::without_mark(decoded.as_deref().unwrap_or(body));
    let fields = serde_json::from_slice::<Object<Fields<'_>>>(body);
    let Some(fields) = fields.ok().and_then(|fields| fields.0) else {
        return WireProtocol::Unknown;
    };
    let starts = |raw: Raw<'_>, start: char| raw.is_some_and(|raw| raw.get().starts_with(start));
    if starts(fields.contents, '[') {
        return WireProtocol::GeminiGenerate;
    }
    if starts(fields.messages, '[') {
        return by_messages(&fields);
    }
    if fields.jsonrpc.as_str() == Some("2.0") {
        return WireProtocol::Mcp;
    }
    if fields.input.is_none() {
        return by_prompt(&fields);
    }
    let model = fields.model.as_str().unwrap_or_default();
    if fields.encoding_format.is_some() || model.contains("embed") {
        WireProtocol::OpenAiEmbeddings
    } else if path.is_empty() || fields.is_of_responses() {
        WireProtocol::OpenAiResponses
    } else {
        // Many endpoints take a model and an input.
        WireProtocol::Unknown
    }
}

impl Fields<'_> {
    /// Whether an input is more than a text, or comes with what only responses take.
    fn is_of_responses(&self) -> bool {
        let only_theirs = [
            self.instructions,
            self.previous_response_id,
            self.max_output_tokens,
            self.reasoning,
            self.include,
            self.store,
            self.tools,
            self.stream,
        ];
        let is_of_items = self.input.is_some_and(|raw| {
            let items = raw.get().strip_prefix('[').unwrap_or_default();
            items.trim_ascii_start().starts_with('{')
        });
        is_of_items || only_theirs.iter().any(Option::is_some)
    }
}

/// Requests that have no messages and no input.
fn by_prompt(fields: &Fields<'_>) -> WireProtocol {
    let has_model = fields.model.as_str().is_some();
    let is_text = fields
        .prompt
        .is_some_and(|raw| raw.get().starts_with(['"', '[']));
    if !has_model || !is_text {
        return WireProtocol::Unknown;
    }
    if fields.options.is_some() || fields.keep_alive.is_some() || fields.format.is_some() {
        return WireProtocol::OllamaGenerate;
    }
    // Images and videos have prompts too; only texts have one of these.
    let is_of_text = fields.max_tokens.is_some() || fields.temperature.is_some();
    match is_of_text || fields.stream.is_some() {
        true => WireProtocol::OpenAiCompletions,
        false => WireProtocol::Unknown,
    }
}

fn by_messages(fields: &Fields<'_>) -> WireProtocol {
    let holds = |raw: Raw<'_>, word: &str| raw.is_some_and(|raw| raw.get().contains(word));
    let has_model = fields.model.as_str().is_some();
    // Blocks of Bedrock have no type: the name of the field is the type.
    let has_bare_blocks =
        !holds(fields.messages, "\"type\"") && holds(fields.messages, "[{\"text\":");
    if fields.inference_config.is_some()
        || fields.tool_config.is_some()
        || (!has_model && has_bare_blocks)
    {
        WireProtocol::BedrockConverse
    } else if fields.anthropic_version.is_some()
        || (fields.max_tokens.is_some() && fields.system.is_some())
        || holds(fields.tools, "\"input_schema\"")
        || holds(fields.messages, "\"tool_use_id\"")
    {
        WireProtocol::AnthropicMessages
    } else if fields.options.is_some() || fields.keep_alive.is_some() || fields.format.is_some() {
        WireProtocol::OllamaChat
    } else {
        WireProtocol::OpenAiChat
    }
}

/// Adds what the paths of Gemini and Bedrock say to what the body says.
pub(super) fn complete(path: &str, model: &mut Option<String>, is_streaming: &mut bool) {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let path = path.trim_end_matches('/');
    let (head, action) = match path.rsplit_once(':') {
        // A colon within a model's name does not begin an action.
        Some((head, action)) if !action.contains('/') => (head, action),
        _ => path.rsplit_once('/').unwrap_or((path, "")),
    };
    let before = match action {
        "generateContent" | "streamGenerateContent" | "rawPredict" | "streamRawPredict" => {
            "/models/"
        }
        "converse" | "converse-stream" | "invoke" | "invoke-with-response-stream" => "/model/",
        _ => return,
    };
    *is_streaming |= action.starts_with("stream") || action.ends_with("-stream");
    if model.is_none()
        && let Some((_, name)) = head.rsplit_once(before)
    {
        let name = percent_decode_str(name).decode_utf8_lossy();
        *model = (!name.is_empty()).then(|| name.into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete_with(path: &str) -> (Option<String>, bool) {
        let (mut model, mut is_streaming) = (None, false);
        complete(path, &mut model, &mut is_streaming);
        (model, is_streaming)
    }

    #[test]
    fn paths_name_models_and_ask_for_streams() {
        for (path, model, is_streaming) in [
            (
                "/v1beta/models/gemini-2.5-pro:generateContent",
                "gemini-2.5-pro",
                false,
            ),
            (
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
                "gemini-2.5-pro",
                true,
            ),
            (
                "/model/anthropic.claude-3%3A0/converse",
                "anthropic.claude-3:0",
                false,
            ),
            (
                "/bedrock/model/us.amazon.nova-lite-v1:0/converse-stream",
                "us.amazon.nova-lite-v1:0",
                true,
            ),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.nova/converse",
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.nova",
                false,
            ),
        ] {
            assert_eq!(
                complete_with(path),
                (Some(model.to_owned()), is_streaming),
                "{path}"
            );
        }
        for path in [
            "",
            "/",
            ":",
            "/v1/chat/completions",
            "/v1/models/x",
            "generateContent",
        ] {
            assert_eq!(complete_with(path), (None, false), "{path}");
        }
    }

    #[test]
    fn the_body_tells_where_the_path_does_not() {
        for (body, protocol) in [
            (r#"{"model":"m","messages":[]}"#, WireProtocol::OpenAiChat),
            (
                r#"{"model":"m","input":"hi"}"#,
                WireProtocol::OpenAiResponses,
            ),
            (
                r#"{"model":"m","input":"hi","encoding_format":"float"}"#,
                WireProtocol::OpenAiEmbeddings,
            ),
            (
                r#"{"model":"text-embedding-3-small","input":["hi"]}"#,
                WireProtocol::OpenAiEmbeddings,
            ),
            (
                r#"{"model":"m","max_tokens":9,"system":"s","messages":[]}"#,
                WireProtocol::AnthropicMessages,
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#,
                WireProtocol::BedrockConverse,
            ),
            (
                r#"{"model":"m","messages":[],"options":{}}"#,
                WireProtocol::OllamaChat,
            ),
            (r#"{"model":"m"}"#, WireProtocol::Unknown),
            ("[]", WireProtocol::Unknown),
            ("", WireProtocol::Unknown),
        ] {
            assert_eq!(
                WireProtocol::detect("", body.as_bytes()),
                protocol,
                "{body}"
            );
        }
    }
}
