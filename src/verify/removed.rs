//! Checks that everything the log says was removed is gone, and that nothing else is.
//!
//! The table of removals is read ahead of the events that record them, which come later in the log. That
//! both say the same is checked together with the other tables.

use super::report::{FindingKind, Findings};
use crate::db::{
    Connection, DbError, RemovalKind, RemovedRange, Snapshot, has_removals, removed_between,
};
use crate::log::{Event, EventKind, PrunedKind};

pub(super) struct Removed<'a> {
    snapshot: &'a Snapshot,
    /// Whether anything was ever removed.
    is_any: bool,
    /// The removals recorded for the current segment.
    ranges: Vec<RemovedRange>,
    /// The number of lines that were removed as recorded.
    lines: u64,
}

impl<'a> Removed<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Result<Self, DbError> {
        Ok(Self {
            snapshot,
            is_any: has_removals(snapshot.connection())?,
            ranges: Vec::new(),
            lines: 0,
        })
    }

    /// If the table cannot be read: nothing counts as recorded.
    pub(super) fn unreadable(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            is_any: false,
            ranges: Vec::new(),
            lines: 0,
        }
    }

    pub(super) fn connection(&self) -> &'a Connection {
        self.snapshot.connection()
    }

    /// These events come next.
    pub(super) fn reach(&mut self, first_seq: u64, last_seq: u64) -> Result<(), DbError> {
        if self.is_any {
            self.ranges = removed_between(self.connection(), first_seq, last_seq)?;
        }
        Ok(())
    }

    /// The number of removed lines.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn is_content_gone(&self, seq: u64) -> bool {
        let is_content = |range: &RemovedRange| range.kind == RemovalKind::Content;
        self.ranges
            .iter()
            .any(|range| is_content(range) && range.has(seq))
    }

    /// Checks a line that was removed.
    pub(super) fn check_line(&mut self, seq: u64, findings: &mut Findings) {
        if self.is_line_gone(seq) {
            self.lines = self.lines.saturating_add(1);
        } else {
            let what = "its line was removed, and no event says why";
            findings.add(FindingKind::Log, Some(seq), what);
        }
    }

    /// Checks a line that exists, and what it says about others.
    pub(super) fn check_event(&self, event: &Event, findings: &mut Findings) {
        let seq = event.seq;
        let is_later = |what: &str, other: u64, findings: &mut Findings| {
            let what = format!("it states {what} up to seq {other}, which comes after it");
            findings.add(FindingKind::Log, Some(seq), what);
        };
        match &event.kind {
            EventKind::Opened(_) | EventKind::Served(_) | EventKind::Ended(_)
                if self.is_line_gone(seq) =>
            {
                let what = "the log says that its line was removed, and it is still there";
                findings.add(FindingKind::Log, Some(seq), what);
            }
            EventKind::Erased(erased) => {
                let seqs = erased
                    .requests
                    .iter()
                    .map(|request| request.ended_seq.max(request.opened_seq()));
                if let Some(last) = seqs.max().filter(|last| *last >= seq) {
                    is_later("an erasure", last, findings);
                }
            }
            EventKind::Pruned(pruned) if pruned.to > seq => {
                let what = match pruned.what {
                    PrunedKind::Content => "pruned content",
                    PrunedKind::Metadata => "pruned requests",
                };
                is_later(what, pruned.to, findings);
            }
            _ => {}
        }
    }

    fn is_line_gone(&self, seq: u64) -> bool {
        let takes_line = |range: &RemovedRange| range.kind.takes_line();
        self.ranges
            .iter()
            .any(|range| takes_line(range) && range.has(seq))
    }
}
