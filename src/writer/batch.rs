//! A group commit, from its first event to the batch that is written.

use std::sync::Arc;

use super::capacity::Reservation;
use super::lifecycle::{Lifecycle, Stage};
use crate::db::{Batch, Part, Segment, payload_id};
use crate::log::{Event, Fact};
use crate::payload::{EncodedPayload, Packer, PlannedPayload};

/// Requests are packed in groups: the prefixes of one are still in the processor's cache, and the
/// memory of their bodies is given back soon.
const GROUP_PAYLOADS: usize = 32;
const GROUP_PREFIX_BYTES: usize = 512 * 1024;

/// A group commit in the making, and what is to be done once it is committed.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) first_seq: u64,
    pub(super) events: Vec<Event>,
    /// In order of their ids; a place without content waits among `ahead`.
    payloads: Vec<(i64, Option<MaybePacked>)>,
    /// Payloads that the intake packs, by their place, and what they are packed against.
    ahead: Vec<(usize, PlannedPayload)>,
    pub(super) ahead_prefixes: Vec<u8>,
    /// What the committer packs payloads against.
    pub(super) late_prefixes: Vec<u8>,
    pub(super) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(super) ends: Vec<EndNote>,
    /// Bytes of everything that came in.
    pub(super) bytes: u64,
    /// What is given back once `ahead` is packed: the memory of the bodies.
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
    payloads: Vec<(i64, Option<MaybePacked>)>,
    prefixes: Vec<u8>,
    pub(super) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(super) ends: Vec<EndNote>,
    pub(super) reservation: Reservation,
}

impl Ready {
    /// The seq after the last event.
    pub(super) fn end_seq(&self) -> u64 {
        self.segment.end_seq()
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
            .filter_map(|(id, payload)| match payload? {
                MaybePacked::Packed(payload) => Some((id, payload)),
                MaybePacked::Planned(payload) => Some((id, payload.pack(&mut packer, &prefixes))),
            })
            .collect();
        Some(Batch {
            events: std::mem::take(&mut self.events),
            segment: std::mem::take(&mut self.segment),
            payloads,
            checkpoint: None,
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
        let Some(payload) = payload else { return };
        let id = payload_id(seq, part);
        match when {
            Pack::Ahead => {
                self.ahead.push((self.payloads.len(), payload));
                self.payloads.push((id, None));
            }
            Pack::Late => self
                .payloads
                .push((id, Some(MaybePacked::Planned(payload)))),
        }
    }

    /// Whether enough requests have come together to be packed.
    pub(super) fn has_group(&self) -> bool {
        self.ahead.len() >= GROUP_PAYLOADS || self.ahead_prefixes.len() >= GROUP_PREFIX_BYTES
    }

    /// Packs the requests so far, and says what that frees. Responses are left to the committer:
    /// the two threads then have about the same to do.
    pub(super) fn pack_ahead(&mut self) -> Reservation {
        let mut packer = Packer::new();
        for (place, payload) in self.ahead.drain(..) {
            let packed = payload.pack(&mut packer, &self.ahead_prefixes);
            if let Some((_, content)) = self.payloads.get_mut(place) {
                *content = Some(MaybePacked::Packed(packed));
            }
        }
        drop(packer);
        self.ahead_prefixes.clear();
        std::mem::take(&mut self.freed)
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

    /// Everything is packed that the intake packs.
    pub(super) fn into_ready(self, segment: Segment) -> Ready {
        Ready {
            events: self.events,
            segment,
            payloads: self.payloads,
            prefixes: self.late_prefixes,
            reached: self.reached,
            ends: self.ends,
            reservation: self.reservation,
        }
    }
}
