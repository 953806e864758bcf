//! Prices that come with the library: first-party models, of one day.
//!
//! Made by `tests/prices/make_built_in.py` from a pinned list of LiteLLM (MIT, <https://github.com/BerriAI/litellm>).

use std::sync::LazyLock;

use super::PriceBook;
use super::load;

/// The prices, as LiteLLM's list has them, in one frame of zstd.
const LIST: &[u8] = include_bytes!("built_in.json.zst");
/// The day of the list.
pub(super) const DATE: &str = include_str!("built_in.date");
/// Limit of the unpacked list.
const LIST_BYTES_MAX: usize = 1024 * 1024;

/// Read once, when it is first asked for. The list is part of the program: a test reads it, so it can be read.
static BOOK: LazyLock<PriceBook> = LazyLock::new(|| {
    let text = zstd::bulk::decompress(LIST, LIST_BYTES_MAX).ok();
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    let layer = text.and_then(|text| load::built_in(&text, DATE).ok());
    layer.map(PriceBook::from_layer).unwrap_or_default()
});

pub(super) fn book() -> PriceBook {
    BOOK.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Timestamp, Usage};

    /// What the list adds to a program that uses it.
    const PACKED_BYTES_MAX: usize = 60 * 1024;

    #[test]
    fn the_list_is_small_and_prices_first_party_models() {
        assert!(LIST.len() <= PACKED_BYTES_MAX, "{} bytes", LIST.len());
        let book = book();
        assert!(book.len() >= 300, "{} prices", book.len());
        let cost = |provider, model| {
            book.cost_microdollars(Some(provider), &[model], &Usage::new(100_000, 0))
        };
        for (provider, model, expected) in [
            ("openai", "gpt-4.1-2025-04-14", 200_000),
            ("anthropic", "claude-opus-5", 500_000),
            ("gcp.gemini", "gemini-2.5-flash-lite", 10_000),
            ("mistral_ai", "mistral-large-latest", 50_000),
            ("cohere", "command-a-03-2025", 250_000),
            ("x_ai", "grok-4.5", 200_000),
            ("deepseek", "deepseek-chat", 28_000),
        ] {
            assert_eq!(cost(provider, model), Some(expected), "{provider} {model}");
        }
    }

    #[test]
    fn it_says_its_day() {
        let sources = book().sources();
        let [source] = sources.as_slice() else {
            panic!("{sources:?}")
        };
        assert_eq!(source.format, "built_in");
        assert_eq!(source.date.as_deref(), Some(DATE));
        let day = format!("{DATE}T00:00:00Z").parse::<Timestamp>();
        assert!(day.is_ok(), "{DATE}");
        assert!(source.entries >= 300);
    }
}
