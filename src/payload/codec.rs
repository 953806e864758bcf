//! Packing of kept content: as it is, or as a zstd frame.

use zstd::bulk::{Compressor, Decompressor};

/// How `payloads.data` is packed. The numbers are part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    AsIs = 0,
    Zstd = 1,
}

impl Encoding {
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        [Self::AsIs, Self::Zstd]
            .into_iter()
            .find(|encoding| encoding.code() == code)
    }

    pub(crate) fn code(self) -> i64 {
        self as i64
    }
}

/// Why stored content cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("the content's packing {0} is not known")]
    UnknownEncoding(i64),
    #[error("the content unpacks to another length than the recorded {expected} bytes")]
    Length { expected: u64 },
    #[error("the content cannot be unpacked")]
    Zstd(#[source] std::io::Error),
    #[error("the packer could not be set up")]
    Setup(#[source] std::io::Error),
}

/// Content this short does not shrink by more than a frame's own header.
const PACK_BYTES_MIN: usize = 64;
const ZSTD_LEVEL: i32 = 3;

/// Packs content; holds zstd's working memory between calls.
pub(crate) struct Encoder {
    compressor: Compressor<'static>,
}

impl Encoder {
    pub(crate) fn new() -> Result<Self, PayloadError> {
        let compressor = Compressor::new(ZSTD_LEVEL).map_err(PayloadError::Setup)?;
        Ok(Self { compressor })
    }

    /// The packed content; as it is where packing does not make it smaller.
    pub(crate) fn encode(&mut self, content: &[u8]) -> (Encoding, Vec<u8>) {
        if content.len() >= PACK_BYTES_MIN {
            match self.compressor.compress(content) {
                Ok(packed) if packed.len() < content.len() => return (Encoding::Zstd, packed),
                Ok(_) => {}
                // Nothing is lost: the content is stored as it is.
                Err(error) => tracing::warn!(%error, "content could not be packed"),
            }
        }
        (Encoding::AsIs, content.to_vec())
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

/// Unpacks content, never to more than its recorded length.
pub(crate) struct Decoder {
    decompressor: Decompressor<'static>,
}

impl Decoder {
    pub(crate) fn new() -> Result<Self, PayloadError> {
        let decompressor = Decompressor::new().map_err(PayloadError::Setup)?;
        Ok(Self { decompressor })
    }

    /// `kept` is the recorded length; it must hold exactly.
    pub(crate) fn decode(
        &mut self,
        encoding: i64,
        data: Vec<u8>,
        kept: u64,
    ) -> Result<Vec<u8>, PayloadError> {
        let wrong_length = PayloadError::Length { expected: kept };
        let content = match Encoding::from_code(encoding) {
            None => return Err(PayloadError::UnknownEncoding(encoding)),
            Some(Encoding::AsIs) => data,
            Some(Encoding::Zstd) => {
                unpack(&mut self.decompressor, &data, kept).ok_or_else(|| {
                    PayloadError::Zstd(std::io::Error::from(std::io::ErrorKind::InvalidData))
                })?
            }
        };
        if u64::try_from(content.len()).ok() != Some(kept) {
            return Err(wrong_length);
        }
        Ok(content)
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

/// Unpacks one frame that says itself that it holds `length` bytes. Memory is taken only after the
/// frame's own statement and the recorded length agree, and never more than that.
pub(crate) fn unpack(
    decompressor: &mut Decompressor<'_>,
    frame: &[u8],
    length: u64,
) -> Option<Vec<u8>> {
    let stated = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
    if stated != length {
        return None;
    }
    decompressor
        .decompress(frame, usize::try_from(length).ok()?)
        .ok()
}
