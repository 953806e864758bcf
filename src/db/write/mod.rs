//! Writes a batch in one transaction.

pub(super) mod append;
pub(super) mod apply;
pub(super) mod ended_rows;
pub(super) mod pieces;
pub(super) mod project;
pub(super) mod refusals;
pub(super) mod removals;
pub(super) mod removing;
pub(super) mod sums;
pub(super) mod tree;
