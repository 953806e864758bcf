//! Hours, days and minutes that requests count in, and the sums of an hour.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::request_events::{EndKind, Ended};
use crate::model::{CostSource, UsageSource};

/// Hours of a day, UTC.
pub(crate) const HOURS_PER_DAY: i64 = 24;

const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;

const MICROS_PER_MINUTE: i64 = 60_000_000;

/// The row of `usage_hourly` in which an ended request is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HourKey {
    pub(crate) hour: i64,
    pub(crate) provider_name: String,
    pub(crate) model: String,
    pub(crate) user_id: String,
}

impl HourKey {
    pub(crate) fn new(opened_at: i64, provider_name: &str, model: &str, user_id: &str) -> Self {
        Self {
            hour: hour_of(opened_at),
            provider_name: provider_name.to_owned(),
            model: model.to_owned(),
            user_id: user_id.to_owned(),
        }
    }

    /// The row of `usage_daily` in which the same request is counted.
    pub(crate) fn day(&self) -> DayKey<'_> {
        DayKey {
            day: self.hour.div_euclid(HOURS_PER_DAY),
            provider_name: &self.provider_name,
            model: &self.model,
        }
    }
}

/// A row of `usage_daily`: the sums over all users of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DayKey<'k> {
    pub(crate) day: i64,
    pub(crate) provider_name: &'k str,
    pub(crate) model: &'k str,
}

/// What ended requests add to a row of `usage_hourly` or `usage_daily`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HourSums {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) completed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) failed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) rejected: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) abandoned: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) interrupted: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) input_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) output_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cache_read_input_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cache_write_input_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) reasoning_output_tokens: u64,
    /// Requests that may have used tokens without reporting them.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) without_usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cost_microdollars: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) unpriced: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) latency_us_sum: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) latency_count: u64,
    /// Requests by where their counts and costs come from.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) partial_usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) told_usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) partial_cost: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) told_cost: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) incomplete_cost: u64,
    /// Requests that count to another model and used tokens of this one; of these, those whose counts are partial,
    /// those whose counts were told, and those that say no cost of these tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) credited_requests: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) credited_partial_usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) credited_told_usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) credited_unpriced: u64,
}

impl HourSums {
    /// Adds what other requests add.
    pub(crate) fn merge(&mut self, other: &Self) {
        let own = self.fields();
        for (sum, value) in own.into_iter().zip(other.values()) {
            *sum = sum.saturating_add(value);
        }
    }

    /// Lowers every sum to this one.
    pub(super) fn bound(&mut self, max: u64) {
        for sum in self.fields() {
            *sum = (*sum).min(max);
        }
    }

    /// In the order of the columns.
    pub(crate) fn values(&self) -> [u64; 24] {
        let mut copy = *self;
        copy.fields().map(|value| *value)
    }

    fn fields(&mut self) -> [&mut u64; 24] {
        [
            &mut self.completed,
            &mut self.failed,
            &mut self.rejected,
            &mut self.abandoned,
            &mut self.interrupted,
            &mut self.input_tokens,
            &mut self.output_tokens,
            &mut self.cache_read_input_tokens,
            &mut self.cache_write_input_tokens,
            &mut self.reasoning_output_tokens,
            &mut self.without_usage,
            &mut self.cost_microdollars,
            &mut self.unpriced,
            &mut self.latency_us_sum,
            &mut self.latency_count,
            &mut self.partial_usage,
            &mut self.told_usage,
            &mut self.partial_cost,
            &mut self.told_cost,
            &mut self.incomplete_cost,
            &mut self.credited_requests,
            &mut self.credited_partial_usage,
            &mut self.credited_told_usage,
            &mut self.credited_unpriced,
        ]
    }

    pub(crate) fn add(&mut self, ended: &Ended) {
        let count = match ended.kind {
            EndKind::Completed => &mut self.completed,
            EndKind::Failed => &mut self.failed,
            EndKind::Rejected => &mut self.rejected,
            EndKind::Abandoned => &mut self.abandoned,
            EndKind::Interrupted => &mut self.interrupted,
        };
        *count = count.saturating_add(1);
        for (sum, value) in [
            (&mut self.input_tokens, ended.input_tokens),
            (&mut self.output_tokens, ended.output_tokens),
            (
                &mut self.cache_read_input_tokens,
                ended.cache_read_input_tokens,
            ),
            (
                &mut self.cache_write_input_tokens,
                ended.cache_write_input_tokens,
            ),
            (
                &mut self.reasoning_output_tokens,
                ended.reasoning_output_tokens,
            ),
            (&mut self.cost_microdollars, ended.cost_microdollars),
            (&mut self.latency_us_sum, ended.latency_us),
        ] {
            *sum = sum.saturating_add(value.unwrap_or(0));
        }
        self.latency_count = self
            .latency_count
            .saturating_add(u64::from(ended.latency_us.is_some()));
        self.without_usage = self
            .without_usage
            .saturating_add(u64::from(ended.lacks_usage()));
        let unpriced = ended.has_usage() && ended.cost_microdollars.is_none();
        self.unpriced = self.unpriced.saturating_add(u64::from(unpriced));
        let count = match ended.usage_source {
            Some(UsageSource::Partial) => Some(&mut self.partial_usage),
            Some(UsageSource::Told) => Some(&mut self.told_usage),
            _ => None,
        };
        count
            .into_iter()
            .for_each(|count| *count = count.saturating_add(1));
        let count = match ended.cost_source {
            Some(CostSource::Partial) => Some(&mut self.partial_cost),
            Some(CostSource::Stated | CostSource::Told) => Some(&mut self.told_cost),
            Some(CostSource::Incomplete) => Some(&mut self.incomplete_cost),
            _ => None,
        };
        count
            .into_iter()
            .for_each(|count| *count = count.saturating_add(1));
    }
}

/// Counts a request in the row of its key, and in those of other models whose tokens it used.
pub(crate) fn count_end(hours: &mut HashMap<HourKey, HourSums>, key: HourKey, ended: &Ended) {
    let others = ended.shares_of_others(&key.model);
    for (model, share) in &others {
        let key = HourKey {
            model: (*model).to_owned(),
            ..key.clone()
        };
        hours.entry(key).or_default().merge(share);
    }
    let sums = hours.entry(key).or_default();
    match others.is_empty() {
        true => sums.add(ended),
        false => sums.merge(&ended.own_share(&others)),
    }
}

/// The minute of a time.
pub(crate) fn minute_of(at: i64) -> i64 {
    at.div_euclid(MICROS_PER_MINUTE)
}

/// The hour of a time.
pub(crate) fn hour_of(at: i64) -> i64 {
    at.div_euclid(MICROS_PER_HOUR)
}

/// The first microsecond of an hour.
pub(crate) fn hour_start(hour: i64) -> i64 {
    hour.saturating_mul(MICROS_PER_HOUR)
}

#[allow(clippy::trivially_copy_pass_by_ref)]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}
