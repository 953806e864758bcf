//! Payloads: from an id to the bytes that were recorded. One reader with one cache.
//!
//! Most bodies are packed against the body before them. `chain.rs` loads the rows that a body needs and
//! unpacks them; `lru.rs` caches the bodies that were read last, so that reading in the order of the log
//! unpacks each body once. Single bodies, transcripts, search, exports, repacking and verification all read
//! here. Knows nothing of the log: `../content.rs` compares what was read with it.

mod chain;
mod digests;
mod lru;
mod media;

use std::fmt;
use std::sync::Arc;

use crate::db::{self, Connection, StoredPayload};
use crate::error::ReadError;
use crate::model::Digest;
use crate::payload::{
    ChainPlace, DELTA_BYTES_MAX, Encoding, Keyframe, Parts, Unpacker, unpack_alone,
};
use chain::{ANY, Bounds, Chain, Compare};
use digests::States;
use lru::{Cached, Lru, Recorded};
use media::Media;

pub(crate) use chain::check_sizes;
pub(crate) use media::find_medium;

/// Bytes of contents that a [`PayloadCache`] holds, with their share of its maps: a dozen bodies of 620 KB, or
/// a hundred of 80 KB. A reader in the order of the log finds every base as long as no more conversations take
/// turns; beyond that it unpacks a chain for each body. Every export, search, transcript and verification has
/// one cache.
pub(crate) const CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the writer spends on reading a body back that it packs others against: a chain of its own has at most
/// 128 requests, and the responses between them. Their lengths are counted, of which most bytes are copied once.
const BASE_BOUNDS: Bounds = Bounds {
    rows: 512,
    bytes: 256 << 20,
};

/// The digest in a row.
pub(crate) fn digest_of(stored: &StoredPayload) -> Result<Digest, ReadError> {
    <[u8; 32]>::try_from(stored.sha256.as_slice())
        .map(Digest)
        .map_err(|_| ReadError::Damaged("a payload's digest does not have 32 bytes".to_owned()))
}

/// The row of a payload, without its packed bytes, and its kept content; no content if only the digest is
/// kept.
pub(crate) type ReadPayload = (StoredPayload, Option<Arc<Vec<u8>>>);

/// Reads payloads, and caches the contents that were used last. Belongs to one operation on one thread.
///
/// Nothing in the file is trusted: sizes must agree before memory is allocated for them, a chain is bounded
/// in rows and bytes, and a content that was kept whole has the digest in its row before it is returned.
pub(crate) struct PayloadCache {
    unpacker: Unpacker,
    recent: Lru,
}

impl Default for PayloadCache {
    fn default() -> Self {
        Self {
            unpacker: Unpacker::new(),
            recent: Lru::new(CACHE_BYTES_MAX),
        }
    }
}

impl PayloadCache {
    /// The payload with this id, if there is one.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] names the payload that is damaged: this one, or one that it is packed against.
    pub(crate) fn read(
        &mut self,
        connection: &Connection,
        payload_id: i64,
    ) -> Result<Option<ReadPayload>, ReadError> {
        // A body and what it is packed against are several rows, and a removal changes them together.
        let _snapshot = db::read_snapshot(connection)?;
        if let Some(recorded) = self.recent.recorded(payload_id) {
            // The row must still be there and be the same. Its packed bytes are not read again.
            let Some(row) = db::payload(connection, payload_id, false)? else {
                return Ok(None);
            };
            if Recorded::of(&row) == Some(recorded) {
                let content = self.recent.get(payload_id).map(|content| content.bytes);
                return Ok(Some((row, content)));
            }
        }
        let Some(row) = db::payload(connection, payload_id, true)? else {
            return Ok(None);
        };
        if row.data.is_none() {
            return Ok(Some((row, None)));
        }
        if let Some(content) = self.unpack_compared(payload_id, &row) {
            let row = StoredPayload { data: None, ..row };
            return Ok(Some(self.held(payload_id, row, content)));
        }
        let chain = Chain::load(connection, payload_id, row, ANY, |base| {
            self.recent.get(base)
        })?;
        let (chain, unpacked) = match chain.unpack(&mut self.unpacker, Compare::Wanted) {
            Ok(unpacked) => (chain, unpacked),
            // The error must name the damaged payload: nothing comes from the cache, all are compared.
            Err(_) => {
                let chain = chain.without_cached(connection)?;
                let unpacked = chain.unpack(&mut self.unpacker, Compare::All)?;
                (chain, unpacked)
            }
        };
        for (base, bytes) in unpacked.bases {
            // Other bodies may be packed against it too, and it is read sooner than its chain.
            let states = States::default();
            self.recent.hold(base, Cached { bytes, states }, None);
        }
        let row = chain.into_row()?;
        Ok(Some(self.held(payload_id, row, unpacked.content)))
    }

    /// Caches what was compared with its row.
    fn held(&mut self, payload_id: i64, row: StoredPayload, content: Cached) -> ReadPayload {
        let recorded = Recorded::of(&row);
        let bytes = Arc::clone(&content.bytes);
        self.recent.hold(payload_id, content, recorded);
        (row, Some(bytes))
    }

    /// The content of a payload that needs no other, and is what its row says. `None`: anything else.
    fn unpack_compared(&mut self, payload_id: i64, row: &StoredPayload) -> Option<Cached> {
        check_sizes(payload_id, row.length, row.kept, row.head, true).ok()?;
        let encoding = Encoding::from_code(row.encoding)?;
        let is_alone = row.bases.is_none() && matches!(encoding, Encoding::AsIs | Encoding::Zstd);
        let data = row.data.as_deref().filter(|_| is_alone)?;
        let content = unpack_alone(&mut self.unpacker, encoding, data, row.kept)?;
        let states = match row.head {
            Some(_) => States::default(),
            None => {
                let (digest, states) = States::digest(&content, None);
                (digest == digest_of(row).ok()?).then_some(states)?
            }
        };
        let bytes = Arc::new(content);
        Some(Cached { bytes, states })
    }

    /// A body that was kept whole, and where it is in its chain, for the writer to pack later bodies against it.
    /// `None`: there is none, or it is longer than what the writer packs against.
    pub(crate) fn read_base(
        &mut self,
        connection: &Connection,
        payload_id: i64,
    ) -> Result<Option<(Vec<u8>, ChainPlace, Keyframe)>, ReadError> {
        let _snapshot = db::read_snapshot(connection)?;
        let Some(row) = db::payload(connection, payload_id, true)? else {
            return Ok(None);
        };
        if row.data.is_none() || row.head.is_some() || row.kept > DELTA_BYTES_MAX {
            return Ok(None);
        }
        let chain = Chain::load(connection, payload_id, row, BASE_BOUNDS, |_| None)?;
        let Some((place, keyframe)) = chain.place() else {
            return Ok(None);
        };
        let unpacked = chain.unpack(&mut self.unpacker, Compare::Wanted)?;
        let body = Arc::unwrap_or_clone(unpacked.content.bytes);
        Ok(Some((body, place, keyframe)))
    }

    /// What a payload is packed against, compared with its digest. From the cache, otherwise read.
    pub(crate) fn base(
        &mut self,
        connection: &Connection,
        payload_id: i64,
    ) -> Result<Option<Arc<Vec<u8>>>, ReadError> {
        if let Some(content) = self.recent.compared(payload_id) {
            return Ok(Some(content.bytes));
        }
        let found = self.read(connection, payload_id)?;
        Ok(found.and_then(|(_, content)| content))
    }

    /// Unpacks the stored form of a payload, whose bases are given. `None`: it is damaged, or a medium is that it
    /// refers to.
    pub(crate) fn unpack(
        &mut self,
        connection: &Connection,
        parts: &Parts<'_>,
        bases: Option<(&[u8], Option<&[u8]>)>,
        kept: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let mut media = Media::default();
        if !media.load(connection, &parts.holes)? {
            return Ok(None);
        }
        let unpacker = &mut self.unpacker;
        let mut unpack = || {
            let kept = kept.checked_sub(parts.hole_bytes)?;
            let Some((first, second)) = bases else {
                let text = unpack_alone(unpacker, parts.encoding, parts.data, kept)?;
                return media.fill(unpacker, parts, text);
            };
            let mut applied = unpacker.apply(first, second, parts.data, kept)?;
            applied.new = media.fill(unpacker, parts, applied.new)?;
            applied.join(first)
        };
        Ok(unpack())
    }

    /// Holds a content that was compared with the row of this digest and head.
    pub(crate) fn hold(
        &mut self,
        payload_id: i64,
        content: Arc<Vec<u8>>,
        sha256: &[u8],
        head: Option<u64>,
    ) {
        let kept = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let recorded = Recorded::new(sha256, kept, head);
        let states = States::default();
        let content = Cached {
            bytes: content,
            states,
        };
        self.recent.hold(payload_id, content, recorded);
    }
}

#[cfg(test)]
impl PayloadCache {
    /// Bytes of the contents that are held.
    pub(crate) fn content_bytes(&self) -> usize {
        self.recent.content_bytes()
    }
}

/// Prints no content.
impl fmt::Debug for PayloadCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadCache").finish_non_exhaustive()
    }
}
