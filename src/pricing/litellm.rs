//! LiteLLM's `model_prices_and_context_window.json`.
//!
//! Source of the format and of how its tiers apply: the file itself, and
//! `litellm/litellm_core_utils/llm_cost_calc/` of <https://github.com/BerriAI/litellm>.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::book::Layer;
use super::litellm_entry::read_price;
use super::provider::canonical;
use crate::error::PriceBookError;

const INPUT: &str = "input_cost_per_token";
/// An entry that is another name of another entry.
const ALIAS: &str = "alias_of";
/// An endpoint of Bedrock with prices of its own: they count where Bedrock's usual endpoint has none.
const SECOND_ENDPOINT: &str = "bedrock_mantle";
/// Steps from an alias to its price.
const ALIAS_STEPS_MAX: usize = 8;
/// An entry that explains the format.
const SAMPLE: &str = "sample_spec";

/// Whether a JSON document could be LiteLLM's: one of its entries names its provider or a price.
pub(super) fn is_likely(document: &Value) -> bool {
    let names_one =
        |entry: &Value| entry.get("litellm_provider").is_some() || entry.get(INPUT).is_some();
    document
        .as_object()
        .is_some_and(|entries| entries.values().any(names_one))
}

/// Reads the whole document.
pub(super) fn read(document: &Value) -> Result<Layer, PriceBookError> {
    let Some(entries) = document.as_object() else {
        let problem = "LiteLLM's prices are a JSON object from model names to prices";
        return Err(PriceBookError::Shape(problem.to_owned()));
    };
    let mut layer = Layer::default();
    // Sorted, so that the order of the file never decides which of two entries wins.
    let mut prices = BTreeMap::new();
    let mut aliases = Vec::new();
    for (key, entry) in entries.iter().collect::<BTreeMap<_, _>>() {
        if key == SAMPLE {
            continue;
        }
        let problem = |problem: String| PriceBookError::Entry {
            entry: key.clone(),
            problem,
        };
        let Some(entry) = entry.as_object() else {
            return Err(problem("it is not an object".to_owned()));
        };
        if let Some(target) = entry.get(ALIAS).and_then(Value::as_str) {
            aliases.push((key.as_str(), target));
            continue;
        }
        let provider = entry.get("litellm_provider").and_then(Value::as_str);
        if let Some(price) = read_price(entry, provider).map_err(problem)? {
            prices.insert(key.as_str(), (provider, Arc::new(price)));
        }
    }
    let targets: HashMap<&str, &str> = aliases.iter().copied().collect();
    for (key, first) in &aliases {
        let mut target = *first;
        for _ in 0..ALIAS_STEPS_MAX {
            match targets.get(target) {
                Some(next) => target = next,
                None => break,
            }
        }
        if let Some(price) = prices.get(target).cloned() {
            prices.insert(key, price);
        }
    }
    // As in LiteLLM's calculator, a key that begins with the provider precedes one that does not: `deepseek/deepseek-chat`
    // is what DeepSeek's `deepseek-chat` costs.
    let without_prefix = |key: &'_ str, provider: &str| {
        let (prefix, model) = key.split_once('/')?;
        (canonical(prefix) == canonical(provider)).then(|| model.to_owned())
    };
    for (key, (provider, price)) in &prices {
        if let Some(provider) = provider.filter(|provider| *provider != SECOND_ENDPOINT)
            && let Some(model) = without_prefix(key, provider)
        {
            layer.insert_name(Some(provider), &model, price);
        }
    }
    for (key, (provider, price)) in &prices {
        layer.count_entry();
        layer.insert_name(None, key, price);
        if let Some(provider) = provider {
            layer.insert_name(Some(provider), key, price);
        }
    }
    for (key, (provider, price)) in &prices {
        if let Some(provider) = provider.filter(|provider| *provider == SECOND_ENDPOINT)
            && let Some(model) = without_prefix(key, provider)
        {
            layer.insert_name(Some(provider), &model, price);
        }
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use crate::error::PriceBookError;
    use crate::model::Usage;
    use crate::pricing::PriceBook;

    const SAMPLE: &str = r#"{
        "sample_spec": {"input_cost_per_token": -1, "litellm_provider": "one of many"},
        "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "supports_vision": true,
            "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
            "cache_read_input_token_cost": 1.25e-06, "input_cost_per_token_batches": 1.25e-06},
        "azure/gpt-4o": {"litellm_provider": "azure",
            "input_cost_per_token": "2.75e-06", "output_cost_per_token": "1.1e-05"},
        "gemini/gemini-2.5-pro": {"litellm_provider": "gemini",
            "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
            "cache_read_input_token_cost": 1.25e-07,
            "input_cost_per_token_above_200k_tokens": 2.5e-06,
            "output_cost_per_token_above_200k_tokens": 1.5e-05,
            "input_cost_per_token_above_200k_tokens_priority": 9e-06},
        "openrouter/google/gemini-2.5-pro": {"litellm_provider": "openrouter",
            "input_cost_per_token": 1.5e-06, "output_cost_per_token": 1e-05},
        "anthropic.claude-3-5-sonnet-20240620-v1:0": {"litellm_provider": "bedrock_converse",
            "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
            "cache_creation_input_token_cost": 3.75e-06,
            "cache_creation_input_token_cost_above_1hr": 6e-06},
        "vertex_ai/claude-sonnet-4": {"litellm_provider": "vertex_ai-anthropic_models",
            "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05},
        "xai/grok-4": {"litellm_provider": "xai",
            "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
            "input_cost_per_token_above_128k_tokens": 6e-06},
        "dashscope/qwen-flash": {"litellm_provider": "dashscope", "tiered_pricing": [
            {"range": [0, 256000.0], "input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07},
            {"range": [256000.0, 1000000.0], "input_cost_per_token": 2.5e-07,
                "output_cost_per_token": 2e-06}]},
        "text-embedding-3-small": {"litellm_provider": "openai", "mode": "embedding",
            "input_cost_per_token": 2e-08, "output_cost_per_token": null},
        "1024-x-1024/dall-e-2": {"litellm_provider": "openai", "input_cost_per_pixel": 1.9e-08},
        "local/free": {"input_cost_per_token": 0, "output_cost_per_token": 0.0}
    }"#;

    /// Microdollars for a million input tokens, if no tokens are given.
    fn input(provider: Option<&str>, model: &str, tokens: u64) -> Option<u64> {
        let book = PriceBook::from_litellm_json(SAMPLE).unwrap();
        book.cost_microdollars(provider, &[model], &Usage::new(tokens, 0))
    }

    #[test]
    fn models_are_found_by_either_name_of_the_provider_with_or_without_prefix() {
        for (provider, model, expected) in [
            (Some("openai"), "gpt-4o", 2_500),
            (Some("azure"), "gpt-4o", 2_750),
            (Some("azure.ai.openai"), "gpt-4o", 2_750),
            (Some("azure.ai.openai"), "azure/gpt-4o", 2_750),
            (None, "azure/gpt-4o", 2_750),
            (None, "gpt-4o", 2_500),
            (Some("a gateway's own label"), "gpt-4o", 2_500),
            (Some("gcp.gemini"), "gemini-2.5-pro", 1_250),
            (Some("openrouter"), "google/gemini-2.5-pro", 1_500),
            (
                Some("aws.bedrock"),
                "anthropic.claude-3-5-sonnet-20240620-v1:0",
                3_000,
            ),
            (Some("gcp.vertex_ai"), "claude-sonnet-4", 3_000),
            (Some("x_ai"), "grok-4", 3_000),
            (Some("openai"), "GPT-4o", 2_500),
            (Some("openai"), "text-embedding-3-small", 20),
            (None, "local/free", 0),
        ] {
            assert_eq!(
                input(provider, model, 1_000),
                Some(expected),
                "{provider:?} {model}"
            );
        }
        for (provider, model) in [
            (None, "gemini-2.5-pro"),
            (Some("openai"), "gemini-2.5-pro"),
            (Some("openai"), "dall-e-2"),
            (None, "sample_spec"),
        ] {
            assert_eq!(input(provider, model, 1_000), None, "{provider:?} {model}");
        }
    }

    #[test]
    fn only_entries_with_a_price_of_tokens_count() {
        assert_eq!(PriceBook::from_litellm_json(SAMPLE).unwrap().len(), 10);
    }

    #[test]
    fn an_unknown_output_rate_gives_no_cost_rather_than_a_free_output() {
        let book = PriceBook::from_litellm_json(SAMPLE).unwrap();
        let model = &["text-embedding-3-small"];
        assert!(book.knows(Some("openai"), model));
        assert_eq!(
            book.cost_microdollars(Some("openai"), model, &Usage::new(1, 1)),
            None
        );
    }

    #[test]
    fn tiers_hold_for_the_whole_request() {
        let gemini = |tokens| input(Some("gemini"), "gemini-2.5-pro", tokens);
        assert_eq!(gemini(200_000), Some(250_000));
        assert_eq!(gemini(200_001), Some(500_003)); // 500,002.5, half up; not the priority rate
        let book = PriceBook::from_litellm_json(SAMPLE).unwrap();
        let usage = Usage::new(300_000, 1_000).cache_read_input_tokens(200_000);
        // 100,000 × 2.5 + 200,000 × 0.125 (as below the tier) + 1,000 × 15
        assert_eq!(
            book.cost_microdollars(Some("gemini"), &["gemini-2.5-pro"], &usage),
            Some(250_000 + 25_000 + 15_000)
        );

        let qwen = |tokens| input(Some("dashscope"), "qwen-flash", tokens);
        assert_eq!(qwen(256_000), Some(12_800));
        assert_eq!(qwen(257_000), Some(64_250));
    }

    #[test]
    fn xais_tier_begins_at_its_threshold() {
        let grok = |tokens| input(Some("xai"), "grok-4", tokens);
        assert_eq!(grok(127_999), Some(383_997));
        assert_eq!(grok(128_000), Some(768_000));
    }

    #[test]
    fn a_key_with_the_provider_comes_before_one_without() {
        let book = PriceBook::from_litellm_json(
            r#"{"vertex_ai/g": {"litellm_provider": "vertex_ai", "input_cost_per_token": 1e-06},
                "g": {"litellm_provider": "vertex_ai-language-models", "input_cost_per_token": 2e-06}}"#,
        )
        .unwrap();
        let cost = |model| book.cost_microdollars(Some("vertex_ai"), &[model], &Usage::new(1, 0));
        assert_eq!(cost("g"), Some(1));
        assert_eq!(cost("vertex_ai/g"), Some(1));
        let anyones = book.cost_microdollars(None, &["g"], &Usage::new(1, 0));
        assert_eq!(anyones, Some(2));
    }

    #[test]
    fn absurd_prices_name_the_entry_and_the_field() {
        for (price, expected) in [
            ("-1e-06", "input_cost_per_token is negative"),
            (
                "1.5",
                "input_cost_per_token is more than one dollar per token",
            ),
            ("\"NaN\"", "input_cost_per_token is not a number"),
            ("\"Infinity\"", "input_cost_per_token is not a number"),
            ("true", "input_cost_per_token is not a number"),
        ] {
            let text = format!(r#"{{"bad/model": {{"input_cost_per_token": {price}}}}}"#);
            match PriceBook::from_litellm_json(&text) {
                Err(PriceBookError::Entry { entry, problem }) => {
                    assert_eq!((entry.as_str(), problem.as_str()), ("bad/model", expected));
                }
                other => panic!("{price}: {other:?}"),
            }
        }
        let in_tier = r#"{"m": {"input_cost_per_token": 1e-6,
            "input_cost_per_token_above_200k_tokens": -1}}"#;
        let error = PriceBook::from_litellm_json(in_tier)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("input_cost_per_token_above_200k_tokens is negative"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_a_table_of_prices_is_refused() {
        let read = |text| PriceBook::from_litellm_json(text).unwrap_err();
        assert!(matches!(
            read("["),
            PriceBookError::Syntax { format: "JSON", .. }
        ));
        assert!(matches!(read("[]"), PriceBookError::Shape(_)));
        assert!(matches!(read(r#"{"m": 3}"#), PriceBookError::Entry { .. }));
    }
}
