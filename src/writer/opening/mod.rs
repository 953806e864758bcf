//! What an opening finds: an earlier log, and requests that a crash left open.

pub(super) mod interruption;
pub(super) mod prior_log;
