//! The log from end to end: lines, tree, and what is compared in step with it.

use super::checkpoints::{CheckpointCheck, RemovalEvent};
use super::decoding::{Decoded, SegmentHead, Segments};
use super::payloads::Payloads;
use super::removed::Removed;
use super::report::{FINDINGS_LISTED_MAX, FindingKind, Findings, VerifyReport};
use crate::db::{DbError, DbErrorKind, IndexEntries, ProjectionCheck, Snapshot, removed_requests};
use crate::log::{
    Accounts, Event, EventKind, SegmentDecoder, UnsignedRemovals, check_sizes, lines, removed_leaf,
};
use crate::merkle::CompactRange;
use crate::model::Digest;

/// The writer makes a checkpoint at least every 10,000 events plus the rest of a group commit, which has at
/// most a little more than 8,192.
const UNCOVERED_MAX: u64 = 20_000;

/// Which log this is, according to its first event.
pub(super) fn origin(snapshot: &Snapshot) -> Option<String> {
    let (_, segment) = snapshot.segment_after(i64::MIN).ok()??;
    let mut decoder = SegmentDecoder::new().ok()?;
    let text = decoder
        .decode(
            segment.encoding,
            segment.data,
            segment.length,
            segment.count,
        )
        .ok()?;
    match Event::from_line(lines(&text).next()?).ok()?.kind {
        EventKind::StoreOpened(opened) => Some(format!("auditlite/{}", opened.log_id)),
        _ => None,
    }
}

/// What a store recorded that it found when it opened the log.
fn stated_removals(removals: &UnsignedRemovals) -> String {
    let seqs: Vec<_> = removals.seqs.iter().map(u64::to_string).collect();
    format!(
        "the store that opened the log here states that it found {} erasures or prunings (seq {}) that \
         it had neither signed nor anchored, of events among the first {}, which it had: another \
         program removed them",
        removals.count,
        seqs.join(", "),
        removals.covered_events
    )
}

pub(super) struct LogPass<'a, 'scope> {
    statements: CheckpointCheck<'a>,
    payloads: Payloads<'scope>,
    removed: Removed<'a>,
    /// `None` once a part of the log cannot be read: what follows from it cannot be compared.
    derived: Option<Derived<'a>>,
    /// `None` once leaves are missing without a replacement.
    tree: Option<CompactRange>,
    next_seq: u64,
    log_id: Option<String>,
    lifecycles_lost: u64,
}

/// What is derived from the log.
struct Derived<'a> {
    /// `None` once the tables cannot be read.
    tables: Option<ProjectionCheck<'a>>,
    accounts: Accounts,
    wrong_accounts: Vec<(u64, String)>,
}

impl<'a, 'scope> LogPass<'a, 'scope> {
    pub(super) fn new(
        statements: CheckpointCheck<'a>,
        payloads: Payloads<'scope>,
        removed: Removed<'a>,
        tables: Option<ProjectionCheck<'a>>,
    ) -> Self {
        Self {
            statements,
            payloads,
            removed,
            derived: Some(Derived {
                tables,
                accounts: Accounts::default(),
                wrong_accounts: Vec::new(),
            }),
            tree: Some(CompactRange::default()),
            next_seq: 0,
            log_id: None,
            lifecycles_lost: 0,
        }
    }

    /// Reads the whole log. `progress` is called with the seq that was reached.
    pub(super) fn run(
        &mut self,
        segments: Segments<'_>,
        findings: &mut Findings,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DbError> {
        let result = self.read(segments, findings, progress);
        if result.is_err() {
            self.derived = None;
        }
        result
    }

    fn read(
        &mut self,
        mut segments: Segments<'_>,
        findings: &mut Findings,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DbError> {
        self.state_size(findings)?;
        while let Some(head) = segments.next()? {
            self.segment(&head, &mut segments, findings)?;
            progress(self.next_seq);
        }
        self.payloads.end();
        if self.next_seq == 0 {
            findings.add(FindingKind::Log, None, "the log has no event at all");
        }
        let uncovered = self.next_seq.saturating_sub(self.statements.last_size());
        self.check_coverage(uncovered, findings);
        self.statements.rest(self.next_seq, findings)
    }

    /// Fills in the report, including what is only known at the end of the log. Returns the entries that
    /// the indexes of the requests should have.
    pub(super) fn finish(
        self,
        report: &mut VerifyReport,
        findings: &mut Findings,
    ) -> Result<Option<IndexEntries>, crate::error::ReadError> {
        report.events = self.next_seq;
        report.root = self.tree.map(|tree| tree.root());
        report.unsigned_events = self.next_seq.saturating_sub(self.statements.signed_size());
        self.statements.fill(report, findings);
        self.payloads.finish(report, findings)?;
        report.not_kept.lines = self.removed.lines();
        report.not_kept.lifecycles = self.lifecycles_lost;
        let Some(derived) = self.derived else {
            report.notes.push(
                "the tables for reading were not compared with the log, because not all of the \
                 log can be read"
                    .to_owned(),
            );
            return Ok(None);
        };
        let mut entries = None;
        if let Some(tables) = derived.tables {
            let finished = findings.keep(FindingKind::Projection, tables.finish())?;
            let (differences, counted) = finished.unwrap_or_default();
            entries = counted;
            for difference in differences {
                let what = format!("table {}: {}", difference.table, difference.what);
                findings.add(FindingKind::Projection, difference.seq, what);
            }
        }
        for (seq, what) in derived.wrong_accounts {
            findings.add(FindingKind::Accounts, Some(seq), what);
        }
        Ok(entries)
    }

    /// Checks one segment. (1) Its row must continue the log; a gap before it is reported once as missing
    /// events, after which neither tree nor derived tables can be compared. (2) Its lines are hashed and
    /// parsed. (3) The tree over the lines must equal the tree that its stored hashes give. (4) The
    /// resulting size is compared with checkpoints and anchors of that size.
    fn segment(
        &mut self,
        head: &SegmentHead,
        segments: &mut Segments<'_>,
        findings: &mut Findings,
    ) -> Result<(), DbError> {
        let &SegmentHead {
            key,
            first_seq,
            count,
            length,
            ref tree,
        } = head;
        let last_seq = first_seq.saturating_add(count.saturating_sub(1));
        if u64::try_from(key) != Ok(first_seq) || first_seq < self.next_seq || count == 0 {
            let what = format!(
                "a log segment with key {key} and {count} events does not continue with seq {}",
                self.next_seq
            );
            findings.add_range(FindingKind::Log, Some(first_seq), Some(last_seq), what);
            self.derived = None;
            segments.skip();
            return Ok(());
        }
        if let Err(error) = check_sizes(count, length) {
            // Its end is unknown; the next segment shows what is missing.
            findings.add(FindingKind::Log, Some(first_seq), error.to_string());
            self.derived = None;
            segments.skip();
            return Ok(());
        }
        if first_seq > self.next_seq {
            let last_missing = first_seq - 1;
            let what = format!("events {} to {last_missing} are missing", self.next_seq);
            findings.add_range(
                FindingKind::Log,
                Some(self.next_seq),
                Some(last_missing),
                what,
            );
            self.derived = None;
            self.tree = None;
            self.payloads.skip_until(first_seq);
        }
        let before = self.tree.clone();
        self.next_seq = first_seq;
        let end = first_seq.saturating_add(count);
        self.removed.reach(first_seq, last_seq)?;
        if let Err(error) = self.lines(segments, end, findings)? {
            let what = format!("the segment's lines cannot be read: {error}");
            findings.add_range(FindingKind::Log, Some(first_seq), Some(last_seq), what);
            self.derived = None;
            self.payloads.skip_until(end);
        }
        self.next_seq = end;
        let stated = before.and_then(|before| before.extended(count, tree));
        if self.tree.is_some() && self.tree != stated {
            let what = "the lines are not those over which the tree was made: changed, or the hashes \
                        beside them are";
            findings.add_range(FindingKind::Tree, Some(first_seq), Some(last_seq), what);
            // Continue with the stored tree: what follows is compared with that, so that one fault is
            // reported once.
            self.tree = stated;
        }
        self.state_size(findings)
    }

    /// Checks the lines of a segment. The inner error says why they cannot be read.
    fn lines(
        &mut self,
        segments: &mut Segments<'_>,
        end: u64,
        findings: &mut Findings,
    ) -> Result<Result<(), String>, DbError> {
        loop {
            match segments.decoded() {
                Decoded::Lines(lines) => {
                    for (line, leaf) in lines.iter() {
                        self.line(line, leaf, end, findings)?;
                    }
                }
                Decoded::End(Ok(())) => return Ok(Ok(())),
                Decoded::End(Err(error)) => return Ok(Err(error)),
            }
        }
    }

    fn line(
        &mut self,
        line: &[u8],
        leaf: Digest,
        end: u64,
        findings: &mut Findings,
    ) -> Result<(), DbError> {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(1);
        if let Some(tree) = &mut self.tree {
            tree.push(leaf);
        }
        match Event::from_line(line) {
            Ok(event) if event.seq == seq => {
                self.removed.check_event(&event, findings);
                self.event(&event, findings);
                self.derive(&event, findings)?;
            }
            Ok(event) => {
                let what = format!("seq {} stands where {seq} should", event.seq);
                findings.add(FindingKind::Log, Some(seq), what);
                self.derived = None;
            }
            Err(_) if removed_leaf(line).is_some() => self.removed.check_line(seq, findings),
            Err(error) => {
                findings.add(FindingKind::Log, Some(seq), error.to_string());
                self.derived = None;
            }
        }
        // The end of the segment is checked after its hashes.
        if self.next_seq < end {
            self.state_size(findings)?;
        }
        Ok(())
    }

    /// Compares what is derived from the log with the tables.
    fn derive(&mut self, event: &Event, findings: &mut Findings) -> Result<(), DbError> {
        let Some(derived) = &mut self.derived else {
            return Ok(());
        };
        let removed = |events| removed_requests(self.removed.connection(), events);
        let wrong = derived.accounts.event(event, removed)?;
        if derived.wrong_accounts.len() < FINDINGS_LISTED_MAX {
            derived.wrong_accounts.extend(wrong);
        }
        let Some(tables) = &mut derived.tables else {
            return Ok(());
        };
        let Err(error) = tables.apply(event) else {
            return Ok(());
        };
        if error.kind != DbErrorKind::Corrupt {
            return Err(error);
        }
        // The log itself continues.
        let what = crate::error::chain(&error);
        findings.add(FindingKind::Projection, Some(event.seq), what);
        derived.tables = None;
        Ok(())
    }

    fn event(&mut self, event: &Event, findings: &mut Findings) {
        if event.seq == 0 && !matches!(event.kind, EventKind::StoreOpened(_)) {
            let what = "the log does not begin with the opening of a store";
            findings.add(FindingKind::Log, Some(0), what);
        }
        match &event.kind {
            EventKind::StoreOpened(opened) => {
                let known = self.log_id.get_or_insert_with(|| opened.log_id.clone());
                if *known != opened.log_id {
                    let what = format!(
                        "this session belongs to the log {:?}, the first one to {known:?}",
                        opened.log_id
                    );
                    findings.add(FindingKind::Log, Some(event.seq), what);
                }
                if let Some(removals) = &opened.unsigned_removals {
                    let what = stated_removals(removals);
                    findings.add(FindingKind::Removal, Some(event.seq), what);
                }
            }
            EventKind::StoreClosed(_) => self.statements.expect_after(event.seq),
            EventKind::Erased(_) | EventKind::Pruned(_) => {
                if let Some(span) = event.kind.removed_span() {
                    let seq = event.seq;
                    self.statements
                        .expect_after_removal(RemovalEvent { seq, span });
                }
            }
            EventKind::Gap(gap) => {
                self.lifecycles_lost = self.lifecycles_lost.saturating_add(gap.lifecycles);
            }
            EventKind::Opened(_)
            | EventKind::Ended(_)
            | EventKind::Served(_)
            | EventKind::PriceBook(_) => {}
        }
        let is_pruned = self.removed.is_content_gone(event.seq);
        self.payloads.event(event, is_pruned);
    }

    /// Compares the tree as it is now with checkpoints of this size.
    fn state_size(&mut self, findings: &mut Findings) -> Result<(), DbError> {
        if self.statements.next_size() > self.next_seq && !self.statements.is_expecting() {
            return Ok(());
        }
        let before = self.statements.last_size();
        let root = self.tree.as_ref().map(CompactRange::root);
        self.statements.check(self.next_seq, root, findings)?;
        let now = self.statements.last_size();
        self.check_coverage(now.saturating_sub(before), findings);
        Ok(())
    }

    fn check_coverage(&self, uncovered: u64, findings: &mut Findings) {
        if uncovered > UNCOVERED_MAX {
            let what = format!(
                "{uncovered} events without a checkpoint, where there is one at least every \
                 {UNCOVERED_MAX}"
            );
            findings.add(
                FindingKind::Checkpoint,
                Some(self.next_seq.saturating_sub(1)),
                what,
            );
        }
    }
}
