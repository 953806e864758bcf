//! Usage of Anthropic's messages, and of Bedrock Converse, which counts as Anthropic does.

use serde::Deserialize;

use super::details::{Details, ServerToolCounts, add_model, milliseconds, some};
use super::openai::CacheCreation;
use super::{Counts, add, any_odd, sum};
use crate::model::{CacheWriteTokens, Usage};
use crate::wire::json::lenient::{Count, Label, List, Object, Real, Text};

/// Limit of iterations that are read: a turn has a few.
const ITERATIONS_MAX: usize = 1024;

/// `usage` of Anthropic: `input_tokens` counts only what follows the last cache breakpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::wire) struct AnthropicUsage<'a> {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Object<CacheCreation>,
    output_tokens_details: Object<OutputParts>,
    #[serde(borrow)]
    iterations: List<Object<Iteration<'a>>, ITERATIONS_MAX>,
    server_tool_use: Object<ServerToolCounts>,
    #[serde(borrow)]
    service_tier: Text<'a>,
    #[serde(borrow)]
    speed: Text<'a>,
    #[serde(borrow)]
    inference_geo: Text<'a>,
    #[serde(borrow)]
    fallback_credit: Object<FallbackCredit<'a>>,
    /// Of a session.
    list_cost: Object<Amount>,
    active_seconds: Real,
}

/// What became of the credit that this request presented.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FallbackCredit<'a> {
    #[serde(borrow)]
    status: Object<CreditStatus<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CreditStatus<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
}

/// An amount of money in the currency's smallest unit, as a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Amount {
    amount: Label,
    currency: Label,
}

impl Amount {
    fn microdollars(&self) -> Option<u64> {
        const MICRODOLLARS_PER_CENT: u64 = 10_000;
        let cents: u64 = self.amount.0.as_deref()?.parse().ok()?;
        let is_usd = self.currency.0.as_deref().is_none_or(|name| name == "USD");
        is_usd.then(|| cents.saturating_mul(MICRODOLLARS_PER_CENT))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputParts {
    thinking_tokens: Count,
}

/// One run of a model within a response: of the model itself, to compact the context, of an adviser, or of the model
/// that took over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Iteration<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Object<CacheCreation>,
}

impl Iteration<'_> {
    /// Whether it made the message, whichever model it was.
    fn is_plain(&self) -> bool {
        matches!(self.kind.as_str(), Some("message" | "fallback_message"))
    }

    fn counts(&self) -> Counts {
        Counts {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cache_read: self.cache_read_input_tokens.0,
            cache_write: self.cache_creation_input_tokens.0,
            is_cache_apart: true,
            ..Counts::default()
        }
    }

    fn cache_write(&self) -> CacheWriteTokens {
        let created = self.cache_creation.0.as_ref();
        created.map(CacheCreation::tokens).unwrap_or_default()
    }
}

impl AnthropicUsage<'_> {
    /// The counts, and beside them those of iterations that they leave out.
    pub(in crate::wire) fn counts(&self) -> Counts {
        let details = self.output_tokens_details.0.as_ref();
        Counts {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cache_read: self.cache_read_input_tokens.0,
            cache_write: self.cache_write(),
            reasoning: details.and_then(|details| details.thinking_tokens.0),
            total: None,
            beside: self.beside(),
            is_cache_apart: true,
            is_reasoning_apart: false,
            is_odd: any_odd([
                self.input_tokens,
                self.output_tokens,
                self.cache_read_input_tokens,
                self.cache_creation_input_tokens,
                details
                    .map(|details| details.thinking_tokens)
                    .unwrap_or_default(),
            ]),
        }
    }

    /// Sessions state the cache's writes by lifetime only.
    fn cache_write(&self) -> Option<u64> {
        self.cache_creation_input_tokens.0.or_else(|| {
            let written = self.cache_creation.0.as_ref()?.tokens();
            sum([written.for_5m_tokens, written.for_1h_tokens, None])
        })
    }

    /// What a session or a job has used so far.
    pub(in crate::wire) fn so_far(&self) -> Details {
        let mut details = Details::default();
        let cost = self.list_cost.0.as_ref();
        let tools = self.server_tool_use.0.as_ref();
        let tools = tools.map(|tools| tools.0.as_slice()).unwrap_or_default();
        let mut units: Vec<(&str, Option<u64>)> = tools
            .iter()
            .map(|(name, count)| (name.as_str(), some(*count)))
            .collect();
        units.push(("active_ms", milliseconds(self.active_seconds)));
        details.so_far(
            &self.counts(),
            self.lifetimes(),
            cost.and_then(Amount::microdollars),
            &units,
        );
        details
    }

    fn iterations(&self) -> impl DoubleEndedIterator<Item = &Iteration<'_>> {
        self.iterations.0.iter().filter_map(|item| item.0.as_ref())
    }

    /// The iterations that the counts leave out: those that compact the context or advise, and those of models that
    /// declined where the counts are exactly those of the model that took over.
    fn left_out(&self) -> impl Iterator<Item = &Iteration<'_>> {
        let served = self.fallback_model();
        let is_of_served = move |iteration: &Iteration<'_>| {
            iteration.is_plain()
                && iteration
                    .model
                    .non_empty()
                    .is_none_or(|model| Some(model) == served)
        };
        let mut own = Usage::default();
        for usage in self.iterations().filter(|one| is_of_served(one)) {
            add(&mut own, &usage.counts().usage().unwrap_or_default());
        }
        let plain = Counts {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cache_read: self.cache_read_input_tokens.0,
            cache_write: self.cache_creation_input_tokens.0,
            is_cache_apart: true,
            ..Counts::default()
        };
        let is_only_served = served.is_some() && plain.usage() == Some(own);
        self.iterations()
            .filter(move |one| !one.is_plain() || (is_only_served && !is_of_served(one)))
    }

    fn beside(&self) -> Option<Usage> {
        let mut all = None;
        for iteration in self.left_out() {
            if let Some(usage) = iteration.counts().usage() {
                add(all.get_or_insert_default(), &usage);
            }
        }
        all
    }

    pub(in crate::wire) fn details(&self) -> Details {
        let mut details = Details::default();
        details.cache_write(self.lifetimes());
        if let Some(tools) = &self.server_tool_use.0 {
            tools.add_to(&mut details);
        }
        details.name(self.service_tier.as_str(), |details| {
            &mut details.service_tier
        });
        details.name(self.speed.as_str(), |details| &mut details.speed);
        details.name(self.inference_geo.as_str(), |details| &mut details.region);
        let credit = self.fallback_credit.0.as_ref();
        if let Some(status) = credit.and_then(|credit| credit.status.0.as_ref()) {
            let outcome = status.reason.non_empty().or(status.kind.as_str());
            details.name(outcome, |details| &mut details.fallback_credit);
        }
        let mut models = Vec::new();
        let has_fallback = self.fallback_model().is_some();
        for iteration in self.iterations() {
            // Without a fallback, the model of a plain iteration is the one that served, maybe under another name.
            let is_own = iteration.is_plain() && !has_fallback;
            if let Some(model) = iteration.model.non_empty().filter(|_| !is_own) {
                let cache_write = iteration.cache_write();
                add_model(&mut models, model, &iteration.counts(), cache_write);
            }
        }
        details.other_models(models);
        details
    }

    /// Cache writes by lifetime, with those of iterations that the counts leave out.
    fn lifetimes(&self) -> CacheWriteTokens {
        let own = self.cache_creation.0.as_ref();
        let mut all = own.map(CacheCreation::tokens).unwrap_or_default();
        for iteration in self.left_out() {
            let one = iteration.cache_write();
            all.for_5m_tokens = sum([all.for_5m_tokens, one.for_5m_tokens, None]);
            all.for_1h_tokens = sum([all.for_1h_tokens, one.for_1h_tokens, None]);
        }
        all
    }

    /// The model that served after another one had declined.
    pub(in crate::wire) fn fallback_model(&self) -> Option<&str> {
        self.iterations()
            .filter(|iteration| iteration.kind.as_str() == Some("fallback_message"))
            .filter_map(|iteration| iteration.model.non_empty())
            .next_back()
    }

    /// Whether it has the counts of output, which the first event of a stream cannot know.
    pub(in crate::wire) fn has_output(&self) -> bool {
        self.output_tokens.0.is_some()
    }
}

/// `usage` of Bedrock Converse.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::wire) struct BedrockUsage {
    input_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
    cache_details: List<Object<CacheDetail>, 16>,
}

/// Tokens written to the cache with this lifetime.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CacheDetail {
    input_tokens: Count,
    ttl: Label,
}

impl BedrockUsage {
    pub(in crate::wire) fn counts(&self) -> Counts {
        Counts {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cache_read: self.cache_read_input_tokens.0,
            cache_write: self.cache_write_input_tokens.0,
            reasoning: None,
            total: self.total_tokens.0,
            beside: None,
            is_cache_apart: true,
            is_reasoning_apart: false,
            is_odd: any_odd([
                self.input_tokens,
                self.output_tokens,
                self.cache_read_input_tokens,
                self.cache_write_input_tokens,
            ]),
        }
    }

    pub(in crate::wire) fn details(&self) -> Details {
        let mut details = Details::default();
        let mut written = CacheWriteTokens::default();
        for detail in self
            .cache_details
            .0
            .iter()
            .filter_map(|item| item.0.as_ref())
        {
            let place = match detail.ttl.0.as_deref() {
                Some("5m") => &mut written.for_5m_tokens,
                Some("1h") => &mut written.for_1h_tokens,
                _ => continue,
            };
            *place = sum([*place, some(detail.input_tokens), None]);
        }
        details.cache_write(written);
        details
    }
}
