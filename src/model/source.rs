//! Where a number comes from.

use serde::{Deserialize, Serialize};

use crate::error::named;

/// Where the token counts of a request come from. A request that used none, because it was rejected or refused by
/// the upstream, has none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UsageSource {
    /// The provider's final counts, read from the response.
    Reported,
    /// What the provider had counted when the response broke off: a lower bound.
    Partial,
    /// The gateway's own figures.
    Told,
    /// None are known, though tokens may have been used.
    Absent,
}

named! {
    UsageSource, serialized elsewhere;
    Reported => "reported",
    Partial => "partial",
    Told => "told",
    Absent => "absent",
}

/// Where the cost of a request comes from. A request that used no tokens has none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CostSource {
    /// Computed from the counts by the price book of the time.
    Computed,
    /// Stated by the response.
    Stated,
    /// The gateway's own figure.
    Told,
    /// Computed from partial counts: a lower bound.
    Partial,
    /// Computed, but the response shows a tier, a kind of token or a fee that the price book has no price for.
    Incomplete,
    /// Not known: no counts, or no price.
    Unknown,
}

named! {
    CostSource, serialized elsewhere;
    Computed => "computed",
    Stated => "stated",
    Told => "told",
    Partial => "partial",
    Incomplete => "incomplete",
    Unknown => "unknown",
}
