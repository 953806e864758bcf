//! Looks up the prices of one source: by provider and model, by name or by pattern.

use std::collections::HashMap;
use std::sync::Arc;

use wildmatch::WildMatch;

use super::names::other_names;
use super::price::Price;
use super::provider::{canonical, fold};
use crate::model::{Digest, PriceSource};
use crate::payload::sha256;

/// The prices of one source. A book has one or more layers. Immutable once read, and shared by all clones of a book.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// By OpenTelemetry's name of the provider.
    providers: HashMap<String, Models>,
    /// For any provider.
    any_provider: Models,
    /// The number of entries in the source; one entry may have several names.
    entries: usize,
    /// The format of the source, and the SHA-256 of its text.
    source: Option<(&'static str, Digest)>,
    /// When the source was made, if it is known.
    date: Option<&'static str>,
}

impl Layer {
    /// Adds a price under an exact name. `false`: the name exists already, and the first price stays.
    pub(super) fn insert_name(
        &mut self,
        provider: Option<&str>,
        model: &str,
        price: &Arc<Price>,
    ) -> bool {
        let spellings = self
            .models_mut(provider)
            .names
            .entry(model.to_ascii_lowercase())
            .or_default();
        if spellings.iter().any(|named| named.name == model) {
            return false;
        }
        spellings.push(Named {
            name: model.to_owned(),
            price: Arc::clone(price),
        });
        true
    }

    /// Adds a price under a pattern. `false`: the pattern exists already, and the first price stays.
    pub(super) fn insert_pattern(
        &mut self,
        provider: Option<&str>,
        pattern: &str,
        price: &Arc<Price>,
    ) -> bool {
        let glob = Glob::new(pattern, price);
        let globs = &mut self.models_mut(provider).globs;
        if globs.iter().any(|other| other.pattern == glob.pattern) {
            return false;
        }
        let position = globs.partition_point(|other| other.specificity >= glob.specificity);
        globs.insert(position, glob);
        true
    }

    /// Counts another entry of the source.
    pub(super) fn count_entry(&mut self) {
        self.entries = self.entries.saturating_add(1);
    }

    /// Says what it was read from.
    pub(super) fn read_from(mut self, format: &'static str, text: &str) -> Self {
        self.source = Some((format, sha256(text.as_bytes())));
        self
    }

    /// Says when the source was made.
    pub(super) fn of_date(mut self, date: &'static str) -> Self {
        self.date = Some(date);
        self
    }

    /// What it was read from.
    pub(super) fn source(&self) -> Option<PriceSource> {
        let (format, sha256) = self.source?;
        Some(PriceSource {
            format: format.to_owned(),
            sha256,
            date: self.date.map(str::to_owned),
            entries: u64::try_from(self.entries).unwrap_or(u64::MAX),
        })
    }

    /// The number of entries in the source.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// The price of the first of these models that has one: of the given provider, by its canonical name, then without
    /// a provider.
    pub(super) fn find<'m>(
        &self,
        provider: Option<&str>,
        models: impl Iterator<Item = &'m str> + Clone,
    ) -> Option<Found<'_>> {
        let own = provider.and_then(|provider| self.providers.get(provider));
        let of_provider = || models.clone().find_map(|model| own?.find_any_name(model));
        let without = || models.clone().find_map(|model| self.find_without(model));
        if let Some(price) = own.and_then(|_| of_provider()) {
            let is_of_other = false;
            return Some(Found { price, is_of_other });
        }
        let price = without()?;
        // A provider that the list knows has prices of its own: another one's may not be the same.
        let whose = price.provider.as_deref();
        let is_of_other = own.is_some() && whose.is_some() && whose != provider;
        Some(Found { price, is_of_other })
    }

    /// The price of a model whose provider is not known, or has no price of it.
    fn find_without(&self, model: &str) -> Option<&Price> {
        let price = self.any_provider.find(model, &fold(model));
        price.or_else(|| {
            other_names(model).into_iter().find_map(|name| {
                let provider = name.provider.map(canonical);
                let told = provider.and_then(|provider| self.providers.get(provider.as_ref()));
                let folded = fold(&name.model);
                let told = told.and_then(|models| models.find(&name.model, &folded));
                told.or_else(|| self.any_provider.find(&name.model, &folded))
            })
        })
    }

    fn models_mut(&mut self, provider: Option<&str>) -> &mut Models {
        match provider {
            Some(provider) => self
                .providers
                .entry(canonical(provider).into_owned())
                .or_default(),
            None => &mut self.any_provider,
        }
    }
}

/// A price that was found.
#[derive(Debug)]
pub(super) struct Found<'b> {
    pub(super) price: &'b Price,
    /// Whether it is the price of another provider than the one that was asked for, which the list knows.
    pub(super) is_of_other: bool,
}

/// The models of one provider.
#[derive(Debug, Default)]
struct Models {
    /// By the name in lower case: its spellings, in the order in which they came.
    names: HashMap<String, Vec<Named>>,
    /// The most specific pattern first.
    globs: Vec<Glob>,
}

impl Models {
    /// By the given name, then by its other names.
    fn find_any_name(&self, model: &str) -> Option<&Price> {
        self.find(model, &fold(model)).or_else(|| {
            let mut names = other_names(model).into_iter();
            names.find_map(|name| self.find(&name.model, &fold(&name.model)))
        })
    }

    fn find(&self, model: &str, folded: &str) -> Option<&Price> {
        let named = self.names.get(folded).and_then(|spellings| {
            let exact = spellings.iter().find(|named| named.name == model);
            exact.or_else(|| spellings.first())
        });
        match named {
            Some(named) => Some(&named.price),
            None => self
                .globs
                .iter()
                .find(|glob| glob.matcher.matches(folded))
                .map(|glob| glob.price.as_ref()),
        }
    }
}

/// A price under the exact spelling of a model.
#[derive(Debug)]
struct Named {
    name: String,
    price: Arc<Price>,
}

/// A price under a pattern.
#[derive(Debug)]
struct Glob {
    /// In lower case.
    pattern: String,
    matcher: WildMatch,
    /// The number of characters before the first wildcard, then the number of all characters that are not
    /// wildcards.
    specificity: (usize, usize),
    price: Arc<Price>,
}

impl Glob {
    fn new(pattern: &str, price: &Arc<Price>) -> Self {
        let pattern = fold(pattern).into_owned();
        let is_literal = |character: &char| !matches!(character, '*' | '?');
        Self {
            matcher: WildMatch::new(&pattern),
            specificity: (
                pattern.chars().take_while(is_literal).count(),
                pattern.chars().filter(is_literal).count(),
            ),
            pattern,
            price: Arc::clone(price),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Usage;
    use crate::model::UsageDetails;
    use crate::pricing::rates::{Kind, Rates, Tariff};

    /// A price of this many microdollars for each input token: a cost tells which price was found.
    fn price(mark: u64) -> Arc<Price> {
        let mut rates = Rates::default();
        rates.set(Kind::Input, Some(mark * 1_000_000));
        Arc::new(Price::of_tokens(Tariff::new(rates, Vec::new())))
    }

    fn find(layer: &Layer, provider: Option<&str>, model: &str) -> Option<u64> {
        let found = layer.find(provider, std::iter::once(model))?;
        let details = UsageDetails::default();
        let bill = found.price.bill(&Usage::new(1, 0), &details, None);
        bill.total().map(|(cost, _)| cost)
    }

    #[test]
    fn the_provider_comes_before_the_name_and_the_name_before_the_pattern() {
        let mut layer = Layer::default();
        assert!(layer.insert_pattern(None, "m*", &price(4)));
        assert_eq!(find(&layer, Some("openai"), "model"), Some(4));
        assert!(layer.insert_name(None, "model", &price(3)));
        assert_eq!(find(&layer, Some("openai"), "model"), Some(3));
        assert!(layer.insert_pattern(Some("openai"), "m*", &price(2)));
        assert_eq!(find(&layer, Some("openai"), "model"), Some(2));
        assert!(layer.insert_name(Some("openai"), "model", &price(1)));
        assert_eq!(find(&layer, Some("openai"), "model"), Some(1));

        assert_eq!(find(&layer, Some("openai"), "mode"), Some(2));
        assert_eq!(find(&layer, Some("groq"), "model"), Some(3));
        assert_eq!(find(&layer, None, "model"), Some(3));
        assert_eq!(find(&layer, None, "mode"), Some(4));
        assert_eq!(find(&layer, None, "other"), None);
    }

    #[test]
    fn the_pattern_with_the_longest_literal_head_wins_whatever_the_order() {
        let patterns = [
            ("*", 1),
            ("gpt-*", 2),
            ("gpt-4o*", 3),
            ("gpt-4o-????", 4),
            ("*-mini", 5),
        ];
        for reversed in [false, true] {
            let mut layer = Layer::default();
            let mut patterns = patterns.to_vec();
            if reversed {
                patterns.reverse();
            }
            for (pattern, mark) in patterns {
                assert!(layer.insert_pattern(None, pattern, &price(mark)));
            }
            for (model, mark) in [
                ("claude", 1),
                ("gpt-5", 2),
                ("gpt-4o", 3),
                ("gpt-4o-2024-08-06", 3),
                ("gpt-4o-mini", 4),
                ("gpt-5-mini", 2),
                ("o4-mini", 5),
            ] {
                assert_eq!(
                    find(&layer, None, model),
                    Some(mark),
                    "{model}, reversed: {reversed}"
                );
            }
        }
    }

    #[test]
    fn the_exact_spelling_comes_before_another_case() {
        let mut layer = Layer::default();
        assert!(layer.insert_name(None, "Llama-3", &price(1)));
        assert!(layer.insert_name(None, "llama-3", &price(2)));
        assert!(!layer.insert_name(None, "llama-3", &price(9)));
        assert_eq!(find(&layer, None, "Llama-3"), Some(1));
        assert_eq!(find(&layer, None, "llama-3"), Some(2));
        assert_eq!(find(&layer, None, "LLAMA-3"), Some(1));
    }

    #[test]
    fn patterns_ignore_the_case_and_are_filed_once() {
        let mut layer = Layer::default();
        assert!(layer.insert_pattern(None, "Qwen/*", &price(1)));
        assert!(!layer.insert_pattern(None, "qwen/*", &price(2)));
        assert!(layer.insert_pattern(Some("groq"), "qwen/*", &price(3)));
        assert_eq!(find(&layer, None, "QWEN/Qwen3-32B"), Some(1));
        assert_eq!(find(&layer, Some("groq"), "qwen/qwen3-32b"), Some(3));
    }
}
