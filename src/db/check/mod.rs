//! Checks a file, and rebuilds what is derived from the log.
//!
//! `rebuild` reads the log once, and either rewrites the projections or has `projections` compare them; `rebuilt` has
//! those that do not come in the order of the log. `structure` runs SQLite's own checks, `media` compares media with the payloads,
//! `inspect` counts, and `snapshot` is the file as of one moment, for verification.

pub(super) mod inspect;
pub(super) mod media;
pub(super) mod projections;
pub(super) mod rebuild;
pub(super) mod rebuilt;
pub(super) mod snapshot;
pub(super) mod structure;
