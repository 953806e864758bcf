//! Media: long base64 texts inside bodies (images, audio, documents), each stored once for all bodies.
//!
//! - `runs`: where they are in a body, without looking at every byte;
//! - `parts`: the stored form of a payload that refers to media.

mod parts;
mod runs;

use super::encoding::Encoding;
use super::hash::Hasher;
use super::planner::Domain;
use crate::model::Digest;

pub(crate) use parts::{Hole, Parts};
pub(crate) use runs::{media_in, ranges_of};
pub(super) use runs::{runs_in, widen};

/// A body refers to so many media at most, and keeps what else it has. Bounds the header of its stored form, and
/// what one read looks up.
pub(crate) const MEDIA_MAX: usize = 256;

/// Makes the digests that media are found by. The key is random for each file: a digest that is left somewhere
/// confirms no guess to a reader who does not have the file.
#[derive(Clone)]
pub(crate) struct MediaKey(pub(crate) [u8; 32]);

impl MediaKey {
    /// SHA-256 of the key, the domain and the medium. A client that could make two media collide would lose one of
    /// them, so this is no place for a shorter or a faster one.
    pub(crate) fn digest(&self, domain: Domain, medium: &[u8]) -> Digest {
        let Domain(domain) = domain;
        let mut hasher = Hasher::default();
        hasher.update(&self.0);
        hasher.update(&domain.to_le_bytes());
        hasher.update(medium);
        hasher.finish()
    }
}

impl std::fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MediaKey")
    }
}

/// The media of one payload. They are still in the text that is to be packed.
#[derive(Debug, Default)]
pub(crate) struct PlannedMedia {
    /// Where they are to be left out.
    pub(crate) holes: Vec<Hole>,
    /// Which of the holes have media that are not in the file yet, and the digests of these.
    pub(crate) new: Vec<(usize, Digest)>,
}

/// The media of one payload, packed.
#[derive(Debug, Default)]
pub(crate) struct EncodedMedia {
    /// Which media the payload refers to, each once.
    pub(crate) links: Vec<i64>,
    pub(crate) new: Vec<EncodedMedium>,
}

/// A row of `media`.
#[derive(Debug)]
pub(crate) struct EncodedMedium {
    pub(crate) media_id: i64,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
    pub(crate) encoding: Encoding,
    pub(crate) data: Vec<u8>,
}

impl PlannedMedia {
    /// The text without the media.
    pub(super) fn text_of(&self, text: &[u8]) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut from = 0;
        for range in ranges_of(0, &self.holes) {
            rest.extend_from_slice(text.get(from..range.start).unwrap_or_default());
            from = range.end;
        }
        rest.extend_from_slice(text.get(from..).unwrap_or_default());
        rest
    }

    /// The media that are referred to, each once.
    pub(super) fn links(&self) -> Vec<i64> {
        let mut links: Vec<i64> = self.holes.iter().map(|hole| hole.media_id).collect();
        links.sort_unstable();
        links.dedup();
        links
    }

    /// Bytes of the media that are in the file already.
    pub(super) fn known_bytes(&self) -> u64 {
        let is_known = |index: &usize| !self.new.iter().any(|(new, _)| new == index);
        let known = (0..self.holes.len()).filter(is_known);
        let lengths = known.filter_map(|index| self.holes.get(index));
        lengths.map(|hole| hole.length).sum()
    }
}
