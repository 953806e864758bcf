//! Whose tokens a request used: what of it counts to which model.
//!
//! A request counts to the model that served it. Other models may have taken part: an adviser, one that compacted the
//! context, one that declined. Their tokens, which the request's totals include, are credited to them, with their
//! cost where the end states one. So the sums of all models are those of all requests.

use super::hours::HourSums;
use super::request_events::Ended;
use crate::model::{ModelUsage, UsageSource};

impl Ended {
    /// What the request adds to the sums of the models that took part beside `model`, to which it counts; each model
    /// once. Empty for nearly all requests.
    ///
    /// Lines of earlier builds credit nothing: their sums stay as they were counted.
    pub(crate) fn shares_of_others(&self, model: &str) -> Vec<(&str, HourSums)> {
        let Some(details) = &self.usage_details else {
            return Vec::new();
        };
        let mut shares: Vec<(&str, HourSums)> = Vec::new();
        // What is left of the totals: no model is credited with more than the request counts.
        let mut left = self.whole();
        for other in &details.other_models {
            let is_its_own = other.model.is_empty() || other.model == model;
            if other.cost_source.is_none() || is_its_own {
                continue;
            }
            let share = self.share_of(other, &left);
            if share == HourSums::default() {
                continue;
            }
            left.lessen(&share);
            match shares.iter_mut().find(|(model, _)| *model == other.model) {
                Some((_, known)) => known.join(&share),
                None => shares.push((&other.model, share)),
            }
        }
        shares
    }

    fn share_of(&self, other: &ModelUsage, left: &HourSums) -> HourSums {
        let (usage, least) = (&other.usage, |count: Option<u64>, left: u64| {
            count.unwrap_or(0).min(left)
        });
        let mut share = HourSums {
            input_tokens: least(usage.input_tokens, left.input_tokens),
            output_tokens: least(usage.output_tokens, left.output_tokens),
            cache_read_input_tokens: least(
                usage.cache_read_input_tokens,
                left.cache_read_input_tokens,
            ),
            cache_write_input_tokens: least(
                usage.cache_write_input_tokens,
                left.cache_write_input_tokens,
            ),
            reasoning_output_tokens: least(
                usage.reasoning_output_tokens,
                left.reasoning_output_tokens,
            ),
            cost_microdollars: least(other.cost_microdollars, left.cost_microdollars),
            ..HourSums::default()
        };
        if share != HourSums::default() {
            let source = self.usage_source;
            let says_cost = self.cost_microdollars.is_some() && other.cost_microdollars.is_some();
            share.credited_requests = 1;
            share.credited_partial_usage = u64::from(source == Some(UsageSource::Partial));
            share.credited_told_usage = u64::from(source == Some(UsageSource::Told));
            share.credited_unpriced = u64::from(!says_cost);
        }
        share
    }

    /// All that the request adds, as its row can hold it: shares of a row have to be those of its line.
    fn whole(&self) -> HourSums {
        let mut whole = HourSums::default();
        whole.add(self);
        whole.bound(i64::MAX.unsigned_abs());
        whole
    }

    /// What the request adds to the sums of the model to which it counts.
    pub(crate) fn own_share(&self, others: &[(&str, HourSums)]) -> HourSums {
        let mut own = self.whole();
        for (_, share) in others {
            own.lessen(share);
        }
        own
    }
}

impl HourSums {
    /// Takes away the tokens and the cost of a share.
    fn lessen(&mut self, share: &Self) {
        for (sum, value) in [
            (&mut self.input_tokens, share.input_tokens),
            (&mut self.output_tokens, share.output_tokens),
            (
                &mut self.cache_read_input_tokens,
                share.cache_read_input_tokens,
            ),
            (
                &mut self.cache_write_input_tokens,
                share.cache_write_input_tokens,
            ),
            (
                &mut self.reasoning_output_tokens,
                share.reasoning_output_tokens,
            ),
            (&mut self.cost_microdollars, share.cost_microdollars),
        ] {
            *sum = sum.saturating_sub(value);
        }
    }

    /// Adds a share of the same request in the same model.
    fn join(&mut self, share: &Self) {
        let unpriced = self.credited_unpriced.max(share.credited_unpriced);
        let before = *self;
        self.merge(share);
        self.credited_requests = before.credited_requests;
        self.credited_partial_usage = before.credited_partial_usage;
        self.credited_told_usage = before.credited_told_usage;
        self.credited_unpriced = unpriced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CostSource, Usage, UsageDetails};

    fn other(model: &str, input: u64, output: u64, cost: Option<u64>) -> ModelUsage {
        let source = cost.map_or(CostSource::Unknown, |_| CostSource::Computed);
        ModelUsage {
            model: model.to_owned(),
            usage: Usage::new(input, output),
            cost_microdollars: cost,
            cost_source: Some(source),
            ..ModelUsage::default()
        }
    }

    fn ended(others: Vec<ModelUsage>) -> Ended {
        let details = UsageDetails {
            other_models: others,
            ..UsageDetails::default()
        };
        Ended {
            input_tokens: Some(2100),
            output_tokens: Some(350),
            reasoning_output_tokens: Some(9),
            cost_microdollars: Some(1000),
            usage_source: Some(UsageSource::Partial),
            usage_details: Some(Box::new(details)),
            ..Ended::default()
        }
    }

    #[test]
    fn shares_add_up_to_the_request_whatever_the_details_say() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2000 {
            let others = (0..random.usize(..6)).map(|_| {
                let name = ["", "m", "a", "b"][random.usize(..4)];
                let mut count = || random.u64(..1500);
                let (input, output, cost) = (count(), count(), count());
                let cost = random.bool().then_some(cost);
                let mut other = other(name, input, output, cost);
                other.usage.reasoning_output_tokens = random.bool().then_some(4);
                other
            });
            let ended = ended(others.collect());
            let shares = ended.shares_of_others("m");
            let mut sum = ended.own_share(&shares);
            assert_eq!(sum.credited_requests, 0);
            assert!(shares.len() <= 2, "{shares:?}");
            for (model, share) in &shares {
                assert!(["a", "b"].contains(model));
                let credits = (share.credited_requests, share.credited_partial_usage);
                assert_eq!((credits, share.completed), ((1, 1), 0));
                sum.merge(share);
            }
            let mut whole = HourSums::default();
            whole.add(&ended);
            sum.credited_requests = 0;
            sum.credited_partial_usage = 0;
            sum.credited_unpriced = 0;
            assert_eq!(sum, whole);
        }
    }

    #[test]
    fn a_line_of_an_earlier_build_credits_nothing() {
        let mut before = other("a", 2000, 300, None);
        let now = before.clone();
        before.cost_source = None;
        assert_eq!(ended(vec![before]).shares_of_others("m"), []);
        let now = ended(vec![now]);
        let [("a", share)] = now.shares_of_others("m")[..] else {
            panic!("one share")
        };
        let found = (share.input_tokens, share.output_tokens, share.unpriced);
        assert_eq!((found, share.credited_unpriced), ((2000, 300, 0), 1));
        // A model that took part under the name of the one that served.
        assert_eq!(now.shares_of_others("a"), []);
    }
}
