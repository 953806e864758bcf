//! Writes a batch in one transaction.

pub(super) mod append;
pub(super) mod pieces;
pub(super) mod project;
pub(super) mod refusals;
pub(super) mod sums;
pub(super) mod tree;
