//! The writer: a bounded channel, the capacity that guards it, and the threads behind it.
//!
//! Request threads only ever touch the capacity, the channel and a few atomics; nothing here makes
//! them wait for the disk. Of the three threads, the intake numbers and digests, the packer compresses,
//! and the committer owns the only writable connection.

mod admission;
mod commit;
mod disk_space;
mod health;
mod opening;
mod stages;
mod worker;

pub use commit::tree_head::CheckpointNotice;
pub use health::{Alarm, CloseReport, Health, HealthState};

pub(crate) use admission::capacity::{BodyGrant, Reservation};
pub(crate) use admission::command::{
    ChunksCommand, Command, EndCommand, OpenCommand, ServedCommand, UpstreamBodyCommand,
};
pub(crate) use admission::commit_waiters::Ticket;
pub(crate) use admission::ending::Ending;
pub(crate) use admission::lifecycle::{Lifecycle, Stage};
pub(crate) use admission::losses::Loss;
pub(crate) use admission::maintenance::{MaintenanceCommand, MaintenanceError};
pub(crate) use admission::pieces::PieceCutter;
#[cfg(all(test, shuttle))]
pub(crate) use admission::queue::CONTROL_SLOTS;
pub(crate) use admission::queue::{Admission, Shared};
pub(crate) use admission::redactor::SecretRedactor;
pub(crate) use commit::tree_head::CheckpointSettings;
pub(crate) use opening::prior_log::check_identity;
pub(crate) use worker::{WriterThread, spawn};
