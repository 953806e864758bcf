//! Prices of models, and what a request costs.
//!
//! Owns the formats of prices, the lookup and the arithmetic. It knows neither where usage comes from nor
//! where costs go, keeps no state, and does no I/O except in [`PriceBook::load`].
//!
//! - `price`: rates, tiers, and the cost in integers;
//! - `book`: lookup by provider and model;
//! - `provider`: OpenTelemetry's names of providers and their other names;
//! - `litellm`, `native`: the two formats;
//! - `load`: which of them a file is in.

mod book;
mod litellm;
mod load;
mod native;
mod price;
mod provider;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::PriceBookError;
use crate::model::{PriceSource, Usage};
use book::Layer;
use price::Price;

/// Prices of models, in US dollars. Immutable and cheap to clone: clones share the prices, also between
/// threads. The writer looks up every ended request in the current book of its store.
///
/// A book comes from LiteLLM's list ([`from_litellm_json`](Self::from_litellm_json)), from a small format
/// for your own prices ([`from_json`](Self::from_json), [`from_toml`](Self::from_toml)), or from a file in
/// either format ([`load`](Self::load)). The default book is empty.
///
/// # Which price wins
///
/// The first candidate that has a price decides. For one candidate, a book from one source looks for:
///
/// 1. the model's name under the provider,
/// 2. a pattern under the provider,
/// 3. the model's name without a provider,
/// 4. a pattern without a provider.
///
/// Names of providers are OpenTelemetry's (`aws.bedrock`, `azure.ai.openai`, `gcp.gemini`, …) or LiteLLM's
/// (`bedrock`, `azure`, `gemini`, …), which mean the same. The exact spelling of a model precedes one that
/// differs in ASCII case. Patterns ignore ASCII case. The pattern with more characters before its first `*`
/// or `?` wins, then the one with more characters that are not wildcards, then the one listed first.
///
/// In a [merged](Self::merge) book all four steps are tried in the overriding book first, and then in the
/// overridden one.
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
    /// Reads LiteLLM's `model_prices_and_context_window.json`, in US dollars per token, from
    /// <https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json>.
    ///
    /// It uses the rates of input, output, cache reads, cache writes and reasoning, and their tiers
    /// (`…_above_200k_tokens`, `tiered_pricing`). Costs may be numbers or strings. It skips entries without
    /// a price of tokens (images, seconds, pages) and `sample_spec`, and ignores unknown fields. It does
    /// not use batch, flex and priority rates, nor those of caches that live longer than the default, since
    /// a [`Usage`] does not tell them apart.
    ///
    /// An entry is found by its full key, with or without its provider. It is also found by its key without
    /// the prefix, if the prefix names its provider: `azure/gpt-4o` is `gpt-4o` of `azure.ai.openai`, and
    /// `openrouter/google/gemini-2.5-pro` is `google/gemini-2.5-pro` of `openrouter`. A full key precedes a
    /// key without its prefix; of two keys without prefix the first in byte order wins. A full key is found
    /// for any provider: `gpt-4o` of a provider for which LiteLLM has no `gpt-4o` costs what OpenAI's
    /// costs.
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
    /// | `reasoning` | the same for reasoning; default: `output` |
    /// | `tiers` | rates of long requests: a list of `above_input_tokens` and the rates that differ |
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
    /// price decides; empty names are skipped.
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
    /// `None` if no candidate has a price, if neither input nor output tokens are known, or if LiteLLM's
    /// list has no rate for a kind of tokens that was used: never a silent zero.
    pub fn cost_microdollars(
        &self,
        provider: Option<&str>,
        candidates: &[&str],
        usage: &Usage,
    ) -> Option<u64> {
        self.find(provider, candidates)?.cost_microdollars(usage)
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

    fn find(&self, provider: Option<&str>, candidates: &[&str]) -> Option<&Price> {
        let provider = provider.map(provider::canonical);
        let mut candidates = candidates.iter().filter(|model| !model.is_empty());
        candidates.find_map(|model| {
            let folded = provider::fold(model);
            let mut layers = self.layers.iter();
            layers.find_map(|layer| layer.find(provider.as_deref(), model, &folded))
        })
    }

    fn from_layer(layer: Layer) -> Self {
        Self {
            layers: vec![Arc::new(layer)],
        }
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
