//! What both of Cohere's chat APIs say of usage.

use serde::Deserialize;

use crate::wire::json::lenient::{Count, Object};
use crate::wire::usage::Counts;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    billed_units: Object<Tokens>,
    tokens: Object<Tokens>,
    cached_tokens: Count,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
}

impl Usage {
    pub(super) fn counts(&self) -> Counts {
        let counts = self.billed_units.0.or(self.tokens.0).unwrap_or_default();
        Counts {
            input: counts.input_tokens.0,
            output: counts.output_tokens.0,
            cache_read: self.cached_tokens.0,
            is_odd: counts.input_tokens.is_odd()
                || counts.output_tokens.is_odd()
                || self.cached_tokens.is_odd(),
            ..Counts::default()
        }
    }
}
