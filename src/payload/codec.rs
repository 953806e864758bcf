//! Packs content: as it is, as a zstd frame, or as a delta against other content.

use crate::sync::{caught, trip};
use bytes::Bytes;
use zstd::bulk::Decompressor;

use super::EncodedPayload;
use super::delta::{Bases, Effort, Packer, PlannedDelta, Unpacker};
use crate::model::Digest;

/// How `payloads.data` is packed. The numbers are part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    AsIs = 0,
    Zstd = 1,
    Delta = 2,
}

impl Encoding {
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        [Self::AsIs, Self::Zstd, Self::Delta]
            .into_iter()
            .find(|encoding| encoding.code() == code)
    }

    pub(crate) fn code(self) -> i64 {
        self as i64
    }
}

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

impl Content {
    /// Bytes that are not in another payload.
    pub(crate) fn new_bytes(&self) -> u64 {
        let bytes = match self {
            Self::Digest => 0,
            Self::Alone(bytes) => bytes.len(),
            Self::Delta(planned) => planned.new.len(),
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
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
}

impl PayloadPlan {
    /// The commitment in the log.
    pub(crate) fn commitment(&self) -> Digest {
        super::commitment(&self.salt, &self.sha256)
    }

    /// Packs the content. A panic in the packer costs neither this content nor others: this one is stored
    /// uncompressed, and the next gets a new packer, since this one's state may be broken.
    pub(crate) fn pack<'p>(self, packer: &mut Packer<'p>, texts: &'p [u8]) -> EncodedPayload {
        let (encoding, data) = match &self.content {
            Content::Digest => (Encoding::AsIs, None),
            Content::Alone(content) => {
                let packed = caught(|| {
                    trip("pack", content);
                    alone(packer, content)
                });
                let (encoding, data) = packed.unwrap_or_else(|| {
                    *packer = Packer::new();
                    (Encoding::AsIs, content.to_vec())
                });
                (encoding, Some(data))
            }
            Content::Delta(planned) => {
                let packed = caught(|| {
                    trip("pack", planned.new_text(texts));
                    packer.delta(planned, texts)
                });
                let data = packed.unwrap_or_else(|| {
                    *packer = Packer::new();
                    packer.raw_delta(planned, texts)
                });
                (Encoding::Delta, Some(data))
            }
        };
        let bases = match &self.content {
            Content::Delta(planned) => Some(planned.bases),
            Content::Digest | Content::Alone(_) => None,
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
        }
    }
}

/// Packs content so that it stands alone.
pub(crate) fn pack_alone(content: &[u8]) -> (Encoding, Vec<u8>) {
    alone(&mut Packer::new(), content)
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
        Encoding::Delta => None,
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
