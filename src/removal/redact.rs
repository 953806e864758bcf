//! Redaction: segments without lines that were taken out, whose leaf hashes stay.

use crate::db::{Redacted, StoredSegment};
use crate::error::ReadError;
use crate::log::{SegmentDecoder, SegmentEncoder, lines, removed_leaf, write_removed};
use crate::proof::leaf_hash;

/// Takes lines out of segments; holds the packer's working memory.
pub(super) struct Redactor {
    decoder: SegmentDecoder,
    encoder: SegmentEncoder,
}

impl Redactor {
    pub(super) fn new() -> Result<Self, ReadError> {
        Ok(Self {
            decoder: SegmentDecoder::new().map_err(|error| ReadError::Database(error.into()))?,
            encoder: SegmentEncoder::new().map_err(|error| ReadError::Database(error.into()))?,
        })
    }

    /// The segment without the lines that are chosen, by seq and text; `None` where none is.
    pub(super) fn redact(
        &mut self,
        segment: StoredSegment,
        mut is_chosen: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<Option<Redacted>, ReadError> {
        let first_seq = segment.first_seq;
        let damaged = |what: String| {
            ReadError::Damaged(format!("the log segment at seq {first_seq}: {what}"))
        };
        let text = self
            .decoder
            .decode(
                segment.encoding,
                segment.data,
                segment.length,
                segment.count,
            )
            .map_err(|error| damaged(error.to_string()))?;
        let mut redacted = Vec::new();
        let (mut seq, mut is_changed) = (first_seq, false);
        for line in lines(&text) {
            if removed_leaf(line).is_none() && is_chosen(seq, line) {
                write_removed(&leaf_hash(line), &mut redacted);
                is_changed = true;
            } else {
                redacted.extend_from_slice(line);
                redacted.push(b'\n');
            }
            seq = seq.saturating_add(1);
        }
        if seq != first_seq.saturating_add(segment.count) {
            return Err(damaged("it does not hold what it says".to_owned()));
        }
        if !is_changed {
            return Ok(None);
        }
        let length = u64::try_from(redacted.len()).unwrap_or(u64::MAX);
        let (encoding, data) = self.encoder.encode(&redacted);
        Ok(Some(Redacted {
            first_seq,
            length,
            encoding,
            data,
        }))
    }
}
