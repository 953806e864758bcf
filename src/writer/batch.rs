//! A group commit, from its first event to the batch that is written.

use std::sync::Arc;

use crate::sync::channel::Sender;

use super::capacity::Reservation;
use super::command::Reading;
use super::lifecycle::{Lifecycle, Stage};
use super::pieces::{PackedPiece, PlannedPiece};
use super::reading::Response;
use super::upkeep::Upkeep;
use crate::db::{Batch, Part, payload_id};
use crate::log::{Event, Fact};
use crate::payload::PlannedPayload;

/// Payloads are packed in groups: the packer works while the intake prepares the next ones, and the
/// memory of their bodies is given back soon.
const GROUP_PAYLOADS: usize = 256;
const GROUP_TEXT_BYTES: usize = 512 * 1024;
const GROUP_FREED_BYTES: u64 = 2 * 1024 * 1024;

/// A group commit in the making, and what is to be done once it is committed.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) first_seq: u64,
    pub(super) events: Vec<Event>,
    /// The payloads that have not been handed to the packer yet.
    pub(super) group: Group,
    pub(super) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(super) ends: Vec<EndNote>,
    /// Bodies that could not be read as what they are.
    pub(super) unparsed: u64,
    /// Requests that end, by their openings, of whose responses pieces were written.
    pub(super) ended_pieces: Vec<u64>,
    /// Bytes that are kept until the commit: metadata, and what is new in bodies.
    bytes: u64,
    /// What is given back once the batch is committed.
    reservation: Reservation,
}

/// How far a batch was before a command.
#[derive(Debug)]
pub(super) struct Mark {
    events: usize,
    payloads: usize,
    texts: usize,
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
pub(super) struct Group {
    pub(super) payloads: Vec<(i64, PlannedPayload)>,
    /// What deltas pack, and against what.
    pub(super) texts: Vec<u8>,
    /// Responses that are read for their events, by their index in the batch.
    pub(super) responses: Vec<(usize, Response)>,
    pub(super) pieces: Vec<PlannedPiece>,
    /// What is given back once they are packed: the memory of the bodies.
    pub(super) freed: Reservation,
}

/// A group commit whose last event is known; its payloads are with the packer.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) first_seq: u64,
    pub(super) events: Vec<Event>,
    pub(super) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(super) ends: Vec<EndNote>,
    pub(super) unparsed: u64,
    pub(super) ended_pieces: Vec<u64>,
    pub(super) reservation: Reservation,
    pub(super) replies: Replies,
}

/// Who waits for a batch, beside its events.
#[derive(Debug, Default)]
pub(super) struct Replies {
    pub(super) flushes: Vec<Sender<()>>,
    /// Present with the last batch of a session.
    pub(super) close: Option<Sender<bool>>,
    /// Present with a batch that a step of a removal ends.
    pub(super) upkeep: Option<Upkeep>,
}

/// A group commit that is ready to be written.
#[derive(Debug)]
pub(super) struct Ready {
    /// Nothing, where somebody waits and there is nothing to write.
    pub(super) batch: Option<Batch>,
    pub(super) pieces: Vec<PackedPiece>,
    pub(super) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(super) ends: Vec<EndNote>,
    pub(super) reservation: Reservation,
    pub(super) replies: Replies,
}

/// What completes an end's event, and what is traced of it.
#[derive(Debug)]
pub(super) struct EndNote {
    pub(super) event_index: usize,
    pub(super) span: tracing::Span,
    pub(super) provider_name: Option<String>,
    /// What served or was to serve, as the price book looks for it.
    pub(super) request_model: Option<String>,
    pub(super) requested_model: Option<String>,
    /// What its response is read for.
    pub(super) reading: Reading,
}

impl Prepared {
    pub(super) fn new(first_seq: u64) -> Self {
        Self {
            first_seq,
            ..Self::default()
        }
    }

    /// Gives the next event its number.
    pub(super) fn push(&mut self, at: i64, fact: Fact) -> u64 {
        let seq = self.next_seq();
        self.events.push(Event { seq, at, fact });
        seq
    }

    pub(super) fn push_payload(&mut self, seq: u64, part: Part, payload: Option<PlannedPayload>) {
        let Some(payload) = payload else { return };
        self.bytes = self.bytes.saturating_add(payload.content.new_bytes());
        self.group.payloads.push((payload_id(seq, part), payload));
    }

    /// `bytes` of it are new, at most.
    pub(super) fn push_piece(&mut self, piece: PlannedPiece, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.group.pieces.push(piece);
    }

    /// The payloads so far, where enough have come together to be packed.
    pub(super) fn take_group(&mut self) -> Option<Group> {
        let is_full = self.group.payloads.len() >= GROUP_PAYLOADS
            || self.group.texts.len() >= GROUP_TEXT_BYTES
            || self.group.freed.bytes >= GROUP_FREED_BYTES;
        is_full.then(|| std::mem::take(&mut self.group))
    }

    /// Takes a command's reservation over; `freed` bytes of it until its payloads are packed only.
    pub(super) fn hold(&mut self, mut reservation: Reservation, freed: u64) {
        let freed = freed.min(reservation.bytes);
        reservation.bytes = reservation.bytes.saturating_sub(freed);
        self.bytes = self.bytes.saturating_add(reservation.bytes);
        self.group.freed.bytes = self.group.freed.bytes.saturating_add(freed);
        self.reservation.add(reservation);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            events: self.events.len(),
            payloads: self.group.payloads.len(),
            texts: self.group.texts.len(),
            responses: self.group.responses.len(),
            reached: self.reached.len(),
            ends: self.ends.len(),
            unparsed: self.unparsed,
            bytes: self.bytes,
            freed: self.group.freed,
            reservation: self.reservation,
        }
    }

    /// Takes back what a command has done to the batch. The group is the one of the mark: none is
    /// taken while a command is prepared.
    pub(super) fn rewind(&mut self, mark: Mark) {
        let group = &mut self.group;
        self.events.truncate(mark.events);
        group.payloads.truncate(mark.payloads);
        group.texts.truncate(mark.texts);
        group.responses.truncate(mark.responses);
        self.reached.truncate(mark.reached);
        self.ends.truncate(mark.ends);
        self.unparsed = mark.unparsed;
        self.bytes = mark.bytes;
        group.freed = mark.freed;
        self.reservation = mark.reservation;
    }

    pub(super) fn is_full(&self, events_max: usize, bytes_max: u64) -> bool {
        self.events.len() >= events_max || self.bytes >= bytes_max
    }

    pub(super) fn next_seq(&self) -> u64 {
        let count = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        self.first_seq.saturating_add(count)
    }

    /// The last payloads, and the batch that they and those before them belong to.
    pub(super) fn seal(self, replies: Replies) -> (Group, Sealed) {
        let sealed = Sealed {
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
