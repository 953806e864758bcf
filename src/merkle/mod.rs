//! Proof: what makes the log's history checkable by somebody who does not trust the file.
//!
//! The RFC 6962 tree over the log's lines, proofs in it, and statements of its size and root as
//! C2SP signed notes. Pure: knows nothing of events, of the database or of files.

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
