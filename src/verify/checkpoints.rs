//! Compares the log with everything that names its size and root: checkpoints in the file, and anchors
//! outside.

use std::collections::{HashSet, VecDeque};

use super::VerifyOptions;
use super::anchors::{Anchors, OtherLogs};
use super::claimed_tree_head::ClaimedTreeHead;
use super::report::{FindingKind, Findings, VerifyReport};
use crate::db::{DbError, Snapshot, StoredCheckpoint};
use crate::error::VerifyError;
use crate::merkle::{Checkpoint, Trust, VerifyingKey};
use crate::model::{Digest, Timestamp};

/// Checkpoints are read in pieces of this many.
const PIECE: usize = 256;
/// Checkpoints of one size, as heartbeats on a quiet log make them, among which an anchor is looked up.
/// With more, that lookup is skipped.
const OF_ONE_SIZE_MAX: usize = 65_536;

/// An event that records that others were removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemovalEvent {
    pub(super) seq: u64,
    /// The first and the last of those.
    pub(super) span: (u64, u64),
}

pub(super) struct CheckpointCheck<'a> {
    snapshot: &'a Snapshot,
    keys: Vec<VerifyingKey>,
    origin: Option<String>,
    /// The next checkpoints of the file.
    ahead: VecDeque<ClaimedTreeHead>,
    last_id: i64,
    is_read: bool,
    /// The size in the last checkpoint that was read from the file.
    last_read_size: u64,
    /// The size in the last checkpoint that matched.
    last_size: u64,
    last_at: Option<Timestamp>,
    has_signed: bool,
    checkpoints: Tally,
    signed: u64,
    /// The last matching checkpoint that a given key signed.
    covered: (u64, Option<Timestamp>),
    /// The event after which a checkpoint must follow.
    expected_after: Option<u64>,
    /// The removal after which a checkpoint must follow, signed if earlier ones are.
    removal: Option<RemovalEvent>,
    has_anchor: bool,
    anchors: VecDeque<ClaimedTreeHead>,
    anchored: (u64, Option<Timestamp>),
    /// Checkpoints of the file with the size `last_size`, by time and root.
    of_last_size: HashSet<(Option<i64>, Digest)>,
    anchor: Tally,
    others: OtherLogs,
}

/// The results for checkpoints of one kind.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    /// The last size that matched.
    good: u64,
    /// Mismatches after the first, which is reported individually.
    more_bad: u64,
    has_bad: bool,
}

impl<'a> CheckpointCheck<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        options: &VerifyOptions,
        origin: Option<String>,
        findings: &mut Findings,
    ) -> Result<Self, VerifyError> {
        let mut statements = Self {
            snapshot,
            keys: options.keys.clone(),
            origin,
            ahead: VecDeque::new(),
            last_id: i64::MIN,
            is_read: false,
            last_read_size: 0,
            last_size: 0,
            last_at: None,
            has_signed: false,
            checkpoints: Tally::default(),
            signed: 0,
            covered: (0, None),
            expected_after: None,
            removal: None,
            has_anchor: options.anchor.is_some(),
            anchors: VecDeque::new(),
            anchored: (0, None),
            of_last_size: HashSet::new(),
            anchor: Tally::default(),
            others: OtherLogs::default(),
        };
        if let Some(path) = &options.anchor {
            let origin = statements.origin.as_deref();
            let read = Anchors::read(path, origin, &options.keys, findings)?;
            statements.anchor.count = u64::try_from(read.own.len()).unwrap_or(u64::MAX);
            statements.anchors = read.own;
            statements.others = read.others;
        }
        Ok(statements)
    }

    /// The size of the next checkpoint.
    pub(super) fn next_size(&self) -> u64 {
        // What is not read yet may have any size.
        let checkpoint = match self.ahead.front() {
            Some(statement) => statement.size,
            None if self.is_read => u64::MAX,
            None => 0,
        };
        let anchor = self.anchors.front().map_or(u64::MAX, |anchor| anchor.size);
        checkpoint.min(anchor)
    }

    /// The size in the last checkpoint of the file.
    pub(super) fn last_size(&self) -> u64 {
        self.last_size
    }

    /// The next event must be covered by a checkpoint that ends with it.
    pub(super) fn expect_after(&mut self, seq: u64) {
        self.expected_after = Some(seq);
    }

    /// The next event records a removal.
    pub(super) fn expect_after_removal(&mut self, removal: RemovalEvent) {
        self.removal = Some(removal);
    }

    pub(super) fn is_expecting(&self) -> bool {
        self.expected_after.is_some() || self.removal.is_some()
    }

    /// The number of events that are covered by the last checkpoint that a given key signed. Without a key
    /// no checkpoint is known to be signed.
    pub(super) fn signed_size(&self) -> u64 {
        self.covered.0
    }

    /// Compares all checkpoints and anchors up to this size with the tree, which has this size now. `root`
    /// is `None` if the tree is unknown, because events are missing.
    ///
    /// First the checkpoints of the file, then the notes of the anchor file, each of which must also be in
    /// the file. Then what the last event demands: a closed store has a checkpoint right there, and so has
    /// a removal.
    pub(super) fn check(
        &mut self,
        size: u64,
        root: Option<Digest>,
        findings: &mut Findings,
    ) -> Result<(), DbError> {
        loop {
            if self.ahead.is_empty() {
                self.read_ahead(findings)?;
            }
            let Some(statement) = self.ahead.pop_front_if(|next| next.size <= size) else {
                break;
            };
            // Remembered by size, since a note in the anchor file must have a counterpart here.
            if statement.size > self.last_size {
                self.of_last_size.clear();
                self.last_size = statement.size;
            }
            if self.of_last_size.len() < OF_ONE_SIZE_MAX {
                self.of_last_size.insert((statement.at, statement.root));
            }
            let name = format!("checkpoint {}", statement.number);
            let kind = FindingKind::Checkpoint;
            let fits = self
                .checkpoints
                .hold(&statement, (size, root), kind, &name, findings);
            if fits {
                let at = statement.at.map(Timestamp::from_micros);
                self.last_at = at;
                if statement.is_signed {
                    self.covered = (statement.size, at);
                }
            }
        }
        while let Some(statement) = self.anchors.pop_front_if(|next| next.size <= size) {
            let name = format!("note {} of the anchor file", statement.number);
            let kind = FindingKind::Anchor;
            if self
                .anchor
                .hold(&statement, (size, root), kind, &name, findings)
            {
                self.anchored = (statement.size, statement.at.map(Timestamp::from_micros));
                self.check_counterpart(&statement, &name, findings);
            }
        }
        if let Some(seq) = self.expected_after.take()
            && self.last_size != seq.saturating_add(1)
        {
            let what =
                "the store was closed here, and the checkpoint that belongs to it is missing";
            findings.add(FindingKind::Checkpoint, Some(seq), what);
        }
        if let Some(removal) = self.removal.take() {
            self.check_removal(removal, findings);
        }
        Ok(())
    }

    /// A store commits each removal together with a checkpoint of its own. An attacker who can write to the
    /// file can remove something and record it too, but can neither sign nor anchor it.
    fn check_removal(&self, removal: RemovalEvent, findings: &mut Findings) {
        let RemovalEvent {
            seq,
            span: (first, last),
        } = removal;
        let own_size = seq.saturating_add(1);
        let is_signed = self.covered.0 == own_size;
        let signed_before = self.covered.0.min(seq);
        // If a later anchor exists, the store continued after this removal, and recorded what it found.
        let is_anchored = !self.anchors.is_empty() || self.anchored.0 >= own_size;
        let known_by = if is_signed {
            return;
        } else if first < signed_before {
            format!("a signed checkpoint of {signed_before} events covers")
        } else if self.has_anchor && !is_anchored && first < self.anchored.0 {
            format!(
                "the anchor file's note of {} events covers",
                self.anchored.0
            )
        } else {
            return;
        };
        let what = format!(
            "an erasure or pruning removes events between {first} and {last}, which {known_by}, and \
             nothing shows that the store did it: it is neither signed nor anchored. Any program \
             that can write to the file can do this without the key"
        );
        findings.add(FindingKind::Removal, Some(seq), what);
    }

    /// A checkpoint is in the file before it is anchored.
    fn check_counterpart(&self, anchor: &ClaimedTreeHead, name: &str, findings: &mut Findings) {
        let is_there =
            self.last_size == anchor.size && self.of_last_size.contains(&(anchor.at, anchor.root));
        if !is_there && self.of_last_size.len() < OF_ONE_SIZE_MAX {
            let what = format!("the checkpoint that is {name} is missing in the file");
            let seq = Some(anchor.size.saturating_sub(1));
            findings.add(FindingKind::Checkpoint, seq, what);
        }
    }

    /// What is left names more events than the log has.
    pub(super) fn rest(&mut self, end: u64, findings: &mut Findings) -> Result<(), DbError> {
        loop {
            if self.ahead.is_empty() {
                self.read_ahead(findings)?;
            }
            let Some(statement) = self.ahead.pop_front() else {
                break;
            };
            let name = format!("checkpoint {}", statement.number);
            let kind = FindingKind::Checkpoint;
            self.checkpoints
                .beyond(&statement, end, kind, &name, findings);
        }
        for statement in std::mem::take(&mut self.anchors) {
            let name = format!("note {} of the anchor file", statement.number);
            let kind = FindingKind::Anchor;
            self.anchor.beyond(&statement, end, kind, &name, findings);
        }
        Ok(())
    }

    /// Fills in the report, including what is only known at the end.
    pub(super) fn fill(self, report: &mut VerifyReport, findings: &mut Findings) {
        for (tally, kind) in [
            (&self.checkpoints, FindingKind::Checkpoint),
            (&self.anchor, FindingKind::Anchor),
        ] {
            if tally.more_bad > 0 {
                let what = format!("{} more of them do not fit either", tally.more_bad);
                findings.add(kind, None, what);
            }
        }
        if !self.keys.is_empty() && !self.has_signed {
            let what = "no checkpoint in the file is signed by a given key";
            findings.add(FindingKind::Signature, None, what);
        }
        if self.has_anchor && self.anchor.count == 0 {
            let of = self.origin.as_deref().unwrap_or("this log");
            let what = format!(
                "the anchor file has no checkpoint of {of}, and {} of other logs",
                self.others.notes()
            );
            findings.add(FindingKind::Anchor, None, what);
        }
        report.checkpoints = self.checkpoints.count;
        report.signed_checkpoints = self.signed;
        (report.covered_events, report.covered_at) = if self.keys.is_empty() {
            (self.checkpoints.good, self.last_at)
        } else {
            self.covered
        };
        report.anchors = self.anchor.count;
        (report.anchored_events, report.anchored_at) = self.anchored;
        self.others.fill(report);
    }

    fn read_ahead(&mut self, findings: &mut Findings) -> Result<(), DbError> {
        while !self.is_read && self.ahead.is_empty() {
            let rows = self.snapshot.checkpoints_after(self.last_id, PIECE)?;
            self.is_read = rows.len() < PIECE;
            for row in rows {
                self.last_id = row.checkpoint_id;
                self.checkpoints.count = self.checkpoints.count.saturating_add(1);
                match self.read(&row) {
                    Ok((statement, trust)) => {
                        self.judge(&row, trust, findings);
                        self.ahead.push_back(statement);
                    }
                    Err(what) => {
                        let what = format!("checkpoint {}: {what}", row.checkpoint_id);
                        let seq = Some(row.size.saturating_sub(1));
                        findings.add(FindingKind::Checkpoint, seq, what);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a row, which must match its note.
    fn read(&mut self, row: &StoredCheckpoint) -> Result<(ClaimedTreeHead, Trust), String> {
        let (checkpoint, note) =
            Checkpoint::parse(row.note.as_bytes()).map_err(|error| error.to_string())?;
        if checkpoint.size != row.size || checkpoint.at != Some(row.at) {
            return Err("its note states another size or time than its row".to_owned());
        }
        if checkpoint.size < self.last_read_size {
            return Err("it states fewer events than the one before".to_owned());
        }
        self.last_read_size = checkpoint.size;
        if self
            .origin
            .as_ref()
            .is_some_and(|origin| *origin != checkpoint.origin)
        {
            return Err(format!("it is one of another log, {:?}", checkpoint.origin));
        }
        let trust = note.trust(&self.keys);
        let statement = ClaimedTreeHead {
            size: checkpoint.size,
            root: checkpoint.root,
            at: checkpoint.at,
            number: row.checkpoint_id,
            is_signed: trust == Trust::Signed,
        };
        Ok((statement, trust))
    }

    /// Judges the signature of a checkpoint in the file.
    fn judge(&mut self, row: &StoredCheckpoint, trust: Trust, findings: &mut Findings) {
        if self.keys.is_empty() {
            return;
        }
        let what = match trust {
            Trust::Signed => {
                self.has_signed = true;
                self.signed = self.signed.saturating_add(1);
                return;
            }
            // Checkpoints from before the store had a key are covered by the first signed one.
            Trust::Unsigned if !self.has_signed => return,
            Trust::Unsigned => "it is not signed, though an earlier one is",
            Trust::UnknownKey => "it is signed by a key that was not given",
            Trust::Invalid => "its signature is not one of what it states",
        };
        let what = format!("checkpoint {}: {what}", row.checkpoint_id);
        findings.add(
            FindingKind::Signature,
            Some(row.size.saturating_sub(1)),
            what,
        );
    }
}

impl Tally {
    /// Compares a checkpoint with the tree of this size.
    fn hold(
        &mut self,
        statement: &ClaimedTreeHead,
        (size, root): (u64, Option<Digest>),
        kind: FindingKind,
        name: &str,
        findings: &mut Findings,
    ) -> bool {
        if statement.size == size && root == Some(statement.root) {
            self.good = self.good.max(size);
            return true;
        }
        let what = if root.is_none() || statement.size != size {
            format!(
                "{name} states {} events; what they were cannot be told, because some are missing",
                statement.size
            )
        } else {
            format!(
                "{name} states another root for {size} events: some of those from {} on are not \
                 what they were",
                self.good
            )
        };
        self.report(statement, kind, what, findings);
        false
    }

    /// Reports a checkpoint with more events than the log has.
    fn beyond(
        &mut self,
        statement: &ClaimedTreeHead,
        end: u64,
        kind: FindingKind,
        name: &str,
        findings: &mut Findings,
    ) {
        let what = format!(
            "{name} states {} events and the log has {end}: its end was cut off, its write-ahead \
             log was deleted, or an older copy was put in its place",
            statement.size
        );
        self.good = self.good.max(end);
        self.report(statement, kind, what, findings);
    }

    /// Reports the first mismatch, and counts the others.
    fn report(
        &mut self,
        statement: &ClaimedTreeHead,
        kind: FindingKind,
        what: String,
        findings: &mut Findings,
    ) {
        if std::mem::replace(&mut self.has_bad, true) {
            self.more_bad = self.more_bad.saturating_add(1);
        } else {
            let last = statement.size.saturating_sub(1);
            let first = self.good.min(last);
            findings.add_range(kind, Some(first), Some(last), what);
        }
    }
}
