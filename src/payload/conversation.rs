//! Conversations: which recent bodies a body is packed against, and what of it is new.
//!
//! Every request repeats the whole history of its conversation. What it repeats from the start of the request
//! before is a reference, and not even hashed again. The rest is packed with a prefix: the bytes around the
//! cut, and the response in between, which the new part quotes. A response is packed against the end of its
//! request and the response before it.
//!
//! The bodies live in a cache with a bound in bytes. Losing one costs space only: the next starts a new chain.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::delta::{Bases, PlannedDelta};
use super::hash::Hasher;
use super::overlap::{common_head, common_tail};
use crate::model::Digest;

/// Before the cut, so much of the base is part of the prefix.
const WINDOW_BYTES: usize = 2 * 1024;
/// Between the cuts, at most so much of the base is part of the prefix.
const REPLACED_BYTES_MAX: usize = 128 * 1024;
/// At most so much of a response is part of the prefix.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// A chain restarts from its anchor after `DEPTH_MAX` bodies, and after `ANCHORS_MAX` anchors from a body that
/// stands alone: together they bound how many rows are needed to read one body.
const DEPTH_MAX: u32 = 96;
const ANCHORS_MAX: u32 = 32;
/// No chain unpacks more than this: bounds how long a read takes.
const CHAIN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The digest's state is kept after every so many bytes, to continue from there with another body.
const STATE_STEP: usize = 2 * 1024;
/// What may follow the last message of a request that has nothing after its messages.
const CLOSING_BYTES: usize = 64;
/// Bodies that start with so many equal bytes share a head: system prompt, tools.
const HEAD_BYTES: usize = 512;
/// A request without a conversation is compared with this many recent ones with the same head.
const ANONYMOUS_SLOTS: u8 = 8;
/// Shorter bodies stand alone: a frame's own header is as long.
const DELTA_BYTES_MIN: usize = 64;
/// Larger bodies are not held.
const HELD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Memory that an entry takes in addition to its bytes.
const ENTRY_BYTES: usize = 512;

/// What a request continues: the key of the cache. The lifecycle's notes keep it, to pack the response later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A conversation that the gateway named.
    Named(Arc<str>),
    /// One without a name, recognised by the head of its bodies; the slot tells concurrent ones apart.
    Anonymous(u64, u8),
    /// The first body with this head; others are packed against it and do not replace it.
    Head(u64),
}

/// A body that others are packed against.
#[derive(Debug, Clone)]
struct Held<N> {
    id: i64,
    bytes: Vec<u8>,
    /// The digest's state after so many bytes, ascending.
    states: Vec<(usize, Hasher)>,
    depth: u32,
    chain_bytes: u64,
    anchor: Anchor,
    /// What the planner's owner keeps with it.
    note: Option<N>,
}

impl<N> Default for Held<N> {
    fn default() -> Self {
        Self {
            id: 0,
            bytes: Vec::new(),
            states: Vec::new(),
            depth: 0,
            chain_bytes: 0,
            anchor: Anchor::default(),
            note: None,
        }
    }
}

/// What the owner of a planner keeps with each request's body. The planner knows only how large it is.
pub(crate) trait Note: Clone {
    /// Memory that it takes, in bytes.
    fn held_bytes(&self) -> usize;
}

/// What a request's body has in common with the body before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlap {
    /// Bytes of the body before.
    pub(crate) previous_length: usize,
    /// Bytes that both begin with.
    pub(crate) head: usize,
    /// Bytes that both end with, after those.
    pub(crate) tail: usize,
}

/// Makes the note of a request's body from that of the body before it.
pub(crate) type Annotate<'a, N> = &'a mut dyn FnMut(Option<N>, Overlap) -> Option<N>;

/// The body from which a long chain restarts. Conversations grow at their end, so the anchor is the beginning
/// of every later body, and its own bytes need not be kept.
#[derive(Debug, Clone, Copy, Default)]
struct Anchor {
    id: i64,
    depth: u32,
    chain_bytes: u64,
    /// How many of its first bytes every body since has repeated.
    common: usize,
}

/// The last request of a conversation and its response: the entry of the cache.
#[derive(Debug, Clone)]
struct Turn<N> {
    request: Held<N>,
    response: Option<Held<N>>,
    head: Option<u64>,
    used: u64,
}

impl<N: Note> Turn<N> {
    fn held_bytes(&self) -> usize {
        let response = self.response.as_ref().map_or(0, Held::held_bytes);
        ENTRY_BYTES + self.request.held_bytes() + response
    }
}

/// A body, digested, and how it is to be packed.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) sha256: Digest,
    pub(crate) delta: Option<PlannedDelta>,
}

/// Decides what each body is packed against, from a cache of recent bodies. Owned by the intake's thread. A
/// removal empties it: nothing may be packed against bodies that are removed.
#[derive(Debug)]
pub(crate) struct DeltaPlanner<N> {
    turns: HashMap<Key, Turn<N>>,
    /// Keys in the order of their use; stale entries are skipped.
    order: VecDeque<(u64, Key)>,
    clock: u64,
    held_bytes: usize,
    bytes_max: usize,
    next_slot: u8,
}

impl<N: Note> DeltaPlanner<N> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            turns: HashMap::new(),
            order: VecDeque::new(),
            clock: 0,
            held_bytes: 0,
            bytes_max,
            next_slot: 0,
        }
    }

    /// Digests a request and plans its packing. `texts` collects what is packed, and against what. `annotate` is
    /// called unless the body is too short or too long for the cache. The response needs the key. Three cases:
    /// (1) The chain is short: the body is planned against the request before, and the response between them.
    /// (2) The chain is long: it is planned against the anchor, and is the next anchor. (3) New conversation, or
    /// anchors used up: it is planned against the first body with its head (system prompt, tools), or alone.
    pub(crate) fn request(
        &mut self,
        conversation: Option<Arc<str>>,
        id: i64,
        body: &Bytes,
        mut annotate: Option<Annotate<'_, N>>,
        texts: &mut Vec<u8>,
    ) -> (Planned, Option<Key>) {
        let annotate = &mut annotate;
        let key = self.key_for(conversation, body);
        let Some(key) = key.filter(|_| is_held(body)) else {
            return (alone(body), None);
        };
        let mut turn = self.take(&key);
        let planned = match &mut turn {
            Some(turn) if turn.request.can_be_followed() => {
                turn.request
                    .follow(turn.response.as_ref(), id, body, annotate, texts)
            }
            Some(turn) if turn.request.can_go_back() => {
                turn.response = None;
                turn.request.go_back(id, body, annotate, texts)
            }
            _ => {
                let head = head_of(body);
                if let Some(head) = head {
                    self.touch(Key::Head(head));
                }
                let root = head
                    .and_then(|head| self.turns.get(&Key::Head(head)))
                    .filter(|root| root.request.can_be_followed());
                let mut request = root.map(|root| root.request.clone()).unwrap_or_default();
                let planned = match root {
                    Some(root) => {
                        let planned =
                            request.follow(root.response.as_ref(), id, body, annotate, texts);
                        request.become_anchor();
                        planned
                    }
                    None => request.start(id, body, annotate),
                };
                turn = Some(Turn {
                    request,
                    response: None,
                    head,
                    used: 0,
                });
                planned
            }
        };
        if let Some(turn) = turn {
            // The first body with a head that stands alone becomes the root for later conversations.
            if let Some(head) = turn.head
                && turn.request.depth == 0
                && !self.turns.contains_key(&Key::Head(head))
            {
                self.put(Key::Head(head), turn.clone());
            }
            self.put(key.clone(), turn);
        }
        (planned, Some(key))
    }

    /// Digests a response and plans its packing.
    pub(crate) fn response(
        &mut self,
        key: Option<&Key>,
        request_id: i64,
        id: i64,
        body: &Bytes,
        texts: &mut Vec<u8>,
    ) -> Planned {
        let Some(key) = key.filter(|_| is_held(body)) else {
            return alone(body);
        };
        let Some(mut turn) = self.take(key) else {
            return alone(body);
        };
        // A newer request of the conversation may have taken its place.
        let own = (turn.request.id == request_id).then_some(&turn.request);
        let root = turn.head.map(Key::Head);
        let before = turn.response.as_ref().or_else(|| {
            let root = root.as_ref().and_then(|root| self.turns.get(root))?;
            root.response.as_ref()
        });
        let (planned, held) = respond(own, before, id, body, texts);
        if own.is_some() {
            if let Some(root) = root.as_ref().and_then(|root| self.turns.get_mut(root))
                && root.request.id == request_id
                && root.response.is_none()
            {
                root.response = Some(held.clone());
                self.held_bytes = self.held_bytes.saturating_add(held.held_bytes());
            }
            turn.response = Some(held);
        }
        self.put(key.clone(), turn);
        planned
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn key_for(&mut self, conversation: Option<Arc<str>>, body: &[u8]) -> Option<Key> {
        if let Some(name) = conversation {
            return Some(Key::Named(name));
        }
        let head = head_of(body)?;
        let best = (0..ANONYMOUS_SLOTS)
            .filter_map(|slot| {
                let turn = self.turns.get(&Key::Anonymous(head, slot))?;
                let common = common_head(&turn.request.bytes, body);
                Some((common, turn.request.bytes.len(), slot))
            })
            .max();
        let slot = match best {
            // It repeats at least half of that body, so it continues the same conversation.
            Some((common, length, slot)) if common >= length / 2 => slot,
            _ => {
                self.next_slot = (self.next_slot + 1) % ANONYMOUS_SLOTS;
                self.next_slot
            }
        };
        Some(Key::Anonymous(head, slot))
    }

    fn take(&mut self, key: &Key) -> Option<Turn<N>> {
        let turn = self.turns.remove(key)?;
        self.held_bytes = self.held_bytes.saturating_sub(turn.held_bytes());
        Some(turn)
    }

    /// Marks an entry as used.
    fn touch(&mut self, key: Key) {
        if let Some(turn) = self.take(&key) {
            self.put(key, turn);
        }
    }

    fn put(&mut self, key: Key, mut turn: Turn<N>) {
        self.clock += 1;
        turn.used = self.clock;
        self.held_bytes = self.held_bytes.saturating_add(turn.held_bytes());
        self.order.push_back((self.clock, key.clone()));
        if let Some(before) = self.turns.insert(key, turn) {
            self.held_bytes = self.held_bytes.saturating_sub(before.held_bytes());
        }
        while self.held_bytes > self.bytes_max || self.order.len() > 4 * self.turns.len() + 64 {
            let Some((used, key)) = self.order.pop_front() else {
                break;
            };
            if self.turns.get(&key).is_some_and(|turn| turn.used == used) {
                if self.held_bytes > self.bytes_max {
                    self.take(&key);
                } else {
                    self.order.push_back((used, key));
                    break;
                }
            }
        }
    }
}

impl<N: Note> Held<N> {
    /// Memory that it takes: what is reserved, not what is filled.
    fn held_bytes(&self) -> usize {
        let note = self.note.as_ref().map_or(0, Note::held_bytes);
        self.bytes.capacity() + self.states.capacity() * size_of::<(usize, Hasher)>() + note
    }

    fn can_be_followed(&self) -> bool {
        self.depth < self.anchor.depth + DEPTH_MAX && self.chain_bytes < CHAIN_BYTES_MAX
    }

    fn can_go_back(&self) -> bool {
        let anchor = &self.anchor;
        anchor.depth < ANCHORS_MAX
            && anchor.chain_bytes < CHAIN_BYTES_MAX
            && anchor.common > self.bytes.len() / 4
    }

    /// Becomes a body that stands alone.
    fn start(&mut self, id: i64, body: &[u8], annotate: &mut Option<Annotate<'_, N>>) -> Planned {
        self.annotate(annotate, 0, 0);
        let sha256 = self.become_body(id, body, 0, 0);
        self.depth = 0;
        self.chain_bytes = count(body.len());
        self.become_anchor();
        Planned {
            sha256,
            delta: None,
        }
    }

    fn become_anchor(&mut self) {
        self.anchor = Anchor {
            id: self.id,
            depth: self.depth,
            chain_bytes: self.chain_bytes,
            common: self.bytes.len(),
        };
    }

    /// Becomes a body that is planned against the anchor, and the anchor of those to come.
    fn go_back(
        &mut self,
        id: i64,
        body: &Bytes,
        annotate: &mut Option<Annotate<'_, N>>,
        texts: &mut Vec<u8>,
    ) -> Planned {
        let anchor = self.anchor;
        let cut = common_head(&self.bytes, body);
        self.annotate(annotate, cut, 0);
        let copied = cut.min(anchor.common);
        let from = copied.saturating_sub(WINDOW_BYTES);
        let start = texts.len();
        texts.extend_from_slice(self.bytes.get(from..copied).unwrap_or_default());
        let prefix = start..texts.len();
        let delta = PlannedDelta {
            bases: Bases {
                first: anchor.id,
                second: None,
            },
            head: count(copied),
            tail: 0,
            first_range: (count(from), count(copied)),
            second_length: 0,
            prefix,
            new: push_new(body.get(copied..), texts),
        };
        self.depth = anchor.depth + 1;
        self.chain_bytes = anchor
            .chain_bytes
            .saturating_add(count(body.len() - copied));
        let sha256 = self.become_body(id, body, cut, 0);
        self.become_anchor();
        Planned {
            sha256,
            delta: Some(delta),
        }
    }

    /// Plans the next body against this one and the response between them, and becomes it. Both bodies begin
    /// alike (`cut` bytes) and end alike (`tail` bytes): these are references. The prefix for what is new is
    /// what it may quote: the window before the cut, the part that it replaces, and the response.
    fn follow(
        &mut self,
        response: Option<&Held<N>>,
        id: i64,
        body: &Bytes,
        annotate: &mut Option<Annotate<'_, N>>,
        texts: &mut Vec<u8>,
    ) -> Planned {
        let cut = common_head(&self.bytes, body);
        let from = cut.saturating_sub(WINDOW_BYTES);
        let tail = common_tail(
            self.bytes.get(cut..).unwrap_or_default(),
            body.get(cut..).unwrap_or_default(),
        );
        self.annotate(annotate, cut, tail);
        let end = self.bytes.len() - tail;
        let to = end.min(cut.saturating_add(REPLACED_BYTES_MAX));
        let start = texts.len();
        texts.extend_from_slice(self.bytes.get(from..to).unwrap_or_default());
        let response = response.filter(|response| response.can_be_followed());
        let second = response.map(|response| push_response(response, texts));
        let prefix = start..texts.len();
        let delta = PlannedDelta {
            bases: Bases {
                first: self.id,
                second: second.map(|(id, _)| id),
            },
            head: count(cut),
            tail: count(tail),
            first_range: (count(from), count(to)),
            second_length: second.map_or(0, |(_, length)| length),
            prefix,
            new: push_new(body.get(cut..body.len() - tail), texts),
        };
        let response_chain = response.map_or((0, 0), |held| (held.depth, held.chain_bytes));
        self.depth = 1 + self.depth.max(response_chain.0);
        self.chain_bytes = self
            .chain_bytes
            .max(response_chain.1)
            .saturating_add(count(body.len() - cut));
        let sha256 = self.become_body(id, body, cut, tail);
        self.anchor.common = self.anchor.common.min(cut);
        Planned {
            sha256,
            delta: Some(delta),
        }
    }

    /// Has the note made of the request that follows this one, and has `head` bytes at its start and `tail`
    /// bytes at its end in common with it.
    fn annotate(&mut self, annotate: &mut Option<Annotate<'_, N>>, head: usize, tail: usize) {
        let before = self.note.take();
        let Some(annotate) = annotate else { return };
        let overlap = Overlap {
            previous_length: self.bytes.len(),
            head,
            tail,
        };
        self.note = annotate(before, overlap);
    }

    /// Takes the bytes in, of which the first `common` are here already, and digests what is new.
    /// `tail` bytes at the end are those of the body before.
    fn become_body(&mut self, id: i64, body: &[u8], common: usize, tail: usize) -> Digest {
        self.id = id;
        self.bytes.truncate(common);
        let new = body.get(common..).unwrap_or_default();
        // Some capacity to grow, but not twice the body: the cache is bounded by what it reserves.
        if self.bytes.capacity() - common < new.len() {
            self.bytes.reserve_exact(new.len() + body.len() / 8);
        }
        self.bytes.extend_from_slice(new);
        let kept = self.states.partition_point(|(at, _)| *at <= common);
        self.states.truncate(kept);
        let (mut at, mut hasher) = self.states.last().cloned().unwrap_or_default();
        // The last state lies just before the closing brackets, or before the tools and parameters that
        // close every request of the conversation: there the next one goes on.
        let closing = if tail > 0 { tail } else { CLOSING_BYTES };
        let last_state = body.len().saturating_sub(closing);
        while at < last_state {
            let end = (at + STATE_STEP).min(last_state);
            hasher.update(body.get(at..end).unwrap_or_default());
            at = end;
            self.states.push((at, hasher.clone()));
        }
        hasher.update(body.get(at..).unwrap_or_default());
        hasher.finish()
    }
}

/// Plans a response against the end of its request (`own`) and the response before (`before`). Either may be
/// missing: `own` if a newer request has taken its place, `before` in a conversation's first turn.
fn respond<N: Note>(
    own: Option<&Held<N>>,
    before: Option<&Held<N>>,
    id: i64,
    body: &Bytes,
    texts: &mut Vec<u8>,
) -> (Planned, Held<N>) {
    let sha256 = super::sha256(body);
    let own = own.filter(|held| held.can_be_followed());
    let before = before.filter(|held| held.can_be_followed());
    let mut held = Held {
        id,
        bytes: body.to_vec(),
        ..Held::default()
    };
    let (depth, chain_bytes) = [own, before]
        .into_iter()
        .flatten()
        .map(|base| (base.depth + 1, base.chain_bytes))
        .fold((0, 0), |(depth, bytes), base| {
            (depth.max(base.0), bytes.max(base.1))
        });
    held.depth = depth;
    // No anchor of its own: it may be followed as long as its request, or as the response before.
    held.anchor.depth = own.or(before).map_or(0, |base| base.anchor.depth);
    held.chain_bytes = chain_bytes.saturating_add(count(body.len()));
    let start = texts.len();
    let delta = match (own, before) {
        (None, None) => None,
        (None, Some(before)) => {
            let (first, length) = push_response(before, texts);
            Some((first, None, (0, length), 0))
        }
        (Some(own), before) => {
            let from = own.bytes.len().saturating_sub(WINDOW_BYTES);
            texts.extend_from_slice(own.bytes.get(from..).unwrap_or_default());
            let range = (count(from), count(own.bytes.len()));
            let second = before.map(|before| push_response(before, texts));
            let length = second.map_or(0, |(_, length)| length);
            Some((own.id, second.map(|(id, _)| id), range, length))
        }
    };
    let prefix = start..texts.len();
    let delta = delta.map(|(first, second, first_range, second_length)| PlannedDelta {
        bases: Bases { first, second },
        head: 0,
        tail: 0,
        first_range,
        second_length,
        prefix,
        new: push_new(Some(body), texts),
    });
    (Planned { sha256, delta }, held)
}

fn push_response<N>(response: &Held<N>, texts: &mut Vec<u8>) -> (i64, u64) {
    let length = response.bytes.len().min(RESPONSE_BYTES_MAX);
    texts.extend_from_slice(response.bytes.get(..length).unwrap_or_default());
    (response.id, count(length))
}

fn push_new(new: Option<&[u8]>, texts: &mut Vec<u8>) -> Range<usize> {
    let start = texts.len();
    texts.extend_from_slice(new.unwrap_or_default());
    start..texts.len()
}

fn is_held(body: &[u8]) -> bool {
    (DELTA_BYTES_MIN..=HELD_BYTES_MAX).contains(&body.len())
}

fn alone(body: &[u8]) -> Planned {
    Planned {
        sha256: super::sha256(body),
        delta: None,
    }
}

fn head_of(body: &[u8]) -> Option<u64> {
    let head = body.get(..HEAD_BYTES)?;
    let mut hasher = DefaultHasher::new();
    head.hash(&mut hasher);
    Some(hasher.finish())
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
