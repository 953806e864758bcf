//! Checks payloads in step with the events that commit to them: both have the same order.
//!
//! Runs on its own thread and connection if there is a processor for it.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::content::Contents;
use super::report::{FindingKind, Findings, NotKept, VerifyReport};
use crate::db::{self, DbError, DbErrorKind, Part, PayloadRows, Snapshot, event_seq, payload_id};
use crate::error::{ReadError, chain};
use crate::log::{BodyFact, Event, EventKind, Kept};
use crate::model::Digest;
use crate::payload::commitment;
use crate::read::commitments::{Claim, mismatch};

/// Steps that are passed on together, and how many such pieces may wait.
const STEPS_TOGETHER: usize = 512;
const PIECES_AHEAD: usize = 8;

/// The payloads, as seen by the pass over the log: it sends what the events commit to, in the order of the log, to a
/// thread that walks the rows in the same order. So neither side looks anything up. The thread lives in the scope of
/// one verification; its findings are known at the end, when it is joined.
pub(super) struct Payloads<'scope> {
    steps: Vec<Step>,
    sender: SyncSender<Vec<Step>>,
    thread: ScopedJoinHandle<'scope, Outcome>,
}

/// What the payloads are compared with, in the order of the log.
enum Step {
    Body {
        seq: u64,
        part: Part,
        fact: BodyFact,
        is_pruned: bool,
    },
    /// The end `seq` has a request body that its opening deferred: both must commit to the same.
    SameAsOpening {
        seq: u64,
        opened_seq: u64,
        committed: Digest,
    },
    /// Events up to this one cannot be read.
    SkipUntil(u64),
    /// The log was read to its end.
    End,
}

type Outcome = (Result<Found, ReadError>, Findings);

/// What was found of the payloads.
#[derive(Default)]
struct Found {
    payloads: u64,
    body_bytes: u64,
    not_kept: NotKept,
}

impl<'scope> Payloads<'scope> {
    /// From the first payload. `scope` is where the thread runs.
    pub(super) fn new(
        snapshot: Snapshot,
        with_bodies: bool,
        scope: &'scope Scope<'scope, '_>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(PIECES_AHEAD);
        let builder = Builder::new().name("auditlite-verify-payloads".to_owned());
        let run = move || {
            let mut findings = Findings::default();
            let found = run(&snapshot, with_bodies, &receiver, &mut findings);
            (found, findings)
        };
        Ok(Self {
            steps: Vec::with_capacity(STEPS_TOGETHER),
            sender,
            thread: builder.spawn_scoped(scope, run)?,
        })
    }

    /// Checks what the event commits to. If it `is_pruned`, that must be gone.
    pub(super) fn event(&mut self, event: &Event, is_pruned: bool) {
        let bodies = match &event.kind {
            EventKind::Opened(opened) => [
                Some((Part::Body, &opened.request_body)),
                opened.content.as_deref().map(|fact| (Part::Content, fact)),
                None,
                None,
            ],
            EventKind::Ended(ended) => [
                ended.response_body.as_ref().map(|fact| (Part::Body, fact)),
                ended.content.as_deref().map(|fact| (Part::Content, fact)),
                ended
                    .upstream_body
                    .as_deref()
                    .map(|fact| (Part::UpstreamBody, fact)),
                ended
                    .request_body
                    .as_deref()
                    .map(|fact| (Part::RequestBody, fact)),
            ],
            _ => return,
        };
        for (part, fact) in bodies.into_iter().flatten() {
            self.step(Step::Body {
                seq: event.seq,
                part,
                fact: fact.clone(),
                is_pruned,
            });
        }
        if let EventKind::Ended(ended) = &event.kind
            && let Some(committed) = ended.request_body.as_ref().and_then(|fact| fact.commitment)
        {
            self.step(Step::SameAsOpening {
                seq: event.seq,
                opened_seq: ended.opened_seq,
                committed,
            });
        }
    }

    /// Skips the rows of events that cannot be read.
    pub(super) fn skip_until(&mut self, seq: u64) {
        self.step(Step::SkipUntil(seq));
    }

    /// The log was read to its end: no event commits to the rows that are left.
    pub(super) fn end(&mut self) {
        self.step(Step::End);
    }

    /// Waits for the rest, and returns what was found.
    pub(super) fn finish(
        self,
        report: &mut VerifyReport,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        // If the thread has ended, joining it tells why.
        drop(self.sender.send(self.steps));
        drop(self.sender);
        let (found, own) = self
            .thread
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic));
        findings.append(own);
        let found = findings
            .keep(FindingKind::Structure, found)?
            .unwrap_or_default();
        report.payloads = found.payloads;
        report.not_kept = found.not_kept;
        report.body_bytes = found.body_bytes;
        Ok(())
    }

    fn step(&mut self, step: Step) {
        self.steps.push(step);
        if self.steps.len() >= STEPS_TOGETHER {
            let next = Vec::with_capacity(STEPS_TOGETHER);
            drop(self.sender.send(std::mem::replace(&mut self.steps, next)));
        }
    }
}

fn run(
    snapshot: &Snapshot,
    with_bodies: bool,
    steps: &Receiver<Vec<Step>>,
    findings: &mut Findings,
) -> Result<Found, ReadError> {
    let kind = FindingKind::Structure;
    let mut statement = findings.keep(kind, snapshot.payloads(with_bodies))?;
    let rows = match &mut statement {
        Some(statement) => findings.keep(kind, statement.rows())?,
        None => None,
    };
    let mut pass = PayloadPass {
        snapshot,
        rows,
        contents: with_bodies.then(|| Contents::new(snapshot)),
        found: Found::default(),
    };
    for step in steps.iter().flatten() {
        pass.step(&step, findings)?;
    }
    pass.found.body_bytes = pass.contents.map_or(0, |contents| contents.bytes());
    Ok(pass.found)
}

struct PayloadPass<'a> {
    snapshot: &'a Snapshot,
    /// Absent if they cannot be read at all.
    rows: Option<PayloadRows<'a>>,
    /// Absent if bodies are not unpacked.
    contents: Option<Contents<'a>>,
    found: Found,
}

impl PayloadPass<'_> {
    fn step(&mut self, step: &Step, findings: &mut Findings) -> Result<(), DbError> {
        match step {
            Step::Body {
                seq,
                part,
                fact,
                is_pruned,
            } => self.body(*seq, *part, fact, *is_pruned, findings),
            Step::SameAsOpening {
                seq,
                opened_seq,
                committed,
            } => self.same_as_opening(*seq, *opened_seq, committed, findings),
            Step::SkipUntil(seq) => {
                let end = payload_id(*seq, Part::Body);
                while self.next_below(end)?.is_some() {
                    self.advance()?;
                }
                Ok(())
            }
            Step::End => self.unknown_below(i64::MAX, findings),
        }
    }

    /// Checks one payload. What the event did not keep is only counted. Rows before this one belong to no
    /// event. A row must exist unless its content was pruned, and must not exist if it was. Its salt,
    /// digest and lengths must be those of the commitment, and then its content must have the digest.
    fn body(
        &mut self,
        seq: u64,
        part: Part,
        fact: &BodyFact,
        is_pruned: bool,
        findings: &mut Findings,
    ) -> Result<(), DbError> {
        let id = payload_id(seq, part);
        match fact.kept {
            Kept::Whole => {}
            Kept::Excerpt => self.found.not_kept.excerpts += 1,
            // A forwarded body is never kept: its digest is all that is recorded.
            Kept::Digest if part == Part::UpstreamBody => {}
            Kept::Digest | Kept::Deferred => self.found.not_kept.digest_only += 1,
            Kept::Nothing => self.found.not_kept.shed += 1,
        }
        let Some(committed) = &fact.commitment else {
            return Ok(());
        };
        self.unknown_below(id, findings)?;
        if self.next_below(id.saturating_add(1))?.is_none() {
            if is_pruned {
                self.found.not_kept.pruned = self.found.not_kept.pruned.saturating_add(1);
                return Ok(());
            }
            let what = format!(
                "its {} is not in the file, and no event says why",
                name(part)
            );
            findings.add(FindingKind::PayloadMissing, Some(seq), what);
            return Ok(());
        }
        if is_pruned {
            let what = format!("its {} is stated as pruned, and still there", name(part));
            findings.add(FindingKind::PayloadUnknown, Some(seq), what);
        }
        let row = match self.rows.as_ref().map(PayloadRows::row) {
            Some(Err(error)) if error.kind == DbErrorKind::Corrupt => {
                // The other columns can still be read.
                let what = format!("its {}: {}", name(part), chain(&error));
                findings.add(FindingKind::PayloadCommitment, Some(seq), what);
                return self.advance();
            }
            found => found.transpose()?.flatten(),
        };
        if let Some(row) = row {
            let claim = Claim {
                salt: row.salt,
                sha256: row.sha256,
                length: row.length,
                kept: row.kept,
                head: row.head,
                has_data: row.has_data,
            };
            let wrong = match mismatch(fact, committed, &claim) {
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

    /// Compares with the row of the opening, which was compared with its line. Such bodies are few: looking the row
    /// up is cheaper than keeping what all openings deferred.
    fn same_as_opening(
        &self,
        seq: u64,
        opened_seq: u64,
        committed: &Digest,
        findings: &mut Findings,
    ) -> Result<(), DbError> {
        let id = payload_id(opened_seq, Part::Body);
        let row = match db::payload(self.snapshot.connection(), id, false) {
            Err(error) if error.kind == DbErrorKind::Corrupt => return Ok(()),
            row => row?,
        };
        // Without a row it was pruned, or was missed above.
        let Some(row) = row else { return Ok(()) };
        let is_same = <&[u8; 32]>::try_from(row.salt.as_slice())
            .ok()
            .zip(<[u8; 32]>::try_from(row.sha256.as_slice()).ok())
            .is_some_and(|(salt, sha256)| commitment(salt, &Digest(sha256)) == *committed);
        if !is_same {
            let what = "its deferred request body is not the one that its opening committed to";
            findings.add(FindingKind::PayloadCommitment, Some(seq), what);
        }
        Ok(())
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

    /// The id of the next row, if it is less than this one.
    fn next_below(&mut self, id: i64) -> Result<Option<i64>, DbError> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        Ok(rows.next_id()?.filter(|next| *next < id))
    }

    fn advance(&mut self) -> Result<(), DbError> {
        self.found.payloads = self.found.payloads.saturating_add(1);
        self.rows.as_mut().map_or(Ok(()), PayloadRows::advance)
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Body => "body",
        Part::Content => "content handed over by the gateway",
        Part::UpstreamBody => "forwarded body's digest",
        Part::RequestBody => "deferred request body",
    }
}
