//! Removes content, and what the projections and the file still show of it.

pub(super) mod content;
pub(super) mod slack;
