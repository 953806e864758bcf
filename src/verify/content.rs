//! Unpacks the content of payloads in order. What a payload is packed against was unpacked shortly before,
//! and is cached.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::db::{PayloadRow, Snapshot};
use crate::log::{BodyFact, Kept};
use crate::payload::{Encoding, Unpacker, sha256, unpack_alone};
use crate::read::commitments::is_excerpt_committed;
use crate::read::payloads;

/// Bytes of contents that are cached; a little more than the writer packs against.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A longer content is not cached: it would displace all others.
const HELD_CONTENT_BYTES_MAX: usize = HELD_BYTES_MAX / 2;

pub(super) struct Contents<'a> {
    snapshot: &'a Snapshot,
    unpacker: Unpacker,
    /// Ordered, because ids are added and dropped in order: both ends stay in the processor's cache.
    held: BTreeMap<i64, Held>,
    /// Ids by their last use, oldest first; an entry with an outdated stamp is void.
    uses: VecDeque<(i64, u64)>,
    stamp: u64,
    held_bytes: usize,
    bytes: u64,
}

struct Held {
    content: Rc<Vec<u8>>,
    stamp: u64,
}

impl<'a> Contents<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            unpacker: Unpacker::new(),
            held: BTreeMap::new(),
            uses: VecDeque::new(),
            stamp: 0,
            held_bytes: 0,
            bytes: 0,
        }
    }

    /// Bytes that were unpacked and hashed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the row's content matches its commitment. The digest was compared before.
    pub(super) fn check(&mut self, row: &PayloadRow<'_>, fact: &BodyFact) -> Result<(), String> {
        let id = row.payload_id;
        let content = Rc::new(self.unpack(row)?);
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(content.len()).unwrap_or(u64::MAX));
        let digest = sha256(&content);
        let is_committed = if fact.kept == Kept::Excerpt {
            is_excerpt_committed(fact, row.salt, &digest)
        } else {
            digest.0 == row.sha256
        };
        if !is_committed {
            return Err("it does not have the digest that was committed to".to_owned());
        }
        self.hold(id, content);
        Ok(())
    }

    fn unpack(&mut self, row: &PayloadRow<'_>) -> Result<Vec<u8>, String> {
        let damaged = || "it does not unpack to what was recorded".to_owned();
        let &PayloadRow {
            payload_id: id,
            length,
            kept,
            head,
            bases,
            ..
        } = row;
        payloads::check_sizes(id, length, kept, head, row.has_data).map_err(|_| damaged())?;
        let (encoding, data) = Encoding::from_code(row.encoding)
            .zip(row.data)
            .ok_or_else(damaged)?;
        let bases = match (encoding, bases) {
            (Encoding::Delta, Some(bases)) => bases,
            (Encoding::Zstd, None) => return self.unpacker.alone(data, kept).ok_or_else(damaged),
            (_, None) => return unpack_alone(encoding, data.to_vec(), kept).ok_or_else(damaged),
            (_, Some(_)) => {
                return Err("it names what it is packed against, and is not packed so".to_owned());
            }
        };
        let first = self.base(id, bases.first)?;
        let second = bases.second.map(|base| self.base(id, base)).transpose()?;
        let second = second.as_deref().map(Vec::as_slice);
        let applied = self
            .unpacker
            .apply(&first, second, data, kept)
            .ok_or_else(damaged)?;
        applied.join(&first).ok_or_else(damaged)
    }

    /// What a content is packed against: from the cache, otherwise unpacked with everything that it needs.
    fn base(&mut self, id: i64, base: i64) -> Result<Rc<Vec<u8>>, String> {
        if base >= id {
            return Err("it is packed against a later one".to_owned());
        }
        self.stamp = self.stamp.saturating_add(1);
        if let Some(held) = self.held.get_mut(&base) {
            held.stamp = self.stamp;
            self.uses.push_back((base, self.stamp));
            return Ok(Rc::clone(&held.content));
        }
        let lost = || format!("what it is packed against, payload {base}, cannot be read");
        let (_, content) = payloads::read(self.snapshot.connection(), base)
            .map_err(|_| lost())?
            .ok_or_else(lost)?;
        let content = Rc::new(content.ok_or_else(lost)?);
        self.hold(base, Rc::clone(&content));
        Ok(content)
    }

    fn hold(&mut self, id: i64, content: Rc<Vec<u8>>) {
        if content.len() > HELD_CONTENT_BYTES_MAX {
            return;
        }
        self.stamp = self.stamp.saturating_add(1);
        let stamp = self.stamp;
        self.held_bytes = self.held_bytes.saturating_add(held_size(&content));
        self.uses.push_back((id, stamp));
        if let Some(before) = self.held.insert(id, Held { content, stamp }) {
            self.held_bytes = self.held_bytes.saturating_sub(held_size(&before.content));
        }
        // Void entries are bounded too: there are never many more uses than contents.
        while self.held_bytes > HELD_BYTES_MAX || self.uses.len() > 4 * self.held.len() + 64 {
            let Some((id, stamp)) = self.uses.pop_front() else {
                break;
            };
            if let Entry::Occupied(held) = self.held.entry(id)
                && held.get().stamp == stamp
            {
                let content = held.remove().content;
                self.held_bytes = self.held_bytes.saturating_sub(held_size(&content));
            }
        }
    }
}

/// Memory that a cached content takes, with its share of the maps, which dominates for short contents.
fn held_size(content: &[u8]) -> usize {
    content.len().saturating_add(256)
}
