//! Queries. Each is bounded and uses bound parameters only.
//!
//! `lookup` finds by an id, `list` by a filter, page by page, and `stats` sums. `media`
//! looks up media and who refers to them. `removals` and `times` read what the
//! tables say of the log itself.

pub(super) mod list;
pub(super) mod lookup;
pub(super) mod media;
pub(super) mod removals;
pub(super) mod stats;
pub(super) mod times;
