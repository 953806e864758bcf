//! Removal: events that state what was taken out on purpose, and what stands in a line's place.
//!
//! Where a line is taken out its leaf hash stays, so that every root stays what it was: in the
//! segment's text the line is replaced by `#` and the hash in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::hours::{HourKey, HourSums, is_zero};
use super::request_events::{EndKind, Ended, Opened};
use crate::model::Digest;

/// What a line starts with that stands for one that was taken out. Events start with `{`.
const REMOVED: u8 = b'#';

/// Most requests that one `erased` event names.
pub(crate) const ERASED_REQUESTS_MAX: usize = 256;

/// Requests of which content and personal metadata were taken out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Erased {
    /// Why, in the words of whoever asked for it.
    pub(crate) reason: String,
    pub(crate) requests: Vec<ErasedRequest>,
}

/// What remains of a request: enough to find it by its id and to count it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ErasedRequest {
    /// Seq of the ending event; that of the opening one is in `ended`.
    pub(crate) ended_seq: u64,
    pub(crate) status: EndKind,
    /// The opening without what says who; `started_at` is always there.
    pub(crate) opened: Opened,
    pub(crate) ended: Ended,
}

/// Content, or lines, of a range of the log that were taken out for their age or for room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Pruned {
    pub(crate) what: PrunedKind,
    /// The first seq of the range, and the one after its last.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Metadata: requests whose rows were taken out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) requests: u64,
    /// Metadata: what they counted, without the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) usage: Vec<PrunedUsage>,
}

/// What is pruned. Content goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrunedKind {
    /// Payloads of the range's events.
    #[default]
    Content,
    /// Lines of the range's events that are of requests, and the rows of requests opened in it.
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

// serde asks by reference.
impl Erased {
    /// The first and the last event that it takes out; `None`: it takes out nothing.
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
    /// The row of `usage_hourly` that goes on counting it: without the user.
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

/// Appends what stands for a line that was taken out, with a newline.
pub(crate) fn write_removed(leaf: &Digest, out: &mut Vec<u8>) {
    out.push(REMOVED);
    out.extend_from_slice(STANDARD.encode(leaf.0).as_bytes());
    out.push(b'\n');
}

/// The leaf hash, where the line is one that stands for another.
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
