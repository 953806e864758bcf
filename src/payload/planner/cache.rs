//! The conversations that are followed, within a bound of bytes.
//!
//! Those used last are kept whole, which makes comparing twice as fast. The others are kept by what
//! [`CachedBytes`](super::body::CachedBytes) needs at least, and the longest unused of these are let go. A
//! conversation becomes whole again only if it comes back soon enough to be found whole the next time: more
//! conversations than fit would otherwise push each other out, each copied for nothing.

use std::collections::VecDeque;

use super::Note;
use super::fingerprint::FingerprintKey;
use super::key::{Key, KeyKind, KeyMap};
use super::turn::CachedTurn;

/// So many first bodies of heads are kept although no other conversation has begun with the same head yet.
const UNUSED_ROOTS_MIN: usize = 16;
/// Bodies that are kept whole take this much together: comparing them saves little against fingerprints once
/// they are no longer in the processor's cache.
const WHOLE_TOTAL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Larger bodies are never kept whole.
const WHOLE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// This part of the bound is left to the allocator: 10,000 conversations whose entries change with each turn take
/// 1.25 times as much resident memory as is allocated for them (glibc).
const FRAGMENTATION_PART: usize = 5;

#[derive(Debug)]
struct Slot<N> {
    turn: Box<CachedTurn<N>>,
    held_bytes: usize,
    /// The use that it was last put back by; older entries of the orders are stale.
    used: u64,
    /// Traffic before that.
    traffic_bytes: u64,
}

/// A turn that was taken out to be used, and how much traffic there was since it was used before.
#[derive(Debug)]
pub(super) struct Taken<N> {
    pub(super) turn: Box<CachedTurn<N>>,
    pub(super) idle_bytes: u64,
}

/// The cache.
#[derive(Debug)]
pub(super) struct TurnCache<N> {
    key: FingerprintKey,
    slots: KeyMap<Slot<N>>,
    /// All, and those that are kept whole, in the order of their use. Stale entries are skipped.
    order: VecDeque<(u64, Key)>,
    whole_order: VecDeque<(u64, Key)>,
    /// First bodies of heads that are let go before all others: most conversations of some gateways begin
    /// like no other.
    unused_roots: VecDeque<(u64, Key)>,
    uses: u64,
    /// Bytes of requests, whether they are kept or not.
    traffic_bytes: u64,
    held_bytes: usize,
    /// Of these, by those that are kept whole.
    whole_bytes: usize,
    /// Of what is held.
    bytes_max: usize,
    memory_bytes: usize,
}

impl<N: Note> TurnCache<N> {
    /// Takes `memory_bytes` at most, with what lies idle between its allocations.
    pub(super) fn new(key: FingerprintKey, memory_bytes: usize) -> Self {
        Self {
            key,
            slots: KeyMap::default(),
            order: VecDeque::new(),
            whole_order: VecDeque::new(),
            unused_roots: VecDeque::new(),
            uses: 0,
            traffic_bytes: 0,
            held_bytes: 0,
            whole_bytes: 0,
            bytes_max: memory_bytes - memory_bytes / FRAGMENTATION_PART,
            memory_bytes,
        }
    }

    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn get(&self, key: &Key) -> Option<&CachedTurn<N>> {
        self.slots.get(key).map(|slot| slot.turn.as_ref())
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.slots.contains_key(key)
    }

    pub(super) fn note_traffic(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.traffic_bytes = self.traffic_bytes.saturating_add(bytes);
    }

    /// Whether a body is to be kept whole that was last used so much traffic ago.
    pub(super) fn keeps_whole(&self, length: usize, idle_bytes: u64) -> bool {
        let for_whole = self
            .bytes_max
            .saturating_sub(self.held_bytes.saturating_sub(self.whole_bytes))
            .min(WHOLE_TOTAL_BYTES_MAX);
        let needed =
            usize::try_from(idle_bytes).map_or(usize::MAX, |idle| idle.saturating_add(length));
        length <= WHOLE_BYTES_MAX && needed <= for_whole
    }

    pub(super) fn take(&mut self, key: &Key) -> Option<Taken<N>> {
        let slot = self.slots.remove(key)?;
        self.discount(&slot);
        Some(Taken {
            idle_bytes: self.traffic_bytes.saturating_sub(slot.traffic_bytes),
            turn: slot.turn,
        })
    }

    /// Changes a turn in its place.
    pub(super) fn change(&mut self, key: &Key, change: impl FnOnce(&mut CachedTurn<N>)) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let was_whole = slot.turn.request.bytes.is_whole();
        let before = std::mem::take(&mut slot.held_bytes);
        change(&mut slot.turn);
        slot.held_bytes = slot.turn.held_bytes();
        let is_whole = slot.turn.request.bytes.is_whole();
        let now = slot.held_bytes;
        self.held_bytes = self.held_bytes.saturating_sub(before).saturating_add(now);
        let whole = |is_whole: bool, bytes: usize| if is_whole { bytes } else { 0 };
        self.whole_bytes = self
            .whole_bytes
            .saturating_sub(whole(was_whole, before))
            .saturating_add(whole(is_whole, now));
    }

    /// What was used lately is kept.
    pub(super) fn touch(&mut self, key: &Key) {
        if let Some(taken) = self.take(key) {
            self.insert(*key, taken.turn, false);
        }
    }

    pub(super) fn put(&mut self, key: Key, turn: Box<CachedTurn<N>>) {
        let is_unused_root = key.kind() == KeyKind::Head;
        self.insert(key, turn, is_unused_root);
    }

    fn insert(&mut self, key: Key, turn: Box<CachedTurn<N>>, is_unused_root: bool) {
        self.uses += 1;
        let slot = Slot {
            held_bytes: turn.held_bytes(),
            used: self.uses,
            traffic_bytes: self.traffic_bytes,
            turn,
        };
        self.count(&slot);
        if is_unused_root {
            self.unused_roots.push_back((self.uses, key));
        }
        self.order.push_back((self.uses, key));
        if slot.turn.request.bytes.is_whole() {
            self.whole_order.push_back((self.uses, key));
        }
        if let Some(before) = self.slots.insert(key, slot) {
            self.discount(&before);
        }
        self.forget_stale();
    }

    /// Keeps to the bound. Gives back the turns for which there is no memory any more.
    pub(super) fn evict(&mut self) -> Vec<(Key, Box<CachedTurn<N>>)> {
        while self.whole_bytes > WHOLE_TOTAL_BYTES_MAX
            && let Some((used, key)) = self.whole_order.pop_front()
        {
            self.shrink(used, &key);
        }
        let mut evicted = Vec::new();
        while self.held_bytes > self.bytes_max {
            let has_roots = self.unused_roots.len() > UNUSED_ROOTS_MIN;
            let root = has_roots.then(|| self.unused_roots.pop_front()).flatten();
            if let Some((used, key)) = root {
                evicted.extend(self.take_unused(used, key));
            } else if let Some((used, key)) = self.whole_order.pop_front() {
                self.shrink(used, &key);
            } else if let Some((used, key)) = self.pop_old() {
                evicted.extend(self.take_unused(used, key));
            } else {
                break;
            }
        }
        evicted
    }

    /// One of the longer unused half. Where a few more conversations take turns than are followed, the
    /// longest unused one is always the one that comes next: none would ever be found.
    fn pop_old(&mut self) -> Option<(u64, Key)> {
        let half = (self.order.len() / 2).max(1);
        let index = rand::random_range(..half);
        self.order.swap_remove_front(index)
    }

    /// The turn, unless it has been used since.
    fn take_unused(&mut self, used: u64, key: Key) -> Option<(Key, Box<CachedTurn<N>>)> {
        if !self.is_current(used, &key) {
            return None;
        }
        let taken = self.take(&key)?;
        Some((key, taken.turn))
    }

    /// Lets go of the turns for which that is true.
    pub(super) fn remove_where(
        &mut self,
        is_removed: impl Fn(&CachedTurn<N>) -> bool,
    ) -> Vec<(Key, Box<CachedTurn<N>>)> {
        let keys: Vec<Key> = self
            .slots
            .iter()
            .filter(|(_, slot)| is_removed(&slot.turn))
            .map(|(key, _)| *key)
            .collect();
        keys.into_iter()
            .filter_map(|key| {
                let taken = self.take(&key)?;
                Some((key, taken.turn))
            })
            .collect()
    }

    /// Changes all turns in their places, so that none takes more memory or less. Whether any was changed.
    pub(super) fn change_all(&mut self, change: impl Fn(&mut CachedTurn<N>) -> bool) -> bool {
        let mut is_any = false;
        for slot in self.slots.values_mut() {
            is_any |= change(&mut slot.turn);
        }
        is_any
    }

    fn shrink(&mut self, used: u64, key: &Key) {
        if self.is_current(used, key) {
            let fingerprint_key = self.key;
            self.change(key, |turn| turn.request.bytes.shrink(fingerprint_key));
        }
    }

    fn is_current(&self, used: u64, key: &Key) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.used == used)
    }

    fn count(&mut self, slot: &Slot<N>) {
        self.held_bytes = self.held_bytes.saturating_add(slot.held_bytes);
        if slot.turn.request.bytes.is_whole() {
            self.whole_bytes = self.whole_bytes.saturating_add(slot.held_bytes);
        }
    }

    fn discount(&mut self, slot: &Slot<N>) {
        self.held_bytes = self.held_bytes.saturating_sub(slot.held_bytes);
        if slot.turn.request.bytes.is_whole() {
            self.whole_bytes = self.whole_bytes.saturating_sub(slot.held_bytes);
        }
    }

    /// Stale entries are dropped once they are most.
    fn forget_stale(&mut self) {
        let slots = &self.slots;
        for order in [
            &mut self.order,
            &mut self.whole_order,
            &mut self.unused_roots,
        ] {
            if order.len() > 4 * slots.len() + 64 {
                order.retain(|(used, key)| slots.get(key).is_some_and(|slot| slot.used == *used));
            }
        }
    }
}
