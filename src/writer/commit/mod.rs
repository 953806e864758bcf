//! From a batch to the disk.

pub(super) mod anchor;
pub(super) mod committer;
pub(super) mod indexing;
pub(super) mod maintenance;
pub(super) mod pieces;
pub(super) mod presence;
pub(super) mod request;
pub(super) mod retry;
pub(super) mod tree_head;
pub(super) mod wal;
