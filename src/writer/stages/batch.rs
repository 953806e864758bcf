//! A batch, from its first event until the packer has it. Pushing an event gives it its sequence number.

use std::sync::Arc;

use super::complete::Response;
use super::pieces::PlannedPiece;
use crate::db::{PIECES_MAX, Part, payload_id};
use crate::log::{Event, EventKind};
use crate::payload::PayloadPlan;
use crate::writer::admission::capacity::Reservation;
use crate::writer::admission::command::PieceCommand;
use crate::writer::admission::lifecycle::{Lifecycle, Stage};
use crate::writer::commit::request::{EndNote, Replies};

/// Payloads are packed in groups: the packer works while the intake prepares the next ones, and the memory of their
/// bodies is released early.
const GROUP_PAYLOADS: usize = 256;
const GROUP_TEXT_BYTES: usize = 512 * 1024;
const GROUP_FREED_BYTES: u64 = 2 * 1024 * 1024;

/// A batch that the intake is filling, and what happens once it is committed. It never leaves the intake's
/// thread: `take_group` hands payloads to the packer early, and `seal` turns the rest into a [`SealedBatch`].
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    pub(crate) first_seq: u64,
    pub(crate) events: Vec<Event>,
    /// The payloads that the packer does not have yet.
    pub(crate) group: PayloadGroup,
    pub(crate) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(crate) ends: Vec<EndNote>,
    /// Bodies that could not be parsed.
    pub(crate) unparsed: u64,
    /// Opening seqs of requests that end here and have pieces, which are deleted.
    pub(crate) ended_pieces: Vec<u64>,
    /// Bytes that are kept until the commit: metadata, and what is new in bodies.
    bytes: u64,
    /// Released once the batch is committed.
    reservation: Reservation,
}

/// The length of a batch before a command, to undo it.
#[derive(Debug)]
pub(crate) struct Mark {
    events: usize,
    payloads: usize,
    arena: usize,
    responses: usize,
    reached: usize,
    ends: usize,
    unparsed: u64,
    bytes: u64,
    freed: Reservation,
    reservation: Reservation,
}

/// Payloads that are packed together, in order of their ids.
#[derive(Debug, Default)]
pub(crate) struct PayloadGroup {
    pub(crate) payloads: Vec<(i64, PayloadPlan)>,
    /// The bytes that deltas pack, and those that they are packed against.
    pub(crate) arena: Vec<u8>,
    /// Responses to parse for their events, by their index in the batch.
    pub(crate) responses: Vec<(usize, Response)>,
    pub(crate) pieces: Vec<PlannedPiece>,
    /// Released once they are packed: the memory of the bodies.
    pub(crate) freed: Reservation,
}

/// A batch whose last event is known. The intake sends it to the packer, behind the groups of its payloads.
#[derive(Debug)]
pub(crate) struct SealedBatch {
    pub(crate) first_seq: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(crate) ends: Vec<EndNote>,
    pub(crate) unparsed: u64,
    pub(crate) ended_pieces: Vec<u64>,
    pub(crate) reservation: Reservation,
    pub(crate) replies: Replies,
}

impl BatchBuilder {
    pub(crate) fn new(first_seq: u64) -> Self {
        Self {
            first_seq,
            ..Self::default()
        }
    }

    /// Gives the next event its number.
    pub(crate) fn push(&mut self, at: i64, kind: EventKind) -> u64 {
        let seq = self.next_seq();
        self.events.push(Event { seq, at, kind });
        seq
    }

    pub(crate) fn push_payload(&mut self, seq: u64, part: Part, payload: Option<PayloadPlan>) {
        let Some(payload) = payload else { return };
        self.bytes = self.bytes.saturating_add(payload.new_bytes());
        self.group.payloads.push((payload_id(seq, part), payload));
    }

    /// Adds the next piece of a response.
    pub(crate) fn piece(&mut self, command: PieceCommand) {
        let bytes = command.reservation.bytes;
        self.hold(command.reservation, u64::MAX);
        let position = command.lifecycle.notes().next_piece();
        if position < PIECES_MAX {
            let piece = PlannedPiece::next(
                command.lifecycle,
                position,
                command.redaction_id,
                command.chunks,
            );
            self.push_piece(piece, bytes);
        }
    }

    /// Adds a piece, of which at most `bytes` count against the bound of the batch.
    pub(crate) fn push_piece(&mut self, piece: PlannedPiece, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.group.pieces.push(piece);
    }

    /// The payloads so far, once there are enough to be packed together.
    pub(crate) fn take_group(&mut self) -> Option<PayloadGroup> {
        let is_full = self.group.payloads.len() >= GROUP_PAYLOADS
            || self.group.arena.len() >= GROUP_TEXT_BYTES
            || self.group.freed.bytes >= GROUP_FREED_BYTES;
        is_full.then(|| std::mem::take(&mut self.group))
    }

    /// Takes over a command's reservation. `freed` of its bytes are released as soon as its payloads are
    /// packed, since packing frees the bodies; the rest at the commit.
    pub(crate) fn hold(&mut self, mut reservation: Reservation, freed: u64) {
        let freed = freed.min(reservation.bytes);
        reservation.bytes = reservation.bytes.saturating_sub(freed);
        self.bytes = self.bytes.saturating_add(reservation.bytes);
        self.group.freed.bytes = self.group.freed.bytes.saturating_add(freed);
        self.reservation.add(reservation);
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            events: self.events.len(),
            payloads: self.group.payloads.len(),
            arena: self.group.arena.len(),
            responses: self.group.responses.len(),
            reached: self.reached.len(),
            ends: self.ends.len(),
            unparsed: self.unparsed,
            bytes: self.bytes,
            freed: self.group.freed,
            reservation: self.reservation,
        }
    }

    /// Undoes what a command did to the batch. The group is still the one of the mark: none is taken while a
    /// command is prepared.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        let group = &mut self.group;
        self.events.truncate(mark.events);
        group.payloads.truncate(mark.payloads);
        group.arena.truncate(mark.arena);
        group.responses.truncate(mark.responses);
        self.reached.truncate(mark.reached);
        self.ends.truncate(mark.ends);
        self.unparsed = mark.unparsed;
        self.bytes = mark.bytes;
        group.freed = mark.freed;
        self.reservation = mark.reservation;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.group.pieces.is_empty()
    }

    pub(crate) fn is_full(&self, events_max: usize, bytes_max: u64) -> bool {
        self.events.len() >= events_max || self.bytes >= bytes_max
    }

    pub(crate) fn next_seq(&self) -> u64 {
        let count = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        self.first_seq.saturating_add(count)
    }

    /// Ends the batch: returns its last payloads, and the rest.
    pub(crate) fn seal(self, replies: Replies) -> (PayloadGroup, SealedBatch) {
        let sealed = SealedBatch {
            first_seq: self.first_seq,
            events: self.events,
            reached: self.reached,
            ends: self.ends,
            unparsed: self.unparsed,
            ended_pieces: self.ended_pieces,
            reservation: self.reservation,
            replies,
        };
        (self.group, sealed)
    }
}
