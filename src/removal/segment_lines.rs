//! Rewrites segments: each removed line is replaced by its leaf hash, so that the tree over the log stays the same.
//!
//! Runs on the thread that plans the removal. The committer writes the result (`db/remove/content.rs`).

use std::collections::HashMap;

use crate::db::{self, Connection, RewrittenSegment, StoredSegment};
use crate::error::ReadError;
use crate::log::{SegmentDecoder, SegmentEncoder, lines, removed_leaf, write_removed};
use crate::merkle::leaf_hash;

/// Segments for which it is remembered whether they can be read.
const KNOWN_MAX: usize = 65_536;

/// Removes lines from segments. Keeps the packer's working memory.
pub(super) struct LineRemover {
    decoder: SegmentDecoder,
    encoder: SegmentEncoder,
    /// By their first seqs.
    known: HashMap<u64, bool>,
}

impl LineRemover {
    pub(super) fn new() -> Result<Self, ReadError> {
        Ok(Self {
            decoder: SegmentDecoder::new().map_err(|error| ReadError::Database(error.into()))?,
            encoder: SegmentEncoder::new().map_err(|error| ReadError::Database(error.into()))?,
            known: HashMap::new(),
        })
    }

    /// Whether lines can be removed from the segment that begins here. A segment that is gone holds none.
    pub(super) fn can_redact(
        &mut self,
        connection: &Connection,
        first_seq: u64,
    ) -> Result<bool, ReadError> {
        if let Some(known) = self.known.get(&first_seq) {
            return Ok(*known);
        }
        let can = match db::segment_of(connection, first_seq)? {
            None => true,
            Some(segment) => match self.redact(segment, |_, _| false) {
                Err(ReadError::Damaged(_)) => false,
                redacted => redacted.map(|_| true)?,
            },
        };
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(first_seq, can);
        Ok(can)
    }

    /// The lines of the segment.
    pub(super) fn decode(&mut self, segment: StoredSegment) -> Result<Vec<u8>, ReadError> {
        let StoredSegment {
            first_seq,
            count,
            length,
            encoding,
            data,
            ..
        } = segment;
        let decoded = self.decoder.decode(encoding, data, length, count);
        decoded.map_err(|error| {
            ReadError::Damaged(format!("the log segment at seq {first_seq}: {error}"))
        })
    }

    /// The segment with leaf hashes in place of the lines that are chosen by seq and text; `None` if none is chosen.
    pub(super) fn redact(
        &mut self,
        segment: StoredSegment,
        mut is_chosen: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<Option<RewrittenSegment>, ReadError> {
        let (first_seq, count) = (segment.first_seq, segment.count);
        let text = self.decode(segment)?;
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
        if seq != first_seq.saturating_add(count) {
            let what = format!("the log segment at seq {first_seq} does not hold what it says");
            return Err(ReadError::Damaged(what));
        }
        if !is_changed {
            return Ok(None);
        }
        let length = u64::try_from(redacted.len()).unwrap_or(u64::MAX);
        let (encoding, data) = self.encoder.encode(&redacted);
        Ok(Some(RewrittenSegment {
            first_seq,
            length,
            encoding,
            data,
        }))
    }
}
