//! A group commit, from its first event to the batch that is written.

use std::sync::Arc;

use super::capacity::Reservation;
use super::lifecycle::{Lifecycle, Stage};
use crate::db::{Batch, Part, Segment, payload_id};
use crate::log::{Event, Fact};
use crate::payload::{EncodedPayload, Packer, PlannedPayload};

/// A group commit in the making, and what is to be done once it is committed.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) first_seq: u64,
    pub(super) events: Vec<Event>,
    payloads: Vec<(i64, PlannedPayload, Pack)>,
    /// What the payloads are packed against, one after the other.
    pub(super) prefixes: Vec<u8>,
    pub(super) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(super) ends: Vec<EndNote>,
    /// Bytes of everything that came in.
    pub(super) bytes: u64,
    /// What is given back once the requests are packed: the memory of their bodies.
    freed: Reservation,
    /// What is given back once the batch is committed.
    reservation: Reservation,
}

/// Which thread packs a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pack {
    /// The intake's.
    Ahead,
    /// The committer's.
    Late,
}

#[derive(Debug)]
enum MaybePacked {
    Packed(EncodedPayload),
    Planned(PlannedPayload),
}

/// A group commit that is ready to be written, but for packing its responses.
#[derive(Debug)]
pub(super) struct Ready {
    events: Vec<Event>,
    segment: Segment,
    payloads: Vec<(i64, MaybePacked)>,
    prefixes: Vec<u8>,
    pub(super) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(super) ends: Vec<EndNote>,
    pub(super) reservation: Reservation,
}

impl Ready {
    /// The seq after the last event.
    pub(super) fn end_seq(&self) -> u64 {
        self.segment.first_seq.saturating_add(self.segment.count)
    }

    /// Packs what is left to pack, and takes the batch out. `None`: there is no event to write.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        if self.events.is_empty() {
            return None;
        }
        let prefixes = std::mem::take(&mut self.prefixes);
        let mut packer = Packer::new();
        let payloads = std::mem::take(&mut self.payloads)
            .into_iter()
            .map(|(id, payload)| match payload {
                MaybePacked::Packed(payload) => (id, payload),
                MaybePacked::Planned(payload) => (id, payload.pack(&mut packer, &prefixes)),
            })
            .collect();
        Some(Batch {
            events: std::mem::take(&mut self.events),
            segment: std::mem::take(&mut self.segment),
            payloads,
        })
    }
}

/// What is traced of an end.
#[derive(Debug)]
pub(super) struct EndNote {
    pub(super) event_index: usize,
    pub(super) span: tracing::Span,
    pub(super) provider_name: Option<String>,
    pub(super) model: Option<String>,
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
        let count = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        let seq = self.first_seq.saturating_add(count);
        self.events.push(Event { seq, at, fact });
        seq
    }

    pub(super) fn push_payload(
        &mut self,
        seq: u64,
        part: Part,
        payload: Option<PlannedPayload>,
        when: Pack,
    ) {
        if let Some(payload) = payload {
            self.payloads.push((payload_id(seq, part), payload, when));
        }
    }

    /// Takes a command's reservation over; `freed` bytes of it until the requests are packed only.
    pub(super) fn hold(&mut self, mut reservation: Reservation, freed: u64) {
        self.bytes = self.bytes.saturating_add(reservation.bytes);
        let freed = freed.min(reservation.bytes);
        reservation.bytes = reservation.bytes.saturating_sub(freed);
        self.freed.bytes = self.freed.bytes.saturating_add(freed);
        self.reservation.add(reservation);
    }

    pub(super) fn next_seq(&self) -> u64 {
        let count = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        self.first_seq.saturating_add(count)
    }

    /// Packs the requests, and says what that frees. Responses are left to the committer: the two threads then have about the
    /// same to do.
    pub(super) fn pack(self, segment: Segment) -> (Ready, Reservation) {
        let mut packer = Packer::new();
        let payloads = self
            .payloads
            .into_iter()
            .map(|(id, payload, when)| match when {
                Pack::Ahead => {
                    let packed = payload.pack(&mut packer, &self.prefixes);
                    (id, MaybePacked::Packed(packed))
                }
                Pack::Late => (id, MaybePacked::Planned(payload)),
            })
            .collect();
        drop(packer);
        let ready = Ready {
            events: self.events,
            segment,
            payloads,
            prefixes: self.prefixes,
            reached: self.reached,
            ends: self.ends,
            reservation: self.reservation,
        };
        (ready, self.freed)
    }
}
