//! Payloads in step with the events that commit to them: both are in the same order.

use std::collections::VecDeque;

use super::content::Contents;
use super::report::{FindingKind, Findings, NotKept, VerifyReport};
use crate::db::{
    DbError, Part, PayloadFacts, RemovalKind, RemovedRange, Snapshot, event_seq, payload_id,
};
use crate::log::{BodyFact, Event, Fact, Kept};
use crate::payload::commitment;
use crate::record::Digest;

/// Rows are read in pieces of so many.
const PIECE: usize = 256;

pub(super) struct PayloadPass<'a> {
    snapshot: &'a Snapshot,
    /// The next rows.
    ahead: VecDeque<PayloadFacts>,
    last_id: i64,
    is_read: bool,
    /// Absent where bodies are not to be unpacked.
    contents: Option<Contents<'a>>,
    payloads: u64,
    not_kept: NotKept,
    /// What the log states as removed of the segment that is being read.
    removed: Vec<RemovedRange>,
}

impl<'a> PayloadPass<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, with_bodies: bool) -> Self {
        Self {
            snapshot,
            ahead: VecDeque::new(),
            last_id: i64::MIN,
            is_read: false,
            contents: with_bodies.then(|| Contents::new(snapshot)),
            payloads: 0,
            not_kept: NotKept::default(),
            removed: Vec::new(),
        }
    }

    /// What the log states as removed of the events that come next.
    pub(super) fn set_removed(&mut self, removed: Vec<RemovedRange>) {
        self.removed = removed;
    }

    /// A line that was taken out; its content must be gone too.
    pub(super) fn removed_line(&mut self, seq: u64, is_stated: bool, findings: &mut Findings) {
        if is_stated {
            self.not_kept.lines = self.not_kept.lines.saturating_add(1);
        } else {
            let what = "its line was taken out, and no event says why";
            findings.add(FindingKind::Log, Some(seq), what);
        }
    }

    fn is_pruned(&self, seq: u64) -> bool {
        self.removed
            .iter()
            .any(|range| range.kind == RemovalKind::Content && range.has(seq))
    }

    /// Checks what the event commits to.
    pub(super) fn event(&mut self, event: &Event, findings: &mut Findings) -> Result<(), DbError> {
        let bodies = match &event.fact {
            Fact::Opened(opened) => [
                Some((Part::Body, &opened.request_body)),
                opened.content.as_ref().map(|fact| (Part::Content, fact)),
                None,
            ],
            Fact::Ended(ended) => [
                ended.response_body.as_ref().map(|fact| (Part::Body, fact)),
                ended.content.as_ref().map(|fact| (Part::Content, fact)),
                ended
                    .prepared_body
                    .as_ref()
                    .map(|fact| (Part::Prepared, fact)),
            ],
            _ => return Ok(()),
        };
        for (part, fact) in bodies.into_iter().flatten() {
            self.body(event.seq, part, fact, findings)?;
        }
        Ok(())
    }

    /// Lets the rows of events pass that cannot be read.
    pub(super) fn skip_until(&mut self, seq: u64) -> Result<(), DbError> {
        let end = payload_id(seq, Part::Body);
        while self.next_below(end)?.is_some() {}
        Ok(())
    }

    /// Rows that no event commits to.
    pub(super) fn rest(&mut self, findings: &mut Findings) -> Result<(), DbError> {
        self.unknown_below(i64::MAX, findings)
    }

    pub(super) fn fill(self, report: &mut VerifyReport) {
        report.payloads = self.payloads;
        report.not_kept = self.not_kept;
        report.body_bytes = self.contents.map_or(0, |contents| contents.bytes());
    }

    fn body(
        &mut self,
        seq: u64,
        part: Part,
        fact: &BodyFact,
        findings: &mut Findings,
    ) -> Result<(), DbError> {
        let id = payload_id(seq, part);
        match fact.kept {
            Kept::Whole => {}
            Kept::Excerpt => self.not_kept.excerpts += 1,
            // The body that was forwarded is never kept; its digest is what matters.
            Kept::Digest if part == Part::Prepared => {}
            Kept::Digest => self.not_kept.digest_only += 1,
            Kept::Nothing => self.not_kept.shed += 1,
        }
        let Some(committed) = &fact.commitment else {
            return Ok(());
        };
        self.unknown_below(id, findings)?;
        let is_pruned = self.is_pruned(seq);
        let Some(row) = self.next_below(id.saturating_add(1))? else {
            if is_pruned {
                self.not_kept.pruned = self.not_kept.pruned.saturating_add(1);
                return Ok(());
            }
            let what = format!(
                "its {} is not in the file, and no event says why",
                name(part)
            );
            findings.add(FindingKind::PayloadMissing, Some(seq), what);
            return Ok(());
        };
        if is_pruned {
            let what = format!("its {} is stated as pruned, and still there", name(part));
            findings.add(FindingKind::PayloadUnknown, Some(seq), what);
        }
        if let Some(what) = mismatch(fact, committed, &row) {
            let what = format!("its {}: {what}", name(part));
            findings.add(FindingKind::PayloadCommitment, Some(seq), what);
        } else if let Some(contents) = &mut self.contents
            && row.has_data
            && let Err(what) = contents.check(&row, fact)
        {
            let what = format!("its {}: {what}", name(part));
            findings.add(FindingKind::PayloadContent, Some(seq), what);
        }
        Ok(())
    }

    fn unknown_below(&mut self, id: i64, findings: &mut Findings) -> Result<(), DbError> {
        while let Some(row) = self.next_below(id)? {
            let seq = u64::try_from(event_seq(row.payload_id)).ok();
            let what = format!("payload {} is one that no event commits to", row.payload_id);
            findings.add(FindingKind::PayloadUnknown, seq, what);
        }
        Ok(())
    }

    /// The next row, if its id is below this one.
    fn next_below(&mut self, id: i64) -> Result<Option<PayloadFacts>, DbError> {
        if self.ahead.is_empty() && !self.is_read {
            let rows = self.snapshot.payloads_after(self.last_id, PIECE)?;
            self.is_read = rows.len() < PIECE;
            self.last_id = rows.last().map_or(self.last_id, |row| row.payload_id);
            self.ahead = rows.into();
        }
        let row = self.ahead.pop_front_if(|row| row.payload_id < id);
        self.payloads = self.payloads.saturating_add(u64::from(row.is_some()));
        Ok(row)
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Body => "body",
        Part::Content => "content handed over by the gateway",
        Part::Prepared => "forwarded body's digest",
    }
}

/// What a row has that its event does not commit to.
fn mismatch(fact: &BodyFact, committed: &Digest, row: &PayloadFacts) -> Option<&'static str> {
    let (Ok(salt), Ok(sha256)) = (
        <&[u8; 32]>::try_from(row.salt.as_slice()),
        <[u8; 32]>::try_from(row.sha256.as_slice()),
    ) else {
        return Some("salt or digest do not have 32 bytes");
    };
    if commitment(salt, &Digest(sha256)) != *committed {
        return Some("digest and salt are not those that the log commits to");
    }
    if row.length != fact.length {
        return Some("its length is not the one in the log");
    }
    let is_as_stated = match fact.kept {
        Kept::Whole => row.has_data && row.head.is_none() && row.kept == row.length,
        Kept::Excerpt => row.has_data && row.head == fact.head,
        Kept::Digest | Kept::Nothing => !row.has_data && row.head.is_none() && row.kept == 0,
    };
    (!is_as_stated).then_some("more or less of it is kept than the log says")
}
