//! Token counts: converts the names and parts of each provider to ours.
//!
//! In [`Usage`] totals include their parts: input includes cache reads and writes, and output includes
//! reasoning. Where a provider counts these separately, they are added here, and nowhere else.

use serde::Deserialize;

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
            return own.counts().usage();
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
    fn counts(&self) -> Counts {
        Counts {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cache_read: self.cache_read_input_tokens.0,
            cache_write: self.cache_write_input_tokens.0,
            reasoning: self.reasoning_output_tokens.0,
            is_odd: any_odd([
                self.input_tokens,
                self.output_tokens,
                self.cache_read_input_tokens,
                self.cache_write_input_tokens,
                self.reasoning_output_tokens,
            ]),
            ..Counts::default()
        }
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
    /// Whether `input` excludes what was read from or written to the cache.
    pub(super) is_cache_apart: bool,
    /// Whether `output` excludes reasoning.
    pub(super) is_reasoning_apart: bool,
    /// Whether there are values that are not counts.
    pub(super) is_odd: bool,
}

impl Counts {
    /// Replaces the counts so far, for streams whose events each have all counts. A count that the last
    /// event omits no longer applies (Gemini withdraws counts like this).
    pub(super) fn replace(&mut self, later: Self) {
        if later.usage().is_some() {
            let is_odd = self.is_odd | later.is_odd;
            *self = Self { is_odd, ..later };
        }
    }

    /// Adds the counts that the other has, for streams whose events have only new ones. A later count
    /// applies to the whole response.
    pub(super) fn update(&mut self, later: &Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.reasoning = later.reasoning.or(self.reasoning);
        self.is_cache_apart |= later.is_cache_apart;
        self.is_reasoning_apart = later.is_reasoning_apart;
        self.is_odd |= later.is_odd;
    }

    /// Converts them to ours; `None` if nothing was counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut input_tokens = self.input;
        if self.is_cache_apart {
            input_tokens = sum([self.input, self.cache_read, self.cache_write]);
        }
        let mut output_tokens = self.output;
        if self.is_reasoning_apart {
            output_tokens = sum([self.output, self.reasoning, None]);
        }
        let usage = Usage {
            input_tokens,
            output_tokens,
            cache_read_input_tokens: self.cache_read,
            cache_write_input_tokens: self.cache_write,
            reasoning_output_tokens: self.reasoning,
            is_unparsed: self.is_odd,
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
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

/// `usage` of OpenAI's chat completions, responses and embeddings, and of compatible servers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OpenAiUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Object<OpenAiDetails>,
    completion_tokens_details: Object<OpenAiDetails>,
    input_tokens_details: Object<OpenAiDetails>,
    output_tokens_details: Object<OpenAiDetails>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Count,
    /// Moonshot.
    cached_tokens: Count,
    /// Mistral.
    num_cached_tokens: Count,
    /// Perplexity.
    reasoning_tokens: Count,
    /// LiteLLM, and others that serve Anthropic's models.
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OpenAiDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    cache_creation_input_tokens: Count,
    reasoning_tokens: Count,
}

impl OpenAiUsage {
    pub(super) fn counts(&self) -> Counts {
        let input = self.prompt_tokens.0.or(self.input_tokens.0);
        let output = self.completion_tokens.0.or(self.output_tokens.0);
        let input_details = self.prompt_tokens_details.0.as_ref();
        let input_details = input_details.or(self.input_tokens_details.0.as_ref());
        let output_details = self.completion_tokens_details.0.as_ref();
        let output_details = output_details.or(self.output_tokens_details.0.as_ref());
        let reasoning = output_details
            .and_then(|details| details.reasoning_tokens.0)
            .or(self.reasoning_tokens.0);
        // xAI counts reasoning separately from the completion, which only its total shows.
        let with_reasoning = sum([input, output, reasoning]);
        let is_reasoning_apart =
            reasoning.is_some_and(|count| count > 0) && with_reasoning == self.total_tokens.0;
        Counts {
            input,
            output,
            cache_read: input_details
                .and_then(|details| details.cached_tokens.0)
                .or(self.cache_read_input_tokens.0)
                .or(self.prompt_cache_hit_tokens.0)
                .or(self.cached_tokens.0)
                .or(self.num_cached_tokens.0),
            cache_write: input_details
                .and_then(|details| {
                    let written = details.cache_write_tokens.0;
                    written.or(details.cache_creation_input_tokens.0)
                })
                .or(self.cache_creation_input_tokens.0),
            reasoning,
            is_cache_apart: false,
            is_reasoning_apart,
            is_odd: self.is_odd(),
        }
    }

    fn is_odd(&self) -> bool {
        let details = [
            &self.prompt_tokens_details,
            &self.completion_tokens_details,
            &self.input_tokens_details,
            &self.output_tokens_details,
        ];
        let is_odd = |details: &OpenAiDetails| {
            any_odd([
                details.cached_tokens,
                details.cache_write_tokens,
                details.cache_creation_input_tokens,
                details.reasoning_tokens,
            ])
        };
        let has_odd_details = details
            .into_iter()
            .filter_map(|details| details.0.as_ref())
            .any(is_odd);
        has_odd_details
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
    pub(super) fn embedding_counts(&self) -> Counts {
        let mut counts = self.counts();
        counts.input = counts.input.or(self.total_tokens.0);
        counts
    }
}

/// `usage` of Anthropic: `input_tokens` counts only what follows the last cache breakpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnthropicUsage {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    output_tokens_details: Object<AnthropicDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnthropicDetails {
    thinking_tokens: Count,
}

impl AnthropicUsage {
    pub(super) fn counts(&self) -> Counts {
        let details = self.output_tokens_details.0.as_ref();
        Counts {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cache_read: self.cache_read_input_tokens.0,
            cache_write: self.cache_creation_input_tokens.0,
            reasoning: details.and_then(|details| details.thinking_tokens.0),
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
}

/// `usageMetadata` of Gemini: thoughts, and the prompts of built-in tools, are counted separately.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct GeminiUsage {
    prompt_token_count: Count,
    tool_use_prompt_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    cached_content_token_count: Count,
}

impl GeminiUsage {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            input: sum([
                self.prompt_token_count.0,
                self.tool_use_prompt_token_count.0,
                None,
            ]),
            output: self.candidates_token_count.0,
            cache_read: self.cached_content_token_count.0,
            cache_write: None,
            reasoning: self.thoughts_token_count.0,
            is_cache_apart: false,
            is_reasoning_apart: true,
            is_odd: any_odd([
                self.prompt_token_count,
                self.tool_use_prompt_token_count,
                self.candidates_token_count,
                self.thoughts_token_count,
                self.cached_content_token_count,
            ]),
        }
    }
}

/// `usage` of Bedrock Converse, which counts as Anthropic does.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BedrockUsage {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
}

impl BedrockUsage {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cache_read: self.cache_read_input_tokens.0,
            cache_write: self.cache_write_input_tokens.0,
            reasoning: None,
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
}

/// Ollama's counts, among the other fields of its last line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OllamaUsage {
    pub(super) prompt_eval_count: Count,
    pub(super) eval_count: Count,
}

impl OllamaUsage {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            input: self.prompt_eval_count.0,
            output: self.eval_count.0,
            is_odd: any_odd([self.prompt_eval_count, self.eval_count]),
            ..Counts::default()
        }
    }
}

#[cfg(test)]
mod tests;
