//! What a model costs, and what one request of it costs.
//!
//! Money is always an integer. A cost is the exact sum over everything that has a price, rounded once.

use std::sync::Arc;

use super::bill::Bill;
use super::decimal::FACTOR_ONE;
use super::fees::Fees;
use super::off_peak::OffPeak;
use super::rates::{Kind, Quote, Tariff};
use super::units::Units;
use crate::model::{Timestamp, Usage, UsageDetails};

/// A tier of service that a list may have rates of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceTier {
    Batch,
    Flex,
    Balanced,
    Priority,
    Ultrafast,
}

impl ServiceTier {
    /// By a provider's word. `Ok(None)`: the standard tier. An error: a word that is not known.
    pub(super) fn of(word: &str) -> Result<Option<Self>, ()> {
        let word = word.trim().to_ascii_lowercase();
        let word = word.strip_prefix("service_tier_").unwrap_or(&word);
        Ok(Some(
            match word.strip_prefix("on_demand_").unwrap_or(word) {
                ""
                | "default"
                | "standard"
                | "auto"
                | "on_demand"
                | "on-demand"
                | "unspecified"
                | "standard_only"
                | "traffic_type_unspecified" => return Ok(None),
                "batch" | "batches" => Self::Batch,
                "flex" => Self::Flex,
                "balanced" => Self::Balanced,
                // OpenAI sells its priority tier under this name too.
                "priority" | "fast" => Self::Priority,
                "ultrafast" => Self::Ultrafast,
                _ => return Err(()),
            },
        ))
    }
}

/// Factors of all prices of tokens, in millionths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Factors {
    pub(super) fast: Option<u64>,
    /// By the region's name in lower case.
    pub(super) regions: Vec<(String, u64)>,
    /// Of any region that is not listed and not the world.
    pub(super) other_region: Option<u64>,
}

impl Factors {
    /// `None`: the list does not say what this speed costs.
    fn of_speed(&self, speed: &str) -> Option<u64> {
        match speed.trim().to_ascii_lowercase().as_str() {
            "" | "standard" | "default" | "normal" => Some(FACTOR_ONE),
            "fast" => self.fast,
            _ => None,
        }
    }

    /// `None`: the list does not say what this region costs.
    fn of_region(&self, region: &str) -> Option<u64> {
        let region = region.trim().to_ascii_lowercase();
        if matches!(region.as_str(), "" | "global" | "not_available" | "default") {
            return Some(FACTOR_ONE);
        }
        let known = self.regions.iter().find(|(name, _)| *name == region);
        known.map(|(_, factor)| *factor).or(self.other_region)
    }
}

/// What a model costs. Immutable, and shared by all names of one entry and all clones of a book.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Price {
    pub(super) standard: Tariff,
    pub(super) services: Vec<(ServiceTier, Tariff)>,
    pub(super) off_peak: Option<OffPeak>,
    pub(super) factors: Factors,
    pub(super) fees: Fees,
    /// Whose price it is, by OpenTelemetry's name.
    pub(super) provider: Option<Arc<str>>,
}

impl Price {
    /// A price with these rates only.
    #[cfg(test)]
    pub(super) fn of_tokens(standard: Tariff) -> Self {
        Self {
            standard,
            ..Self::default()
        }
    }

    /// Whether anything has a price.
    pub(super) fn is_any(&self) -> bool {
        self.standard.has_input_or_output() || self.fees != Fees::default()
    }

    /// What a request costs that used this. `details` say the rest of it, `at` when it ended.
    pub(super) fn bill(
        &self,
        usage: &Usage,
        details: &UsageDetails,
        at: Option<Timestamp>,
    ) -> Bill {
        let mut bill = Bill::default();
        let is_batch = self.add_tokens(usage, details, at, &mut bill);
        for (factor, name, word) in [
            self.factor(details.speed.as_deref(), "speed", Factors::of_speed),
            self.factor(details.region.as_deref(), "region", Factors::of_region),
        ] {
            match factor {
                Some(FACTOR_ONE) => {}
                Some(factor) => bill.scale(factor),
                None => bill.note(&format!("{name} {word}")),
            }
        }
        self.fees.add_tools(details, &mut bill);
        self.fees.add_units(
            &Units::of(&details.billed_units),
            usage,
            is_batch,
            &mut bill,
        );
        if let Some(request) = self.fees.request {
            bill.add(1, (Some(request), true), "request");
        }
        bill
    }

    fn factor<'w>(
        &self,
        word: Option<&'w str>,
        name: &'static str,
        find: fn(&Factors, &str) -> Option<u64>,
    ) -> (Option<u64>, &'static str, &'w str) {
        let word = word.unwrap_or_default();
        (find(&self.factors, word), name, word)
    }

    /// Adds what the tokens cost. Returns whether they are those of a batch.
    fn add_tokens(
        &self,
        usage: &Usage,
        details: &UsageDetails,
        at: Option<Timestamp>,
        bill: &mut Bill,
    ) -> bool {
        let input_tokens = usage.input_tokens.unwrap_or(0);
        let word = details.service_tier.as_deref().unwrap_or_default();
        let service = ServiceTier::of(word);
        let tariff = |tier| self.services.iter().find(|(known, _)| *known == tier);
        let is_batch = service == Ok(Some(ServiceTier::Batch));
        let mut quote = match service {
            Ok(None) => Quote::standard(&self.standard, input_tokens),
            Ok(Some(tier)) if tariff(tier).is_some() => {
                let own = tariff(tier).map(|(_, own)| own);
                let own = own.unwrap_or(&self.standard);
                Quote::of_service(&self.standard, own, is_batch, input_tokens)
            }
            _ => {
                bill.note(&format!("tier {word}"));
                Quote::standard(&self.standard, input_tokens)
            }
        };
        if let Some(off_peak) = &self.off_peak {
            match off_peak.is_at(at) {
                Some(true) => quote.overlay(&off_peak.rates),
                Some(false) => {}
                None => bill.note("hour"),
            }
        }
        let split = Split::of(usage, details, &self.fees);
        for (kind, tokens) in split.input_and_output() {
            let (rate, is_listed) = quote.rate(kind);
            let is_free = rate == Some(0);
            bill.add(tokens, (rate, is_listed || is_free), kind.name());
        }
        is_batch
    }
}

/// Tokens by the rate that they cost.
struct Split {
    cached: [(Kind, u64); 3],
    written: [(Kind, u64); 3],
    input: [(Kind, u64); 4],
    output: [(Kind, u64); 5],
    citations: u64,
}

impl Split {
    /// Parts that exceed their total are charged as they are, and the rest is zero, never negative. `fees`: media that
    /// have a price each are not billed by their tokens.
    fn of(usage: &Usage, details: &UsageDetails, fees: &Fees) -> Self {
        let known = |tokens: Option<u64>| tokens.unwrap_or(0);
        let read = known(usage.cache_read_input_tokens);
        let cached_audio = known(details.cache_read.audio_tokens).min(read);
        let cached_image = known(details.cache_read.image_tokens).min(read - cached_audio);
        let cached = [
            (Kind::CacheRead, read - cached_audio - cached_image),
            (Kind::CacheReadAudio, cached_audio),
            (Kind::CacheReadImage, cached_image),
        ];
        let write = known(usage.cache_write_input_tokens);
        let for_1h = known(details.cache_write.for_1h_tokens);
        let for_12h = known(details.cache_write.for_12h_tokens);
        let for_less = [
            details.cache_write.for_5m_tokens,
            details.cache_write.for_30m_tokens,
        ];
        let for_less = for_less.into_iter().flatten().fold(0, u64::saturating_add);
        // What no lifetime covers is written for the usual one.
        let stated = for_less.saturating_add(for_1h).saturating_add(for_12h);
        let usual = for_less.saturating_add(write.saturating_sub(stated));
        let written = [
            (Kind::CacheWrite, usual),
            (Kind::CacheWrite1h, for_1h),
            (Kind::CacheWrite12h, for_12h),
        ];
        let input = known(usage.input_tokens);
        let fresh = input.saturating_sub(read).saturating_sub(write);
        // Media that came from the cache are billed as such. Where the parts overlap, a medium is billed at most for
        // what the cache leaves.
        let is_cached = read > 0 || write > 0;
        let mut left = fresh;
        let mut media = |tokens: Option<u64>, cached: u64| {
            let tokens = known(tokens).saturating_sub(cached);
            let tokens = if is_cached { tokens.min(left) } else { tokens };
            left = left.saturating_sub(tokens);
            tokens
        };
        let audio = media(details.input.audio_tokens, cached_audio);
        let image = media(details.input.image_tokens, cached_image);
        let video = media(
            details.input.video_tokens,
            known(details.cache_read.video_tokens),
        );
        let Units {
            input_images,
            audio_ms,
            input_video_ms,
            characters,
            ..
        } = Units::of(&details.billed_units);
        let by_unit = |units: Option<u64>, price: Option<u64>, tokens: u64| match (units, price) {
            (Some(1..), Some(_)) => 0,
            _ => tokens,
        };
        let input = [
            (Kind::Input, by_unit(characters, fees.character, left)),
            (
                Kind::InputAudio,
                by_unit(audio_ms, fees.input_audio_second, audio),
            ),
            (
                Kind::InputImage,
                by_unit(input_images, fees.input_image, image),
            ),
            (
                Kind::InputVideo,
                by_unit(input_video_ms, fees.input_video_second, video),
            ),
        ];
        let reasoning = known(usage.reasoning_output_tokens);
        let audio = known(details.output.audio_tokens);
        let image = known(details.output.image_tokens);
        let video = known(details.output.video_tokens);
        let parts = [reasoning, audio, image, video];
        let parts = parts.into_iter().fold(0, u64::saturating_add);
        let output = [
            (
                Kind::Output,
                known(usage.output_tokens).saturating_sub(parts),
            ),
            (Kind::Reasoning, reasoning),
            (Kind::OutputAudio, audio),
            (Kind::OutputImage, image),
            (Kind::OutputVideo, video),
        ];
        Self {
            cached,
            written,
            input,
            output,
            citations: known(details.citation_tokens),
        }
    }

    fn input_and_output(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        let all = self.input.iter().chain(&self.cached).chain(&self.written);
        let all = all.chain(&self.output).copied();
        all.chain([(Kind::Citation, self.citations)])
    }
}
