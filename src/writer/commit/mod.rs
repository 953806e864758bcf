//! From a batch to the disk.

pub(super) mod anchor;
pub(super) mod committer;
pub(super) mod disk_space;
pub(super) mod indexing;
pub(super) mod maintenance;
pub(super) mod retry;
pub(super) mod tree_head;
pub(super) mod wal;
