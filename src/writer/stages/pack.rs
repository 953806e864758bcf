//! The packer: compresses payloads, completes ends, encodes events as lines, extends the Merkle tree by their hashes,
//! and sends finished batches to the committer.
//!
//! A stage of its own between the intake and the committer: together they keep two processors busy, also while the
//! disk syncs. With one processor, all three run on one thread.

use std::sync::Arc;

use crate::sync::channel::{Receiver, Sender};

use super::barest::barest;
use super::batch::{PayloadGroup, SealedBatch};
use super::complete::{EndCompleter, Response};
use super::pieces::PlannedPiece;
use crate::db::{Batch, Segment};
use crate::error::Cause;
use crate::log::{Event, SegmentEncoder};
use crate::merkle::{CompactRange, leaf_hash};
use crate::payload::{EncodedPayload, Packer};
use crate::sync::atomic::Ordering;
use crate::sync::{caught, trip};
use crate::wire::ParsedResponse;
use crate::writer::admission::queue::Shared;
use crate::writer::commit::committer::{Committer, Stop};
use crate::writer::commit::pieces::PackedPiece;
use crate::writer::commit::request::CommitRequest;

/// Buffer capacity for lines that is kept between batches, in bytes.
const LINES_BYTES_KEPT: usize = 4 << 20;
/// Capacity of an arena that is used again, in bytes.
const ARENA_BYTES_KEPT: usize = 1 << 20;

/// One step of the packer's work.
#[derive(Debug)]
pub(crate) enum PackTask {
    Group(PayloadGroup),
    Seal(Box<SealedBatch>),
}

/// The next stage: on this thread, or behind a channel that holds one batch.
pub(crate) enum Commit {
    Here(Box<Committer>),
    Thread(Sender<CommitRequest>),
}

/// The stage, and what comes after it.
pub(crate) struct PackStage {
    pub(crate) packing: Packing,
    pub(crate) commit: Commit,
}

impl PackStage {
    /// Works until the channel or the committer has ended. The error is why the writer ends, if it is known here.
    pub(crate) fn run(&mut self, steps: &Receiver<PackTask>) -> Result<(), Option<Stop>> {
        while let Ok(step) = steps.recv() {
            self.step(step)?;
        }
        Ok(())
    }

    /// The next task; a committer on the same thread does idle work while there is none.
    pub(crate) fn next<T>(&mut self, incoming: &Receiver<T>) -> Result<Option<T>, Stop> {
        match &mut self.commit {
            Commit::Here(committer) => committer.next(incoming),
            Commit::Thread(_) => Ok(incoming.recv().ok()),
        }
    }

    pub(crate) fn step(&mut self, step: PackTask) -> Result<(), Option<Stop>> {
        let sealed = match step {
            PackTask::Group(group) => {
                self.packing.pack(group);
                return Ok(());
            }
            PackTask::Seal(sealed) => sealed,
        };
        let ready = self
            .packing
            .seal(*sealed)
            .map_err(|error| Some(Stop::Failed(crate::error::chain(&*error))))?;
        match &mut self.commit {
            Commit::Here(committer) => committer.handle(ready).map_err(Some),
            Commit::Thread(batches) => batches.send(ready).map_err(|_| None),
        }
    }
}

/// The batch that is being packed, and the working memory for it. Owned by the packer's thread, from the opening
/// to the close; only `tree` outlives a batch as state of the log, everything else is emptied by `seal`.
#[derive(Debug)]
pub(crate) struct Packing {
    shared: Arc<Shared>,
    segment_encoder: SegmentEncoder,
    lines: Vec<u8>,
    payloads: Vec<(i64, EncodedPayload)>,
    /// Responses of the batch that were parsed.
    responses: Vec<(usize, ParsedResponse)>,
    pieces: Vec<PackedPiece>,
    completer: EndCompleter,
    /// Packed arenas go back to the intake.
    buffers: Sender<Vec<u8>>,
    /// The tree over the log up to the last batch that was sealed.
    tree: CompactRange,
}

impl Packing {
    pub(crate) fn new(
        shared: Arc<Shared>,
        tree: CompactRange,
        buffers: Sender<Vec<u8>>,
    ) -> Result<Self, Cause> {
        Ok(Self {
            shared,
            segment_encoder: SegmentEncoder::new()?,
            lines: Vec::new(),
            payloads: Vec::new(),
            responses: Vec::new(),
            pieces: Vec::new(),
            completer: EndCompleter::default(),
            buffers,
            tree,
        })
    }

    /// Packs payloads of the batch, parses responses, and releases the capacity of their bodies.
    pub(crate) fn pack(&mut self, group: PayloadGroup) {
        let PayloadGroup {
            payloads,
            mut arena,
            responses,
            pieces,
            freed,
        } = group;
        let read = |(index, response): (usize, Response)| (index, response.read());
        self.responses.extend(responses.into_iter().map(read));
        if !payloads.is_empty() {
            let mut packer = Packer::new();
            let packed = payloads
                .into_iter()
                .map(|(id, payload)| (id, payload.pack(&mut packer, &arena)));
            self.payloads.extend(packed);
        }
        self.pieces
            .extend(pieces.into_iter().map(PlannedPiece::pack));
        self.shared.capacity.release(freed);
        arena.clear();
        arena.shrink_to(ARENA_BYTES_KEPT);
        if arena.capacity() > 0 {
            // Dropped where the intake has enough of them.
            let _ = self.buffers.try_send(arena);
        }
    }

    /// Completes the events of ends, then encodes all events and extends the tree: in this order, since a line
    /// is hashed as it is stored. The batch is then ready to be committed.
    pub(crate) fn seal(&mut self, mut sealed: SealedBatch) -> Result<CommitRequest, Cause> {
        let responses = std::mem::take(&mut self.responses);
        let unparsed =
            self.completer
                .complete(&mut sealed.events, &sealed.ends, responses, &self.shared);
        let unparsed = unparsed.saturating_add(sealed.unparsed);
        self.shared
            .counters
            .unparsed_bodies
            .fetch_add(unparsed, Ordering::Relaxed);
        let payloads = std::mem::take(&mut self.payloads);
        let stated = sealed
            .replies
            .maintenance
            .as_mut()
            .filter(|maintenance| maintenance.is_stated);
        let removal = stated.map(|maintenance| std::mem::take(&mut maintenance.removal));
        let batch = if sealed.events.is_empty() {
            None
        } else {
            Some(Batch {
                segment: self.segment(&mut sealed)?,
                events: sealed.events,
                payloads,
                checkpoint: None,
                removal,
                ended_pieces: sealed.ended_pieces,
            })
        };
        Ok(CommitRequest {
            batch,
            pieces: std::mem::take(&mut self.pieces),
            reached: sealed.reached,
            ends: sealed.ends,
            reservation: sealed.reservation,
            replies: sealed.replies,
        })
    }

    fn segment(&mut self, sealed: &mut SealedBatch) -> Result<Segment, Cause> {
        self.lines.clear();
        for event in &mut sealed.events {
            let start = self.lines.len();
            if !write_line(event, &mut self.lines) {
                self.lines.truncate(start);
                event.kind = barest(&event.kind);
                event.write_line(&mut self.lines)?;
                let counters = &self.shared.counters;
                counters.unprepared_events.fetch_add(1, Ordering::Relaxed);
                tracing::error!(target: "auditlite", seq = event.seq, "an event could not be written; it is recorded in its barest form. This is a bug, please report it");
            }
            let line = self.lines.get(start..).unwrap_or_default();
            self.tree
                .push(leaf_hash(line.strip_suffix(b"\n").unwrap_or(line)));
        }
        let (encoding, data) = self.segment_encoder.encode(&self.lines);
        let segment = Segment {
            first_seq: sealed.first_seq,
            count: count(sealed.events.len()),
            length: count(self.lines.len()),
            encoding,
            data,
            tree: self.tree.clone(),
        };
        // A rare large batch must not hold its memory for good.
        self.lines.shrink_to(LINES_BYTES_KEPT);
        Ok(segment)
    }
}

fn write_line(event: &Event, lines: &mut Vec<u8>) -> bool {
    let is_written = caught(|| {
        let start = lines.len();
        let is_written = event.write_line(lines).is_ok();
        trip("line", lines.get(start..).unwrap_or_default());
        is_written
    });
    is_written == Some(true)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
