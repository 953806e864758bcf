//! Details of usage: collected from events, merged, and bounded.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Counts;
use crate::config::{COST_MICRODOLLARS_MAX, TOKENS_MAX};
use crate::model::{
    BilledUnit, CacheWriteTokens, ModalityTokens, ModelUsage, ServerToolUsage, Usage, UsageDetails,
    UsageSoFar,
};
use crate::wire::json::lenient::{Count, Label, List, Object, Real};

/// Details that are being collected. Most responses have none.
#[derive(Debug, Default)]
pub(in crate::wire) struct Details(Option<Box<UsageDetails>>);

impl Details {
    /// Sets what is there; what is not stays as it was.
    pub(in crate::wire) fn set<T>(
        &mut self,
        value: Option<T>,
        field: fn(&mut UsageDetails) -> &mut Option<T>,
    ) {
        if let Some(value) = value {
            *field(self.0.get_or_insert_default()) = Some(value);
        }
    }

    /// Sets a name, within its bound.
    pub(in crate::wire) fn name(
        &mut self,
        name: Option<&str>,
        field: fn(&mut UsageDetails) -> &mut Option<String>,
    ) {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return;
        };
        // Each event of a stream repeats it.
        let known = field(self.0.get_or_insert_default());
        if known.as_deref() != Some(name) {
            *known = Some(bounded(name));
        }
    }

    /// Sets counts by modality. Zeros are left out.
    pub(in crate::wire) fn modalities(
        &mut self,
        counts: ModalityTokens,
        field: fn(&mut UsageDetails) -> &mut ModalityTokens,
    ) {
        if !counts.is_empty() {
            *field(self.0.get_or_insert_default()) = counts;
        }
    }

    pub(in crate::wire) fn cache_write(&mut self, counts: CacheWriteTokens) {
        if !counts.is_empty() {
            self.0.get_or_insert_default().cache_write = counts;
        }
    }

    /// How often one of the provider's tools ran. The last word of a stream counts.
    pub(in crate::wire) fn server_tool(&mut self, tool: ServerToolUsage) {
        let is_nothing = tool.request_count.is_none() && tool.usage.is_none();
        if is_nothing || tool.tool_name.is_empty() {
            return;
        }
        let tools = &mut self.0.get_or_insert_default().server_tools;
        let is_same = |known: &ServerToolUsage| {
            known.tool_name == tool.tool_name && known.model == tool.model
        };
        match tools.iter().position(is_same) {
            Some(at) => {
                if let Some(known) = tools.get_mut(at) {
                    *known = tool;
                }
            }
            None if tools.len() < UsageDetails::LIST_MAX => tools.push(tool),
            None => {}
        }
    }

    /// An amount of something that is no token. The last word of a stream counts; zeros are left out.
    pub(in crate::wire) fn unit(&mut self, unit: &str, count: Option<u64>) {
        if let Some(count) = count.filter(|count| *count > 0) {
            add_unit(
                &mut self.0.get_or_insert_default().billed_units,
                unit,
                count,
            );
        }
    }

    /// What the whole session or job has used so far. The last word of a stream counts.
    pub(in crate::wire) fn so_far(
        &mut self,
        counts: &Counts,
        cache_write: CacheWriteTokens,
        stated_cost_microdollars: Option<u64>,
        units: &[(&str, Option<u64>)],
    ) {
        let stated = stated_cost_microdollars;
        let mut so_far = UsageSoFar {
            usage: counts.usage().map(capped).unwrap_or_default(),
            cache_write,
            stated_cost_microdollars: stated.map(|cost| cost.min(COST_MICRODOLLARS_MAX)),
            ..UsageSoFar::default()
        };
        for (unit, count) in units {
            if let Some(count) = count.filter(|count| *count > 0) {
                add_unit(&mut so_far.billed_units, unit, count);
            }
        }
        if so_far != UsageSoFar::default() {
            self.0.get_or_insert_default().so_far = Some(so_far);
        }
    }

    /// Replaces the list of other models.
    pub(in crate::wire) fn other_models(&mut self, models: Vec<ModelUsage>) {
        if !models.is_empty() || self.0.is_some() {
            self.0.get_or_insert_default().other_models = models;
        }
    }

    /// Adds what later usage says.
    pub(in crate::wire) fn merge(&mut self, later: Self) {
        let Some(later) = later.0 else { return };
        let Some(known) = &mut self.0 else {
            self.0 = Some(later);
            return;
        };
        let later = *later;
        for (known, later) in [
            (&mut known.input, later.input),
            (&mut known.cache_read, later.cache_read),
            (&mut known.output, later.output),
        ] {
            if !later.is_empty() {
                *known = later;
            }
        }
        if !later.cache_write.is_empty() {
            known.cache_write = later.cache_write;
        }
        known.citation_tokens = later.citation_tokens.or(known.citation_tokens);
        let stated = later.stated_cost_microdollars;
        known.stated_cost_microdollars = stated.or(known.stated_cost_microdollars);
        for (known, later) in [
            (&mut known.service_tier, later.service_tier),
            (&mut known.speed, later.speed),
            (&mut known.region, later.region),
            (&mut known.fallback_credit, later.fallback_credit),
        ] {
            *known = later.or(known.take());
        }
        let accepted = later.accepted_prediction_tokens;
        known.accepted_prediction_tokens = accepted.or(known.accepted_prediction_tokens);
        let rejected = later.rejected_prediction_tokens;
        known.rejected_prediction_tokens = rejected.or(known.rejected_prediction_tokens);
        known.so_far = later.so_far.or(known.so_far.take());
        if !later.other_models.is_empty() {
            known.other_models = later.other_models;
        }
        for tool in later.server_tools {
            self.server_tool(tool);
        }
        for billed in later.billed_units {
            self.unit(&billed.unit, Some(billed.count));
        }
    }

    /// Adds the counts by modality of one more answer, where each states only its own.
    pub(in crate::wire) fn add(&mut self, more: &Self) {
        let Some(more) = &more.0 else { return };
        let known = self.0.get_or_insert_default();
        for (known, more) in [
            (&mut known.input, more.input),
            (&mut known.cache_read, more.cache_read),
            (&mut known.output, more.output),
        ] {
            add_modalities(known, more);
        }
        for (known, more) in [
            (&mut known.service_tier, &more.service_tier),
            (&mut known.speed, &more.speed),
        ] {
            *known = more.clone().or(known.take());
        }
    }

    /// The details; tokens of `served_by` are those of the response itself, not of another model.
    pub(in crate::wire) fn into_details(
        self,
        served_by: Option<&str>,
    ) -> Option<Box<UsageDetails>> {
        let mut details = self.0?;
        details
            .other_models
            .retain(|other| Some(other.model.as_str()) != served_by);
        (*details != UsageDetails::default()).then_some(details)
    }
}

pub(super) fn add_modalities(known: &mut ModalityTokens, more: ModalityTokens) {
    for (known, more) in [
        (&mut known.text_tokens, more.text_tokens),
        (&mut known.image_tokens, more.image_tokens),
        (&mut known.audio_tokens, more.audio_tokens),
        (&mut known.video_tokens, more.video_tokens),
        (&mut known.document_tokens, more.document_tokens),
    ] {
        *known = super::sum([*known, more, None]);
    }
}

/// Sets an amount. What is beyond the limit is left out.
fn add_unit(units: &mut Vec<BilledUnit>, unit: &str, count: u64) {
    let count = count.min(TOKENS_MAX);
    if let Some(known) = units.iter_mut().find(|known| known.unit == unit) {
        known.count = count;
    } else if units.len() < UsageDetails::LIST_MAX {
        let unit = bounded(unit);
        units.push(BilledUnit { unit, count });
    }
}

/// A name within its bound, cut at a character.
fn bounded(name: &str) -> String {
    let end = name.floor_char_boundary(UsageDetails::NAME_BYTES_MAX);
    name.get(..end).unwrap_or_default().to_owned()
}

/// A count above zero, within the bound of all counts.
pub(in crate::wire) fn some(count: Count) -> Option<u64> {
    let count = count.0.filter(|count| *count > 0)?;
    Some(count.min(TOKENS_MAX))
}

/// Counts within the bound of all counts.
fn capped(usage: Usage) -> Usage {
    let capped = |count: Option<u64>| count.map(|count| count.min(TOKENS_MAX));
    Usage {
        input_tokens: capped(usage.input_tokens),
        output_tokens: capped(usage.output_tokens),
        cache_read_input_tokens: capped(usage.cache_read_input_tokens),
        cache_write_input_tokens: capped(usage.cache_write_input_tokens),
        reasoning_output_tokens: capped(usage.reasoning_output_tokens),
        ..Usage::default()
    }
}

/// A tool that ran this often.
pub(in crate::wire) fn tool_runs(name: &str, count: Count) -> ServerToolUsage {
    ServerToolUsage {
        tool_name: bounded(name),
        request_count: some(count),
        ..ServerToolUsage::default()
    }
}

/// A tool that was called this often in a response, where the response lists the calls.
pub(in crate::wire) fn tool_calls(name: &str, calls: usize) -> ServerToolUsage {
    ServerToolUsage {
        tool_name: bounded(name),
        request_count: u64::try_from(calls).ok().filter(|count| *count > 0),
        ..ServerToolUsage::default()
    }
}

/// A tool whose own model used tokens.
pub(in crate::wire) fn tool_tokens(
    name: &str,
    model: Option<&str>,
    counts: &Counts,
) -> ServerToolUsage {
    ServerToolUsage {
        tool_name: bounded(name),
        model: model.filter(|model| !model.is_empty()).map(bounded),
        usage: counts.usage().map(capped),
        ..ServerToolUsage::default()
    }
}

/// Adds the counts of a model to those that it has already.
pub(in crate::wire) fn add_model(
    models: &mut Vec<ModelUsage>,
    model: &str,
    counts: &Counts,
    cache_write: CacheWriteTokens,
) {
    let Some(usage) = counts.usage().map(capped) else {
        return;
    };
    let model = bounded(model);
    let known = models.iter().position(|known| known.model == model);
    let Some(known) = known.and_then(|at| models.get_mut(at)) else {
        if models.len() < UsageDetails::LIST_MAX {
            models.push(ModelUsage {
                model,
                usage,
                cache_write,
                ..ModelUsage::default()
            });
        }
        return;
    };
    let sum = |known: &mut Option<u64>, more: Option<u64>| {
        *known = super::sum([*known, more, None]);
    };
    super::add(&mut known.usage, &usage);
    let total = &mut known.cache_write;
    sum(&mut total.for_5m_tokens, cache_write.for_5m_tokens);
    sum(&mut total.for_30m_tokens, cache_write.for_30m_tokens);
    sum(&mut total.for_1h_tokens, cache_write.for_1h_tokens);
    sum(&mut total.for_12h_tokens, cache_write.for_12h_tokens);
}

/// Dollars as millionths; absent if they are no amount.
pub(in crate::wire) fn microdollars(dollars: f64) -> Option<u64> {
    /// Above this, floats do not represent every integer.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let micros = (dollars * 1e6).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked.
    (0.0..=EXACT_MAX).contains(&micros).then_some(micros as u64)
}

/// Milliseconds of a length in seconds; absent if it is none.
pub(in crate::wire) fn milliseconds(seconds: Real) -> Option<u64> {
    // A millionth of a thousandfold is a thousandth.
    microdollars(seconds.0? / 1e3)
}

/// `usage.cost`: dollars, or an object with their total (Perplexity).
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::wire) struct Cost(pub(in crate::wire) Option<f64>);

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Total {
            total_cost: Real,
        }
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        let raw = raw.get();
        if raw.starts_with('{') {
            let total = serde_json::from_str::<Total>(raw).unwrap_or_default();
            return Ok(Self(total.total_cost.0));
        }
        Ok(Self(serde_json::from_str::<f64>(raw).ok()))
    }
}

/// `server_tool_use`: a count for each tool, under names such as `web_search_requests`. Zeros are left out.
#[derive(Debug, Default)]
pub(in crate::wire) struct ServerToolCounts(pub(in crate::wire) Vec<(String, Count)>);

impl<'de> Deserialize<'de> for ServerToolCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;
        impl<'de> Visitor<'de> for Counts {
            type Value = ServerToolCounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut counts = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if counts.len() >= UsageDetails::LIST_MAX {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let count: Count = map.next_value()?;
                    if some(count).is_some() {
                        counts.push((name, count));
                    }
                }
                Ok(ServerToolCounts(counts))
            }
        }
        deserializer.deserialize_map(Counts)
    }
}

impl ServerToolCounts {
    /// Adds the tools to the details, under their names without what says that it is a count.
    pub(in crate::wire) fn add_to(&self, details: &mut Details) {
        for (name, count) in &self.0 {
            let name = name.strip_suffix("_requests").unwrap_or(name);
            let name = name.strip_suffix("_calls").unwrap_or(name);
            details.server_tool(tool_runs(name, *count));
        }
    }
}

/// Counts by modality as a list (Gemini): `[{"modality":"AUDIO","tokenCount":9}]`.
pub(in crate::wire) type ModalityList = List<Object<ModalityCount>, 16>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::wire) struct ModalityCount {
    modality: Label,
    token_count: Count,
}

pub(in crate::wire) fn by_modality(list: &ModalityList) -> ModalityTokens {
    let mut tokens = ModalityTokens::default();
    for item in list.0.iter().filter_map(|item| item.0.as_ref()) {
        let Some(count) = some(item.token_count) else {
            continue;
        };
        // The numbers are those of the enumeration's JSON mapping.
        let place = match item.modality.0.as_deref() {
            Some("TEXT" | "1") => &mut tokens.text_tokens,
            Some("IMAGE" | "2") => &mut tokens.image_tokens,
            Some("VIDEO" | "3") => &mut tokens.video_tokens,
            Some("AUDIO" | "4") => &mut tokens.audio_tokens,
            Some("DOCUMENT" | "5") => &mut tokens.document_tokens,
            _ => continue,
        };
        *place = super::sum([*place, Some(count), None]);
    }
    tokens
}
