//! On the request thread: reserves capacity and submits commands. Never waits for the disk.
//!
//! `recorder.rs` and `handle.rs` come in through [`queue::Shared`]; the writer drains what it submits.

pub(super) mod capacity;
pub(super) mod command;
pub(super) mod commit_waiters;
pub(super) mod ending;
pub(super) mod lifecycle;
pub(super) mod losses;
pub(super) mod maintenance;
pub(crate) mod media_ids;
pub(super) mod pieces;
pub(super) mod queue;
pub(super) mod redactor;
pub(super) mod state;
