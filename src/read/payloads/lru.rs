//! The contents that were used last, within a bound of bytes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::digests::States;
use crate::db::StoredPayload;

/// Memory that a content takes in addition to its bytes, which dominates for short contents.
const ENTRY_BYTES: usize = 256;

/// Contents by the ids of their payloads. The content that was not used for longest is dropped first.
pub(super) struct Lru {
    /// Ordered, because ids are mostly added and dropped in order: both ends stay in the processor's cache.
    held: BTreeMap<i64, Held>,
    /// Ids by their last use, oldest first. An entry with an outdated stamp is void.
    uses: VecDeque<(i64, u64)>,
    stamp: u64,
    bytes: usize,
    bytes_max: usize,
}

/// A content, and what its digest can be resumed from.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) states: States,
}

/// A cached content. Shared with the readers that it was given to: dropping the entry frees it once they are done.
struct Held {
    content: Cached,
    /// The row that the content was compared with. `None`: it was only unpacked, to read another.
    recorded: Option<Recorded>,
    stamp: u64,
}

/// What a row says that tells its content from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded {
    sha256: [u8; 32],
    kept: u64,
    head: Option<u64>,
}

impl Recorded {
    /// `None`: only a digest is kept, or the row cannot be.
    pub(super) fn of(row: &StoredPayload) -> Option<Self> {
        row.stored?;
        Self::new(&row.sha256, row.kept, row.head)
    }

    pub(super) fn new(sha256: &[u8], kept: u64, head: Option<u64>) -> Option<Self> {
        Some(Self {
            sha256: sha256.try_into().ok()?,
            kept,
            head,
        })
    }
}

impl Lru {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            held: BTreeMap::new(),
            uses: VecDeque::new(),
            stamp: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// The content, if it is held. This is a use.
    pub(super) fn get(&mut self, id: i64) -> Option<Cached> {
        self.get_if(id, |_| true)
    }

    /// The content, if it is held and was compared with its row. This is a use.
    pub(super) fn compared(&mut self, id: i64) -> Option<Cached> {
        self.get_if(id, |held| held.recorded.is_some())
    }

    fn get_if(&mut self, id: i64, fits: impl Fn(&Held) -> bool) -> Option<Cached> {
        let stamp = self.next_stamp();
        let held = self.held.get_mut(&id).filter(|held| fits(held))?;
        held.stamp = stamp;
        let content = held.content.clone();
        self.note_use(id, stamp);
        Some(content)
    }

    /// The row that the content was compared with, if it is held and was.
    pub(super) fn recorded(&self, id: i64) -> Option<Recorded> {
        self.held.get(&id)?.recorded
    }

    /// Holds a content. One that takes more than half of the bound is not held: it would displace most
    /// others, and the writer packs nothing against bodies of that length.
    pub(super) fn hold(&mut self, id: i64, content: Cached, recorded: Option<Recorded>) {
        if content.bytes.len() > self.bytes_max / 2 {
            return;
        }
        let stamp = self.next_stamp();
        self.bytes = self.bytes.saturating_add(bytes_of(&content));
        let held = Held {
            content,
            recorded,
            stamp,
        };
        if let Some(before) = self.held.insert(id, held) {
            self.bytes = self.bytes.saturating_sub(bytes_of(&before.content));
        }
        self.note_use(id, stamp);
        self.drop_oldest();
    }

    fn next_stamp(&mut self) -> u64 {
        self.stamp = self.stamp.saturating_add(1);
        self.stamp
    }

    /// Void entries are removed once they are three of four, so that a use costs the same at any number of
    /// contents, and the list is bounded like the contents are.
    fn note_use(&mut self, id: i64, stamp: u64) {
        const USES_MIN: usize = 64;
        self.uses.push_back((id, stamp));
        if self.uses.len() > USES_MIN.saturating_add(self.held.len().saturating_mul(4)) {
            let held = &self.held;
            self.uses
                .retain(|(id, stamp)| held.get(id).is_some_and(|held| held.stamp == *stamp));
        }
    }

    fn drop_oldest(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((id, stamp)) = self.uses.pop_front()
        {
            if let Entry::Occupied(held) = self.held.entry(id)
                && held.get().stamp == stamp
            {
                let content = held.remove().content;
                self.bytes = self.bytes.saturating_sub(bytes_of(&content));
            }
        }
    }
}

fn bytes_of(content: &Cached) -> usize {
    let bytes = content.bytes.len().saturating_add(content.states.bytes());
    bytes.saturating_add(ENTRY_BYTES)
}

#[cfg(test)]
impl Lru {
    /// Bytes of the contents themselves, counted again.
    pub(super) fn content_bytes(&self) -> usize {
        let contents = self.held.values().map(|held| held.content.bytes.len());
        contents.sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn content(length: usize) -> Cached {
        Cached {
            bytes: Arc::new(vec![b'a'; length]),
            states: States::default(),
        }
    }

    #[test]
    fn contents_stay_within_the_bound_and_the_newest_stay() {
        const LENGTH: usize = 620_000;
        let mut lru = Lru::new(8 * 1024 * 1024);
        for id in 0..100 {
            lru.hold(id, content(LENGTH), None);
            assert!(lru.content_bytes() <= 8 * 1024 * 1024);
        }
        let held = i64::try_from(8 * 1024 * 1024 / LENGTH).unwrap();
        assert!((100 - held..100).all(|id| lru.get(id).is_some()));
        assert!((0..100 - held).all(|id| lru.get(id).is_none()));
    }

    #[test]
    fn short_contents_are_bounded_by_what_they_take_in_the_maps() {
        let mut lru = Lru::new(64 * ENTRY_BYTES);
        for id in 0..10_000 {
            lru.hold(id, content(0), None);
        }
        assert_eq!(lru.held.len(), 64);
        assert!(lru.uses.len() <= 4 * 64 + 64);
    }

    #[test]
    fn a_used_content_stays_and_the_least_recently_used_goes() {
        let mut lru = Lru::new(4 * (1000 + ENTRY_BYTES));
        for id in 0..4 {
            lru.hold(id, content(1000), None);
        }
        assert!(lru.get(0).is_some());
        lru.hold(4, content(1000), None);
        assert!(lru.get(0).is_some());
        assert!(lru.get(1).is_none());
    }

    #[test]
    fn many_uses_of_one_content_displace_no_other() {
        let mut lru = Lru::new(4 * (1000 + ENTRY_BYTES));
        lru.hold(0, content(1000), None);
        lru.hold(1, content(1000), None);
        for _ in 0..10_000 {
            assert!(lru.get(1).is_some());
            lru.hold(1, content(1000), None);
        }
        assert!(lru.uses.len() <= 64 + 4 * 2);
        assert!(lru.get(0).is_some());
    }

    #[test]
    fn a_content_of_more_than_half_the_bound_displaces_no_other() {
        let mut lru = Lru::new(10_000);
        lru.hold(0, content(1000), None);
        lru.hold(1, content(5001), None);
        assert!(lru.get(0).is_some());
        assert!(lru.get(1).is_none());
    }

    #[test]
    fn a_content_held_again_counts_once() {
        let mut lru = Lru::new(10 * (1000 + ENTRY_BYTES));
        lru.hold(0, content(1000), None);
        for _ in 0..100 {
            lru.hold(1, content(1000), None);
        }
        assert!(lru.get(0).is_some());
        assert_eq!(lru.bytes, 2 * (1000 + ENTRY_BYTES));
    }
}
