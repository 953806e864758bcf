//! Usage of Gemini and of Ollama.

use serde::Deserialize;

use super::details::{Details, ModalityList, add_modalities, by_modality};
use super::{Counts, any_odd, sum};
use crate::wire::json::lenient::{Count, Text};

/// `usageMetadata` of Gemini: thoughts, and the prompts of built-in tools, are counted apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::wire) struct GeminiUsage<'a> {
    prompt_token_count: Count,
    tool_use_prompt_token_count: Count,
    candidates_token_count: Count,
    /// In live sessions.
    response_token_count: Count,
    thoughts_token_count: Count,
    cached_content_token_count: Count,
    total_token_count: Count,
    prompt_tokens_details: ModalityList,
    tool_use_prompt_tokens_details: ModalityList,
    cache_tokens_details: ModalityList,
    candidates_tokens_details: ModalityList,
    response_tokens_details: ModalityList,
    #[serde(borrow)]
    traffic_type: Text<'a>,
    #[serde(borrow)]
    service_tier: Text<'a>,
}

impl GeminiUsage<'_> {
    pub(in crate::wire) fn counts(&self) -> Counts {
        let output = self.candidates_token_count.0;
        let output = output.or(self.response_token_count.0);
        let prompt = self.prompt_token_count.0;
        let tools = self.tool_use_prompt_token_count.0;
        let total = self.total_token_count.0;
        // A total without the tools' prompts says that the prompt has them already.
        let without_tools = sum([prompt, output, self.thoughts_token_count.0]);
        let has_tools = total.is_some() && total == without_tools && tools <= prompt;
        Counts {
            input: match has_tools {
                true => prompt,
                false => sum([prompt, tools, None]),
            },
            output,
            cache_read: self.cached_content_token_count.0,
            cache_write: None,
            reasoning: self.thoughts_token_count.0,
            total,
            beside: None,
            is_cache_apart: false,
            is_reasoning_apart: true,
            is_odd: any_odd([
                self.prompt_token_count,
                self.tool_use_prompt_token_count,
                self.candidates_token_count,
                self.response_token_count,
                self.thoughts_token_count,
                self.cached_content_token_count,
            ]),
        }
    }

    pub(in crate::wire) fn details(&self) -> Details {
        let mut details = Details::default();
        let mut input = by_modality(&self.prompt_tokens_details);
        let tools = by_modality(&self.tool_use_prompt_tokens_details);
        add_modalities(&mut input, tools);
        details.modalities(input, |details| &mut details.input);
        let cached = by_modality(&self.cache_tokens_details);
        details.modalities(cached, |details| &mut details.cache_read);
        for list in [
            &self.response_tokens_details,
            &self.candidates_tokens_details,
        ] {
            details.modalities(by_modality(list), |details| &mut details.output);
        }
        let tier = self.service_tier.non_empty();
        details.name(tier.or(self.traffic_type.as_str()), |details| {
            &mut details.service_tier
        });
        details
    }
}

/// Ollama's counts, among the other fields of its last line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::wire) struct OllamaUsage {
    pub(in crate::wire) prompt_eval_count: Count,
    pub(in crate::wire) eval_count: Count,
}

impl OllamaUsage {
    pub(in crate::wire) fn counts(&self) -> Counts {
        Counts {
            input: self.prompt_eval_count.0,
            output: self.eval_count.0,
            is_odd: any_odd([self.prompt_eval_count, self.eval_count]),
            ..Counts::default()
        }
    }
}
