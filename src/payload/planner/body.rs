//! A request's body as it is kept for the next one of its conversation.
//!
//! It is kept whole while it is warm, and as a few KiB afterwards: fingerprints of its blocks, the bytes
//! around the place where the next body will probably part from it, and states of its digest. A body that
//! is compared by fingerprints is found to share whole blocks, and bytes where these bytes are kept.

use crate::model::Digest;
use crate::payload::hash::Hasher;
use crate::payload::overlap::{TAIL_BYTES_MIN, common_head, common_tail};

use super::fingerprint::{BLOCK_BYTES, Blocks, Fingerprint, FingerprintKey, from_end};
use super::unnamed::Beginnings;
use super::{CLOSING_BYTES, Domain};

/// States of the digest are kept at this distance near the end of the messages, where the next body parts,
/// and at the other one before that.
const STATE_STEP: usize = 2 * 1024;
const STATE_STEP_FAR: usize = 32 * 1024;
/// So far before the end of the messages states are kept at the short distance.
const STATES_NEAR_BYTES: usize = 16 * 1024;
/// So many of the last states are kept of a body that is not kept whole.
const STATES_LAST: usize = 2;
/// How much of a body is kept around the place where the next one will part from it: this much before the
/// place where it parted last time, and so much at most.
const EDGE_BYTES_MIN: usize = 512;
const EDGE_BYTES_MAX: usize = 32 * 1024;
/// Of a body whose end has not been compared yet, so many bytes have fingerprints from the end.
const UNKNOWN_TAIL_BYTES_MAX: usize = 256 * 1024;

/// What a body has in common with the one before it: bytes that both begin with, and bytes after those
/// that both end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) head: usize,
    pub(super) tail: usize,
}

/// How a body is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep {
    pub(super) is_whole: bool,
    /// It is found by its fingerprints.
    pub(super) is_indexed: bool,
}

/// The bytes that are kept.
#[derive(Debug, Clone)]
enum Kept {
    Whole(Vec<u8>),
    Edge(Edge),
}

/// The bytes around the place where the next body will probably part from this one.
#[derive(Debug, Clone)]
struct Edge {
    start: usize,
    bytes: Vec<u8>,
    /// Of the part of a block before them.
    before: Fingerprint,
}

/// One body.
#[derive(Debug, Clone)]
pub(super) struct CachedBytes {
    length: usize,
    kept: Kept,
    /// Of whole blocks from the start, up to the tail. Where the body is kept whole, only if it is found by
    /// them.
    blocks: Vec<Fingerprint>,
    /// Of whole blocks from the end, as far as bodies of the conversation end with the same bytes; only
    /// where the body is not kept whole.
    tail_blocks: Vec<Fingerprint>,
    /// Bytes at the end that this body and the one before have in common, or after the messages where there
    /// was none; `None`: where those end is not known.
    tail: Option<usize>,
    /// How far before the tail this body parted from the one before.
    reach: usize,
    /// The digest's state after so many bytes, ascending.
    states: Vec<(usize, Hasher)>,
}

impl CachedBytes {
    /// The digest is that of the body.
    pub(super) fn new(blocks: Blocks<'_>, keep: Keep) -> (Self, Digest) {
        let mut new = Self {
            length: 0,
            kept: Kept::Whole(Vec::new()),
            blocks: Vec::new(),
            tail_blocks: Vec::new(),
            tail: None,
            reach: 0,
            states: Vec::new(),
        };
        let nothing = Common { head: 0, tail: 0 };
        let digest = new.absorb(blocks, nothing, keep);
        new.tail = None;
        (new, digest)
    }

    /// What follows is probably in the next body too.
    pub(super) fn expect_messages_end(&mut self, end: usize) {
        self.tail = self.length.checked_sub(end);
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Bytes at its end that the body before it ends with too.
    pub(super) fn tail(&self) -> usize {
        self.tail.unwrap_or(0)
    }

    /// What the next body begins with, so far as it has fingerprints.
    pub(super) fn beginnings(&self, domain: Domain) -> Beginnings {
        let end = self.length.saturating_sub(self.tail().max(CLOSING_BYTES));
        let blocks = self.blocks.get(..end / BLOCK_BYTES);
        Beginnings::new(domain, blocks.unwrap_or(&self.blocks))
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self.kept, Kept::Whole(_))
    }

    /// Memory that it takes: what is reserved, not what is filled.
    pub(super) fn held_bytes(&self) -> usize {
        let (Kept::Whole(bytes) | Kept::Edge(Edge { bytes, .. })) = &self.kept;
        let fingerprints = self.blocks.capacity() + self.tail_blocks.capacity();
        bytes.capacity()
            + fingerprints * size_of::<Fingerprint>()
            + self.states.capacity() * size_of::<(usize, Hasher)>()
    }

    /// What the new body has in common with this one, or a little less.
    pub(super) fn compare(&self, blocks: &mut Blocks<'_>) -> Common {
        let body = blocks.body();
        let head = match &self.kept {
            Kept::Whole(bytes) => {
                let head = common_head(bytes, body);
                let same = self.blocks.get(..head / BLOCK_BYTES);
                blocks.adopt(same.unwrap_or(&self.blocks));
                head
            }
            Kept::Edge(edge) => {
                let head = blocks.count_common(&self.blocks) * BLOCK_BYTES;
                let head = edge.extend(head, blocks);
                let known = self.known_from(head).unwrap_or_default();
                head + common_head(known, body.get(head..).unwrap_or_default())
            }
        };
        let rest = self.length.min(body.len()) - head;
        let tail = blocks.count_common_from_end(&self.tail_blocks, rest) * BLOCK_BYTES;
        // Where bytes before those blocks are kept, they say where exactly the common end begins.
        let known = self.known_until(self.length - tail);
        let known = known
            .get(known.len() - known.len().min(rest - tail)..)
            .unwrap_or_default();
        let before = body.get(head..body.len() - tail).unwrap_or_default();
        let tail = tail + common_tail(known, before);
        let is_worth_it = tail >= TAIL_BYTES_MIN;
        Common {
            head,
            tail: if is_worth_it { tail } else { 0 },
        }
    }

    /// Bytes from `from` to `to`, or to where no more are kept.
    pub(super) fn known(&self, from: usize, to: usize) -> &[u8] {
        let known = self.known_from(from).unwrap_or_default();
        known
            .get(..(to.saturating_sub(from)).min(known.len()))
            .unwrap_or_default()
    }

    /// The last bytes before those that all bodies of the conversation end with, and where they begin.
    pub(super) fn before_tail(&self, bytes_max: usize) -> (usize, &[u8]) {
        let known = self.known_until(self.length - self.tail.unwrap_or(0));
        let end = self.length - self.tail.unwrap_or(0);
        let known = known.get(known.len() - known.len().min(bytes_max)..);
        let known = known.unwrap_or_default();
        (end - known.len(), known)
    }

    /// Becomes the next body, which has so much in common with this one; digests what is new.
    pub(super) fn absorb(&mut self, blocks: Blocks<'_>, common: Common, keep: Keep) -> Digest {
        let body = blocks.body();
        let key = blocks.key();
        let parted = common.head + common.tail;
        self.reach = self.length.saturating_sub(parted);
        self.tail = Some(common.tail);
        let digest = self.digest(body, common);
        self.length = body.len();
        self.blocks = if keep.is_indexed || !keep.is_whole {
            blocks.into_first(body.len() - common.tail)
        } else {
            Vec::new()
        };
        match &mut self.kept {
            Kept::Whole(bytes) if keep.is_whole => {
                bytes.truncate(common.head);
                let new = body.get(common.head..).unwrap_or_default();
                // Some capacity to grow, but not twice the body: the cache is bounded by what it reserves.
                if bytes.capacity() - common.head < new.len() {
                    bytes.reserve_exact(new.len() + body.len() / 8);
                }
                bytes.extend_from_slice(new);
            }
            kept if keep.is_whole => {
                *kept = Kept::Whole(body.to_vec());
                self.tail_blocks = Vec::new();
            }
            _ => self.keep_edge(key, body),
        }
        digest
    }

    /// Keeps fingerprints and a few KiB in place of the bytes.
    pub(super) fn shrink(&mut self, key: FingerprintKey) {
        let Kept::Whole(bytes) = &mut self.kept else {
            return;
        };
        let body = std::mem::take(bytes);
        if self.blocks.is_empty() {
            let length = body.len() - self.tail();
            self.blocks = Blocks::new(key, &body).into_first(length);
        }
        self.keep_edge(key, &body);
    }

    fn keep_edge(&mut self, key: FingerprintKey, body: &[u8]) {
        let compared = self.tail.unwrap_or(UNKNOWN_TAIL_BYTES_MAX).min(body.len());
        let count = compared / BLOCK_BYTES;
        // Those that the body before had are the same.
        if self.tail_blocks.len() < count || self.tail.is_none() {
            self.tail_blocks = from_end(key, body, compared);
        }
        self.tail_blocks.truncate(count);
        // Exactly as many as there are: thousands of conversations keep them.
        self.tail_blocks.shrink_to_fit();
        let parts = body.len() - self.tail().min(body.len());
        let start = parts.saturating_sub(EDGE_BYTES_MAX.min(self.reach + EDGE_BYTES_MIN));
        // Fingerprints from the end cover whole blocks only.
        let end = parts + self.tail() % BLOCK_BYTES;
        self.kept = Kept::Edge(Edge::new(key, body, start, end));
        // The next body probably goes on from the last state.
        let count = self.states.len();
        let mut index = 0;
        let mut far_step = None;
        self.states.retain(|(at, _)| {
            index += 1;
            let step = Some(at / STATE_STEP_FAR);
            std::mem::replace(&mut far_step, step) != step || index + STATES_LAST > count
        });
        self.states.shrink_to_fit();
    }

    /// What is kept from a position on; `None`: nothing.
    fn known_from(&self, from: usize) -> Option<&[u8]> {
        match &self.kept {
            Kept::Whole(bytes) => bytes.get(from..),
            Kept::Edge(edge) => edge.bytes.get(from.checked_sub(edge.start)?..),
        }
    }

    /// What is kept before a position, up to it.
    fn known_until(&self, to: usize) -> &[u8] {
        let known = match &self.kept {
            Kept::Whole(bytes) => bytes.get(..to),
            Kept::Edge(edge) => to
                .checked_sub(edge.start)
                .and_then(|to| edge.bytes.get(..to)),
        };
        known.unwrap_or_default()
    }

    /// The digest of the body, from the last state that lies in what is common.
    fn digest(&mut self, body: &[u8], common: Common) -> Digest {
        // The last state lies just before the closing brackets, or before the tools and parameters that
        // close every request of the conversation: there the next one goes on.
        let closing = if common.tail > 0 {
            common.tail
        } else {
            CLOSING_BYTES
        };
        let last_state = body.len().saturating_sub(closing);
        let near = last_state.saturating_sub(STATES_NEAR_BYTES);
        // Far from the end, the first state of each long step is enough.
        let mut far_step = None;
        let mut is_kept = |at: usize| {
            let step = Some(at / STATE_STEP_FAR);
            at >= near || std::mem::replace(&mut far_step, step) != step
        };
        let count = self.states.partition_point(|(at, _)| *at <= common.head);
        self.states.truncate(count);
        let (mut at, mut hasher) = self.states.last().cloned().unwrap_or_default();
        self.states.retain(|(at, _)| is_kept(*at));
        while at < last_state {
            let end = (at + STATE_STEP).min(last_state);
            hasher.update(body.get(at..end).unwrap_or_default());
            at = end;
            if is_kept(at) {
                self.states.push((at, hasher.clone()));
            }
        }
        hasher.update(body.get(at..).unwrap_or_default());
        hasher.finish()
    }
}

impl Edge {
    fn new(key: FingerprintKey, body: &[u8], start: usize, end: usize) -> Self {
        let block = start / BLOCK_BYTES * BLOCK_BYTES;
        Self {
            start,
            bytes: body.get(start..end).unwrap_or_default().to_vec(),
            before: key.fingerprint(body.get(block..start).unwrap_or_default()),
        }
    }

    /// Where the common head ends that has so many bytes of whole blocks: at these bytes, if it reaches them.
    fn extend(&self, head: usize, blocks: &Blocks<'_>) -> usize {
        let is_next = head == self.start / BLOCK_BYTES * BLOCK_BYTES;
        let between = blocks.body().get(head..self.start).filter(|_| is_next);
        match between {
            Some(between) if blocks.key().fingerprint(between) == self.before => self.start,
            _ => head,
        }
    }
}
