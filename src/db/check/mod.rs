//! Checking a file, and rebuilding what the log says.

pub(super) mod inspect;
pub(super) mod keyed;
pub(super) mod projections;
pub(super) mod rebuild;
pub(super) mod structure;
