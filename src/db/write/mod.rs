//! Writes a batch in one transaction.
//!
//! `append` is that transaction. In it, `apply` turns a fold of events into rows: of requests (`project`), of sums
//! (`sums`), and of what `erased` and `pruned` events take away (`removals`). `refusals` keeps a row that the file
//! refuses from costing the batch. `tree` stores checkpoints and hashes. Outside of batches: `pieces` of long
//! responses, and steps of removals that no event records (`removing`).

pub(super) mod append;
pub(super) mod apply;
pub(super) mod pieces;
pub(super) mod project;
pub(super) mod refusals;
pub(super) mod removals;
pub(super) mod removing;
pub(super) mod sums;
pub(super) mod tree;
