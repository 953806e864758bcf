//! On the request thread: admits commands to the channel. Never waits for the disk.

pub(super) mod capacity;
pub(super) mod command;
pub(super) mod commit_waiters;
pub(super) mod ending;
pub(super) mod lifecycle;
pub(super) mod losses;
pub(super) mod maintenance;
pub(super) mod pieces;
pub(super) mod queue;
pub(super) mod redactor;
pub(super) mod state;
