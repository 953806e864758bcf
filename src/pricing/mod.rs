//! Prices of models, and what a request costs.
//!
//! Owns the formats of prices, the lookup and the arithmetic. It knows neither where usage comes from nor
//! where costs go, keeps no state, and does no I/O except in [`PriceBook::load`].
//!
//! - `decimal`, `bill`: money in integers, from decimals to a sum that is rounded once;
//! - `rates`, `off_peak`, `fees`: what tokens cost, when they cost less, and what else costs;
//! - `price`: what one request of a model costs;
//! - `provider`, `names`: other names of providers and of models;
//! - `book`: lookup by provider and model;
//! - `litellm`, `litellm_entry`, `native`: the two formats;
//! - `load`: which of them a file is in;
//! - `built_in`: prices that come with the library.

mod bill;
mod book;
mod built_in;
mod decimal;
mod fees;
mod litellm;
mod litellm_entry;
mod load;
mod names;
mod native;
mod off_peak;
mod price;
mod provider;
mod rates;
mod units;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::PriceBookError;
use crate::model::{CacheWriteTokens, ModelUsage, PriceSource, Timestamp, Usage, UsageDetails};
use bill::Bill;
use book::{Found, Layer};

/// What is to be priced by [`PriceBook::cost`].
#[derive(Debug, Clone, Copy)]
pub struct CostQuery<'q> {
    provider: Option<&'q str>,
    candidates: &'q [&'q str],
    usage: &'q Usage,
    details: Option<&'q UsageDetails>,
    at: Option<Timestamp>,
}

impl<'q> CostQuery<'q> {
    /// Usage of the first candidate that has a price; see [`PriceBook::cost_microdollars`].
    pub fn new(provider: Option<&'q str>, candidates: &'q [&'q str], usage: &'q Usage) -> Self {
        Self {
            provider,
            candidates,
            usage,
            details: None,
            at: None,
        }
    }

    /// The other models that took part.
    pub(crate) fn other_models(&self) -> &'q [ModelUsage] {
        self.details.map_or(&[], |details| &details.other_models)
    }

    /// What the response says beyond the counts. Default: nothing.
    #[must_use]
    pub fn details(mut self, details: &'q UsageDetails) -> Self {
        self.details = Some(details);
        self
    }

    /// When the request ended, for prices that depend on the hour. Default: not known.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }
}

/// What a request costs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// In millionths of a US dollar.
    pub microdollars: u64,
    /// What has no price, such as `tier scale`, `output_audio`, `code_execution`, `model m`, or `provider` where only
    /// another provider's price of the model is known. At most 16.
    pub unpriced: Vec<String>,
}

/// Prices of models, in US dollars. Immutable and cheap to clone: clones share the prices, also between
/// threads. The writer looks up every ended request in the current book of its store.
///
/// A book comes from LiteLLM's list ([`from_litellm_json`](Self::from_litellm_json)), from a small format
/// for your own prices ([`from_json`](Self::from_json), [`from_toml`](Self::from_toml)), or from a file in
/// either format ([`load`](Self::load)). The default book is empty.
///
/// # Which price wins
///
/// The first candidate that has a price under the provider decides, then the first one that has a price without a
/// provider. For one candidate, a book from one source looks for:
///
/// 1. the model's name,
/// 2. a pattern,
/// 3. the name without what clouds, routers and fine-tuning add: the ARN of a Bedrock model or profile and the
///    geography of a profile, `models/`, `bedrock/`, the end of `ft:gpt-4o-mini-2024-07-18:org::id`.
///
/// Names of providers are OpenTelemetry's (`aws.bedrock`, `azure.ai.openai`, `gcp.gemini`, …) or LiteLLM's
/// (`bedrock`, `azure`, `gemini`, …), which mean the same. The exact spelling of a model precedes one that
/// differs in ASCII case. Patterns ignore ASCII case. The pattern with more characters before its first `*`
/// or `?` wins, then the one with more characters that are not wildcards, then the one listed first.
///
/// In a [merged](Self::merge) book all this is tried in the overriding book first, and then in the overridden one.
///
/// # Cost
///
/// Rates are integers, in microdollars per million tokens. A cost is the exact sum over the kinds
/// of tokens, rounded once, half up, to integer microdollars.
///
/// # Examples
///
/// Your own prices over a public list:
///
/// ```
/// use auditlite::{PriceBook, Usage};
///
/// let public = PriceBook::from_litellm_json(
///     r#"{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 2.5e-06,
///         "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06}}"#,
/// )?;
/// let own = PriceBook::from_toml(
///     r#"
///     [[prices]]
///     model = "house-*"
///     input = 0.10 # US dollars per million tokens
///     output = 0.40
///     "#,
/// )?;
/// let book = public.merge(own);
///
/// let usage = Usage::new(1_200, 80).cache_read_input_tokens(1_000);
/// // 200 × 2.5 + 1,000 × 1.25 + 80 × 10 microdollars
/// assert_eq!(book.cost_microdollars(Some("openai"), &["gpt-4o"], &usage), Some(2_550));
/// assert_eq!(book.cost_microdollars(Some("lab"), &["house-7b"], &usage), Some(152));
/// assert_eq!(book.cost_microdollars(Some("lab"), &["unheard-of"], &usage), None);
/// # Ok::<(), auditlite::PriceBookError>(())
/// ```
#[derive(Clone, Default)]
pub struct PriceBook {
    /// The overriding ones first.
    layers: Vec<Arc<Layer>>,
}

impl PriceBook {
    /// The day of the [built-in prices](Self::built_in), as `2026-11-28`.
    pub const BUILT_IN_DATE: &'static str = built_in::DATE;

    /// Prices that come with this library: models of OpenAI, Anthropic, Google, Mistral, Cohere, xAI, DeepSeek and
    /// Moonshot under these providers' own names, as of [`BUILT_IN_DATE`](Self::BUILT_IN_DATE). A start; prices change.
    ///
    /// Taken from LiteLLM's list (MIT). Read when it is first asked for, which takes some milliseconds.
    ///
    /// ```
    /// use auditlite::{PriceBook, Usage};
    ///
    /// let own = PriceBook::from_toml("[[prices]]\nmodel = \"house-7b\"\ninput = 0.1\noutput = 0.4")?;
    /// let book = PriceBook::built_in().merge(own);
    /// let usage = Usage::new(1_000, 100);
    /// assert_eq!(book.cost_microdollars(Some("openai"), &["gpt-4.1"], &usage), Some(2_800));
    /// # Ok::<(), auditlite::PriceBookError>(())
    /// ```
    pub fn built_in() -> Self {
        built_in::book()
    }

    /// Reads LiteLLM's `model_prices_and_context_window.json`, in US dollars per token, from
    /// <https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json>.
    ///
    /// It uses the rates of all kinds of tokens, with tiers of length (`…_above_200k_tokens`, `tiered_pricing`) and of
    /// service (`…_batches`, `…_flex`, `…_priority`), off-peak hours, factors of regions and speeds, and prices of
    /// searches, sessions, images, seconds, characters and pages. Costs may be numbers or strings. It follows
    /// `alias_of`, and skips `sample_spec`, entries that price nothing that a response tells, and unknown fields. As
    /// LiteLLM's calculator does, it bills cached input of Fireworks at half where the list has no rate.
    ///
    /// An entry is found by its full key, with or without its provider. It is also found by its key without
    /// the prefix, if the prefix names its provider: `azure/gpt-4o` is `gpt-4o` of `azure.ai.openai`, and
    /// `openrouter/google/gemini-2.5-pro` is `google/gemini-2.5-pro` of `openrouter`. As in
    /// LiteLLM's calculator, a key with the provider's prefix precedes one without: DeepSeek's `deepseek-chat` costs
    /// what `deepseek/deepseek-chat` does; of two such keys the first in byte order wins. A full key is found
    /// for any provider: `gpt-4o` of a provider for which LiteLLM has no `gpt-4o` costs what OpenAI's
    /// costs, and if LiteLLM has other models of that provider, [`Cost::unpriced`] says `provider`.
    ///
    /// # Errors
    ///
    /// [`Syntax`](PriceBookError::Syntax) if it is not JSON, [`Shape`](PriceBookError::Shape) if it
    /// is not an object, [`Entry`](PriceBookError::Entry) for a rate that is not a number, negative
    /// or above one dollar per token.
    ///
    /// ```
    /// # use auditlite::{PriceBook, Usage};
    /// let book = PriceBook::from_litellm_json(
    ///     r#"{"azure/gpt-4o": {"litellm_provider": "azure",
    ///         "input_cost_per_token": 2.75e-06, "output_cost_per_token": 1.1e-05}}"#,
    /// )?;
    /// assert!(book.knows(Some("azure.ai.openai"), &["gpt-4o"]));
    /// # Ok::<(), auditlite::PriceBookError>(())
    /// ```
    pub fn from_litellm_json(text: &str) -> Result<Self, PriceBookError> {
        load::litellm(text).map(Self::from_layer)
    }

    /// Reads your own prices from JSON: an object with a list `prices`.
    ///
    /// | field of an entry | meaning |
    /// |---|---|
    /// | `provider` | whose price it is; default: whichever provider's |
    /// | `model` | the exact name, or a pattern with `*` (any characters) and `?` (one) |
    /// | `input`, `output` | US dollars per million tokens |
    /// | `cache_read`, `cache_write` | the same for cached input; default: `input` |
    /// | `cache_write_1h`, `cache_write_12h` | the same for longer lifetimes; without them such writes are unpriced |
    /// | `reasoning` | the same for reasoning; default: `output` |
    /// | `input_audio`, `input_image`, `input_video` | the same for media that are read; default: `input` |
    /// | `cache_read_audio`, `cache_read_image` | the same for cached media; default: `cache_read` |
    /// | `output_audio`, `output_image`, `output_video` | the same for media that are made; without them they are unpriced |
    /// | `citation` | the same for cited sources; without it they are unpriced |
    /// | `tiers` | rates of long requests: a list of `above_input_tokens` and the rates that differ |
    /// | `services` | tiers of service: a list of `name` (`flex`, `priority`, `batch`, `balanced`, `ultrafast`), the rates that differ, and `tiers` |
    /// | `factors` | by what all rates are multiplied: `fast`, and names of regions such as `us` |
    /// | `fees` | US dollars for each `web_search`, `google_maps`, `file_search`, `code_interpreter`, `request`, `query`, `image`, `input_image`, `audio_second`, `video_second`, `input_video_second`, `character`, `page` |
    ///
    /// Rates are numbers, or decimals in strings. They are rounded half up to a millionth of a dollar per
    /// million tokens.
    ///
    /// # Errors
    ///
    /// [`Syntax`](PriceBookError::Syntax) if it is not JSON, [`Shape`](PriceBookError::Shape) if it
    /// is not an object with `prices` and nothing else, [`Entry`](PriceBookError::Entry) for an
    /// entry with an unknown field, without a required one, with a rate that is not a number,
    /// negative or above one dollar per token, or for a model that is listed twice.
    ///
    /// ```
    /// # use auditlite::{PriceBook, Usage};
    /// let book = PriceBook::from_json(
    ///     r#"{"prices": [
    ///         {"provider": "gcp.gemini", "model": "gemini-2.5-pro*", "input": 1.25, "output": 10,
    ///          "tiers": [{"above_input_tokens": 200000, "input": 2.5, "output": 15}]}
    ///     ]}"#,
    /// )?;
    /// let cost = |usage| book.cost_microdollars(Some("gemini"), &["gemini-2.5-pro"], &usage);
    /// assert_eq!(cost(Usage::new(200_000, 0)), Some(250_000));
    /// assert_eq!(cost(Usage::new(400_000, 0)), Some(1_000_000));
    /// # Ok::<(), auditlite::PriceBookError>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, PriceBookError> {
        load::own_json(text).map(Self::from_layer)
    }

    /// Reads your own prices from TOML: tables `[[prices]]`, with the fields of
    /// [`from_json`](Self::from_json).
    ///
    /// # Errors
    ///
    /// Those of [`from_json`](Self::from_json).
    ///
    /// ```
    /// # use auditlite::PriceBook;
    /// let book = PriceBook::from_toml(
    ///     r#"
    ///     [[prices]]
    ///     provider = "anthropic"
    ///     model = "claude-sonnet-4-5*"
    ///     input = 3
    ///     output = 15
    ///     cache_read = 0.30
    ///     cache_write = 3.75
    ///     "#,
    /// )?;
    /// assert!(book.knows(Some("anthropic"), &["claude-sonnet-4-5-20250929"]));
    ///
    /// let typo = PriceBook::from_toml("[[prices]]\nmodel = 'm'\ninput = 3\nouput = 15");
    /// assert!(typo.is_err_and(|error| error.to_string().contains("\"ouput\"")));
    /// # Ok::<(), auditlite::PriceBookError>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self, PriceBookError> {
        load::own_toml(text).map(Self::from_layer)
    }

    /// Reads a file of at most 64 MiB. A name that ends in `.toml` means your own prices as TOML. Any other
    /// file is JSON: your own prices if it has a field `prices`, otherwise LiteLLM's.
    ///
    /// # Blocking
    ///
    /// Reads the file on the calling thread.
    ///
    /// # Errors
    ///
    /// [`Read`](PriceBookError::Read) and [`TooLarge`](PriceBookError::TooLarge);
    /// [`File`](PriceBookError::File) names a file with wrong content, and its source says what is wrong.
    ///
    /// ```no_run
    /// # use auditlite::PriceBook;
    /// let book = PriceBook::load("model_prices_and_context_window.json")?
    ///     .merge(PriceBook::load("own-prices.toml")?);
    /// # Ok::<(), auditlite::PriceBookError>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PriceBookError> {
        load::load(path.as_ref()).map(Self::from_layer)
    }

    /// Overrides this book with another one: if `over` has a price for a model, even by a pattern, that
    /// price wins. So prices for otherwise unknown models go below: `fallback.merge(public).merge(own)`.
    #[must_use]
    pub fn merge(self, over: PriceBook) -> PriceBook {
        let mut layers = over.layers;
        layers.extend(self.layers);
        PriceBook { layers }
    }

    /// What a request costs, in microdollars (millionths of a US dollar).
    ///
    /// `candidates` are names of the model, the best first: served, routed, requested. The first one with a
    /// price under the provider decides, else the first one with a price; empty names are skipped.
    ///
    /// `input_tokens` includes cache reads and writes, and `output_tokens` includes reasoning. Each part
    /// costs its own rate, and the rest costs the input or output rate. Parts that exceed their total are
    /// charged as they are, and the rest is zero, never negative. A cost beyond `u64` is `u64::MAX`.
    ///
    /// If a price has tiers, the highest one with a threshold below `input_tokens` applies to the *whole*
    /// request, including its output; it inherits the rates that it omits.
    /// [Gemini](https://ai.google.dev/gemini-api/docs/pricing) states its long-context rates like this
    /// ("prompts > 200k tokens"), and LiteLLM's calculator bills every provider like this
    /// ([`generic_cost_per_token`](https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/llm_cost_calc/utils.py)).
    /// As there, a tier of xAI in LiteLLM's list begins at its threshold and not above it.
    ///
    /// `None` if no candidate has a price, if neither input nor output tokens are known, or if the book has no rate for a
    /// kind of tokens that was used: never a silent zero. [`cost`](Self::cost) says more.
    pub fn cost_microdollars(
        &self,
        provider: Option<&str>,
        candidates: &[&str],
        usage: &Usage,
    ) -> Option<u64> {
        let cost = self.cost(&CostQuery::new(provider, candidates, usage))?;
        cost.unpriced.is_empty().then_some(cost.microdollars)
    }

    /// What a request costs with everything that its response says of it: tiers of service, media, lifetimes of cache
    /// writes, the provider's own tools, other models, regions, speeds and the hour.
    ///
    /// Tokens cost the rate of their kind in the request's tier of service and length, or the standard one that stands
    /// in for it; then what has no price of its own is in [`Cost::unpriced`]. Factors of speeds and regions multiply
    /// what tokens cost, not the fees of tools. Free quotas, discounts by contract and taxes are not known here.
    ///
    /// `None` if no candidate has a price, if nothing is known of the usage, or if nothing of it has a price.
    ///
    /// ```
    /// # use auditlite::{CostQuery, PriceBook, Usage, UsageDetails};
    /// let book = PriceBook::from_litellm_json(
    ///     r#"{"gpt-4.1": {"litellm_provider": "openai", "input_cost_per_token": 2e-06,
    ///         "output_cost_per_token": 8e-06, "input_cost_per_token_priority": 3.5e-06,
    ///         "output_cost_per_token_priority": 1.4e-05}}"#,
    /// )?;
    /// let usage = Usage::new(10_000, 1_000);
    /// let mut details = UsageDetails::default();
    /// let cost = |details: &UsageDetails| {
    ///     let query = CostQuery::new(Some("openai"), &["gpt-4.1"], &usage).details(details);
    ///     book.cost(&query).unwrap()
    /// };
    /// details.service_tier = Some("priority".to_owned());
    /// assert_eq!(cost(&details).microdollars, 49_000);
    /// details.service_tier = Some("scale".to_owned());
    /// assert_eq!(cost(&details).microdollars, 28_000);
    /// assert_eq!(cost(&details).unpriced, ["tier scale"]);
    /// # Ok::<(), auditlite::PriceBookError>(())
    /// ```
    pub fn cost(&self, query: &CostQuery<'_>) -> Option<Cost> {
        let none = UsageDetails::default();
        let details = query.details.unwrap_or(&none);
        let usage = query.usage;
        if usage.input_tokens.is_none()
            && usage.output_tokens.is_none()
            && details.billed_units.is_empty()
        {
            return None;
        }
        let bill = self.bill(query, details)?;
        let (microdollars, unpriced) = bill.total()?;
        Some(Cost {
            microdollars,
            unpriced,
        })
    }

    /// Bills the model that served, then the others that took part, then the models of tools.
    fn bill(&self, query: &CostQuery<'_>, details: &UsageDetails) -> Option<Bill> {
        let mut own = *query.usage;
        let mut own_details = details.clone();
        let mut others = Bill::default();
        for other in &details.other_models {
            if self.find(query.provider, &[&other.model]).is_none() {
                // Billed with the rest, at the rates of the model that served.
                others.note(&format!("model {}", other.model));
                continue;
            }
            subtract(&mut own, &other.usage);
            subtract_writes(&mut own_details.cache_write, &other.cache_write);
            self.bill_model(query, details, other, &mut others);
        }
        for tool in &details.server_tools {
            let Some(usage) = &tool.usage else { continue };
            match &tool.model {
                Some(model) => {
                    let its = of_the_whole(details);
                    self.bill_other(query, model, usage, &its, &mut others);
                }
                None => others.note(&tool.tool_name),
            }
        }
        let found = self.find(query.provider, query.candidates)?;
        let mut bill = found.price.bill(&own, &own_details, query.at);
        if found.is_of_other {
            bill.note("provider");
        }
        bill.append(others);
        Some(bill)
    }

    /// What the tokens of a model cost that took part beside the one that served: part of [`cost`](Self::cost).
    pub(crate) fn cost_of_other(&self, query: &CostQuery<'_>, other: &ModelUsage) -> Option<Cost> {
        self.find(query.provider, &[&other.model])?;
        let none = UsageDetails::default();
        let mut bill = Bill::default();
        self.bill_model(query, query.details.unwrap_or(&none), other, &mut bill);
        let (microdollars, unpriced) = bill.total()?;
        Some(Cost {
            microdollars,
            unpriced,
        })
    }

    fn bill_model(
        &self,
        query: &CostQuery<'_>,
        details: &UsageDetails,
        other: &ModelUsage,
        bill: &mut Bill,
    ) {
        let its = UsageDetails {
            cache_write: other.cache_write,
            ..of_the_whole(details)
        };
        self.bill_other(query, &other.model, &other.usage, &its, bill);
    }

    fn bill_other(
        &self,
        query: &CostQuery<'_>,
        model: &str,
        usage: &Usage,
        details: &UsageDetails,
        bill: &mut Bill,
    ) {
        match self.find(query.provider, &[model]) {
            Some(found) => bill.append(found.price.bill(usage, details, query.at)),
            None => bill.note(&format!("model {model}")),
        }
    }

    /// Whether one of the candidates has a price.
    ///
    /// ```
    /// # use auditlite::PriceBook;
    /// assert!(!PriceBook::default().knows(Some("openai"), &["gpt-4o"]));
    /// ```
    pub fn knows(&self, provider: Option<&str>, candidates: &[&str]) -> bool {
        self.find(provider, candidates).is_some()
    }

    /// The number of entries from which the book was made, including overridden ones.
    pub fn len(&self) -> usize {
        self.layers.iter().map(|layer| layer.entries()).sum()
    }

    /// What the book was made of, the overriding ones first. The log states it in an event of its own, to which
    /// computed costs refer.
    pub fn sources(&self) -> Vec<PriceSource> {
        self.layers
            .iter()
            .filter_map(|layer| layer.source())
            .collect()
    }

    /// Whether the book has no prices at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Own prices first, then the public ones below them, and so on: a price of a lower book counts only where those
    /// above have none for any of the names.
    fn find(&self, provider: Option<&str>, candidates: &[&str]) -> Option<Found<'_>> {
        let provider = provider.map(provider::canonical);
        let models = candidates.iter().copied().filter(|model| !model.is_empty());
        let mut layers = self.layers.iter();
        layers.find_map(|layer| layer.find(provider.as_deref(), models.clone()))
    }

    fn from_layer(layer: Layer) -> Self {
        Self {
            layers: vec![Arc::new(layer)],
        }
    }
}

/// What holds for all models of a response.
fn of_the_whole(details: &UsageDetails) -> UsageDetails {
    UsageDetails {
        service_tier: details.service_tier.clone(),
        speed: details.speed.clone(),
        region: details.region.clone(),
        ..UsageDetails::default()
    }
}

fn subtract(usage: &mut Usage, part: &Usage) {
    for (total, part) in [
        (&mut usage.input_tokens, part.input_tokens),
        (&mut usage.output_tokens, part.output_tokens),
        (
            &mut usage.cache_read_input_tokens,
            part.cache_read_input_tokens,
        ),
        (
            &mut usage.cache_write_input_tokens,
            part.cache_write_input_tokens,
        ),
        (
            &mut usage.reasoning_output_tokens,
            part.reasoning_output_tokens,
        ),
    ] {
        *total = total.map(|total| total.saturating_sub(part.unwrap_or(0)));
    }
}

fn subtract_writes(tokens: &mut CacheWriteTokens, part: &CacheWriteTokens) {
    for (total, part) in [
        (&mut tokens.for_5m_tokens, part.for_5m_tokens),
        (&mut tokens.for_30m_tokens, part.for_30m_tokens),
        (&mut tokens.for_1h_tokens, part.for_1h_tokens),
        (&mut tokens.for_12h_tokens, part.for_12h_tokens),
    ] {
        *total = total.map(|total| total.saturating_sub(part.unwrap_or(0)));
    }
}

/// Prints the number of entries instead of thousands of prices.
impl fmt::Debug for PriceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriceBook")
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
