//! From a batch to the disk: `committer` is the loop. A failure goes to `retry`, a lost file is found by
//! `presence`. `wal` decides when the write-ahead log is moved, `tree_head` when a checkpoint of the log is due
//! (`anchor` keeps it elsewhere). `indexing` and `maintenance` run between commits.

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
