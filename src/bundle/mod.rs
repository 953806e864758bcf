//! Bundles: parts of the log for a reader without access to the database.
//!
//! A bundle is a checkpoint and the log from its first to its last event: the chosen events as stored, and
//! the hashes of subtrees for the events in between. So the root can be computed from the bundle alone.
//! That proves every line in it, and that no line is missing where lines follow each other.
//! `docs/format.md` describes the form.

mod check;
mod prove;
mod strict;
mod write;

use std::ops::RangeInclusive;

use crate::error::named;
use crate::model::{Digest, Timestamp, setters};
use crate::verify::Finding;

pub use check::verify_bundle;
pub(crate) use prove::{consistency_proof, inclusion_proof};
pub use prove::{verify_consistency_proof, verify_inclusion_proof};
pub(crate) use write::write_bundle;

/// The first line of a bundle.
const HEAD: &str = "auditlite-bundle/1";
/// The prefix of a line in place of events that are left out.
const LEFT_OUT: &str = "@";
/// The longest line in bytes. Attributes, tool calls and error messages at their limits fit.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Which events a bundle contains. Default: all that the last checkpoint covers.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BundleOptions {
    /// Only events of these seqs.
    pub seqs: Option<RangeInclusive<u64>>,
    /// Only events of the request that the event of this seq opened: its
    /// [`opened_seq`](crate::RequestRecord::opened_seq).
    pub opened_seq: Option<u64>,
}

impl BundleOptions {
    /// All events that the last checkpoint covers.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        value: seqs: RangeInclusive<u64>, opened_seq: u64;
    }
}

/// What a bundle contains.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleSummary {
    /// Events of the log that the checkpoint of the bundle covers.
    pub size: u64,
    /// Events whose lines are in the bundle.
    pub events: u64,
    /// Events after the checkpoint, which cannot be proved yet.
    pub uncovered: u64,
}

/// Who signed a bundle's checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleSignature {
    /// No key. The bundle is consistent, but anyone could have made it.
    None,
    /// No key was given to check it with, or other keys than the one that signed.
    NotChecked,
    /// A given key signed it.
    Valid,
    /// The signature names a given key, but is not valid.
    Invalid,
}

named! {
    BundleSignature;
    Valid => "valid",
    Invalid => "invalid",
    NotChecked => "not_checked",
    None => "none",
}

/// What [`verify_bundle`] found.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleReport {
    /// The log: `auditlite/` and its id.
    pub origin: String,
    /// Events of the log that the checkpoint covers.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Option<Digest>,
    /// When the checkpoint was made.
    pub at: Option<Timestamp>,
    /// Who signed it.
    pub signature: BundleSignature,
    /// Events whose lines are in the bundle.
    pub events: u64,
    /// Events of which the bundle has only hashes.
    pub left_out: u64,
    /// What is wrong; empty if every line is a line of the log in the checkpoint.
    pub findings: Vec<Finding>,
}
