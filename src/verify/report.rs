//! What verification found, as data.

use super::VerifyOptions;
use crate::error::named;
use crate::model::{Digest, Timestamp};

/// Further findings are only counted.
pub(super) const FINDINGS_LISTED_MAX: usize = 1000;

/// What is wrong, by what becomes doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The file itself: SQLite's integrity check, missing or additional tables.
    Structure,
    /// Lines of the log are missing, unreadable, out of order, or not events.
    Log,
    /// Lines are not those over which the tree was built.
    Tree,
    /// The log differs from a checkpoint in the file, or checkpoints are missing.
    Checkpoint,
    /// A checkpoint is not signed by a given key, or not validly.
    Signature,
    /// The log differs from an anchor: changed, cut off, or an older copy.
    Anchor,
    /// A payload that an event commits to is missing, and no event says why.
    PayloadMissing,
    /// The digest, salt or lengths of a payload are not those of its commitment.
    PayloadCommitment,
    /// The content of a payload does not have the recorded digest.
    PayloadContent,
    /// A payload that no event commits to.
    PayloadUnknown,
    /// A table for reading does not match the log.
    Projection,
    /// The accounts of a session do not add up: submitted = stored + recorded as lost.
    Accounts,
    /// The search index is damaged, or does not match the bodies: searches may miss messages, or find what
    /// was never said. Nothing else in the trail depends on it; [`rebuild`](crate::rebuild()) builds it
    /// again.
    SearchIndex,
    /// Events or content that a signed checkpoint or an anchor covers were removed, and nothing shows that
    /// the store did it.
    Removal,
    /// The log is not the one that was asked for.
    OtherLog,
}

named! {
    FindingKind;
    Structure => "structure",
    Log => "log",
    Tree => "tree",
    Checkpoint => "checkpoint",
    Signature => "signature",
    Anchor => "anchor",
    PayloadMissing => "payload_missing",
    PayloadCommitment => "payload_commitment",
    PayloadContent => "payload_content",
    PayloadUnknown => "payload_unknown",
    Projection => "projection",
    Accounts => "accounts",
    SearchIndex => "search_index",
    Removal => "removal",
    OtherLog => "other_log",
}

/// One fault.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What becomes doubtful.
    pub kind: FindingKind,
    /// The event concerned, or the first of several.
    pub seq: Option<u64>,
    /// The last of several events, if it is unknown which of them.
    pub last_seq: Option<u64>,
    /// What is wrong, in plain words.
    pub what: String,
}

/// Content that is not in the file, by the recorded reason.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NotKept {
    /// Bodies that were shed because the queue was full.
    pub shed: u64,
    /// Bodies of which only the digest should be kept. A deferred request body counts here with its opening, also
    /// where the end's event has it.
    pub digest_only: u64,
    /// Bodies above the payload cap, of which beginning and end are kept.
    pub excerpts: u64,
    /// Requests of which nothing is recorded because the queue was full.
    pub lifecycles: u64,
    /// Bodies and other content that were pruned.
    pub pruned: u64,
    /// Lines of the log, and what they committed to, that were erased or pruned.
    pub lines: u64,
}

/// Another log in the anchor file.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OtherLog {
    /// `auditlite/` and its id.
    pub origin: String,
    /// The number of its notes.
    pub notes: u64,
    /// The highest number of events in one of them.
    pub events: u64,
    /// When the first of them was made, if they say so.
    pub first_at: Option<Timestamp>,
    /// When the last of them was made.
    pub last_at: Option<Timestamp>,
}

/// What [`ReadOnlyStore::verify`](crate::ReadOnlyStore::verify) found.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The log: `auditlite/` and its id, as in checkpoints.
    pub origin: Option<String>,
    /// Events in the log.
    pub events: u64,
    /// Root of the tree over them; `None` if so much is missing that it is unknown.
    pub root: Option<Digest>,
    /// Checkpoints in the file.
    pub checkpoints: u64,
    /// How many of these are validly signed by a given key.
    pub signed_checkpoints: u64,
    /// Events that the last checkpoint in the file covers; if keys are given, the last signed one.
    pub covered_events: u64,
    /// When that checkpoint was made.
    pub covered_at: Option<Timestamp>,
    /// Events after the last matching checkpoint that a given key signed: anyone who can write to the file
    /// could have written them. Without keys no checkpoint is known to be signed, so these are all events.
    pub unsigned_events: u64,
    /// Checkpoints of this log in the anchor file.
    pub anchors: u64,
    /// Events that the last anchor covers.
    pub anchored_events: u64,
    /// When that anchor was made.
    pub anchored_at: Option<Timestamp>,
    /// Payloads in the file.
    pub payloads: u64,
    /// Bytes of bodies that were unpacked and hashed.
    pub body_bytes: u64,
    /// Content that is not in the file, by the recorded reason.
    pub not_kept: NotKept,
    /// Other logs in the anchor file, at most 100. This is normal if stores share an anchor file. If they
    /// do not, the log was replaced by one of these, or by this one.
    pub other_logs: Vec<OtherLog>,
    /// What the result shows and does not show, in plain words.
    pub notes: Vec<String>,
    /// What is wrong: at most 1,000 findings. Empty if all is well.
    pub findings: Vec<Finding>,
    /// The number of all findings.
    pub findings_total: u64,
}

impl VerifyReport {
    /// Says what was not checked, and what cannot be.
    pub(super) fn explain(&mut self, options: &VerifyOptions) {
        if options.keys.is_empty() {
            self.notes.push(
                "no key was given: the log fits its checkpoints, but anyone who can write to the file \
                 could have made both"
                    .to_owned(),
            );
        }
        if options.anchor.is_none() {
            self.notes.push(
                "no anchor file was given: an end that was cut off together with its checkpoints, \
                 or an older copy put back, would not be seen"
                    .to_owned(),
            );
        } else {
            let rest = self.events.saturating_sub(self.anchored_events);
            self.notes.push(format!(
                "events that no anchor covers yet could be cut off unseen; these are the last {rest}"
            ));
        }
        if !self.other_logs.is_empty() && options.log_id.is_none() {
            self.notes.push(
                "the anchor file has notes of other logs too: where it is this log's alone, another \
                 log is in the place of one of these; give the log's id (--log) to have it checked"
                    .to_owned(),
            );
        }
        if options.skip_bodies {
            self.notes
                .push("bodies were not unpacked and hashed, as asked for".to_owned());
        }
    }
}

/// Collects findings, and counts those beyond the limit.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    listed: Vec<Finding>,
    total: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, kind: FindingKind, seq: Option<u64>, what: impl Into<String>) {
        self.add_range(kind, seq, None, what);
    }

    pub(super) fn add_range(
        &mut self,
        kind: FindingKind,
        seq: Option<u64>,
        last_seq: Option<u64>,
        what: impl Into<String>,
    ) {
        self.total = self.total.saturating_add(1);
        if self.listed.len() < FINDINGS_LISTED_MAX {
            self.listed.push(Finding {
                kind,
                seq,
                last_seq: last_seq.filter(|last| Some(*last) != seq),
                what: what.into(),
            });
        }
    }

    /// Puts those behind the others.
    pub(super) fn append(&mut self, mut other: Self) {
        self.listed.append(&mut other.listed);
        self.listed.truncate(FINDINGS_LISTED_MAX);
        self.total = self.total.saturating_add(other.total);
    }

    /// Puts those before all others: they are what the others may follow from.
    pub(super) fn put_first(&mut self, first: Self) {
        let others = std::mem::replace(self, first);
        self.append(others);
    }

    pub(crate) fn into_list(self) -> Vec<Finding> {
        self.listed
    }

    pub(super) fn into_report(self, report: &mut VerifyReport) {
        report.findings = self.listed;
        report.findings_total = self.total;
    }
}
