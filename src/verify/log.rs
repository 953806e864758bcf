//! The log from end to end: lines, tree, and what is checked in step with it.

use super::VerifyOptions;
use super::payloads::PayloadPass;
use super::report::{FindingKind, Findings, VerifyReport};
use super::statements::Statements;
use crate::db::{DbError, Rebuilt, RemovedRange, Snapshot, StoredSegment, removed_between};
use crate::log::{Event, Fact, SegmentDecoder, lines, removed_leaf};
use crate::proof::{CompactRange, leaf_of};

/// The writer makes a checkpoint at least every 10,000 events and the rest of a group commit, which
/// has at most 8,192 and a few.
const UNCOVERED_MAX: u64 = 20_000;

/// Which log this is, as far as its first event says so.
pub(super) fn origin(snapshot: &Snapshot) -> Option<String> {
    let (_, segment) = snapshot.segment_after(i64::MIN).ok()??;
    let mut decoder = SegmentDecoder::new().ok()?;
    let text = decoder
        .decode(segment.encoding, segment.data, segment.length)
        .ok()?;
    match Event::from_line(lines(&text).next()?).ok()?.fact {
        Fact::StoreOpened(opened) => Some(format!("auditlite/{}", opened.log_id)),
        _ => None,
    }
}

pub(super) struct LogPass<'a> {
    snapshot: &'a Snapshot,
    decoder: SegmentDecoder,
    statements: Statements<'a>,
    payloads: PayloadPass<'a>,
    /// `None` once part of the log cannot be read: what follows from it cannot be compared.
    rebuilt: Option<Rebuilt>,
    /// `None` once leaves are missing that nothing stands for.
    tree: Option<CompactRange>,
    next_seq: u64,
    log_id: Option<String>,
    lifecycles_lost: u64,
}

impl<'a> LogPass<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        options: &VerifyOptions,
        statements: Statements<'a>,
    ) -> Result<Self, crate::error::ReadError> {
        Ok(Self {
            snapshot,
            decoder: SegmentDecoder::new()
                .map_err(|error| DbError::corrupt("reading the log", error))?,
            statements,
            payloads: PayloadPass::new(snapshot, !options.skip_bodies),
            rebuilt: Some(Rebuilt::new()?),
            tree: Some(CompactRange::default()),
            next_seq: 0,
            log_id: None,
            lifecycles_lost: 0,
        })
    }

    /// Reads the whole log. `progress` is told the seq that was reached.
    pub(super) fn run(
        &mut self,
        findings: &mut Findings,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DbError> {
        let result = self.read(findings, progress);
        if result.is_err() {
            self.rebuilt = None;
        }
        result
    }

    fn read(
        &mut self,
        findings: &mut Findings,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DbError> {
        let mut key = i64::MIN;
        self.state_size(findings)?;
        while let Some((found, segment)) = self.snapshot.segment_after(key)? {
            key = found;
            self.segment(key, segment, findings)?;
            progress(self.next_seq);
        }
        self.payloads.rest(findings)?;
        if self.next_seq == 0 {
            findings.add(FindingKind::Log, None, "the log has no event at all");
        }
        let uncovered = self.next_seq.saturating_sub(self.statements.last_size());
        self.check_coverage(uncovered, findings);
        self.statements.rest(self.next_seq, findings)
    }

    /// Fills in the report, and gives the projections as they should be.
    pub(super) fn finish(
        self,
        report: &mut VerifyReport,
        findings: &mut Findings,
    ) -> Option<Rebuilt> {
        report.events = self.next_seq;
        report.root = self.tree.map(|tree| tree.root());
        self.statements.fill(report, findings);
        self.payloads.fill(report);
        report.not_kept.lifecycles = self.lifecycles_lost;
        self.rebuilt
    }

    fn segment(
        &mut self,
        key: i64,
        segment: StoredSegment,
        findings: &mut Findings,
    ) -> Result<(), DbError> {
        let StoredSegment {
            first_seq,
            count,
            length,
            encoding,
            data,
            tree: stored,
        } = segment;
        let last_seq = first_seq.saturating_add(count.saturating_sub(1));
        if u64::try_from(key) != Ok(first_seq) || first_seq < self.next_seq || count == 0 {
            let what = format!(
                "a log segment with key {key} and {count} events does not go on with seq {}",
                self.next_seq
            );
            findings.add_range(FindingKind::Log, Some(first_seq), Some(last_seq), what);
            self.rebuilt = None;
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
            self.rebuilt = None;
            self.tree = None;
            self.payloads.skip_until(first_seq)?;
        }
        let before = self.tree.clone();
        self.next_seq = first_seq;
        let end = first_seq.saturating_add(count);
        match self.decoder.decode(encoding, data, length) {
            Ok(text) => self.lines(&text, end, findings)?,
            Err(error) => {
                let what = format!("the segment's lines cannot be read: {error}");
                findings.add_range(FindingKind::Log, Some(first_seq), Some(last_seq), what);
                self.rebuilt = None;
                self.payloads.skip_until(end)?;
            }
        }
        self.next_seq = end;
        let stated = before.and_then(|before| before.extended(count, &stored));
        if self.tree.is_some() && self.tree != stated {
            let what = "the lines are not those over which the tree was made: changed, or the hashes \
                        beside them are";
            findings.add_range(FindingKind::Tree, Some(first_seq), Some(last_seq), what);
            // Go on from the tree as it was made: what follows is held against that.
            self.tree = stated;
        }
        self.state_size(findings)
    }

    fn lines(&mut self, text: &[u8], end: u64, findings: &mut Findings) -> Result<(), DbError> {
        let mut events = Vec::new();
        let is_whole = text.ends_with(b"\n");
        let removed = removed_between(
            self.snapshot.connection(),
            self.next_seq,
            end.saturating_sub(1),
        )?;
        self.payloads.set_removed(removed.clone());
        for line in lines(text) {
            let seq = self.next_seq;
            self.next_seq = seq.saturating_add(1);
            if let Some(tree) = &mut self.tree {
                tree.push(leaf_of(line));
            }
            let is_stated = is_removed(&removed, seq);
            match Event::from_line(line) {
                Err(_) if removed_leaf(line).is_some() => {
                    self.payloads.removed_line(seq, is_stated, findings);
                }
                Ok(event) if event.seq == seq => {
                    if is_stated && is_of_request(&event.fact) {
                        let what = "it is stated as taken out, and still there";
                        findings.add(FindingKind::Log, Some(seq), what);
                    }
                    self.event(&event, findings)?;
                    events.push(event);
                }
                Ok(event) => {
                    let what = format!("seq {} stands where {seq} should", event.seq);
                    findings.add(FindingKind::Log, Some(seq), what);
                    self.rebuilt = None;
                }
                Err(error) => {
                    findings.add(FindingKind::Log, Some(seq), error.to_string());
                    self.rebuilt = None;
                }
            }
            // The segment's end is checked once its hashes are.
            if self.next_seq < end {
                self.state_size(findings)?;
            }
        }
        if self.next_seq != end || !is_whole {
            let what = format!("the segment should end before seq {end} with a whole line");
            findings.add(
                FindingKind::Log,
                Some(self.next_seq.saturating_sub(1)),
                what,
            );
            self.rebuilt = None;
        }
        if let Some(rebuilt) = &self.rebuilt {
            rebuilt.apply(&events)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, findings: &mut Findings) -> Result<(), DbError> {
        if event.seq == 0 && !matches!(event.fact, Fact::StoreOpened(_)) {
            let what = "the log does not begin with the opening of a store";
            findings.add(FindingKind::Log, Some(0), what);
        }
        match &event.fact {
            Fact::StoreOpened(opened) => {
                let known = self.log_id.get_or_insert_with(|| opened.log_id.clone());
                if *known != opened.log_id {
                    let what = format!(
                        "this session belongs to the log {:?}, the first one to {known:?}",
                        opened.log_id
                    );
                    findings.add(FindingKind::Log, Some(event.seq), what);
                }
            }
            Fact::StoreClosed(_) => self.statements.expect_after(event.seq),
            Fact::Gap(gap) => {
                self.lifecycles_lost = self.lifecycles_lost.saturating_add(gap.lifecycles);
            }
            Fact::Opened(_)
            | Fact::Ended(_)
            | Fact::Served(_)
            | Fact::Erased(_)
            | Fact::Pruned(_) => {}
        }
        self.payloads.event(event, findings)
    }

    /// Holds the tree as it is now against what states this size.
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

/// Whether the log states that the line of this event was taken out.
fn is_removed(removed: &[RemovedRange], seq: u64) -> bool {
    removed
        .iter()
        .any(|range| range.kind.takes_line() && range.has(seq))
}

fn is_of_request(fact: &Fact) -> bool {
    matches!(fact, Fact::Opened(_) | Fact::Served(_) | Fact::Ended(_))
}
