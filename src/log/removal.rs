//! Removal: events that record an intended removal, and what takes the place of a removed line.
//!
//! The leaf hash of a removed line stays, so every root stays the same. In the text of the segment, the
//! line is replaced by `#` and the hash in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::hours::{HourKey, HourSums, is_zero};
use super::request_events::{EndKind, Ended, Opened};
use crate::model::Digest;

/// The first byte of a line that replaces a removed one. Events start with `{`.
const REMOVED: u8 = b'#';

/// Limit of requests that one `erased` event names.
pub(crate) const ERASED_REQUESTS_MAX: usize = 256;

/// Requests whose content and personal metadata were removed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Erased {
    /// Why, in the words of the operator.
    pub(crate) reason: String,
    pub(crate) requests: Vec<ErasedRequest>,
}

/// What remains of a request: enough to find it by its id and to count it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ErasedRequest {
    /// Seq of the ending event. The seq of the opening event is in `ended`.
    pub(crate) ended_seq: u64,
    pub(crate) status: EndKind,
    /// The opening without fields that identify people; `started_at` is always present.
    pub(crate) opened: Opened,
    pub(crate) ended: Ended,
}

/// Content or lines of a range of the log that were removed because of their age or to free space.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Pruned {
    pub(crate) what: PrunedKind,
    /// The first seq of the range, and the seq after its last.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Metadata: requests whose rows were removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) requests: u64,
    /// Metadata: what they had counted, without the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) usage: Vec<PrunedUsage>,
}

/// What is pruned. Content is always pruned first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrunedKind {
    /// Payloads of the events in the range.
    #[default]
    Content,
    /// Lines of requests in the range, and the rows of requests opened in it.
    Metadata,
}

/// Sums of pruned requests by hour, provider and model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PrunedUsage {
    pub(crate) hour: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) provider_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) model: String,
    #[serde(flatten)]
    pub(crate) sums: HourSums,
}

// serde passes a reference.
impl Erased {
    /// The first and the last event that it removes; `None`: it removes nothing.
    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        let requests = || self.requests.iter();
        let first = requests().map(ErasedRequest::opened_seq).min()?;
        let last = requests().map(|request| request.ended_seq).max()?;
        Some((first, last))
    }
}

impl Pruned {
    /// As [`Erased::span`].
    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        (self.from < self.to).then(|| (self.from, self.to.saturating_sub(1)))
    }
}

impl PrunedUsage {
    /// The row of `usage_hourly` that continues to count it: without the user.
    pub(crate) fn key(&self) -> HourKey {
        HourKey {
            hour: self.hour,
            provider_name: self.provider_name.clone(),
            model: self.model.clone(),
            user_id: String::new(),
        }
    }
}

impl ErasedRequest {
    pub(crate) fn opened_seq(&self) -> u64 {
        self.ended.opened_seq
    }
}

/// Appends the replacement of a removed line, with a newline.
pub(crate) fn write_removed(leaf: &Digest, out: &mut Vec<u8>) {
    out.push(REMOVED);
    out.extend_from_slice(STANDARD.encode(leaf.0).as_bytes());
    out.push(b'\n');
}

/// The leaf hash, if the line is the replacement of a removed one.
pub(crate) fn removed_leaf(line: &[u8]) -> Option<Digest> {
    let text = line.strip_prefix(&[REMOVED])?;
    let hash: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Digest(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_line_gives_its_leaf_back_and_nothing_else_passes_for_one() {
        let leaf = Digest([7; 32]);
        let mut text = Vec::new();
        write_removed(&leaf, &mut text);
        let line = text.strip_suffix(b"\n").unwrap();
        assert_eq!(removed_leaf(line), Some(leaf));
        for wrong in [&line[1..], &line[..44], b"#", b"{}", b"", &text[..]] {
            assert_eq!(removed_leaf(wrong), None);
        }
    }
}
