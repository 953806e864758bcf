//! Names of the wire protocols that bodies are written in.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The wire protocol of a request's bodies. Anything that is not listed is kept by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WireProtocol {
    /// Not known. The default.
    #[default]
    Unknown,
    /// `openai.chat`: OpenAI chat completions and everything compatible with them.
    OpenAiChat,
    /// `openai.responses`: OpenAI responses.
    OpenAiResponses,
    /// `openai.embeddings`: OpenAI-compatible embeddings.
    OpenAiEmbeddings,
    /// `anthropic.messages`: Anthropic messages.
    AnthropicMessages,
    /// `gemini.generate`: Gemini `generateContent` and `streamGenerateContent`.
    GeminiGenerate,
    /// `bedrock.converse`: Amazon Bedrock Converse.
    BedrockConverse,
    /// `bedrock.invoke`: Amazon Bedrock InvokeModel, whatever the model's maker.
    BedrockInvoke,
    /// `ollama.chat`: Ollama's own chat endpoint.
    OllamaChat,
    /// `ollama.generate`: Ollama's `generate` and `embed`.
    OllamaGenerate,
    /// `openai.completions`: OpenAI's older completions, and everything compatible with them.
    OpenAiCompletions,
    /// `cohere.chat`: Cohere's second chat API.
    CohereChat,
    /// `mistral.conversations`: Mistral's conversations with agents.
    MistralConversations,
    /// `count_tokens`: counting the tokens of a request, which uses none.
    CountTokens,
    /// `openai.media`: OpenAI's images, audio and videos.
    OpenAiMedia,
    /// `openai.realtime`: OpenAI's realtime sessions, of which the frames are the body.
    OpenAiRealtime,
    /// `gemini.interactions`: Gemini's interactions.
    GeminiInteractions,
    /// `gemini.live`: Gemini's live sessions, of which the frames are the body.
    GeminiLive,
    /// `batches`: creating and looking at batches, which uses no tokens.
    Batches,
    /// `anthropic.sessions`: Anthropic's sessions with managed agents.
    AnthropicSessions,
    /// `openai.agents`: OpenAI's sessions with agents.
    OpenAiAgents,
    /// `openai.assistants`: runs of OpenAI's assistants.
    OpenAiAssistants,
    /// `mcp`: the Model Context Protocol, over HTTP or stdio.
    Mcp,
    /// Any other protocol, by the gateway's own name for it (at most 256 bytes).
    Other(String),
}

/// The names of wire protocols, once for both directions. Unlike the enums of [`named`](crate::error::named), this
/// one knows every name: `Other` keeps those that are not listed.
macro_rules! wire_protocols {
    ($($variant:ident => $name:literal),* $(,)?) => {
        impl WireProtocol {
            /// The name as recorded; empty where the protocol is not known.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for WireProtocol {
            fn from(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

wire_protocols! {
    Unknown => "",
    OpenAiChat => "openai.chat",
    OpenAiResponses => "openai.responses",
    OpenAiEmbeddings => "openai.embeddings",
    AnthropicMessages => "anthropic.messages",
    GeminiGenerate => "gemini.generate",
    BedrockConverse => "bedrock.converse",
    BedrockInvoke => "bedrock.invoke",
    OllamaChat => "ollama.chat",
    OllamaGenerate => "ollama.generate",
    OpenAiCompletions => "openai.completions",
    CohereChat => "cohere.chat",
    MistralConversations => "mistral.conversations",
    CountTokens => "count_tokens",
    OpenAiMedia => "openai.media",
    OpenAiRealtime => "openai.realtime",
    GeminiInteractions => "gemini.interactions",
    GeminiLive => "gemini.live",
    Batches => "batches",
    AnthropicSessions => "anthropic.sessions",
    OpenAiAgents => "openai.agents",
    OpenAiAssistants => "openai.assistants",
    Mcp => "mcp",
}

impl From<String> for WireProtocol {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl FromStr for WireProtocol {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(name))
    }
}

impl fmt::Display for WireProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for WireProtocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
