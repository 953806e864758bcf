//! Packs content: as it is, as a zstd frame, or as a delta against other content.

use crate::sync::{caught, trip};
use bytes::Bytes;
use zstd::bulk::Decompressor;

use super::EncodedPayload;
use super::delta::{Bases, Effort, Packer, PlannedDelta, Unpacker};
use super::encoding::Encoding;
use super::media::{EncodedMedia, EncodedMedium, Parts, PlannedMedia, ranges_of};
use crate::model::Digest;

/// Content shorter than this shrinks by no more than the header of a frame.
const PACK_BYTES_MIN: usize = 64;
/// Long bodies: a higher level gains a few percent for several times the time.
const LEVEL_FAST: i32 = 1;
/// Short bodies that stand alone.
const LEVEL_SHORT: i32 = 3;
const SHORT_BYTES: usize = 16 * 1024;

/// Content to be packed.
#[derive(Debug)]
pub(crate) enum Content {
    /// Only the digest is kept.
    Digest,
    Alone(Bytes),
    Delta(PlannedDelta),
}

/// A payload whose digest is known and whose packing is planned, but that is not packed yet.
#[derive(Debug)]
pub(crate) struct PayloadPlan {
    pub(crate) length: u64,
    pub(crate) sha256: Digest,
    pub(crate) salt: [u8; 32],
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    pub(crate) content: Content,
    /// Its media, which are left out of what is packed.
    pub(crate) media: Option<Box<PlannedMedia>>,
}

impl PayloadPlan {
    /// Bytes that are not in another payload, nor in a medium.
    pub(crate) fn new_bytes(&self) -> u64 {
        let bytes = match &self.content {
            Content::Digest => 0,
            Content::Alone(bytes) => bytes.len(),
            Content::Delta(planned) => planned.new.len(),
        };
        let known = self.media.as_ref().map_or(0, |media| media.known_bytes());
        u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_sub(known)
    }

    /// The commitment in the log.
    pub(crate) fn commitment(&self) -> Digest {
        super::commitment(&self.salt, &self.sha256)
    }

    /// Packs the content. A panic in the packer costs neither this content nor others: this one is stored
    /// uncompressed, and the next gets a new packer, since this one's state may be broken.
    pub(crate) fn pack<'p>(self, packer: &mut Packer<'p>, texts: &'p [u8]) -> EncodedPayload {
        let media = self.media.as_deref();
        let text = match &self.content {
            Content::Digest => None,
            Content::Alone(content) => Some(content.as_ref()),
            Content::Delta(planned) => Some(planned.new_text(texts)),
        };
        let rest = media.zip(text).map(|(media, text)| media.text_of(text));
        let rest = rest.as_deref().or(text).unwrap_or_default();
        let (encoding, data) = match &self.content {
            Content::Digest => (Encoding::AsIs, None),
            Content::Alone(_) => {
                let packed = caught(|| {
                    trip("pack", rest);
                    alone(packer, rest)
                });
                let (encoding, data) = packed.unwrap_or_else(|| {
                    *packer = Packer::new();
                    (Encoding::AsIs, rest.to_vec())
                });
                (encoding, Some(data))
            }
            Content::Delta(planned) => {
                let packed = caught(|| {
                    trip("pack", rest);
                    packer.delta(planned, texts, rest)
                });
                let data = packed.unwrap_or_else(|| {
                    *packer = Packer::new();
                    packer.raw_delta(planned, rest)
                });
                (Encoding::Delta, Some(data))
            }
        };
        let bases = match &self.content {
            Content::Delta(planned) => Some(planned.bases),
            Content::Digest | Content::Alone(_) => None,
        };
        let (encoding, data, media) = match (media.zip(text), data) {
            (Some((media, text)), Some(data)) => {
                let data = Parts::join(&media.holes, encoding, &data);
                let media = pack_media(packer, media, text);
                (Encoding::Media, Some(data), Some(Box::new(media)))
            }
            (_, data) => (encoding, data, None),
        };
        EncodedPayload {
            length: self.length,
            sha256: self.sha256,
            salt: self.salt,
            kept: self.kept,
            head: self.head,
            encoding,
            bases,
            data,
            media,
        }
    }
}

/// Packs content so that it stands alone.
pub(crate) fn pack_alone(content: &[u8]) -> (Encoding, Vec<u8>) {
    alone(&mut Packer::new(), content)
}

/// Packs content so that it stands alone but for these media.
pub(crate) fn pack_alone_with(
    content: &[u8],
    media: Option<PlannedMedia>,
) -> (Encoding, Vec<u8>, Option<Box<EncodedMedia>>) {
    let mut packer = Packer::new();
    let Some(media) = media else {
        let (encoding, data) = alone(&mut packer, content);
        return (encoding, data, None);
    };
    let (encoding, data) = alone(&mut packer, &media.text_of(content));
    let data = Parts::join(&media.holes, encoding, &data);
    let media = pack_media(&mut packer, &media, content);
    (Encoding::Media, data, Some(Box::new(media)))
}

/// Packs the new media of a text. A panic in the packer costs no medium: it is stored as it is.
fn pack_media(packer: &mut Packer<'_>, planned: &PlannedMedia, text: &[u8]) -> EncodedMedia {
    let ranges = ranges_of(0, &planned.holes);
    let new = planned.new.iter().filter_map(|(index, digest)| {
        let content = text.get(ranges.get(*index)?.clone())?;
        let (encoding, data) = caught(|| alone(packer, content)).unwrap_or_else(|| {
            *packer = Packer::new();
            (Encoding::AsIs, content.to_vec())
        });
        Some(EncodedMedium {
            media_id: planned.holes.get(*index)?.media_id,
            digest: *digest,
            length: u64::try_from(content.len()).unwrap_or(u64::MAX),
            encoding,
            data,
        })
    });
    let new = new.collect();
    EncodedMedia {
        links: planned.links(),
        new,
    }
}

/// The packed content, or the content itself if packing does not make it smaller.
fn alone(packer: &mut Packer<'_>, content: &[u8]) -> (Encoding, Vec<u8>) {
    if content.len() >= PACK_BYTES_MIN {
        let level = if content.len() < SHORT_BYTES {
            LEVEL_SHORT
        } else {
            LEVEL_FAST
        };
        match packer.frame(Effort::Level(level), &[], content) {
            Ok(packed) if packed.len() < content.len() => {
                return (Encoding::Zstd, packed.to_vec());
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "content could not be packed"),
        }
    }
    (Encoding::AsIs, content.to_vec())
}

/// The payloads that stored content needs to be read.
pub(crate) fn bases_of(first: Option<i64>, second: Option<i64>) -> Option<Bases> {
    first.map(|first| Bases { first, second })
}

/// Unpacks content that stands alone; `None` if it does not unpack to exactly `kept` bytes.
pub(crate) fn unpack_alone(
    unpacker: &mut Unpacker,
    encoding: Encoding,
    data: &[u8],
    kept: u64,
) -> Option<Vec<u8>> {
    match encoding {
        Encoding::AsIs => (u64::try_from(data.len()).ok()? == kept).then(|| data.to_vec()),
        Encoding::Zstd => unpacker.alone(data, kept),
        Encoding::Delta | Encoding::Media => None,
    }
}

/// Unpacks a frame whose own header says that it has `length` bytes. Memory is allocated only after the
/// header and the recorded length agree, and never more than that.
pub(crate) fn unpack(
    decompressor: &mut Decompressor<'_>,
    frame: &[u8],
    length: u64,
) -> Option<Vec<u8>> {
    let stated = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
    if stated != length {
        return None;
    }
    let content = decompressor
        .decompress(frame, usize::try_from(length).ok()?)
        .ok()?;
    (u64::try_from(content.len()).ok()? == length).then_some(content)
}
