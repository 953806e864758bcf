//! What was parsed of a response.

use super::error::ResponseError;
use crate::model::{CanonicalMessage, ToolCall, Usage, UsageDetails};

/// What a provider's response says, streamed or not: identity, usage, text, tool calls, errors.
///
/// Nothing fails: what cannot be read is left out and [counted](Self::unparsed). Memory is bounded by the
/// length of the body (the first 64 MiB are read), 128 choices and 4,096 parts. `Debug` prints no text.
///
/// ```
/// use auditlite::{ParsedResponse, Usage, WireProtocol};
///
/// let stream = "data: {\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n\
///     data: {\"choices\":[{\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n\
///     data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n\
///     data: [DONE]\n\n";
/// let response = ParsedResponse::parse(&WireProtocol::OpenAiChat, stream.as_bytes());
/// assert_eq!(response.assistant_text(), "Hello");
/// assert_eq!(response.finish_reasons, ["stop"]);
/// assert_eq!(response.usage, Some(Usage::new(9, 2)));
/// assert!(response.is_streamed && !response.is_broken_off);
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ParsedResponse {
    /// The provider's own id of the response.
    pub response_id: Option<String>,
    /// The model that served the request, if the response names it (Bedrock does not).
    pub response_model: Option<String>,
    /// Token counts. Totals include their parts, whatever the provider does. In a stream, the counts of the
    /// last event that has any.
    pub usage: Option<Usage>,
    /// Whether `usage` is only a lower bound: the stream broke off before its final counts.
    pub is_usage_partial: bool,
    /// What the response says of its usage beyond `usage`. Absent where it says nothing.
    pub usage_details: Option<Box<UsageDetails>>,
    /// Why the model stopped, in the words of the provider: one for each choice, at most 32.
    pub finish_reasons: Vec<String>,
    /// What the model said: one message for each choice.
    pub messages: Vec<CanonicalMessage>,
    /// What the provider says went wrong, also in the middle of a stream.
    pub error: Option<ResponseError>,
    /// Whether the response came as a stream of events.
    pub is_streamed: bool,
    /// Whether the response stops before its own end, without an error that says so.
    pub is_broken_off: bool,
    /// Whether only what JSON of any protocol has in common was read: the protocol is unknown, or the response is not
    /// of it.
    pub is_generic: bool,
    /// The number of events or parts that could not be read or were beyond the limits.
    pub unparsed: u64,
    /// Whether the protocol is unknown, or the response is not of it: its end says nothing.
    pub(crate) is_foreign: bool,
}

impl ParsedResponse {
    /// The text of the first choice.
    pub fn assistant_text(&self) -> String {
        self.first(CanonicalMessage::text)
    }

    /// The reasoning of the first choice, as far as the provider shows it.
    pub fn thinking(&self) -> String {
        self.first(CanonicalMessage::thinking)
    }

    /// The refusal of the first choice, if the protocol separates it from text.
    pub fn refusal(&self) -> Option<String> {
        let refusal = self.first(CanonicalMessage::refusal);
        (!refusal.is_empty()).then_some(refusal)
    }

    /// The tool calls of all choices, in order.
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        let calls = self.messages.iter().flat_map(CanonicalMessage::tool_calls);
        calls
            .map(|call| ToolCall::new(&call.tool_call_id, &call.tool_name, &call.input))
            .collect()
    }

    fn first(&self, text: impl Fn(&CanonicalMessage) -> String) -> String {
        self.messages.first().map(text).unwrap_or_default()
    }
}
