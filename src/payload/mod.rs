//! Payloads: the exact bytes of bodies, what is kept of them, and how they are packed.
//!
//! Pure: knows neither events, nor the database, nor threads.
//!
//! - `conversation`: which earlier body a body is packed against, with the help of `overlap`;
//! - `encoding`, `codec`, `delta`: the stored forms, how to pack and to unpack them;
//! - `excerpt`: what is kept of a body above the cap;
//! - `content`: texts that a gateway passes beside bodies;
//! - `media`: images and other base64 texts inside bodies, each stored once;
//! - `hash`: digests and commitments.

mod codec;
mod content;
mod delta;
mod encoding;
mod excerpt;
mod hash;
mod media;
mod overlap;
mod planner;
#[cfg(test)]
mod tests;

pub(crate) use codec::{
    Content, PayloadPlan, bases_of, pack_alone, pack_alone_with, unpack, unpack_alone,
};
pub(crate) use content::EndContent;
#[cfg(all(test, not(shuttle)))]
pub(crate) use delta::Effort;
pub(crate) use delta::{Bases, Packer, Unpacker, copied_head};
pub(crate) use encoding::Encoding;
pub(crate) use excerpt::{Excerpt, StreamedBody, excerpt_of, text_prefix};
pub(crate) use hash::{Hasher, commitment, sha256};
pub(crate) use media::{
    EncodedMedia, EncodedMedium, Hole, MediaKey, Parts, PlannedMedia, media_in, ranges_of,
};
pub(crate) use planner::{
    Annotate, ChainPlace, DELTA_BYTES_MAX, DeltaPlanner, Domain, FingerprintKey,
    KEYFRAME_DEPTH_RESUMED, Key, Keyframe, Note, Overlap, Planned, Resumed,
};

use crate::model::Digest;

/// What one event commits to and the payloads table keeps.
#[derive(Debug)]
pub(crate) struct EncodedPayload {
    pub(crate) length: u64,
    pub(crate) sha256: Digest,
    pub(crate) salt: [u8; 32],
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    pub(crate) encoding: Encoding,
    pub(crate) bases: Option<Bases>,
    pub(crate) data: Option<Vec<u8>>,
    /// The media that it refers to.
    pub(crate) media: Option<Box<EncodedMedia>>,
}
