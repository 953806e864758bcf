//! A size and a root that a checkpoint or an anchor claims for the log.

use crate::model::Digest;

/// One size and root that is to be compared with the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClaimedTreeHead {
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) at: Option<i64>,
    /// The row of the table, or the number of the note in the anchor file.
    pub(super) number: i64,
    /// Whether a given key signed it.
    pub(super) is_signed: bool,
}
