//! From the channel to a batch.

pub(super) mod barest;
pub(super) mod batch;
pub(super) mod bodies;
pub(super) mod complete;
pub(super) mod guard;
pub(super) mod intake;
pub(super) mod pack;
pub(super) mod pieces;
pub(super) mod prepare;
pub(super) mod prepare_end;
pub(super) mod prepare_open;
