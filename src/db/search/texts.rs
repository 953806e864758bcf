//! The texts beside the index, packed.

use super::super::error::DbError;

/// The longest text of one message that is searched, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 256 * 1024;
pub(super) const LEVEL: i32 = 3;
const PACKING: &str = "packing a text that is searched";
const UNPACKING: &str = "unpacking a text that is searched";

/// Packs texts. One for all texts of an indexer: a compressor takes longer to make than a text to pack.
pub(crate) struct Packer {
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Self { compressor: None }
    }

    /// With a checksum, so that damage is noticed.
    pub(super) fn pack(&mut self, text: &str) -> Result<Vec<u8>, DbError> {
        let mut pack = || {
            let compressor = match &mut self.compressor {
                Some(compressor) => compressor,
                none => {
                    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
                    compressor.include_checksum(true)?;
                    none.insert(compressor)
                }
            };
            compressor.compress(text.as_bytes())
        };
        pack().map_err(|error| DbError::corrupt(PACKING, error))
    }
}

/// Prints no content.
impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

/// Content read from the file is not trusted: a text that unpacks to more than the limit is damaged.
pub(super) fn unpack(packed: &[u8]) -> Result<String, DbError> {
    let bytes = zstd::bulk::decompress(packed, TEXT_BYTES_MAX)
        .map_err(|error| DbError::corrupt(UNPACKING, error))?;
    String::from_utf8(bytes).map_err(|error| DbError::corrupt(UNPACKING, error))
}
