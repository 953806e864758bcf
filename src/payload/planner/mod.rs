//! Plans against which recent bodies a body is packed and how, and digests what of it is new.
//!
//! A gateway sees a conversation's whole history again in every request. What a request repeats from the
//! start of the one before it is a reference, and not even hashed again; the rest is packed with the
//! surroundings of the cut, and the response in between, as prefix: the new part of a request quotes that
//! response. A response is packed against the end of its request and the response before it.
//!
//! What serves lives in a cache that is bounded by bytes. To follow a conversation takes a few KiB, not its
//! last body: tens of thousands are followed at the same time. Losing one costs space, nothing else: the
//! next body of its conversation starts a new chain, unless it is found in the file again.

mod body;
mod cache;
mod fingerprint;
mod key;
mod turn;
mod unnamed;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::delta::PlannedDelta;
use super::media::runs_in;
use crate::model::Digest;
use body::{Common, Keep};
use cache::{Taken, TurnCache};
use fingerprint::Blocks;
pub(crate) use fingerprint::FingerprintKey;
use key::KeyKind;
pub(crate) use key::{Domain, Key};
use turn::{CachedRequest, CachedResponse, CachedTurn, plan_response};
pub(crate) use turn::{ChainPlace, KEYFRAME_DEPTH_RESUMED, Keyframe};
use unnamed::{Beginnings, UnnamedIndex};

/// Bodies that start with so many equal bytes share a head: system prompt, tools.
const HEAD_BYTES: usize = 512;
/// Shorter bodies stand alone: a frame's own header is as long.
const DELTA_BYTES_MIN: u64 = 64;
/// Longer bodies stand alone too, because reading them would unpack more than a chain may.
pub(crate) const DELTA_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// What may follow the last message of a request that has nothing after its messages.
const CLOSING_BYTES: usize = 64;
/// What an entry takes beside its bytes, in the tables by which it is found too.
const ENTRY_BYTES: usize = 768;
/// One body in so many is digested in full and the digest compared with the resumed one.
const CHECKED_EACH: u64 = if cfg!(debug_assertions) { 8 } else { 4096 };

/// What the owner of a planner keeps with each request's body. The planner knows only how large it is.
pub(crate) trait Note: Clone {
    /// Memory that it takes, in bytes.
    fn held_bytes(&self) -> usize;

    /// Where the messages of the body end, so far as it is known: the next body probably parts from it there.
    fn messages_end(&self) -> Option<usize>;
}

/// What a request's body has in common with the body before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlap {
    /// Bytes of the body before.
    pub(crate) previous_length: usize,
    /// Bytes that both begin with; there may be some more.
    pub(crate) head: usize,
    /// Bytes that both end with, after those; there may be some more.
    pub(crate) tail: usize,
}

/// Makes the note of a request's body from that of the body before it.
pub(crate) type Annotate<'a, N> = &'a mut dyn FnMut(Option<N>, Overlap) -> Option<N>;

/// A body, digested, and how it is to be packed.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) sha256: Digest,
    pub(crate) delta: Option<PlannedDelta>,
    /// Where it has media that are not in its base.
    pub(crate) media: Vec<Range<usize>>,
}

/// The last bodies of a conversation, read back from the file.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) id: i64,
    pub(crate) body: Arc<Vec<u8>>,
    pub(crate) place: ChainPlace,
    pub(crate) keyframe: Keyframe,
    /// The response's id and body.
    pub(crate) response: Option<(i64, Arc<Vec<u8>>)>,
}

/// How many bodies were packed against what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PlanCounts {
    /// Against earlier bodies of their conversation.
    pub(crate) continued: u64,
    /// Against the first body that begins with the same bytes.
    pub(crate) shared_head: u64,
    /// Against nothing, for want of a base.
    pub(crate) alone: u64,
    /// Conversations that were read back from the file.
    pub(crate) resumed: u64,
}

/// The planner and its cache. Belongs to the thread that prepares batches.
#[derive(Debug)]
pub(crate) struct DeltaPlanner<N> {
    key: FingerprintKey,
    cache: TurnCache<N>,
    unnamed: UnnamedIndex,
    counts: PlanCounts,
    planned: u64,
    has_let_go: bool,
    /// What is being removed, in ascending ranges of ids.
    forgotten: Vec<(i64, i64)>,
}

impl<N: Note> DeltaPlanner<N> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let key = FingerprintKey::random();
        Self {
            key,
            cache: TurnCache::new(key, bytes_max),
            unnamed: UnnamedIndex::default(),
            counts: PlanCounts::default(),
            planned: 0,
            has_let_go: false,
            forgotten: Vec::new(),
        }
    }

    pub(crate) fn counts(&self) -> PlanCounts {
        self.counts
    }

    /// Digests a request and plans its packing. `arena` collects what is packed and against what.
    /// `annotate` is called unless the body is too short or too long to be held.
    /// The key is to be given back with the response.
    pub(crate) fn request(
        &mut self,
        domain: Domain,
        conversation: Option<&str>,
        id: i64,
        body: &Bytes,
        mut annotate: Option<Annotate<'_, N>>,
        arena: &mut Vec<u8>,
    ) -> (Planned, Option<Key>) {
        if !is_held(body) {
            return (alone(body), None);
        }
        let annotate = &mut annotate;
        let mut blocks = Blocks::new(self.key, body);
        let key = match conversation {
            Some(name) => Key::new(self.key, KeyKind::Named, domain, name.as_bytes()),
            None => {
                let Some(head) = self.head_of(domain, body) else {
                    return (alone(body), None);
                };
                self.recognise(domain, head, &mut blocks)
            }
        };
        self.cache.note_traffic(body.len());
        let (turn, planned) = match self.cache.take(&key) {
            Some(taken) if taken.turn.request.can_be_followed() => {
                self.counts.continued += 1;
                let keep = self.keep_for(key, &taken, body);
                let mut turn = taken.turn;
                let planned = turn.request.plan_from_previous(
                    turn.response.as_ref(),
                    id,
                    blocks,
                    annotate,
                    keep,
                    arena,
                );
                (turn, planned)
            }
            Some(taken) if taken.turn.request.can_go_back() => {
                self.counts.continued += 1;
                let keep = self.keep_for(key, &taken, body);
                let mut turn = taken.turn;
                turn.response = None;
                let request = &mut turn.request;
                let planned = request.plan_from_keyframe(id, blocks, annotate, keep, arena);
                (turn, planned)
            }
            too_long => {
                let too_long = too_long.map(|taken| (key, taken.turn));
                self.forget_hints(too_long);
                self.begin(domain, key, id, blocks, annotate, arena)
            }
        };
        if let Some(checked) = self.check(&planned, body) {
            if let Some(delta) = planned.delta {
                arena.truncate(delta.prefix.start);
            }
            return (checked, None);
        }
        self.keep(domain, key, turn);
        (planned, Some(key))
    }

    /// Digests a response and plans its packing.
    pub(crate) fn response(
        &mut self,
        key: Option<&Key>,
        request_id: i64,
        id: i64,
        body: &Bytes,
        arena: &mut Vec<u8>,
    ) -> Planned {
        let Some(key) = key.filter(|_| is_held(body)) else {
            return alone(body);
        };
        let Some(turn) = self.cache.get(key) else {
            self.counts.alone += 1;
            return alone(body);
        };
        // A newer request of the conversation may have taken the place of this one's.
        let own = (turn.request.id == request_id).then_some(&turn.request);
        let root_key = turn.head;
        let root = root_key.as_ref().and_then(|root| self.cache.get(root));
        let before = turn.response.as_ref();
        let before = before.or_else(|| root.and_then(|root| root.response.as_ref()));
        let (planned, response) = plan_response(own, before, id, body, arena);
        let is_own = own.is_some();
        if planned.delta.is_some() {
            self.counts.continued += 1;
        } else {
            self.counts.alone += 1;
        }
        if is_own {
            let is_roots =
                |root: &CachedTurn<N>| root.request.id == request_id && root.response.is_none();
            if let Some(key) = root_key
                && root.is_some_and(is_roots)
            {
                let response = response.clone();
                self.cache
                    .change(&key, |root| root.response = Some(response));
            }
            self.cache
                .change(key, |turn| turn.response = Some(response));
            self.evict();
        }
        planned
    }

    /// Whether a conversation is followed, so that nothing of it needs to be read from the file.
    pub(crate) fn is_followed(&self, domain: Domain, conversation: &str) -> bool {
        let name = conversation.as_bytes();
        let turn = self
            .cache
            .get(&Key::new(self.key, KeyKind::Named, domain, name));
        turn.is_some_and(|turn| !turn.request.is_to_be_resumed())
    }

    /// Whether conversations were let go for want of memory, or lost a part to a removal.
    pub(crate) fn has_let_go(&self) -> bool {
        self.has_let_go
    }

    /// Follows a conversation whose last bodies were read from the file.
    pub(crate) fn resume(&mut self, domain: Domain, conversation: &str, resumed: Resumed) {
        if !is_held(&resumed.body) {
            return;
        }
        let Resumed {
            id,
            body,
            place,
            keyframe,
            response,
        } = resumed;
        let head = self.head_of(domain, &body);
        let blocks = Blocks::new(self.key, &body);
        let keep = Keep {
            is_whole: self.cache.keeps_whole(body.len(), 0),
            is_indexed: false,
        };
        let mut turn = CachedTurn {
            request: CachedRequest::resumed(id, blocks, place, keyframe, keep),
            response: response.map(|(id, body)| {
                // A response is packed against its request, and the response before, which that one needs too.
                let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
                let place = ChainPlace {
                    depth: place.depth + 1,
                    bytes: place.bytes.saturating_add(bytes),
                    ..place
                };
                CachedResponse::new(id, place, &body)
            }),
            head,
            hints: Vec::new(),
        };
        turn.forget_keyframe(&self.forgotten);
        if !turn.needs(&self.forgotten) {
            self.counts.resumed += 1;
            let name = conversation.as_bytes();
            self.put(
                Key::new(self.key, KeyKind::Named, domain, name),
                Box::new(turn),
            );
        }
    }

    /// Follows no conversation any more.
    pub(crate) fn reset(&mut self) {
        self.cache = TurnCache::new(self.key, self.cache.memory_bytes());
        self.unnamed = UnnamedIndex::default();
    }

    /// Packs nothing any more against payloads with ids in these ranges, which are in ascending order. They may
    /// still be in the file for a while: until the next call none of them is a conversation's to resume.
    pub(crate) fn forget(&mut self, ranges: Vec<(i64, i64)>) {
        let removed = self.cache.remove_where(|turn| turn.needs(&ranges));
        let has_lost = self.cache.change_all(|turn| turn.forget_keyframe(&ranges));
        self.has_let_go |= has_lost || !removed.is_empty();
        self.forget_hints(removed);
        self.forgotten = ranges;
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.cache.held_bytes()
    }

    /// Makes all blocks look the same.
    #[cfg(test)]
    pub(super) fn blind(&mut self) {
        self.key.is_blind = true;
    }

    fn head_of(&self, domain: Domain, body: &[u8]) -> Option<Key> {
        let head = body.get(..HEAD_BYTES)?;
        Some(Key::new(self.key, KeyKind::Head, domain, head))
    }

    /// The first body of a conversation, as far as is known.
    fn begin(
        &mut self,
        domain: Domain,
        key: Key,
        id: i64,
        blocks: Blocks<'_>,
        annotate: &mut Option<Annotate<'_, N>>,
        arena: &mut Vec<u8>,
    ) -> (Box<CachedTurn<N>>, Planned) {
        let keep = Keep {
            is_whole: self.cache.keeps_whole(blocks.body().len(), 0),
            is_indexed: key.kind() == KeyKind::Unnamed,
        };
        let head = self.head_of(domain, blocks.body());
        if let Some(head) = head {
            self.cache.touch(&head);
        }
        let root = head
            .and_then(|head| self.cache.get(&head))
            .filter(|root| root.request.can_be_followed());
        let (request, planned) = match root {
            Some(root) => {
                self.counts.shared_head += 1;
                let mut request = root.request.clone();
                let response = root.response.as_ref();
                let planned =
                    request.plan_from_previous(response, id, blocks, annotate, keep, arena);
                request.mark_keyframe();
                (request, planned)
            }
            None => {
                self.counts.alone += 1;
                CachedRequest::alone(id, blocks, annotate, keep)
            }
        };
        let turn = CachedTurn {
            request,
            response: None,
            head,
            hints: Vec::new(),
        };
        (Box::new(turn), planned)
    }

    /// Keeps a turn whose request was planned.
    fn keep(&mut self, domain: Domain, key: Key, mut turn: Box<CachedTurn<N>>) {
        if let Some(head) = turn.head
            && turn.request.place.depth == 0
            && !self.cache.contains(&head)
        {
            self.put(head, turn.clone());
        }
        if let (KeyKind::Unnamed, Some(head)) = (key.kind(), turn.head) {
            self.unnamed.remove_hints(key, &turn.hints);
            turn.hints = turn.request.bytes.beginnings(domain).to_register();
            self.unnamed.add(key, head, &turn.hints);
        }
        self.put(key, turn);
    }

    fn put(&mut self, key: Key, turn: Box<CachedTurn<N>>) {
        self.cache.put(key, turn);
        self.evict();
    }

    fn evict(&mut self) {
        let evicted = self.cache.evict();
        self.has_let_go |= !evicted.is_empty();
        self.forget_hints(evicted);
    }

    fn forget_hints(&mut self, removed: impl IntoIterator<Item = (Key, Box<CachedTurn<N>>)>) {
        for (key, turn) in removed {
            if let (KeyKind::Unnamed, Some(head)) = (key.kind(), turn.head) {
                self.unnamed.remove(key, head, &turn.hints);
            }
        }
    }

    fn keep_for(&self, key: Key, taken: &Taken<N>, body: &[u8]) -> Keep {
        // One that is whole stays so until others that are used need the memory.
        let is_whole = taken.turn.request.bytes.is_whole();
        let idle_bytes = if is_whole { 0 } else { taken.idle_bytes };
        Keep {
            is_whole: self.cache.keeps_whole(body.len(), idle_bytes),
            is_indexed: key.kind() == KeyKind::Unnamed,
        }
    }

    /// The conversation that a body without a name continues, or a new one.
    fn recognise(&mut self, domain: Domain, head: Key, blocks: &mut Blocks<'_>) -> Key {
        let best = self
            .unnamed
            .recent(head)
            .filter_map(|key| {
                let turn = self.cache.get(&key)?;
                let bytes = &turn.request.bytes;
                let Common { head, tail } = bytes.compare(blocks);
                Some((head, tail, bytes.len(), key))
            })
            .max_by_key(|(head, tail, ..)| (*head, *tail));
        // It goes on where that one ended.
        if let Some((head, tail, length, key)) = best
            && head + tail + CLOSING_BYTES >= length
        {
            return key;
        }
        let beginnings = Beginnings::new(domain, blocks.all());
        let longest = self.unnamed.find(&beginnings);
        let length = longest.map_or(0, |(_, blocks)| blocks * fingerprint::BLOCK_BYTES);
        let half = blocks.body().len() / 2;
        match (longest, best) {
            (Some((key, _)), _) if length >= half => key,
            // It was edited further up: the same conversation if most of it is the same.
            (_, Some((common, _, length, key))) if common >= length / 2 => key,
            _ => {
                let number = self.unnamed.next();
                Key::unnamed(self.key, number)
            }
        }
    }

    /// Digests a sample of the bodies in full. Where that gives another digest, a block was taken for one
    /// that it is not: the body is to stand alone, and nothing that is kept is trusted any more.
    fn check(&mut self, planned: &Planned, body: &[u8]) -> Option<Planned> {
        self.planned += 1;
        if planned.delta.is_none() || !self.planned.is_multiple_of(CHECKED_EACH) {
            return None;
        }
        let checked = alone(body);
        if checked.sha256 == planned.sha256 {
            return None;
        }
        tracing::error!(target: "auditlite", "a body was taken for one that continues another; it is stored on its own. This is a bug, please report it");
        self.reset();
        Some(checked)
    }
}

fn is_held(body: &[u8]) -> bool {
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    (DELTA_BYTES_MIN..=DELTA_BYTES_MAX).contains(&length)
}

fn alone(body: &[u8]) -> Planned {
    Planned {
        sha256: super::sha256(body),
        delta: None,
        media: runs_in(body, 0..body.len()),
    }
}
