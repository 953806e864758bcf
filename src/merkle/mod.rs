//! Proofs: make the history of the log verifiable for a reader who does not trust the file.
//!
//! The RFC 6962 tree over the lines of the log, proofs in it, and its size and root as C2SP signed notes.
//! Pure: knows neither events, nor the database, nor files.

mod checkpoint;
mod key;
mod note;
mod paths;
mod tree;

pub use key::{SigningKey, VerifyingKey};

pub(crate) use checkpoint::{Checkpoint, Notes};
pub(crate) use note::Trust;
pub(crate) use paths::{
    PathCollector, consistency_ranges, inclusion_ranges, verify_consistency, verify_inclusion,
};
pub(crate) use tree::{CompactRange, leaf_hash, leaf_of};
