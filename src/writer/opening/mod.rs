//! What an opening of a store finds: `prior_log` compares an earlier log with its anchor, `interruption` ends
//! requests that a crash left open.

pub(super) mod interruption;
pub(super) mod prior_log;
