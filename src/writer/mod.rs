//! The writer: a bounded channel, the capacity that guards it, and the threads behind it.
//!
//! Request threads only ever touch the capacity, the channel and a few atomics; nothing here makes
//! them wait for the disk. Of the three threads, the intake numbers and digests, the packer compresses,
//! and the committer owns the only writable connection.

mod anchor;
mod batch;
mod bodies;
mod capacity;
mod checkpoints;
mod command;
mod commits;
mod committer;
mod guard;
mod health;
mod indexing;
mod intake;
mod interruption;
mod lifecycle;
mod losses;
mod notary;
mod packing;
mod past;
mod pieces;
mod prepare;
mod reading;
mod recovery;
mod redacting;
mod shared;
mod space;
mod upkeep;
mod worker;

pub use health::{Alarm, CloseReport, Health, HealthState};
pub use notary::CheckpointNotice;

pub(crate) use capacity::Reservation;
pub(crate) use command::{
    ChunksCommand, Command, EndCommand, Ending, OpenCommand, PreparedCommand, ServedCommand,
};
pub(crate) use lifecycle::{Lifecycle, Stage};
pub(crate) use losses::Loss;
pub(crate) use notary::CheckpointSettings;
pub(crate) use past::check_identity;
pub(crate) use pieces::PieceCutter;
pub(crate) use redacting::Redactor;
#[cfg(all(test, shuttle))]
pub(crate) use shared::CONTROL_SLOTS;
pub(crate) use shared::{Admission, BodyRoom, Shared};
pub(crate) use upkeep::{UpkeepCommand, UpkeepError};
pub(crate) use worker::{WriterThread, spawn};
