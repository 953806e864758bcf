//! Queries. Each is bounded and uses bound parameters only.

pub(super) mod list;
pub(super) mod lookup;
pub(super) mod removals;
pub(super) mod stats;
pub(super) mod times;
