//! Checks a file, and rebuilds what is derived from the log.

pub(super) mod inspect;
pub(super) mod projections;
pub(super) mod rebuild;
pub(super) mod rebuilt;
pub(super) mod snapshot;
pub(super) mod structure;
