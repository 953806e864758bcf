//! Tokens that a request used.

use serde::{Deserialize, Serialize};

use super::setters;
use super::source::UsageSource;

/// Tokens that the provider counted.
///
/// As in OpenTelemetry's conventions, totals include their parts: `input_tokens` includes cache reads and writes,
/// `output_tokens` includes reasoning. If a provider reports them separately (Anthropic's `input_tokens`), the
/// gateway must add them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the response, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Input tokens served from the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    /// Input tokens written to the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_input_tokens: Option<u64>,
    /// Output tokens spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_output_tokens: Option<u64>,
    /// Where the counts come from. Default: the gateway itself ([`UsageSource::Told`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<UsageSource>,
    /// Whether some of the provider's counts were invalid.
    #[serde(skip)]
    pub(crate) is_unparsed: bool,
}

impl Usage {
    /// Usage with these totals and no parts.
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens: Some(input_tokens),
            output_tokens: Some(output_tokens),
            ..Self::default()
        }
    }

    setters! {
        value: input_tokens: u64, output_tokens: u64, cache_read_input_tokens: u64,
            cache_write_input_tokens: u64, reasoning_output_tokens: u64, source: UsageSource;
    }
}
