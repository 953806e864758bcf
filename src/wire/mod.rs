//! Wire protocols: what requests and responses say, from their exact bytes.
//!
//! One file for each protocol. All of them feed the same collectors, so a reader need not know the
//! protocol. Pure: no I/O, and no state except that of a parser. Nothing fails here: unknown fields are
//! skipped, fields of an unexpected type count as absent, and what is not JSON at all is counted and left
//! alone.
//!
//! - `request`, `response`: what each says, and the functions to call;
//! - `summary`: the parameters of a request without its messages. It resumes where the next request of a
//!   conversation repeats the previous one;
//! - `path`: what the URL says, and which protocol it is; `response_protocol`: the same by the response;
//! - `reading`: the documents of a response, each in the protocol that it is of;
//! - `framing/`: from bytes to documents, however they are cut into chunks;
//! - `decoding`: bodies that are compressed on the wire;
//! - `joiner`, `parts`: collect the pieces of a response and the parts of a message;
//! - `batch_line`: results of batches, which wrap responses;
//! - `calls`, `inputs`: pieces of tool calls, as servers really send them;
//! - `facts`: usage and errors of protocols that share their names;
//! - `multipart`: forms with files;
//! - `usage`, `error`: token counts and errors; the only place that knows how providers differ;
//! - `json/`: reads JSON that is not as it should be;
//! - `protocols/`: one file for each, chosen by `Protocol::of` below.

mod batch_line;
mod calls;
mod decoding;
mod error;
mod facts;
mod framing;
mod inputs;
mod joiner;
mod json;
mod multipart;
mod parsed_response;
mod parts;
mod path;
mod protocols;
mod reading;
mod request;
mod response;
mod response_protocol;
mod summary;
#[cfg(test)]
mod tests;
mod usage;

use serde_json::value::RawValue;

pub use batch_line::BatchResult;
pub use error::ResponseError;
pub use parsed_response::ParsedResponse;
pub use request::{OfferedTool, ParsedRequest};
pub use response::ResponseParser;
pub use summary::RequestSummary;

use crate::model::{MessageToolCall, WireProtocol};
use framing::Frame;
use joiner::Joiner;
use parts::Parts;

/// What the file of a protocol provides.
#[derive(Debug)]
struct Protocol {
    /// Reads one document of a response. `false`: it is not of this protocol, and nothing was read.
    response: fn(&Frame<'_>, &mut Joiner) -> bool,
    /// Reads a request; `false` if it is not of this protocol.
    request: fn(&[u8], &mut ParsedRequest) -> bool,
    /// Reads one item of a request's list of messages and returns its role.
    message: fn(&RawValue, &mut Parts<'_>) -> Option<String>,
}

macro_rules! protocol {
    ($module:ident) => {
        &Protocol {
            response: protocols::$module::response,
            request: protocols::$module::request,
            message: protocols::$module::message,
        }
    };
}

impl WireProtocol {
    /// Whether bodies of this protocol can be read.
    pub fn is_supported(&self) -> bool {
        Protocol::of(self).is_some()
    }
}

/// The call that a request asks to execute, where its protocol is one of executing calls.
pub(crate) fn executed_call(protocol: &WireProtocol, body: &[u8]) -> Option<MessageToolCall> {
    (*protocol == WireProtocol::Mcp)
        .then(|| protocols::mcp::call(body))
        .flatten()
}

impl Protocol {
    fn of(protocol: &WireProtocol) -> Option<&'static Self> {
        Some(match protocol {
            WireProtocol::OpenAiChat => protocol!(openai_chat),
            WireProtocol::OpenAiResponses => protocol!(openai_responses),
            WireProtocol::OpenAiEmbeddings => protocol!(embeddings),
            WireProtocol::AnthropicMessages => protocol!(anthropic),
            WireProtocol::GeminiGenerate => protocol!(gemini),
            WireProtocol::BedrockConverse => protocol!(bedrock),
            WireProtocol::OllamaChat => protocol!(ollama),
            WireProtocol::BedrockInvoke => protocol!(bedrock_invoke),
            WireProtocol::OllamaGenerate => protocol!(ollama_generate),
            WireProtocol::OpenAiCompletions => protocol!(completions),
            WireProtocol::CohereChat => protocol!(cohere),
            WireProtocol::MistralConversations => protocol!(conversations),
            WireProtocol::CountTokens => protocol!(count_tokens),
            WireProtocol::Mcp => protocol!(mcp),
            WireProtocol::OpenAiMedia => protocol!(media),
            WireProtocol::OpenAiRealtime => protocol!(realtime),
            WireProtocol::GeminiInteractions => protocol!(interactions),
            WireProtocol::GeminiLive => protocol!(gemini_live),
            WireProtocol::Batches => protocol!(batches),
            WireProtocol::AnthropicSessions => protocol!(sessions),
            WireProtocol::OpenAiAgents => protocol!(agents),
            WireProtocol::OpenAiAssistants => protocol!(assistants),
            WireProtocol::Unknown | WireProtocol::Other(_) => return None,
        })
    }

    /// Reads what is common to JSON of any protocol.
    const GENERIC: &'static Self = protocol!(json);
}
