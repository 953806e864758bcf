//! From the channel to a batch.

pub(super) mod batch;
pub(super) mod bodies;
pub(super) mod complete;
pub(super) mod guard;
pub(super) mod intake;
pub(super) mod pack;
pub(super) mod prepare;
