//! Removing content, and what of it the projections and the file still show.

pub(super) mod content;
pub(super) mod projections;
pub(super) mod slack;
