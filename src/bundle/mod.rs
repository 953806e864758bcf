//! Bundles: parts of the log for somebody who has no access to the database.
//!
//! A bundle is a checkpoint, and the log from its first to its last event: the chosen events as they
//! are stored, and for those in between the hashes of their subtrees. So the root can be computed
//! from the bundle alone, which proves every line in it and that none is missing where lines follow
//! each other. `docs/format.md` describes the form.

mod check;
mod prove;
mod strict;
mod write;

use std::ops::RangeInclusive;

use crate::model::Digest;
use crate::verify::Finding;

pub use check::verify_bundle;
pub(crate) use prove::{consistency_proof, inclusion_proof};
pub use prove::{verify_consistency_proof, verify_inclusion_proof};
pub(crate) use write::write_bundle;

/// The first line of a bundle.
const HEAD: &str = "auditlite-bundle/1";
/// What a line about events that are left out begins with.
const LEFT_OUT: &str = "@";
/// Longest line in bytes. Attributes, tool calls and error messages at their limits fit.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Which events go into a bundle. The default is all that the last checkpoint covers.
#[derive(Debug, Clone, Default)]
pub struct BundleOptions {
    /// Only events of these seqs.
    pub seqs: Option<RangeInclusive<u64>>,
    /// Only events of the request that the event of this seq opened: its
    /// [`opened_seq`](crate::RequestRecord::opened_seq).
    pub opened_seq: Option<u64>,
}

/// What was written into a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleSummary {
    /// Events in the log that the bundle's checkpoint covers.
    pub size: u64,
    /// Events whose lines are in the bundle.
    pub events: u64,
    /// Events after the checkpoint, which no bundle can have yet.
    pub uncovered: u64,
}

/// Who signed a bundle's checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleSignature {
    /// Nobody. The bundle fits itself, and anybody could have made it.
    None,
    /// No key was given to check it with, or other keys than the one that signed.
    NotChecked,
    /// A given key did.
    Valid,
    /// A given key is named and did not.
    Invalid,
}

/// What [`verify_bundle`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleReport {
    /// Which log it is: `auditlite/` and its id.
    pub origin: String,
    /// Events in the log that the checkpoint covers.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Option<Digest>,
    /// When the checkpoint was made, in microseconds since the Unix epoch.
    pub at: Option<i64>,
    /// Who signed it.
    pub signature: BundleSignature,
    /// Events whose lines are in the bundle.
    pub events: u64,
    /// Events of which it has only hashes.
    pub left_out: u64,
    /// What is wrong; empty when every line is one of the log that the checkpoint states.
    pub findings: Vec<Finding>,
}
