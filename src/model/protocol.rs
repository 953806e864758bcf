//! Names of the wire protocols that bodies are written in.

use std::fmt;

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
    /// `ollama.chat`: Ollama's own chat endpoint.
    OllamaChat,
    /// Any other protocol, by the gateway's own name for it (at most 256 bytes).
    Other(String),
}

impl WireProtocol {
    /// The name as recorded; `None` where the protocol is not known.
    pub fn name(&self) -> Option<&str> {
        Some(match self {
            Self::Unknown => return None,
            Self::OpenAiChat => "openai.chat",
            Self::OpenAiResponses => "openai.responses",
            Self::OpenAiEmbeddings => "openai.embeddings",
            Self::AnthropicMessages => "anthropic.messages",
            Self::GeminiGenerate => "gemini.generate",
            Self::BedrockConverse => "bedrock.converse",
            Self::OllamaChat => "ollama.chat",
            Self::Other(name) => name,
        })
    }
}

impl From<&str> for WireProtocol {
    fn from(name: &str) -> Self {
        match name {
            "" => Self::Unknown,
            "openai.chat" => Self::OpenAiChat,
            "openai.responses" => Self::OpenAiResponses,
            "openai.embeddings" => Self::OpenAiEmbeddings,
            "anthropic.messages" => Self::AnthropicMessages,
            "gemini.generate" => Self::GeminiGenerate,
            "bedrock.converse" => Self::BedrockConverse,
            "ollama.chat" => Self::OllamaChat,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<String> for WireProtocol {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl fmt::Display for WireProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("unknown"))
    }
}
