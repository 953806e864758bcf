//! The writer: a bounded channel, the capacity that guards it, and the threads behind it.
//!
//! ```text
//!  request threads          auditlite-intake     auditlite-pack       auditlite-commit
//!  admission/queue   ----->  stages/intake -----> stages/pack  ----->  commit/committer ----> SQLite
//!  reserve, submit  channel  number, digest,      compress, encode,    one transaction,
//!                            plan (prepare_*)     extend the tree,     receipts, capacity,
//!                                                 complete ends        checkpoints, idle work
//! ```
//!
//! Request threads touch the capacity, the channel and a few atomics; nothing in `admission/` waits for the
//! disk. The intake runs up to four groups of payloads ahead of the packer, and the packer one batch ahead of
//! the committer, which owns the only writable connection. With one processor all stages run on one thread.
//!
//! A subfolder uses only those below it: `worker` starts the threads after `opening` has prepared the log; `stages`
//! pass batches to `commit`; both use `admission`, and all of them `health` and `disk_space`.

mod admission;
mod commit;
mod disk_space;
mod health;
mod opening;
mod stages;
mod worker;

pub use commit::tree_head::CheckpointNotice;
pub use health::{Alarm, CloseReport, Health, HealthState};

pub(crate) use admission::capacity::{BodyGrant, Reservation, Share};
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
