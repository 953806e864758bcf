//! One entry of LiteLLM's list: from its fields to a price.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::decimal::{DOLLARS_PER_TOKEN, factor, rate, scaled, unit};
use super::fees::Fees;
use super::off_peak::OffPeak;
use super::price::{Factors, Price, ServiceTier};
use super::provider::canonical;
use super::rates::{Kind, Rates, Tariff, Tier};

type Fields = Map<String, Value>;

/// The field of each kind of token. One that begins with another comes first.
const RATE_FIELDS: [(&str, Kind); 16] = [
    (
        "cache_creation_input_token_cost_above_12hr",
        Kind::CacheWrite12h,
    ),
    (
        "cache_creation_input_token_cost_above_1hr",
        Kind::CacheWrite1h,
    ),
    ("cache_creation_input_token_cost", Kind::CacheWrite),
    ("cache_read_input_audio_token_cost", Kind::CacheReadAudio),
    ("cache_read_input_image_token_cost", Kind::CacheReadImage),
    ("cache_read_input_token_cost", Kind::CacheRead),
    ("citation_cost_per_token", Kind::Citation),
    ("input_cost_per_audio_token", Kind::InputAudio),
    ("input_cost_per_image_token", Kind::InputImage),
    ("input_cost_per_video_token", Kind::InputVideo),
    ("input_cost_per_token", Kind::Input),
    ("output_cost_per_audio_token", Kind::OutputAudio),
    ("output_cost_per_image_token", Kind::OutputImage),
    ("output_cost_per_video_token", Kind::OutputVideo),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("output_cost_per_token", Kind::Output),
];

/// The tiers of service by the ends of fields.
const SERVICES: [(&str, ServiceTier); 5] = [
    ("_batches", ServiceTier::Batch),
    ("_flex", ServiceTier::Flex),
    ("_balanced", ServiceTier::Balanced),
    ("_priority", ServiceTier::Priority),
    ("_ultrafast", ServiceTier::Ultrafast),
];

/// Ends of fields that name the resolution of a video.
const RESOLUTION: &str = "output_cost_per_second_";

/// `None`: the entry prices nothing that a response can tell.
pub(super) fn read_price(entry: &Fields, provider: Option<&str>) -> Result<Option<Price>, String> {
    // Not its embeddings, which have no cache.
    let is_of_fireworks = provider == Some("fireworks_ai");
    let provider = provider.map(canonical);
    let is_of = |name: &str| provider.as_deref() == Some(name);
    let mut tariffs = read_tariffs(entry)?;
    // As in LiteLLM's calculator: xAI's higher tier begins at the threshold, those of others above it.
    if is_of("x_ai") {
        tariffs.begin_tiers_at_their_threshold();
    }
    // Fireworks bills half of the input's rate where it lists no other one.
    let half = |rates: &Rates| rates.get(Kind::Input).map(|input| input.div_ceil(2));
    let is_read_unlisted = is_of_fireworks && tariffs.standard.0.get(Kind::CacheRead).is_none();
    if is_read_unlisted {
        let read = half(&tariffs.standard.0);
        tariffs.standard.0.set(Kind::CacheRead, read);
    }
    let off_peak = match entry.get("off_peak_pricing").and_then(Value::as_object) {
        None => None,
        Some(fields) => {
            let mut rates =
                read_rates(fields).map_err(|problem| format!("in off_peak_pricing, {problem}"))?;
            if is_read_unlisted && rates.get(Kind::CacheRead).is_none() {
                let read = half(&rates).or(tariffs.standard.0.get(Kind::CacheRead));
                rates.set(Kind::CacheRead, read);
            }
            Some(OffPeak::read(fields, rates))
        }
    };
    let (standard, services) = match read_ranges(entry, &tariffs.standard.0)? {
        Some(ranges) => (ranges, Vec::new()),
        None => tariffs.finish(),
    };
    let price = Price {
        standard,
        services,
        off_peak,
        factors: read_factors(entry)?,
        fees: read_fees(entry)?,
        provider: provider.map(|provider| Arc::from(provider.as_ref())),
    };
    Ok(price.is_any().then_some(price))
}

/// The rates of each tier of service, and by threshold.
#[derive(Default)]
struct Tariffs {
    standard: (Rates, BTreeMap<u64, Rates>),
    services: [(Rates, BTreeMap<u64, Rates>); SERVICES.len()],
}

impl Tariffs {
    fn begin_tiers_at_their_threshold(&mut self) {
        for (_, tiers) in self.services.iter_mut().chain([&mut self.standard]) {
            let shifted = tiers
                .iter()
                .map(|(above, rates)| (above.saturating_sub(1), *rates));
            *tiers = shifted.collect();
        }
    }

    fn finish(self) -> (Tariff, Vec<(ServiceTier, Tariff)>) {
        let tariff = |(base, tiers): (Rates, BTreeMap<u64, Rates>)| {
            let tiers = tiers.into_iter().map(|(above_input_tokens, rates)| Tier {
                above_input_tokens,
                rates,
            });
            Tariff::new(base, tiers.collect())
        };
        let empty = (Rates::default(), BTreeMap::new());
        let services = SERVICES.iter().zip(self.services);
        let services = services
            .filter(|(_, rates)| *rates != empty)
            .map(|((_, tier), rates)| (*tier, tariff(rates)));
        let services = services.collect();
        (tariff(self.standard), services)
    }
}

/// Rates such as `input_cost_per_token_above_200k_tokens_priority`.
fn read_tariffs(entry: &Fields) -> Result<Tariffs, String> {
    let mut tariffs = Tariffs::default();
    for (field, value) in entry {
        let Some((kind, end)) = kind_of(field) else {
            continue;
        };
        let service = SERVICES
            .iter()
            .position(|(service, _)| end.ends_with(service));
        let (tariff, end) = match service.and_then(|at| Some((at, SERVICES.get(at)?.0))) {
            None => (Some(&mut tariffs.standard), end),
            Some((at, service)) => {
                let end = end.strip_suffix(service).unwrap_or(end);
                (tariffs.services.get_mut(at), end)
            }
        };
        let Some((base, tiers)) = tariff else {
            continue;
        };
        let rates = match end {
            "" => base,
            _ => match threshold(end) {
                Some(above) => tiers.entry(above).or_default(),
                None => continue,
            },
        };
        set(rates, kind, field, value)?;
    }
    Ok(tariffs)
}

/// The kind of token that a field prices, and the end of its name.
fn kind_of(field: &str) -> Option<(Kind, &str)> {
    RATE_FIELDS
        .iter()
        .find_map(|(name, kind)| Some((*kind, field.strip_prefix(name)?)))
}

/// 200,000 for `_above_200k_tokens`.
fn threshold(suffix: &str) -> Option<u64> {
    let number = suffix.strip_prefix("_above_")?.strip_suffix("_tokens")?;
    match number.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1_000),
        None => number.parse().ok(),
    }
}

/// The rates of fields without an end.
fn read_rates(fields: &Fields) -> Result<Rates, String> {
    let mut rates = Rates::default();
    for (field, value) in fields {
        if let Some((kind, "")) = kind_of(field) {
            set(&mut rates, kind, field, value)?;
        }
    }
    Ok(rates)
}

fn set(rates: &mut Rates, kind: Kind, field: &str, value: &Value) -> Result<(), String> {
    if !value.is_null() {
        let rate = rate(value, DOLLARS_PER_TOKEN);
        let rate = rate.map_err(|problem| format!("{field} {problem}"))?;
        rates.set(kind, Some(rate));
    }
    Ok(())
}

/// A list `tiered_pricing` of complete tiers with a `range`, which replaces the flat rates.
fn read_ranges(entry: &Fields, flat: &Rates) -> Result<Option<Tariff>, String> {
    let Some(list) = entry.get("tiered_pricing").and_then(Value::as_array) else {
        return Ok(None);
    };
    let mut ranges = Vec::new();
    for fields in list.iter().filter_map(Value::as_object) {
        let start = fields.get("range").and_then(|range| range.get(0));
        let (Some(start), true) = (start, fields.contains_key("input_cost_per_token")) else {
            continue;
        };
        let above_input_tokens = scaled(&start.to_string(), 0)
            .map_err(|problem| format!("the start of a range in tiered_pricing {problem}"))?;
        let mut rates = read_rates(fields)?;
        // A range has its own cache rates; only its output falls back to the model's.
        if rates.get(Kind::Output).is_none() {
            rates.set(Kind::Output, flat.get(Kind::Output));
            let reasoning = rates.get(Kind::Reasoning).or(flat.get(Kind::Reasoning));
            rates.set(Kind::Reasoning, reasoning);
        }
        // Nothing is inherited from a lower range but what neither has.
        for kind in [Kind::CacheRead, Kind::CacheWrite] {
            let rate = rates.get(kind).or(rates.get(Kind::Input));
            rates.set(kind, rate);
        }
        let reasoning = rates.get(Kind::Reasoning).or(rates.get(Kind::Output));
        rates.set(Kind::Reasoning, reasoning);
        ranges.push(Tier {
            above_input_tokens,
            rates,
        });
    }
    let lowest = ranges.iter().min_by_key(|tier| tier.above_input_tokens);
    let Some(lowest) = lowest.map(|lowest| lowest.rates) else {
        return Ok(None);
    };
    let base = flat.overlaid(&lowest);
    Ok(Some(Tariff::new(base, ranges)))
}

fn read_factors(entry: &Fields) -> Result<Factors, String> {
    let mut factors = Factors::default();
    let read =
        |field: &str, value: &Value| factor(value).map_err(|problem| format!("{field} {problem}"));
    let specific = entry.get("provider_specific_entry");
    for (name, value) in specific.and_then(Value::as_object).into_iter().flatten() {
        // The same place has settings of other purposes; the names of regions are short.
        if !value.is_number() || name.len() > 3 && name != "fast" {
            continue;
        }
        match name.as_str() {
            "fast" => factors.fast = Some(read(name, value)?),
            region => factors
                .regions
                .push((region.to_ascii_lowercase(), read(name, value)?)),
        }
    }
    for (field, value) in entry {
        let region = field.strip_prefix("regional_processing_uplift_multiplier_");
        if let Some(region) = region {
            factors
                .regions
                .push((region.to_ascii_lowercase(), read(field, value)?));
        } else if field == "fedramp_uplift_multiplier" {
            factors
                .regions
                .push(("fedramp".to_owned(), read(field, value)?));
        } else if field == "regional_endpoint_uplift_multiplier" {
            factors.other_region = Some(read(field, value)?);
        }
    }
    Ok(factors)
}

fn read_fees(entry: &Fields) -> Result<Fees, String> {
    let price = |field: &str| match entry.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => unit(value)
            .map(Some)
            .map_err(|problem| format!("{field} {problem}")),
    };
    let mode = entry.get("mode").and_then(Value::as_str);
    let searches = read_searches(entry)?;
    let unit = entry.get("web_search_billing_unit").and_then(Value::as_str);
    let provider = entry.get("litellm_provider").and_then(Value::as_str);
    // Google's own models are billed by answer unless the list says otherwise, those of others on Vertex AI are not.
    let is_of_google = provider.is_some_and(|provider| {
        matches!(canonical(provider).as_ref(), "gcp.gemini" | "gcp.vertex_ai")
            && provider != "vertex_ai-anthropic_models"
    });
    let per_second = price("output_cost_per_second")?
        .filter(|price| *price > 0)
        .or(price("input_cost_per_second")?);
    let is_video = mode == Some("video_generation");
    // Chat models that are billed by the second are billed for the time that they are rented.
    let is_audio = matches!(
        mode,
        Some("audio_transcription" | "audio_speech" | "realtime")
    );
    Ok(Fees {
        web_search: searches.map(|(price, _)| price),
        does_web_search_vary: searches.is_some_and(|(_, varies)| varies),
        is_web_search_by_answer: is_of_google && unit != Some("per_query"),
        maps_search: price("google_maps_grounding_cost_per_query")?,
        file_search: price("file_search_cost_per_1k_calls")?.map(|price| price / 1_000),
        code_session: price("code_interpreter_cost_per_session")?,
        request: price("input_cost_per_request")?,
        query: price("input_cost_per_query")?,
        output_image: price("output_cost_per_image")?,
        input_image: price("input_cost_per_image")?,
        input_audio_second: price("input_cost_per_audio_per_second")?,
        audio_second: per_second.filter(|_| is_audio),
        input_video_second: price("input_cost_per_video_per_second")?,
        output_video_second: price("output_cost_per_video_per_second")?
            .or(per_second.filter(|_| is_video)),
        does_video_vary: varies_by_resolution(entry),
        character: price("input_cost_per_character")?,
        page: price("ocr_cost_per_page")?,
        page_in_batch: price("ocr_cost_per_page_batches")?,
    })
}

/// The price of a search, and whether it depends on how much the search brings. Responses do not say how much; without
/// a word of the request it is a medium amount, with Perplexity a low one.
fn read_searches(entry: &Fields) -> Result<Option<(u64, bool)>, String> {
    const FIELD: &str = "search_context_cost_per_query";
    let Some(sizes) = entry.get(FIELD).and_then(Value::as_object) else {
        return Ok(None);
    };
    let price = |size: &str| match sizes.get(&format!("search_context_size_{size}")) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => unit(value)
            .map(Some)
            .map_err(|problem| format!("{FIELD} {problem}")),
    };
    let provider = entry.get("litellm_provider").and_then(Value::as_str);
    let usual = match provider {
        Some("perplexity") => price("low")?,
        _ => price("medium")?,
    };
    let all = [price("low")?, price("medium")?, price("high")?];
    Ok(usual.map(|usual| {
        let varies = all.into_iter().flatten().any(|price| price != usual);
        (usual, varies)
    }))
}

/// Whether a second of video costs more in one resolution than in another.
fn varies_by_resolution(entry: &Fields) -> bool {
    let plain = entry.get("output_cost_per_second");
    entry.iter().any(|(field, value)| {
        field.starts_with(RESOLUTION) && value.is_number() && Some(value) != plain
    })
}
