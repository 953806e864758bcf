//! Payloads in step with the events that commit to them: both are in the same order.

use super::content::Contents;
use super::report::{FindingKind, Findings, NotKept, VerifyReport};
use crate::db::{DbError, Part, PayloadRow, PayloadRows, Snapshot, event_seq, payload_id};
use crate::log::{BodyFact, Event, Fact, Kept};
use crate::payload::commitment;
use crate::record::Digest;

pub(super) struct PayloadPass<'a> {
    /// Absent where they cannot be read at all.
    rows: Option<PayloadRows<'a>>,
    /// Absent where bodies are not to be unpacked.
    contents: Option<Contents<'a>>,
    payloads: u64,
    not_kept: NotKept,
}

impl<'a> PayloadPass<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        rows: Option<PayloadRows<'a>>,
        with_bodies: bool,
    ) -> Self {
        Self {
            rows,
            contents: with_bodies.then(|| Contents::new(snapshot)),
            payloads: 0,
            not_kept: NotKept::default(),
        }
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
        while self.next_below(end)?.is_some() {
            self.advance()?;
        }
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
        if self.next_below(id.saturating_add(1))?.is_none() {
            let what = format!(
                "its {} is not in the file, and no event says why",
                name(part)
            );
            findings.add(FindingKind::PayloadMissing, Some(seq), what);
            return Ok(());
        }
        if let Some(rows) = &self.rows
            && let Some(row) = rows.row()?
        {
            let wrong = match mismatch(fact, committed, &row) {
                Some(what) => Some((FindingKind::PayloadCommitment, what.to_owned())),
                None => self
                    .contents
                    .as_mut()
                    .filter(|_| row.has_data)
                    .and_then(|contents| contents.check(&row, fact).err())
                    .map(|what| (FindingKind::PayloadContent, what)),
            };
            if let Some((kind, what)) = wrong {
                findings.add(kind, Some(seq), format!("its {}: {what}", name(part)));
            }
        }
        self.advance()
    }

    fn unknown_below(&mut self, id: i64, findings: &mut Findings) -> Result<(), DbError> {
        while let Some(found) = self.next_below(id)? {
            let seq = u64::try_from(event_seq(found)).ok();
            let what = format!("payload {found} is one that no event commits to");
            findings.add(FindingKind::PayloadUnknown, seq, what);
            self.advance()?;
        }
        Ok(())
    }

    /// The id of the next row, if it is below this one.
    fn next_below(&mut self, id: i64) -> Result<Option<i64>, DbError> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        Ok(rows.next_id()?.filter(|next| *next < id))
    }

    fn advance(&mut self) -> Result<(), DbError> {
        self.payloads = self.payloads.saturating_add(1);
        self.rows.as_mut().map_or(Ok(()), PayloadRows::advance)
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
fn mismatch(fact: &BodyFact, committed: &Digest, row: &PayloadRow<'_>) -> Option<&'static str> {
    let (Ok(salt), Ok(sha256)) = (
        <&[u8; 32]>::try_from(row.salt),
        <[u8; 32]>::try_from(row.sha256),
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
