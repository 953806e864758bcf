//! Chains: a payload that is packed against others, which may be packed against others again.
//!
//! The bases of a body always have smaller ids than the body, so every chain ends, even in a damaged file.
//! In addition, the rows and bytes of a chain are bounded. Nothing recurses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::digest_of;
use super::digests::States;
use super::lru::Cached;
use super::media::Media;
use crate::config::PAYLOAD_CAP_BYTES_MAX;
use crate::db::{self, Connection, StoredPayload, event_seq};
use crate::error::ReadError;
use crate::payload::{
    Bases, ChainPlace, Encoding, KEYFRAME_DEPTH_RESUMED, Keyframe, Parts, Unpacker, copied_head,
    unpack_alone,
};

/// How much a chain may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) rows: usize,
    /// Bytes that it unpacks to in total.
    pub(super) bytes: u64,
}

/// The writer makes no chain with more rows, or more bytes; such a one is damage.
pub(super) const ANY: Bounds = Bounds {
    rows: 1024,
    bytes: 1 << 30,
};

/// Which contents are compared with the digests in their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    /// Only the wanted one: a wrong base makes it wrong too.
    Wanted,
    /// All, to name the one that is damaged.
    All,
}

/// A payload, and what must be unpacked before it.
pub(super) struct Chain {
    wanted: i64,
    /// By id: a base is before what is packed against it.
    rows: BTreeMap<i64, StoredPayload>,
    /// Contents from the cache; what they are packed against is not needed.
    cached: BTreeMap<i64, Cached>,
    media: Media,
}

/// What unpacking a chain yields.
pub(super) struct Unpacked {
    pub(super) content: Cached,
    /// What the payload itself is packed against, as far as it was not in the cache.
    pub(super) bases: Vec<(i64, Arc<Vec<u8>>)>,
}

impl Chain {
    /// The row of a payload, which has content, and all that it needs. `cached` returns contents that need
    /// not be unpacked.
    pub(super) fn load(
        connection: &Connection,
        wanted: i64,
        row: StoredPayload,
        bounds: Bounds,
        mut cached: impl FnMut(i64) -> Option<Cached>,
    ) -> Result<Self, ReadError> {
        let mut chain = Self {
            wanted,
            rows: BTreeMap::new(),
            cached: BTreeMap::new(),
            media: Media::default(),
        };
        let mut bytes = 0_u64;
        let mut missing = vec![(wanted, row)];
        while let Some((id, row)) = missing.pop() {
            check_sizes(id, row.length, row.kept, row.head, row.data.is_some())?;
            bytes = bytes.saturating_add(row.kept);
            if chain.rows.len() >= bounds.rows || bytes > bounds.bytes {
                return Err(ReadError::Damaged(format!(
                    "what the body of event {} is packed against takes more than can be",
                    event_seq(wanted)
                )));
            }
            if !chain.load_media(connection, &row)? {
                return Err(lost(id, wanted));
            }
            for base in base_ids(row.bases) {
                if base >= id {
                    return Err(lost(id, wanted));
                }
                if chain.has(base) || missing.iter().any(|(id, _)| *id == base) {
                    continue;
                }
                match cached(base) {
                    Some(content) => drop(chain.cached.insert(base, content)),
                    None => {
                        let base_row = db::payload(connection, base, true)?;
                        missing.push((base, base_row.ok_or_else(|| lost(base, wanted))?));
                    }
                }
            }
            chain.rows.insert(id, row);
        }
        Ok(chain)
    }

    /// `false`: the row is damaged, or a medium that it refers to.
    fn load_media(
        &mut self,
        connection: &Connection,
        row: &StoredPayload,
    ) -> Result<bool, ReadError> {
        if row.encoding != Encoding::Media.code() {
            return Ok(true);
        }
        let data = row.data.as_deref();
        match data.and_then(|data| Parts::of(Encoding::Media, data)) {
            Some(parts) => self.media.load(connection, &parts.holes),
            None => Ok(false),
        }
    }

    fn has(&self, id: i64) -> bool {
        self.rows.contains_key(&id) || self.cached.contains_key(&id)
    }

    /// The same chain, with nothing from the cache.
    pub(super) fn without_cached(mut self, connection: &Connection) -> Result<Self, ReadError> {
        if self.cached.is_empty() {
            return Ok(self);
        }
        match self.rows.remove(&self.wanted) {
            Some(row) => Self::load(connection, self.wanted, row, ANY, |_| None),
            None => Err(lost(self.wanted, self.wanted)),
        }
    }

    /// Where the payload is in its chain of bases, and what later bodies go back to once the chain is long.
    /// `None`: that is damaged, or not known because something comes from the cache.
    pub(super) fn place(&self) -> Option<(ChainPlace, Keyframe)> {
        let mut places: BTreeMap<i64, (u32, u64)> = BTreeMap::new();
        for (id, row) in &self.rows {
            let (mut depth, mut bytes) = (0, 0);
            for base in base_ids(row.bases) {
                let (base_depth, base_bytes) = places.get(&base)?;
                depth = depth.max(base_depth + 1);
                bytes = bytes.max(*base_bytes);
            }
            let new = row.kept.checked_sub(self.copied_head(*id)?)?;
            places.insert(*id, (depth, bytes.saturating_add(new)));
        }
        let (depth, bytes) = *places.get(&self.wanted)?;
        // Back along the bodies that each repeats the beginning of.
        let (mut id, mut common) = (self.wanted, self.rows.get(&self.wanted)?.kept);
        while places.get(&id)?.0 > KEYFRAME_DEPTH_RESUMED {
            common = common.min(self.copied_head(id)?);
            id = self.rows.get(&id)?.bases?.first;
        }
        let (keyframe_depth, chain_bytes) = *places.get(&id)?;
        let place = ChainPlace {
            depth,
            bytes,
            keyframe_depth,
        };
        let keyframe = Keyframe {
            id,
            depth: keyframe_depth,
            chain_bytes,
            common: usize::try_from(common).ok()?,
        };
        Some((place, keyframe))
    }

    /// Bytes that a row repeats of its first base.
    fn copied_head(&self, id: i64) -> Option<u64> {
        let row = self.rows.get(&id)?;
        match row.bases {
            None => Some(0),
            Some(_) => {
                let encoding = Encoding::from_code(row.encoding)?;
                copied_head(Parts::of(encoding, row.data.as_deref()?)?.data)
            }
        }
    }

    /// The row of the payload, without its packed content.
    pub(super) fn into_row(mut self) -> Result<StoredPayload, ReadError> {
        let row = self.rows.remove(&self.wanted);
        let row = row.ok_or_else(|| lost(self.wanted, self.wanted))?;
        Ok(StoredPayload { data: None, ..row })
    }

    /// Unpacks the payload, and before it what it needs, in the order of the ids.
    pub(super) fn unpack(
        &self,
        unpacker: &mut Unpacker,
        compare: Compare,
    ) -> Result<Unpacked, ReadError> {
        let wanted = self.wanted;
        let mut contents = Contents {
            uses: self.count_uses(),
            by_id: self.cached_bytes().collect(),
            media: &self.media,
        };
        for (&id, row) in &self.rows {
            let (content, head) = contents
                .unpack(unpacker, row)
                .ok_or_else(|| lost(id, wanted))?;
            let mut states = States::default();
            if row.head.is_none() && (compare == Compare::All || id == wanted) {
                let first = row.bases.and_then(|bases| self.cached.get(&bases.first));
                let repeated = first.map(|first| (&first.states, head));
                let digest;
                (digest, states) = States::digest(&content, repeated);
                if digest != digest_of(row)? {
                    return Err(lost(id, wanted));
                }
            }
            if id == wanted {
                let bytes = Arc::new(content);
                let content = Cached { bytes, states };
                let bases = base_ids(row.bases).filter(|base| !self.cached.contains_key(base));
                let bases = bases.filter_map(|base| Some((base, contents.by_id.remove(&base)?)));
                return Ok(Unpacked {
                    bases: bases.collect(),
                    content,
                });
            }
            contents.by_id.insert(id, Arc::new(content));
        }
        Err(lost(wanted, wanted))
    }

    fn cached_bytes(&self) -> impl Iterator<Item = (i64, Arc<Vec<u8>>)> {
        let cached = self.cached.iter();
        cached.map(|(id, content)| (*id, Arc::clone(&content.bytes)))
    }

    /// How many rows need each content: the last one may take it instead of copying it. The bases of the
    /// payload itself are needed afterwards, for the cache.
    fn count_uses(&self) -> BTreeMap<i64, usize> {
        let mut uses = BTreeMap::new();
        for (id, row) in &self.rows {
            for base in base_ids(row.bases) {
                *uses.entry(base).or_insert(0) += 1 + usize::from(*id == self.wanted);
            }
        }
        uses
    }
}

/// Contents while a chain is unpacked: only those that a later row needs.
struct Contents<'c> {
    media: &'c Media,
    by_id: BTreeMap<i64, Arc<Vec<u8>>>,
    /// How many times each is still needed.
    uses: BTreeMap<i64, usize>,
}

impl Contents<'_> {
    /// The content of a row, and how many of its first bytes are those of its first base.
    fn unpack(&mut self, unpacker: &mut Unpacker, row: &StoredPayload) -> Option<(Vec<u8>, usize)> {
        let encoding = Encoding::from_code(row.encoding)?;
        let parts = Parts::of(encoding, row.data.as_deref()?)?;
        let kept = row.kept.checked_sub(parts.hole_bytes)?;
        let (Encoding::Delta, Some(bases)) = (parts.encoding, row.bases) else {
            let text = unpack_alone(unpacker, parts.encoding, parts.data, kept)?;
            return Some((self.media.fill(unpacker, &parts, text)?, 0));
        };
        let second = match bases.second {
            None => None,
            Some(second) => Some(self.next_use(second)?),
        };
        let first = self.next_use(bases.first)?;
        let second = second.as_ref().map(|second| second.as_slice());
        let mut applied = unpacker.apply(&first, second, parts.data, kept)?;
        applied.new = self.media.fill(unpacker, &parts, applied.new)?;
        let head = applied.head;
        let content = match Arc::try_unwrap(first) {
            // In place: a long conversation is not copied for each of its turns.
            Ok(mut content) => {
                let tail_begin = content.len().checked_sub(applied.tail)?;
                content.splice(applied.head..tail_begin, applied.new);
                content
            }
            Err(first) => applied.join(&first)?,
        };
        Some((content, head))
    }

    /// The content; the last use takes it.
    fn next_use(&mut self, id: i64) -> Option<Arc<Vec<u8>>> {
        let left = self.uses.get_mut(&id)?;
        *left = left.saturating_sub(1);
        match left {
            0 => self.by_id.remove(&id),
            _ => self.by_id.get(&id).cloned(),
        }
    }
}

fn base_ids(bases: Option<Bases>) -> impl Iterator<Item = i64> {
    bases
        .into_iter()
        .flat_map(|bases| [Some(bases.first), bases.second])
        .flatten()
}

/// Whether the sizes of a row match each other.
pub(crate) fn check_sizes(
    id: i64,
    length: u64,
    kept: u64,
    head: Option<u64>,
    has_data: bool,
) -> Result<(), ReadError> {
    let cap = u64::try_from(PAYLOAD_CAP_BYTES_MAX).unwrap_or(u64::MAX);
    let fits = kept <= length.min(cap)
        && head.is_none_or(|head| head <= kept)
        && (head.is_some() || !has_data || kept == length);
    if fits {
        Ok(())
    } else {
        Err(ReadError::Damaged(format!(
            "the body of event {} records sizes that cannot be",
            event_seq(id)
        )))
    }
}

/// Names what is damaged, and what cannot be read because of it.
fn lost(damaged: i64, wanted: i64) -> ReadError {
    let (damaged, wanted) = (event_seq(damaged), event_seq(wanted));
    ReadError::Damaged(if damaged == wanted {
        format!("the body of event {wanted} does not unpack to what was recorded")
    } else {
        format!(
            "the body of event {damaged} is damaged or missing, and the body of event {wanted} is packed against it"
        )
    })
}
