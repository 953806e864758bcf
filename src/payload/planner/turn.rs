//! The last request of a conversation and its response, and how the next bodies are packed against them.

use std::ops::Range;

use bytes::Bytes;

use super::body::{CachedBytes, Common, Keep};
use super::fingerprint::Blocks;
use super::key::Key;
use super::{Annotate, ENTRY_BYTES, Note, Overlap, Planned};
use crate::payload::delta::{Bases, PlannedDelta};
use crate::payload::hash::sha256;
use crate::payload::media::{runs_in, widen};

/// Before the cut, so much of the base is part of the prefix.
const WINDOW_BYTES: usize = 2 * 1024;
/// Between the cuts, at most so much of the base is part of the prefix.
const REPLACED_BYTES_MAX: usize = 128 * 1024;
/// At most so much of a response is.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// So many bodies follow each other before one goes back to the keyframe, and so many keyframes follow
/// each other before a body stands alone: together they bound how many rows a read needs.
const DEPTH_MAX: u32 = 96;
const KEYFRAMES_MAX: u32 = 32;
/// Of a conversation that is read back from the file, a body with so many rows below it at most is the keyframe.
pub(crate) const KEYFRAME_DEPTH_RESUMED: u32 = KEYFRAMES_MAX / 2;
/// The depth of a keyframe that was removed.
const KEYFRAME_LOST: u32 = u32::MAX;
/// No chain unpacks more than this: bounds how long a read takes.
const CHAIN_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where a body is in its chain of bases.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ChainPlace {
    /// Rows below it.
    pub(crate) depth: u32,
    /// What reading it unpacks.
    pub(crate) bytes: u64,
    /// The depth of the keyframe that it goes back to.
    pub(crate) keyframe_depth: u32,
}

impl ChainPlace {
    fn can_be_followed(&self) -> bool {
        self.depth < self.keyframe_depth + DEPTH_MAX && self.bytes < CHAIN_BYTES_MAX
    }
}

/// The body that a chain goes back to when it has become long. Conversations grow at their end, so that
/// it is part of every body since: its bytes need not be held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keyframe {
    pub(crate) id: i64,
    pub(crate) depth: u32,
    pub(crate) chain_bytes: u64,
    /// Its first bytes that every body since has kept.
    pub(crate) common: usize,
}

/// A request that others are packed against.
#[derive(Debug, Clone)]
pub(super) struct CachedRequest<N> {
    pub(super) id: i64,
    pub(super) bytes: CachedBytes,
    pub(super) place: ChainPlace,
    pub(super) keyframe: Keyframe,
    /// What the planner's owner keeps with it.
    note: Option<N>,
}

/// A response that others are packed against.
#[derive(Debug, Clone)]
pub(super) struct CachedResponse {
    pub(super) id: i64,
    pub(super) place: ChainPlace,
    /// The first bytes of it.
    bytes: Vec<u8>,
}

impl CachedResponse {
    pub(super) fn new(id: i64, place: ChainPlace, body: &[u8]) -> Self {
        let bytes = body.get(..RESPONSE_BYTES_MAX).unwrap_or(body).to_vec();
        Self { id, place, bytes }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds what serves as prefix. Returns the base, and how many of its first bytes it is.
    fn push(&self, arena: &mut Vec<u8>) -> (i64, u64) {
        arena.extend_from_slice(&self.bytes);
        (self.id, count(self.bytes.len()))
    }
}

impl<N: Note> CachedRequest<N> {
    /// A body that stands alone.
    pub(super) fn alone(
        id: i64,
        blocks: Blocks<'_>,
        annotate: &mut Option<Annotate<'_, N>>,
        keep: Keep,
    ) -> (Self, Planned) {
        let nothing = Overlap {
            previous_length: 0,
            head: 0,
            tail: 0,
        };
        let note = annotate
            .as_mut()
            .and_then(|annotate| annotate(None, nothing));
        let body = blocks.body();
        let media = runs_in(body, 0..body.len());
        let (mut bytes, sha256) = CachedBytes::new(blocks, keep);
        if let Some(end) = note.as_ref().and_then(Note::messages_end) {
            bytes.expect_messages_end(end);
        }
        let mut request = Self {
            id,
            place: ChainPlace {
                bytes: count(bytes.len()),
                ..ChainPlace::default()
            },
            bytes,
            keyframe: Keyframe::default(),
            note,
        };
        request.mark_keyframe();
        (
            request,
            Planned {
                sha256,
                delta: None,
                media,
            },
        )
    }

    /// A body that was read back from the file.
    pub(super) fn resumed(
        id: i64,
        blocks: Blocks<'_>,
        place: ChainPlace,
        keyframe: Keyframe,
        keep: Keep,
    ) -> Self {
        Self {
            id,
            bytes: CachedBytes::new(blocks, keep).0,
            place,
            keyframe,
            note: None,
        }
    }

    /// Memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.held_bytes() + self.note.as_ref().map_or(0, Note::held_bytes)
    }

    pub(super) fn can_be_followed(&self) -> bool {
        self.place.can_be_followed()
    }

    pub(super) fn can_go_back(&self) -> bool {
        let keyframe = &self.keyframe;
        keyframe.depth < KEYFRAMES_MAX
            && keyframe.chain_bytes < CHAIN_BYTES_MAX
            && keyframe.common > self.bytes.len() / 4
    }

    /// Whether the file knows better what it can go on with: its chain is too long for now, and the keyframe that it
    /// went back to is gone, but not what came later.
    pub(super) fn is_to_be_resumed(&self) -> bool {
        !self.can_be_followed() && self.keyframe.depth == KEYFRAME_LOST
    }

    pub(super) fn mark_keyframe(&mut self) {
        self.place.keyframe_depth = self.place.depth;
        self.keyframe = Keyframe {
            id: self.id,
            depth: self.place.depth,
            chain_bytes: self.place.bytes,
            common: self.bytes.len(),
        };
    }

    /// Becomes a body that is planned against the keyframe, and the keyframe of those to come.
    pub(super) fn plan_from_keyframe(
        &mut self,
        id: i64,
        mut blocks: Blocks<'_>,
        annotate: &mut Option<Annotate<'_, N>>,
        keep: Keep,
        arena: &mut Vec<u8>,
    ) -> Planned {
        let body = blocks.body();
        let keyframe = self.keyframe;
        let Common { head, .. } = self.bytes.compare(&mut blocks);
        let common = Common { head, tail: 0 };
        self.annotate(annotate, common);
        let copied = head.min(keyframe.common);
        let from = copied.saturating_sub(WINDOW_BYTES);
        let start = arena.len();
        // What is common is in the body too.
        arena.extend_from_slice(body.get(from..copied).unwrap_or_default());
        let prefix = start..arena.len();
        let (new, media) = NewText::push(body, copied..body.len(), arena);
        let delta = PlannedDelta {
            bases: Bases {
                first: keyframe.id,
                second: None,
            },
            head: new.head,
            tail: new.tail,
            first_range: (count(from), count(copied)),
            second_length: 0,
            prefix,
            new: new.text,
        };
        self.id = id;
        self.place.depth = keyframe.depth + 1;
        self.place.bytes = keyframe
            .chain_bytes
            .saturating_add(count(body.len() - copied));
        let sha256 = self.bytes.absorb(blocks, common, keep);
        self.mark_keyframe();
        Planned {
            sha256,
            delta: Some(delta),
            media,
        }
    }

    /// Becomes the body that follows this one; plans it against this one and the response between.
    pub(super) fn plan_from_previous(
        &mut self,
        response: Option<&CachedResponse>,
        id: i64,
        mut blocks: Blocks<'_>,
        annotate: &mut Option<Annotate<'_, N>>,
        keep: Keep,
        arena: &mut Vec<u8>,
    ) -> Planned {
        let body = blocks.body();
        let common = self.bytes.compare(&mut blocks);
        self.annotate(annotate, common);
        let Common { head, tail } = common;
        let from = head.saturating_sub(WINDOW_BYTES);
        let end = (self.bytes.len() - tail).min(head.saturating_add(REPLACED_BYTES_MAX));
        let start = arena.len();
        // What is common is in the body too.
        arena.extend_from_slice(body.get(from..head).unwrap_or_default());
        let replaced = self.bytes.known(head, end);
        arena.extend_from_slice(replaced);
        let response = response.filter(|response| response.place.can_be_followed());
        let second = response.map(|response| response.push(arena));
        let prefix = start..arena.len();
        let (new, media) = NewText::push(body, head..body.len() - tail, arena);
        let delta = PlannedDelta {
            bases: Bases {
                first: self.id,
                second: second.map(|(id, _)| id),
            },
            head: new.head,
            tail: new.tail,
            first_range: (count(from), count(head + replaced.len())),
            second_length: second.map_or(0, |(_, length)| length),
            prefix,
            new: new.text,
        };
        let second_place = response.map_or(ChainPlace::default(), |response| response.place);
        self.id = id;
        self.place.depth = 1 + self.place.depth.max(second_place.depth);
        self.place.bytes = self
            .place
            .bytes
            .max(second_place.bytes)
            .saturating_add(count(body.len() - head));
        let sha256 = self.bytes.absorb(blocks, common, keep);
        self.keyframe.common = self.keyframe.common.min(head);
        Planned {
            sha256,
            delta: Some(delta),
            media,
        }
    }

    /// Has the note made of the request that follows this one, and has so much in common with it.
    fn annotate(&mut self, annotate: &mut Option<Annotate<'_, N>>, common: Common) {
        let before = self.note.take();
        let Some(annotate) = annotate else { return };
        let overlap = Overlap {
            previous_length: self.bytes.len(),
            head: common.head,
            tail: common.tail,
        };
        self.note = annotate(before, overlap);
    }
}

/// Plans a response against the end of its request's messages and the response before.
pub(super) fn plan_response<N: Note>(
    request: Option<&CachedRequest<N>>,
    before: Option<&CachedResponse>,
    id: i64,
    body: &Bytes,
    arena: &mut Vec<u8>,
) -> (Planned, CachedResponse) {
    let sha256 = sha256(body);
    let request = request.filter(|request| request.can_be_followed());
    let before = before.filter(|before| before.place.can_be_followed());
    let places = [
        request.map(|request| request.place),
        before.map(|before| before.place),
    ];
    let mut place = ChainPlace::default();
    for base in places.into_iter().flatten() {
        place.depth = place.depth.max(base.depth + 1);
        place.bytes = place.bytes.max(base.bytes);
    }
    place.bytes = place.bytes.saturating_add(count(body.len()));
    // A response is no keyframe; it may be followed for as long as its request, or the one before.
    let base = places.into_iter().flatten().next();
    place.keyframe_depth = base.map_or(0, |base| base.keyframe_depth);
    let start = arena.len();
    let delta = match (request, before) {
        (None, None) => None,
        (None, Some(before)) => {
            let (first, length) = before.push(arena);
            Some((first, None, (0, length), 0))
        }
        (Some(request), before) => {
            let (from, end) = request.bytes.before_tail(WINDOW_BYTES);
            arena.extend_from_slice(end);
            let range = (count(from), count(from + end.len()));
            let second = before.map(|before| before.push(arena));
            let length = second.map_or(0, |(_, length)| length);
            Some((request.id, second.map(|(id, _)| id), range, length))
        }
    };
    let prefix = start..arena.len();
    let mut media = Vec::new();
    let delta = delta.map(|(first, second, first_range, second_length)| {
        let new;
        (new, media) = NewText::push(body, 0..body.len(), arena);
        PlannedDelta {
            bases: Bases { first, second },
            head: new.head,
            tail: new.tail,
            first_range,
            second_length,
            prefix,
            new: new.text,
        }
    });
    if delta.is_none() {
        media = runs_in(body, 0..body.len());
    }
    let planned = Planned {
        sha256,
        delta,
        media,
    };
    (planned, CachedResponse::new(id, place, body))
}

/// What a conversation is known by.
#[derive(Debug, Clone)]
pub(super) struct CachedTurn<N> {
    pub(super) request: CachedRequest<N>,
    pub(super) response: Option<CachedResponse>,
    /// What the first body began with.
    pub(super) head: Option<Key>,
    /// What a body without a name is recognised by.
    pub(super) hints: Vec<u64>,
}

impl<N: Note> CachedTurn<N> {
    pub(super) fn held_bytes(&self) -> usize {
        let response = self.response.as_ref().map_or(0, CachedResponse::held_bytes);
        let hints = self.hints.capacity() * size_of::<u64>();
        ENTRY_BYTES + self.request.held_bytes() + response + hints
    }

    /// Whether one of these ids, in ascending ranges, is that of its request or response.
    pub(super) fn needs(&self, ranges: &[(i64, i64)]) -> bool {
        let response = self.response.as_ref();
        is_in(ranges, self.request.id)
            || response.is_some_and(|response| is_in(ranges, response.id))
    }

    /// Goes back to no keyframe any more that is in one of these ranges. What was packed against it is repacked
    /// before it is removed, which only shortens chains. Whether it was to go back to such a keyframe.
    pub(super) fn forget_keyframe(&mut self, ranges: &[(i64, i64)]) -> bool {
        let keyframe = &mut self.request.keyframe;
        let is_lost = is_in(ranges, keyframe.id);
        if is_lost {
            keyframe.depth = KEYFRAME_LOST;
        }
        is_lost
    }
}

fn is_in(ranges: &[(i64, i64)], id: i64) -> bool {
    let range = ranges.partition_point(|(_, last)| *last < id);
    ranges.get(range).is_some_and(|(first, _)| *first <= id)
}

/// What a body has that its base does not.
struct NewText {
    /// Bytes that it repeats of the base's start and end.
    head: u64,
    tail: u64,
    /// Its place in the arena.
    text: Range<usize>,
}

impl NewText {
    /// Adds this part of a body. Also returns its media.
    fn push(body: &[u8], new: Range<usize>, arena: &mut Vec<u8>) -> (Self, Vec<Range<usize>>) {
        let new = widen(body, new);
        let media = runs_in(body, new.clone());
        let start = arena.len();
        arena.extend_from_slice(body.get(new.clone()).unwrap_or_default());
        let text = Self {
            head: count(new.start),
            tail: count(body.len() - new.end),
            text: start..arena.len(),
        };
        (text, media)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
