//! How a request ended, as the gateway reports it.

use std::fmt;

use bytes::Bytes;

use super::setters;
use super::source::CostSource;
use super::usage::Usage;
use super::usage_details::UsageDetails;

/// Times that only the gateway can know. Absent ones are those of the request handle, which takes them when its
/// methods are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Timing {
    /// The whole request, in microseconds.
    pub latency_us: Option<u64>,
    /// From sending the request upstream to the end of its response, in microseconds.
    pub upstream_latency_us: Option<u64>,
    /// From the arrival of the request to the first chunk of the response, in microseconds.
    pub time_to_first_chunk_us: Option<u64>,
}

impl Timing {
    setters! {
        value: latency_us: u64, upstream_latency_us: u64, time_to_first_chunk_us: u64;
    }
}

/// A tool that the model asked to have called.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ToolCall {
    /// The provider's id of the call, at most 256 bytes.
    pub tool_call_id: String,
    /// The tool's name, at most 256 bytes.
    pub tool_name: String,
    /// The input as text, usually JSON. Kept up to 64 KiB, cut at a character.
    pub input: String,
}

impl ToolCall {
    /// A tool call.
    pub fn new(
        tool_call_id: impl Into<String>,
        tool_name: impl Into<String>,
        input: impl Into<String>,
    ) -> Self {
        Self {
            tool_call_id: tool_call_id.into(),
            tool_name: tool_name.into(),
            input: input.into(),
        }
    }
}

/// Prints id, name and size, never the input.
impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("tool_call_id", &self.tool_call_id)
            .field("tool_name", &self.tool_name)
            .field("input_bytes", &self.input.len())
            .finish()
    }
}

/// The setters that [`Completion`] and [`Failure`] share, about the response.
macro_rules! response_setters {
    () => {
        setters! {
            text: assistant_text, response_id, response_model;
            value: usage: Usage, http_status: u16, timing: Timing, cost_microdollars: u64,
                cost_source: CostSource;
        }

        /// Sets [`usage_details`](Self::usage_details).
        #[must_use]
        pub fn usage_details(mut self, details: UsageDetails) -> Self {
            self.usage_details = Some(Box::new(details));
            self
        }

        /// Sets [`response_body`](Self::response_body).
        #[must_use]
        pub fn response_body(mut self, body: impl Into<Bytes>) -> Self {
            self.response_body = Some(body.into());
            self
        }

        /// Sets [`read_body`](Self::read_body).
        #[must_use]
        pub fn read_body(mut self, read_body: bool) -> Self {
            self.read_body = read_body;
            self
        }

        /// Adds one of the [`finish_reasons`](Self::finish_reasons).
        #[must_use]
        pub fn finish_reason(mut self, reason: impl Into<String>) -> Self {
            self.finish_reasons.push(reason.into());
            self
        }

        /// Adds one of the [`tool_calls`](Self::tool_calls).
        #[must_use]
        pub fn tool_call(mut self, call: ToolCall) -> Self {
            self.tool_calls.push(call);
            self
        }
    };
}

/// A request that was answered.
///
/// ```
/// use auditlite::{Completion, Usage};
///
/// let completion = Completion::new()
///     .response_body(r#"{"choices":[]}"#)
///     .usage(Usage::new(1200, 80).cache_read_input_tokens(1024))
///     .finish_reason("stop");
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Completion {
    /// Tokens, as the provider counted them.
    pub usage: Option<Usage>,
    /// What a price may depend on beside the counts.
    pub usage_details: Option<Box<UsageDetails>>,
    /// Why the model stopped, one for each choice; at most 32.
    pub finish_reasons: Vec<String>,
    /// Tools that the model asked to have called; at most 1,024.
    pub tool_calls: Vec<ToolCall>,
    /// The response's exact bytes. Default: the chunks that the handle was given, joined.
    pub response_body: Option<Bytes>,
    /// The assistant's text, where the gateway has it anyway.
    pub assistant_text: Option<String>,
    /// The provider's own id of the response.
    pub response_id: Option<String>,
    /// The model that served. Default: as set on the handle.
    pub response_model: Option<String>,
    /// The HTTP status that the client got.
    pub http_status: Option<u16>,
    /// Cost in millionths of a US dollar, where the gateway knows it itself, such as from the
    /// provider. Default: computed from the store's price book.
    pub cost_microdollars: Option<u64>,
    /// Where that cost comes from. Default: the gateway itself ([`CostSource::Told`]).
    pub cost_source: Option<CostSource>,
    /// Times that the gateway knows better than the handle.
    pub timing: Option<Timing>,
    /// Whether the writer parses the response for the fields that are not given here, and decides by it and by
    /// `http_status` how the request ended, as [`finish`](crate::RequestHandle::finish) does: an error in the response
    /// makes it failed. Default: `false`, and nothing is parsed.
    pub read_body: bool,
}

impl Completion {
    /// A completion of which nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    response_setters!();
}

/// A request that failed after the gateway accepted it: upstream error, timeout, broken stream.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Failure {
    /// A low-cardinality name, for example `timeout`, `rate_limit_exceeded` or `500`.
    pub error_type: String,
    /// What happened, kept up to 4 KiB.
    pub error_message: Option<String>,
    /// Tokens seen before the failure; priced like a completion's.
    pub usage: Option<Usage>,
    /// What a price may depend on beside the counts.
    pub usage_details: Option<Box<UsageDetails>>,
    /// Why the model stopped, as far as seen; at most 32.
    pub finish_reasons: Vec<String>,
    /// Tools that the model asked for before the failure; at most 1,024.
    pub tool_calls: Vec<ToolCall>,
    /// The response's bytes, as far as they came. Default: the handle's chunks, joined.
    pub response_body: Option<Bytes>,
    /// The assistant's text, as far as it came.
    pub assistant_text: Option<String>,
    /// The provider's own id of the response.
    pub response_id: Option<String>,
    /// The model that served. Default: as set on the handle.
    pub response_model: Option<String>,
    /// The HTTP status that the client got.
    pub http_status: Option<u16>,
    /// Cost in millionths of a US dollar, where the gateway knows it itself, such as from the
    /// provider. Default: computed from the store's price book.
    pub cost_microdollars: Option<u64>,
    /// Where that cost comes from. Default: the gateway itself ([`CostSource::Told`]).
    pub cost_source: Option<CostSource>,
    /// Times that the gateway knows better than the handle.
    pub timing: Option<Timing>,
    /// Whether the writer parses the response, as far as it came, for the fields that are not given here.
    /// Default: `false`, and nothing is parsed.
    pub read_body: bool,
}

impl Failure {
    /// A failure of this type.
    pub fn new(error_type: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            ..Self::default()
        }
    }

    setters! {
        text: error_message;
        value: ;
    }

    response_setters!();
}

/// A request that the gateway refused before routing it: no key, over quota, blocked by policy.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Rejection {
    /// A low-cardinality name, for example `unauthorized` or `quota_exceeded`.
    pub error_type: String,
    /// What happened, kept up to 4 KiB.
    pub error_message: Option<String>,
    /// The answer's bytes.
    pub response_body: Option<Bytes>,
    /// The HTTP status that the client got.
    pub http_status: Option<u16>,
    /// Times that the gateway knows better than the handle.
    pub timing: Option<Timing>,
}

impl Rejection {
    /// A rejection of this type.
    pub fn new(error_type: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            ..Self::default()
        }
    }

    setters! {
        text: error_message;
        value: http_status: u16, timing: Timing;
    }

    /// Sets [`response_body`](Self::response_body).
    #[must_use]
    pub fn response_body(mut self, body: impl Into<Bytes>) -> Self {
        self.response_body = Some(body.into());
        self
    }
}

/// `Debug` of the three ends: what kind and how much, never a body or a text.
macro_rules! debug_end {
    ($($end:ident { $($field:ident),* }),*) => { $(
        impl fmt::Debug for $end {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($end))
                    $(.field(stringify!($field), &self.$field))*
                    .field("response_bytes", &self.response_body.as_ref().map(Bytes::len))
                    .finish_non_exhaustive()
            }
        }
    )* };
}
debug_end!(
    Completion {
        usage,
        finish_reasons,
        tool_calls,
        response_id,
        response_model,
        http_status
    },
    Failure {
        error_type,
        usage,
        tool_calls,
        response_id,
        response_model,
        http_status
    },
    Rejection {
        error_type,
        http_status
    }
);
