//! Usage of OpenAI's chat completions, responses and embeddings, and of compatible servers.

use serde::Deserialize;

use super::details::{
    Cost, Details, ServerToolCounts, microdollars, milliseconds, some, tool_runs, tool_tokens,
};
use super::{Counts, any_odd};
use crate::model::{CacheWriteTokens, ModalityTokens, ServerToolUsage};
use crate::wire::json::lenient::{Count, Flag, Object, Real, Text};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::wire) struct OpenAiUsage<'a> {
    prompt_tokens: Count,
    completion_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Object<Parts>,
    completion_tokens_details: Object<Parts>,
    input_tokens_details: Object<Parts>,
    output_tokens_details: Object<Parts>,
    /// Realtime.
    input_token_details: Object<Parts>,
    output_token_details: Object<Parts>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Count,
    /// Moonshot.
    cached_tokens: Count,
    /// Mistral.
    num_cached_tokens: Count,
    /// Perplexity.
    reasoning_tokens: Count,
    citation_tokens: Count,
    num_search_queries: Count,
    /// LiteLLM, and others that serve Anthropic's models.
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Object<CacheCreation>,
    server_tool_use: Object<ServerToolCounts>,
    #[serde(borrow)]
    service_tier: Text<'a>,
    #[serde(borrow)]
    speed: Text<'a>,
    #[serde(borrow)]
    inference_geo: Text<'a>,
    /// xAI.
    num_sources_used: Count,
    cost_in_usd_ticks: Real,
    /// OpenRouter and Perplexity.
    cost: Cost,
    is_byok: Flag,
    cost_details: Object<CostDetails>,
    /// DeepInfra.
    estimated_cost: Real,
    /// Of a model that draws.
    cached_tokens_details: Object<Modalities>,
    /// Transcriptions that are billed by their length.
    seconds: Real,
    /// Mistral.
    prompt_audio_seconds: Real,
    connector_tokens: Count,
    connectors: Object<ServerToolCounts>,
    pages_processed: Count,
    doc_size_bytes: Count,
    /// Cohere.
    images: Count,
    pages: Count,
    search_units: Count,
    classifications: Count,
    image_tokens: Count,
    text_tokens: Count,
}

/// The parts of a total.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parts {
    cached_tokens: Count,
    cached_tokens_details: Object<Modalities>,
    cache_write_tokens: Count,
    cache_write_tokens_details: Object<Lifetimes>,
    cache_creation_input_tokens: Count,
    /// LiteLLM.
    cache_creation_tokens: Count,
    cache_creation_token_details: Object<CacheCreation>,
    reasoning_tokens: Count,
    text_tokens: Count,
    image_tokens: Count,
    audio_tokens: Count,
    video_tokens: Count,
    accepted_prediction_tokens: Count,
    rejected_prediction_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Modalities {
    #[serde(alias = "cached_text_tokens")]
    text_tokens: Count,
    #[serde(alias = "cached_image_tokens")]
    image_tokens: Count,
    audio_tokens: Count,
}

impl Modalities {
    fn tokens(&self) -> ModalityTokens {
        ModalityTokens {
            text_tokens: some(self.text_tokens),
            image_tokens: some(self.image_tokens),
            audio_tokens: some(self.audio_tokens),
            ..ModalityTokens::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    ttl_30m_tokens: Count,
    ttl_12h_tokens: Count,
}

/// Anthropic's cache writes by lifetime; also under OpenAI's names, by those that serve Anthropic's models.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CacheCreation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CostDetails {
    upstream_inference_cost: Real,
}

impl CacheCreation {
    pub(super) fn tokens(&self) -> CacheWriteTokens {
        CacheWriteTokens {
            for_5m_tokens: some(self.ephemeral_5m_input_tokens),
            for_1h_tokens: some(self.ephemeral_1h_input_tokens),
            ..CacheWriteTokens::default()
        }
    }
}

impl Parts {
    fn modalities(&self) -> ModalityTokens {
        ModalityTokens {
            text_tokens: some(self.text_tokens),
            image_tokens: some(self.image_tokens),
            audio_tokens: some(self.audio_tokens),
            video_tokens: some(self.video_tokens),
            document_tokens: None,
        }
    }

    fn written(&self) -> Option<u64> {
        let written = self.cache_write_tokens.0;
        let written = written.or(self.cache_creation_tokens.0);
        written.or(self.cache_creation_input_tokens.0)
    }

    fn is_odd(&self) -> bool {
        any_odd([
            self.cached_tokens,
            self.cache_write_tokens,
            self.cache_creation_input_tokens,
            self.cache_creation_tokens,
            self.reasoning_tokens,
        ])
    }
}

impl OpenAiUsage<'_> {
    fn input_parts(&self) -> Option<&Parts> {
        let parts = self.prompt_tokens_details.0.as_ref();
        let parts = parts.or(self.input_tokens_details.0.as_ref());
        parts.or(self.input_token_details.0.as_ref())
    }

    fn output_parts(&self) -> Option<&Parts> {
        let parts = self.completion_tokens_details.0.as_ref();
        let parts = parts.or(self.output_tokens_details.0.as_ref());
        parts.or(self.output_token_details.0.as_ref())
    }

    /// The counts. OpenAI's totals include their parts. Two compatible providers count reasoning apart: xAI, which
    /// only its total shows, and Perplexity, whose total leaves it out.
    pub(in crate::wire) fn counts(&self) -> Counts {
        let input_parts = self.input_parts();
        let reasoning = self
            .output_parts()
            .and_then(|parts| parts.reasoning_tokens.0)
            .or(self.reasoning_tokens.0);
        let is_of_perplexity =
            self.citation_tokens.0.is_some() || self.num_search_queries.0.is_some();
        Counts {
            input: self.prompt_tokens.0.or(self.input_tokens.0),
            output: self.completion_tokens.0.or(self.output_tokens.0),
            cache_read: input_parts
                .and_then(|parts| parts.cached_tokens.0)
                .or(self.cache_read_input_tokens.0)
                .or(self.prompt_cache_hit_tokens.0)
                .or(self.cached_tokens.0)
                .or(self.num_cached_tokens.0),
            cache_write: input_parts
                .and_then(Parts::written)
                .or(self.cache_creation_input_tokens.0),
            reasoning,
            total: self.total_tokens.0.filter(|_| !is_of_perplexity),
            beside: None,
            is_cache_apart: false,
            is_reasoning_apart: is_of_perplexity,
            is_odd: self.is_odd(),
        }
    }

    fn is_odd(&self) -> bool {
        let parts = [
            &self.prompt_tokens_details,
            &self.completion_tokens_details,
            &self.input_tokens_details,
            &self.output_tokens_details,
        ];
        let has_odd_parts = parts
            .into_iter()
            .filter_map(|parts| parts.0.as_ref())
            .any(Parts::is_odd);
        has_odd_parts
            || any_odd([
                self.prompt_tokens,
                self.completion_tokens,
                self.input_tokens,
                self.output_tokens,
                self.total_tokens,
                self.prompt_cache_hit_tokens,
                self.cached_tokens,
                self.num_cached_tokens,
                self.reasoning_tokens,
                self.cache_read_input_tokens,
                self.cache_creation_input_tokens,
            ])
    }

    /// Counts of embeddings: these have no output, so some servers only give a total.
    pub(in crate::wire) fn embedding_counts(&self) -> Counts {
        let mut counts = self.counts();
        counts.input = counts.input.or(self.total_tokens.0);
        counts
    }

    pub(in crate::wire) fn details(&self) -> Details {
        let mut details = Details::default();
        if let Some(parts) = self.input_parts() {
            details.modalities(parts.modalities(), |details| &mut details.input);
            if let Some(cached) = &parts.cached_tokens_details.0 {
                details.modalities(cached.tokens(), |details| &mut details.cache_read);
            }
            if let Some(written) = &parts.cache_write_tokens_details.0 {
                details.cache_write(CacheWriteTokens {
                    for_30m_tokens: some(written.ttl_30m_tokens),
                    for_12h_tokens: some(written.ttl_12h_tokens),
                    ..CacheWriteTokens::default()
                });
            }
            if let Some(written) = &parts.cache_creation_token_details.0 {
                details.cache_write(written.tokens());
            }
        }
        if let Some(parts) = self.output_parts() {
            details.modalities(parts.modalities(), |details| &mut details.output);
            details.set(some(parts.accepted_prediction_tokens), |details| {
                &mut details.accepted_prediction_tokens
            });
            details.set(some(parts.rejected_prediction_tokens), |details| {
                &mut details.rejected_prediction_tokens
            });
        }
        if let Some(written) = &self.cache_creation.0 {
            details.cache_write(written.tokens());
        }
        if let Some(tools) = &self.server_tool_use.0 {
            tools.add_to(&mut details);
        }
        if let Some(tools) = &self.connectors.0 {
            tools.add_to(&mut details);
        }
        self.add_units(&mut details);
        details.server_tool(tool_runs("web_search", self.num_search_queries));
        details.server_tool(tool_runs("live_search", self.num_sources_used));
        details.set(some(self.citation_tokens), |details| {
            &mut details.citation_tokens
        });
        details.name(self.service_tier.as_str(), |details| {
            &mut details.service_tier
        });
        details.name(self.speed.as_str(), |details| &mut details.speed);
        details.name(self.inference_geo.as_str(), |details| &mut details.region);
        details.set(self.stated_cost(), |details| {
            &mut details.stated_cost_microdollars
        });
        details
    }

    /// What is counted in other units than tokens.
    fn add_units(&self, details: &mut Details) {
        let audio = milliseconds(self.seconds).or(milliseconds(self.prompt_audio_seconds));
        details.unit("input_audio_ms", audio);
        for (unit, count) in [
            ("pages", self.pages_processed),
            ("pages", self.pages),
            ("document_bytes", self.doc_size_bytes),
            ("images", self.images),
            ("search_units", self.search_units),
            ("classifications", self.classifications),
            ("connector_tokens", self.connector_tokens),
        ] {
            details.unit(unit, some(count));
        }
        let billed = ModalityTokens {
            text_tokens: some(self.text_tokens),
            image_tokens: some(self.image_tokens),
            ..ModalityTokens::default()
        };
        details.modalities(billed, |details| &mut details.input);
    }

    /// As the usage of a tool that has a model of its own.
    pub(in crate::wire) fn of_tool(&self, name: &str, model: Option<&str>) -> ServerToolUsage {
        let cached = self.cached_tokens_details.0.as_ref();
        ServerToolUsage {
            input: self
                .input_parts()
                .map(Parts::modalities)
                .unwrap_or_default(),
            cache_read: cached.map(Modalities::tokens).unwrap_or_default(),
            output: self
                .output_parts()
                .map(Parts::modalities)
                .unwrap_or_default(),
            ..tool_tokens(name, model, &self.counts())
        }
    }

    /// What the response says it cost. With a key of the client's own, OpenRouter's cost is its fee, and the
    /// provider's charge comes on top.
    fn stated_cost(&self) -> Option<u64> {
        /// xAI counts ten billionths of a dollar.
        const DOLLARS_PER_TICK: f64 = 1e-10;
        let upstream = self.cost_details.0.as_ref();
        let upstream = upstream
            .filter(|_| self.is_byok.0 == Some(true))
            .and_then(|details| details.upstream_inference_cost.0);
        let ticks = self.cost_in_usd_ticks.0;
        let dollars = match (self.cost.0, upstream) {
            (None, None) => None,
            (fee, charge) => Some(fee.unwrap_or(0.0) + charge.unwrap_or(0.0)),
        };
        let dollars = dollars
            .or(ticks.map(|ticks| ticks * DOLLARS_PER_TICK))
            .or(self.estimated_cost.0);
        dollars.and_then(microdollars)
    }
}
