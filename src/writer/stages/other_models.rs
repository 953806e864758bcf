//! What tokens of other models cost: an adviser, one that compacted the context, one that declined. The end states it
//! for each, so that sums can credit the model that used them.

use crate::config::COST_MICRODOLLARS_MAX;
use crate::log::Ended;
use crate::model::{CostSource, UsageSource};
use crate::pricing::{CostQuery, PriceBook};

/// What the tokens of each of the other models cost by the price of that model; absent where it has none.
pub(super) fn costs(book: &PriceBook, query: &CostQuery<'_>) -> Vec<Option<u64>> {
    let others = query.other_models().iter();
    let cost = |other| {
        let cost = book.cost_of_other(query, other)?;
        Some(cost.microdollars.min(COST_MICRODOLLARS_MAX))
    };
    others.map(cost).collect()
}

/// States the costs. Whatever a gateway said of them: they are parts of the cost that was computed.
///
/// Every other model says where its cost comes from, if only that it is not known: lines of earlier builds do not, and
/// sums credit nothing for those.
pub(super) fn state(ended: &mut Ended, costs: Option<&[Option<u64>]>) {
    let is_partial = ended.usage_source == Some(UsageSource::Partial);
    let details = ended.usage_details.as_deref_mut();
    let others = details
        .into_iter()
        .flat_map(|details| &mut details.other_models);
    let mut costs = costs.unwrap_or_default().iter().copied();
    for other in others {
        other.cost_microdollars = costs.next().flatten();
        other.cost_source = Some(match other.cost_microdollars {
            None => CostSource::Unknown,
            Some(_) if is_partial => CostSource::Partial,
            Some(_) => CostSource::Computed,
        });
    }
}
