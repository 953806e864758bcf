//! Token counts under the names of OpenAI, Anthropic, Gemini, or our own.

use auditlite::Usage;
use serde::Deserialize;

/// `usage` of a line. Names of different providers do not clash, but for `input_tokens`, see
/// [`UsageLine::usage`].
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct UsageLine {
    // OpenAI chat completions and what is compatible with them.
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Cached>,
    completion_tokens_details: Option<Reasoning>,
    // OpenAI responses, Anthropic, and our own.
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Cached>,
    output_tokens_details: Option<Reasoning>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    reasoning_output_tokens: Option<u64>,
    // Gemini.
    #[serde(rename = "promptTokenCount")]
    prompt_token_count: Option<u64>,
    #[serde(rename = "candidatesTokenCount")]
    candidates_token_count: Option<u64>,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts_token_count: Option<u64>,
    #[serde(rename = "cachedContentTokenCount")]
    cached_content_token_count: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
struct Cached {
    cached_tokens: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
struct Reasoning {
    reasoning_tokens: Option<u64>,
}

impl UsageLine {
    /// The counts in our terms, in which totals include their parts; `None` where none is known.
    ///
    /// Anthropic's `input_tokens` leaves out what was read from and written to the cache, everybody
    /// else's includes it. It is Anthropic's if the protocol says so or if
    /// `cache_creation_input_tokens` is there, unless our own `cache_write_input_tokens` is.
    pub(super) fn usage(&self, wire_protocol: &str) -> Option<Usage> {
        let is_anthropic = self.cache_write_input_tokens.is_none()
            && self.input_tokens_details.is_none()
            && (wire_protocol.starts_with("anthropic.")
                || self.cache_creation_input_tokens.is_some());
        let input_tokens = if is_anthropic {
            self.input_tokens.map(|fresh| {
                fresh
                    .saturating_add(self.cache_read_input_tokens.unwrap_or(0))
                    .saturating_add(self.cache_creation_input_tokens.unwrap_or(0))
            })
        } else {
            self.input_tokens
        };
        // Gemini counts thoughts apart from the answer.
        let gemini_output = sum(self.candidates_token_count, self.thoughts_token_count);

        let mut usage = Usage::default();
        usage.input_tokens = self
            .prompt_tokens
            .or(input_tokens)
            .or(self.prompt_token_count);
        usage.output_tokens = self
            .completion_tokens
            .or(self.output_tokens)
            .or(gemini_output);
        usage.cache_read_input_tokens = self
            .cache_read_input_tokens
            .or_else(|| cached(self.prompt_tokens_details.as_ref()))
            .or_else(|| cached(self.input_tokens_details.as_ref()))
            .or(self.cached_content_token_count);
        usage.cache_write_input_tokens = self
            .cache_write_input_tokens
            .or(self.cache_creation_input_tokens);
        usage.reasoning_output_tokens = self
            .reasoning_output_tokens
            .or_else(|| reasoning(self.completion_tokens_details.as_ref()))
            .or_else(|| reasoning(self.output_tokens_details.as_ref()))
            .or(self.thoughts_token_count);
        (usage != Usage::default()).then_some(usage)
    }
}

fn cached(details: Option<&Cached>) -> Option<u64> {
    details?.cached_tokens
}

fn reasoning(details: Option<&Reasoning>) -> Option<u64> {
    details?.reasoning_tokens
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str, wire_protocol: &str) -> [Option<u64>; 5] {
        let line: UsageLine = serde_json::from_str(json).unwrap();
        let usage = line.usage(wire_protocol).unwrap_or_default();
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens,
            usage.cache_write_input_tokens,
            usage.reasoning_output_tokens,
        ]
    }

    #[test]
    fn openai_totals_include_their_parts() {
        let chat = r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
            "prompt_tokens_details":{"cached_tokens":64,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":5}}"#;
        let expected = [Some(100), Some(20), Some(64), None, Some(5)];
        assert_eq!(usage(chat, "openai.chat"), expected);
        let responses = r#"{"input_tokens":100,"output_tokens":20,
            "input_tokens_details":{"cached_tokens":64},
            "output_tokens_details":{"reasoning_tokens":5}}"#;
        assert_eq!(usage(responses, "openai.responses"), expected);
        let bare = r#"{"prompt_tokens":100,"completion_tokens":20,"prompt_tokens_details":null}"#;
        assert_eq!(usage(bare, ""), [Some(100), Some(20), None, None, None]);
    }

    #[test]
    fn anthropic_parts_are_added_to_the_total() {
        let both = r#"{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":64,
            "cache_creation_input_tokens":32,"service_tier":"standard"}"#;
        let expected = [Some(106), Some(20), Some(64), Some(32), None];
        assert_eq!(usage(both, ""), expected);
        let read = r#"{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":64}"#;
        let expected = [Some(74), Some(20), Some(64), None, None];
        assert_eq!(usage(read, "anthropic.messages"), expected);
    }

    #[test]
    fn our_own_names_are_taken_as_they_are() {
        let own = r#"{"input_tokens":100,"output_tokens":20,"cache_read_input_tokens":64,
            "cache_write_input_tokens":8,"reasoning_output_tokens":5}"#;
        let expected = [Some(100), Some(20), Some(64), Some(8), Some(5)];
        assert_eq!(usage(own, "anthropic.messages"), expected);
        let read = r#"{"input_tokens":100,"cache_read_input_tokens":64}"#;
        assert_eq!(usage(read, ""), [Some(100), None, Some(64), None, None]);
    }

    #[test]
    fn gemini_thoughts_are_output() {
        let gemini = r#"{"promptTokenCount":100,"candidatesTokenCount":20,"thoughtsTokenCount":5,
            "cachedContentTokenCount":64,"totalTokenCount":125}"#;
        let expected = [Some(100), Some(25), Some(64), None, Some(5)];
        assert_eq!(usage(gemini, "gemini.generate"), expected);
    }

    #[test]
    fn nothing_known_is_no_usage() {
        let line: UsageLine = serde_json::from_str(r#"{"cost":0.1}"#).unwrap();
        assert_eq!(line.usage(""), None);
    }
}
