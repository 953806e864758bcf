//! What verification found, as data.

use std::fmt;

use super::VerifyOptions;
use crate::model::Digest;

/// More findings than this are only counted.
pub(super) const FINDINGS_LISTED_MAX: usize = 1000;

/// What is wrong, by what has to be doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The file itself: SQLite's integrity check, tables that should not be or are missing.
    Structure,
    /// Lines of the log are missing, unreadable, out of order, or not events.
    Log,
    /// Lines are not those over which the tree was made.
    Tree,
    /// The log is not the one that a checkpoint in the file states, or checkpoints are missing.
    Checkpoint,
    /// A checkpoint is not signed by a given key, or not validly.
    Signature,
    /// The log is not the one that an anchor states: changed, cut off, or an older copy.
    Anchor,
    /// A payload that an event commits to is not there, and no event says why.
    PayloadMissing,
    /// A payload's digest, salt or lengths are not those that its event commits to.
    PayloadCommitment,
    /// A payload's content does not have the digest that was committed to.
    PayloadContent,
    /// A payload that no event commits to.
    PayloadUnknown,
    /// A table for reading does not say what the log says.
    Projection,
    /// A session's accounts do not add up: submitted = stored + stated as lost.
    Accounts,
    /// The search index is damaged, or does not say what the bodies say: searches may miss something or
    /// find what nobody said. Nothing of the trail depends on it; [`rebuild`](crate::rebuild) builds it
    /// anew.
    SearchIndex,
    /// Events, or their content, were taken out that a signed checkpoint or an anchor covers, by a
    /// removal that nothing shows to be the store's own.
    Removal,
    /// The log is another one than the one that was asked for.
    OtherLog,
}

impl FindingKind {
    /// Its name in `verify --json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Log => "log",
            Self::Tree => "tree",
            Self::Checkpoint => "checkpoint",
            Self::Signature => "signature",
            Self::Anchor => "anchor",
            Self::PayloadMissing => "payload_missing",
            Self::PayloadCommitment => "payload_commitment",
            Self::PayloadContent => "payload_content",
            Self::PayloadUnknown => "payload_unknown",
            Self::Projection => "projection",
            Self::Accounts => "accounts",
            Self::SearchIndex => "search_index",
            Self::Removal => "removal",
            Self::OtherLog => "other_log",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What has to be doubted.
    pub kind: FindingKind,
    /// The event that it is about, or the first of several.
    pub seq: Option<u64>,
    /// The last of several events, where it cannot be said which of them.
    pub last_seq: Option<u64>,
    /// What is wrong, in plain words.
    pub what: String,
}

/// Content that is not in the file, by the reason that the log states for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NotKept {
    /// Bodies left out for want of capacity.
    pub shed: u64,
    /// Bodies of which only the digest was to be kept.
    pub digest_only: u64,
    /// Bodies above the payload cap, of which beginning and end are kept.
    pub excerpts: u64,
    /// Requests of which nothing is recorded, for want of capacity.
    pub lifecycles: u64,
    /// Bodies and other content that were pruned.
    pub pruned: u64,
    /// Lines of the log, and what they committed to, that were erased or pruned.
    pub lines: u64,
}

/// Another log than the one that is verified, as the anchor file knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OtherLog {
    /// `auditlite/` and its id.
    pub origin: String,
    /// Notes of it.
    pub notes: u64,
    /// Most events that one of them states.
    pub events: u64,
    /// When the first and the last of them were made, in microseconds since the Unix epoch, where
    /// they say so.
    pub first_at: Option<i64>,
    /// When the last of them was made.
    pub last_at: Option<i64>,
}

/// What [`ReadOnlyStore::verify`](crate::ReadOnlyStore::verify) found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Which log it is: `auditlite/` and its id, as checkpoints name it.
    pub origin: Option<String>,
    /// Events in the log.
    pub events: u64,
    /// Root of the tree over them; `None` where so much is missing that there is none.
    pub root: Option<Digest>,
    /// Checkpoints in the file.
    pub checkpoints: u64,
    /// Of these, those that are validly signed by a given key.
    pub signed_checkpoints: u64,
    /// Events that the last checkpoint in the file covers; with keys given, the last signed one.
    pub covered_events: u64,
    /// When that checkpoint was made, in microseconds since the Unix epoch.
    pub covered_at: Option<i64>,
    /// Events after the last checkpoint that a given key signed and that fits the log: whoever can
    /// write to the file could have written them. Without a key no checkpoint is known to be signed,
    /// so that these are all.
    pub unsigned_events: u64,
    /// Checkpoints of this log in the anchor file.
    pub anchors: u64,
    /// Events that the last anchor covers.
    pub anchored_events: u64,
    /// When that anchor was made, in microseconds since the Unix epoch.
    pub anchored_at: Option<i64>,
    /// Payloads in the file.
    pub payloads: u64,
    /// Bytes of bodies that were unpacked and hashed.
    pub body_bytes: u64,
    /// Content that is not in the file, by the reason that the log states for it.
    pub not_kept: NotKept,
    /// Other logs that the anchor file has notes of, at most 100. That is as it should be where stores
    /// share an anchor file; where they do not, another log is in the place of one of these.
    pub other_logs: Vec<OtherLog>,
    /// What the result does and does not show, in plain words.
    pub notes: Vec<String>,
    /// What is wrong, at most 1,000 of it. Empty when all is well.
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub findings_total: u64,
}

impl VerifyReport {
    /// Says what was not checked, and what cannot be.
    pub(super) fn explain(&mut self, options: &VerifyOptions) {
        if options.keys.is_empty() {
            self.notes.push(
                "no key was given: the log fits its checkpoints, but whoever can write to the file \
                 could have made both anew"
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

/// Collects findings, and counts those beyond the bound.
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
