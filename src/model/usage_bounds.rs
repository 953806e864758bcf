//! Bounds of the details of usage.

use super::identifier::bounded;
use super::usage_details::{CacheWriteTokens, ModalityTokens, UsageDetails};
use crate::config::{COST_MICRODOLLARS_MAX, TOKENS_MAX};

impl UsageDetails {
    /// Shortens lists and names and lowers numbers to their bounds; whether anything changed.
    pub(crate) fn bring_into_bounds(&mut self) -> bool {
        let mut is_changed = false;
        let mut lower = |number: &mut Option<u64>, max: u64| {
            if number.is_some_and(|number| number > max) {
                *number = Some(max);
                is_changed = true;
            }
        };
        lower(&mut self.stated_cost_microdollars, COST_MICRODOLLARS_MAX);
        lower(&mut self.computed_cost_microdollars, COST_MICRODOLLARS_MAX);
        lower(&mut self.citation_tokens, TOKENS_MAX);
        for other in &mut self.other_models {
            lower(&mut other.cost_microdollars, COST_MICRODOLLARS_MAX);
        }
        lower(&mut self.accepted_prediction_tokens, TOKENS_MAX);
        lower(&mut self.rejected_prediction_tokens, TOKENS_MAX);
        let mut so_far = self.so_far.as_mut();
        if let Some(so_far) = &mut so_far {
            lower(&mut so_far.stated_cost_microdollars, COST_MICRODOLLARS_MAX);
        }
        let of_so_far = so_far
            .iter_mut()
            .flat_map(|so_far| &mut so_far.billed_units);
        for unit in self.billed_units.iter_mut().chain(of_so_far) {
            let mut count = Some(unit.count);
            lower(&mut count, TOKENS_MAX);
            unit.count = count.unwrap_or_default();
        }
        let usages = self
            .server_tools
            .iter_mut()
            .filter_map(|tool| tool.usage.as_mut());
        let usages = usages.chain(self.other_models.iter_mut().map(|other| &mut other.usage));
        let usages = usages.chain(so_far.into_iter().map(|so_far| &mut so_far.usage));
        let counts = usages.flat_map(|usage| {
            [
                &mut usage.input_tokens,
                &mut usage.output_tokens,
                &mut usage.cache_read_input_tokens,
                &mut usage.cache_write_input_tokens,
                &mut usage.reasoning_output_tokens,
            ]
        });
        counts.for_each(|count| lower(count, TOKENS_MAX));
        let of_tools = self
            .server_tools
            .iter_mut()
            .flat_map(|tool| [&mut tool.input, &mut tool.cache_read, &mut tool.output]);
        let own = [&mut self.input, &mut self.cache_read, &mut self.output];
        for tokens in own.into_iter().chain(of_tools) {
            let ModalityTokens {
                text_tokens,
                image_tokens,
                audio_tokens,
                video_tokens,
                document_tokens,
            } = tokens;
            for count in [
                text_tokens,
                image_tokens,
                audio_tokens,
                video_tokens,
                document_tokens,
            ] {
                lower(count, TOKENS_MAX);
            }
        }
        let others = self
            .other_models
            .iter_mut()
            .map(|other| &mut other.cache_write);
        let so_far = self.so_far.as_mut().map(|so_far| &mut so_far.cache_write);
        for tokens in others.chain([&mut self.cache_write]).chain(so_far) {
            let CacheWriteTokens {
                for_5m_tokens,
                for_30m_tokens,
                for_1h_tokens,
                for_12h_tokens,
            } = tokens;
            for count in [for_5m_tokens, for_30m_tokens, for_1h_tokens, for_12h_tokens] {
                lower(count, TOKENS_MAX);
            }
        }
        let lengths = [
            self.server_tools.len(),
            self.other_models.len(),
            self.billed_units.len(),
            self.unpriced.len(),
            self.so_far
                .as_ref()
                .map_or(0, |so_far| so_far.billed_units.len()),
        ];
        is_changed |= lengths.into_iter().any(|length| length > Self::LIST_MAX);
        self.unpriced.truncate(Self::LIST_MAX);
        self.server_tools.truncate(Self::LIST_MAX);
        self.other_models.truncate(Self::LIST_MAX);
        self.billed_units.truncate(Self::LIST_MAX);
        let so_far = self.so_far.iter_mut();
        let of_so_far = so_far.map(|so_far| &mut so_far.billed_units);
        of_so_far.for_each(|units| units.truncate(Self::LIST_MAX));
        let words = [
            &mut self.service_tier,
            &mut self.speed,
            &mut self.region,
            &mut self.fallback_credit,
        ];
        let words = words.into_iter().filter_map(Option::as_mut);
        let tools = self.server_tools.iter_mut();
        let tools = tools.flat_map(|tool| [Some(&mut tool.tool_name), tool.model.as_mut()]);
        let models = self.other_models.iter_mut().map(|other| &mut other.model);
        let unpriced = self.unpriced.iter_mut();
        let so_far = self.so_far.iter_mut();
        let units = so_far.flat_map(|so_far| &mut so_far.billed_units);
        let units = units.chain(&mut self.billed_units);
        let units = units.map(|billed| &mut billed.unit);
        for name in words
            .chain(tools.flatten())
            .chain(models)
            .chain(units)
            .chain(unpriced)
        {
            if let Some(bounded) = bounded(name, Self::NAME_BYTES_MAX) {
                *name = bounded;
                is_changed = true;
            }
        }
        is_changed
    }
}
