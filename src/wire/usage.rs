//! Token counts: converts the names and parts of each provider to ours.
//!
//! In [`Usage`] totals include their parts: input includes cache reads and writes, and output includes
//! reasoning. Where a provider counts these separately, they are added here, and nowhere else.

mod anthropic;
mod details;
mod gemini;
mod openai;
#[cfg(test)]
mod tests;

use serde::Deserialize;

pub(super) use anthropic::{AnthropicUsage, BedrockUsage};
pub(super) use details::{Details, tool_calls, tool_runs};
pub(super) use gemini::{GeminiUsage, OllamaUsage};
pub(super) use openai::OpenAiUsage;

use super::json::lenient::{Count, Object};
use crate::model::{Usage, WireProtocol};

impl Usage {
    /// Reads counts as written in a response of this protocol, for example
    /// `{"prompt_tokens":9,"completion_tokens":2}`, or under this type's own names. For an unknown protocol
    /// the names decide. `None`: nothing is counted. A count that is too large becomes the largest one. A
    /// value that is negative, has a fraction or is not a number is left out, and the recorded request is
    /// flagged (`usage_unparsed`).
    ///
    /// Totals of the result include their parts, whatever the provider does. Counts under this type's own
    /// names are taken as they are; they are recognized by a name that no provider uses
    /// (`cache_write_input_tokens`, `reasoning_output_tokens`).
    ///
    /// ```
    /// use auditlite::{Usage, WireProtocol};
    ///
    /// let json = r#"{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":90}"#;
    /// let usage = Usage::from_json(&WireProtocol::AnthropicMessages, json).unwrap();
    /// assert_eq!(usage.input_tokens, Some(100));
    /// ```
    pub fn from_json(protocol: &WireProtocol, json: &str) -> Option<Self> {
        let names = serde_json::from_str::<Object<Names>>(json).ok()?.0?;
        let own = serde_json::from_str::<OwnUsage>(json).ok()?;
        if own.cache_write_input_tokens.0.is_some() || own.reasoning_output_tokens.0.is_some() {
            return own.usage();
        }
        let counts = match protocol {
            WireProtocol::AnthropicMessages => counts_of(json, AnthropicUsage::counts),
            WireProtocol::GeminiGenerate => counts_of(json, GeminiUsage::counts),
            WireProtocol::BedrockConverse => counts_of(json, BedrockUsage::counts),
            WireProtocol::OpenAiEmbeddings => counts_of(json, OpenAiUsage::embedding_counts),
            WireProtocol::OllamaChat => counts_of(json, OllamaUsage::counts),
            WireProtocol::OpenAiChat | WireProtocol::OpenAiResponses => {
                counts_of(json, OpenAiUsage::counts)
            }
            // The names decide.
            _ => names.counts(json),
        };
        // The protocol says what to expect, but a gateway may have used other names.
        let counts = counts.filter(|counts| counts.usage().is_some());
        counts.or_else(|| names.counts(json))?.usage()
    }
}

fn counts_of<'a, T: Deserialize<'a>>(json: &'a str, counts: fn(&T) -> Counts) -> Option<Counts> {
    serde_json::from_str(json).ok().map(|usage| counts(&usage))
}

/// Names that tell providers apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    prompt_tokens: Count,
    cache_creation_input_tokens: Count,
    #[serde(rename = "promptTokenCount")]
    prompt_token_count: Count,
    #[serde(rename = "candidatesTokenCount")]
    candidates_token_count: Count,
    #[serde(rename = "inputTokens")]
    input_tokens_of_bedrock: Count,
    prompt_eval_count: Count,
    eval_count: Count,
}

impl Names {
    fn counts(&self, json: &str) -> Option<Counts> {
        if self.prompt_token_count.0.is_some() || self.candidates_token_count.0.is_some() {
            counts_of(json, GeminiUsage::counts)
        } else if self.input_tokens_of_bedrock.0.is_some() {
            counts_of(json, BedrockUsage::counts)
        } else if self.prompt_eval_count.0.is_some() || self.eval_count.0.is_some() {
            counts_of(json, OllamaUsage::counts)
        } else if self.cache_creation_input_tokens.0.is_some() && self.prompt_tokens.0.is_none() {
            counts_of(json, AnthropicUsage::counts)
        } else {
            counts_of(json, OpenAiUsage::counts)
        }
    }
}

/// Our own names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnUsage {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
    reasoning_output_tokens: Count,
}

impl OwnUsage {
    fn usage(&self) -> Option<Usage> {
        let usage = Usage {
            input_tokens: self.input_tokens.0,
            output_tokens: self.output_tokens.0,
            cache_read_input_tokens: self.cache_read_input_tokens.0,
            cache_write_input_tokens: self.cache_write_input_tokens.0,
            reasoning_output_tokens: self.reasoning_output_tokens.0,
            is_unparsed: any_odd([
                self.input_tokens,
                self.output_tokens,
                self.cache_read_input_tokens,
                self.cache_write_input_tokens,
                self.reasoning_output_tokens,
            ]),
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }
}

/// The counts so far, before parts are added to their totals. A stream may bring some of them early and
/// others late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) reasoning: Option<u64>,
    /// Everything together, where the provider states it.
    pub(super) total: Option<u64>,
    /// What the provider counts beside all these: of other models, and of more work of the same.
    pub(super) beside: Option<Usage>,
    /// Whether the provider's `input` excludes what was read from or written to the cache. The counts themselves
    /// may tell otherwise.
    pub(super) is_cache_apart: bool,
    /// Whether the provider's `output` excludes reasoning; as above.
    pub(super) is_reasoning_apart: bool,
    /// Whether there are values that are not counts.
    pub(super) is_odd: bool,
}

impl Counts {
    /// Replaces the counts so far, for streams whose events each have all counts. A count that the last
    /// event omits no longer applies (Gemini withdraws counts like this).
    pub(super) fn replace(&mut self, later: Self) {
        if later.usage().is_some() {
            let before = *self;
            *self = Self {
                input: risen(before.input, later.input),
                output: risen(before.output, later.output),
                cache_read: risen(before.cache_read, later.cache_read),
                cache_write: risen(before.cache_write, later.cache_write),
                reasoning: risen(before.reasoning, later.reasoning),
                total: risen(before.total, later.total),
                beside: later.beside.or(before.beside),
                is_odd: before.is_odd | later.is_odd,
                ..later
            };
        }
    }

    /// Adds the counts that the other has, for streams whose events have only new ones. A later count
    /// applies to the whole response.
    pub(super) fn update(&mut self, later: &Self) {
        // Counts that tell their iterations are meant, zeros too: those before may be of a compaction.
        let is_meant = later.beside.is_some();
        let update = |known: &mut Option<u64>, later: Option<u64>| {
            let later = if is_meant {
                later
            } else {
                risen(*known, later)
            };
            *known = later.or(*known);
        };
        update(&mut self.input, later.input);
        update(&mut self.output, later.output);
        update(&mut self.cache_read, later.cache_read);
        update(&mut self.cache_write, later.cache_write);
        update(&mut self.reasoning, later.reasoning);
        update(&mut self.total, later.total);
        self.beside = later.beside.or(self.beside);
        self.is_cache_apart |= later.is_cache_apart;
        self.is_reasoning_apart = later.is_reasoning_apart;
        self.is_odd |= later.is_odd;
    }

    /// Converts them to ours; `None` if nothing was counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (is_cache_apart, is_reasoning_apart) = self.apart();
        let mut input_tokens = self.input;
        if is_cache_apart {
            input_tokens = sum([self.input, self.cache_read, self.cache_write]);
        }
        let mut output_tokens = self.output;
        if is_reasoning_apart {
            output_tokens = sum([self.output, self.reasoning, None]);
        }
        let mut usage = Usage {
            input_tokens,
            output_tokens,
            cache_read_input_tokens: self.cache_read,
            cache_write_input_tokens: self.cache_write,
            reasoning_output_tokens: self.reasoning,
            is_unparsed: self.is_odd,
            ..Usage::default()
        };
        if let Some(beside) = &self.beside {
            add(&mut usage, beside);
        }
        (usage != Usage::default()).then_some(usage)
    }

    /// Which parts are counted apart from their totals: the cache's from the input, reasoning from the output.
    ///
    /// The sum of everything decides, where the provider states it and it confirms a reading: some servers estimate
    /// parts, which may then exceed their total. Else it is as the provider counts, unless a part exceeds a total that
    /// would include it.
    fn apart(&self) -> (bool, bool) {
        let (cache, reasoning) = (self.is_cache_apart, self.is_reasoning_apart);
        let readings = [
            (cache, reasoning),
            (cache, !reasoning),
            (!cache, reasoning),
            (!cache, !reasoning),
        ];
        let exceeds = |part: Option<u64>, total: Option<u64>| matches!((part, total), (Some(part), Some(total)) if part > total);
        let is_cache_too_large =
            exceeds(self.cache_read, self.input) || exceeds(self.cache_write, self.input);
        let is_reasoning_too_large = exceeds(self.reasoning, self.output);
        let is_possible = |(cache, reasoning): &(bool, bool)| {
            (*cache || !is_cache_too_large) && (*reasoning || !is_reasoning_too_large)
        };
        let cached = sum([self.cache_read, self.cache_write, None]);
        let is_confirmed = |(cache, reasoning): &(bool, bool)| {
            let parts = sum([
                cached.filter(|_| *cache),
                self.reasoning.filter(|_| *reasoning),
                None,
            ]);
            self.total.is_some() && sum([self.input, self.output, parts]) == self.total
        };
        let stated = readings.iter().find(|reading| is_confirmed(reading));
        let possible = || readings.iter().find(|reading| is_possible(reading));
        stated
            .or_else(possible)
            .copied()
            .unwrap_or((cache, reasoning))
    }
}

/// The later of two counts. Counts of a stream are cumulative, so a zero after a count says nothing.
fn risen(before: Option<u64>, later: Option<u64>) -> Option<u64> {
    match (before, later) {
        (Some(1..), Some(0)) => before,
        _ => later,
    }
}

/// Adds counts; what both do not know stays unknown.
fn add(usage: &mut Usage, more: &Usage) {
    for (known, more) in [
        (&mut usage.input_tokens, more.input_tokens),
        (&mut usage.output_tokens, more.output_tokens),
        (
            &mut usage.cache_read_input_tokens,
            more.cache_read_input_tokens,
        ),
        (
            &mut usage.cache_write_input_tokens,
            more.cache_write_input_tokens,
        ),
        (
            &mut usage.reasoning_output_tokens,
            more.reasoning_output_tokens,
        ),
    ] {
        *known = sum([*known, more, None]);
    }
}

fn any_odd<const N: usize>(counts: [Count; N]) -> bool {
    counts.into_iter().any(Count::is_odd)
}

/// The sum of the known ones.
fn sum(counts: [Option<u64>; 3]) -> Option<u64> {
    let mut known = counts.into_iter().flatten();
    let first = known.next()?;
    Some(known.fold(first, u64::saturating_add))
}
