//! What a response says of its usage beyond the five counts of [`Usage`].

use serde::{Deserialize, Serialize};

use super::source::CostSource;
use super::usage::Usage;

/// Counts, tier and cost that a response states beside its [`Usage`]: what a price may depend on.
///
/// Few responses say any of it. Everything is as the provider states it; a count of zero is left out. Counts by
/// modality and by lifetime are parts of the counts in [`Usage`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UsageDetails {
    /// Input tokens by modality.
    #[serde(skip_serializing_if = "ModalityTokens::is_empty")]
    pub input: ModalityTokens,
    /// Input tokens from the provider's cache, by modality.
    #[serde(skip_serializing_if = "ModalityTokens::is_empty")]
    pub cache_read: ModalityTokens,
    /// Output tokens by modality, without reasoning.
    #[serde(skip_serializing_if = "ModalityTokens::is_empty")]
    pub output: ModalityTokens,
    /// Input tokens written to the provider's cache, by how long they are kept.
    #[serde(skip_serializing_if = "CacheWriteTokens::is_empty")]
    pub cache_write: CacheWriteTokens,
    /// Tokens of sources that the model cites and the provider bills apart (Perplexity). Not in the totals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citation_tokens: Option<u64>,
    /// The tier that served, in the provider's words, such as `priority`, `flex` or `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The speed that served, in the provider's words, such as `fast`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Where the model ran, in the provider's words, such as `us`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What the response says it cost, in millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated_cost_microdollars: Option<u64>,
    /// The provider's own tools that ran; at most [`Self::LIST_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_tools: Vec<ServerToolUsage>,
    /// Tokens of models other than the one that served; at most [`Self::LIST_MAX`]. The totals in [`Usage`] include
    /// them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_models: Vec<ModelUsage>,
    /// Of the output, tokens that the client had predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_prediction_tokens: Option<u64>,
    /// Of the output, tokens of the client's prediction that the response does not have, and that are billed as output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_prediction_tokens: Option<u64>,
    /// What the provider counts in other units than tokens, such as pages; at most [`Self::LIST_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub billed_units: Vec<BilledUnit>,
    /// What became of a credit for a retry with another model (Anthropic): `redeemed`, or why it was not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_credit: Option<String>,
    /// Usage of a whole session or job so far, at which this response is one look of many. Not in the totals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub so_far: Option<UsageSoFar>,
    /// What the price book gives, in millionths of a US dollar, where the cost that counts is the one that the
    /// response states. Not said by the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computed_cost_microdollars: Option<u64>,
    /// What the price book has no price for, such as `tier scale` or `code_execution`: the computed cost lacks it, or
    /// has the standard price in its place. At most [`Self::LIST_MAX`]. Not said by the response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unpriced: Vec<String>,
}

impl UsageDetails {
    /// Limit of each list: a response names a handful of tools and models.
    pub const LIST_MAX: usize = 16;
    /// Limit of each name, in bytes: names are words, and models' names short.
    pub const NAME_BYTES_MAX: usize = 128;

    /// What holds whatever the counts of tokens are; `None`: nothing.
    pub(crate) fn without_counts(self) -> Option<Box<Self>> {
        let rest = Self {
            service_tier: self.service_tier,
            speed: self.speed,
            region: self.region,
            billed_units: self.billed_units,
            stated_cost_microdollars: self.stated_cost_microdollars,
            server_tools: self.server_tools,
            ..Self::default()
        };
        (rest != Self::default()).then(|| Box::new(rest))
    }
}

/// Tokens by modality. What is not stated is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModalityTokens {
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_tokens: Option<u64>,
    /// Images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tokens: Option<u64>,
    /// Audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_tokens: Option<u64>,
    /// Video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_tokens: Option<u64>,
    /// Documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_tokens: Option<u64>,
}

impl ModalityTokens {
    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Tokens written to a cache, by how long they are kept. What is not stated is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CacheWriteTokens {
    /// Kept for 5 minutes.
    #[serde(rename = "5m_tokens", skip_serializing_if = "Option::is_none")]
    pub for_5m_tokens: Option<u64>,
    /// Kept for 30 minutes.
    #[serde(rename = "30m_tokens", skip_serializing_if = "Option::is_none")]
    pub for_30m_tokens: Option<u64>,
    /// Kept for an hour.
    #[serde(rename = "1h_tokens", skip_serializing_if = "Option::is_none")]
    pub for_1h_tokens: Option<u64>,
    /// Kept for 12 hours.
    #[serde(rename = "12h_tokens", skip_serializing_if = "Option::is_none")]
    pub for_12h_tokens: Option<u64>,
}

impl CacheWriteTokens {
    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How often one of the provider's own tools ran, and the tokens of its own model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServerToolUsage {
    /// The tool, such as `web_search`.
    pub tool_name: String,
    /// How many runs the provider counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_count: Option<u64>,
    /// The tool's own model, where the response names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens of the tool's own model. The totals in [`Usage`] do not include them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Its input tokens by modality.
    #[serde(skip_serializing_if = "ModalityTokens::is_empty")]
    pub input: ModalityTokens,
    /// Its input tokens from a cache, by modality.
    #[serde(skip_serializing_if = "ModalityTokens::is_empty")]
    pub cache_read: ModalityTokens,
    /// Its output tokens by modality.
    #[serde(skip_serializing_if = "ModalityTokens::is_empty")]
    pub output: ModalityTokens,
}

/// An amount of something that is no token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BilledUnit {
    /// What is counted: `pages`, `search_units`, `input_audio_ms`, …
    pub unit: String,
    /// How many.
    pub count: u64,
}

/// What a session or a job has used so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UsageSoFar {
    /// Its tokens.
    pub usage: Usage,
    /// Of these, the tokens written to a cache, by how long they are kept.
    #[serde(skip_serializing_if = "CacheWriteTokens::is_empty")]
    pub cache_write: CacheWriteTokens,
    /// What the provider says it has cost, in millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated_cost_microdollars: Option<u64>,
    /// What the provider counts in other units than tokens; at most [`UsageDetails::LIST_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub billed_units: Vec<BilledUnit>,
}

/// The tokens of one model among several that took part in a response.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModelUsage {
    /// The model.
    pub model: String,
    /// Its tokens.
    pub usage: Usage,
    /// Of these, the tokens written to a cache, by how long they are kept.
    #[serde(skip_serializing_if = "CacheWriteTokens::is_empty")]
    pub cache_write: CacheWriteTokens,
    /// Of the request's cost, what these tokens cost by the price book. The store computes it; what a gateway sets
    /// here is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_microdollars: Option<u64>,
    /// Where that cost comes from. The store sets it in every request that it records; statistics then count the
    /// tokens to this model. Absent in requests that earlier builds recorded, whose tokens count to the request's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostSource>,
}
