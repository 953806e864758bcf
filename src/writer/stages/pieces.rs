//! Pieces of long responses, from their command to the packed row.

use std::sync::Arc;

use bytes::Bytes;

use crate::db::PieceRow;
use crate::payload::{StreamedBody, pack_alone};
use crate::writer::admission::lifecycle::Lifecycle;
use crate::writer::commit::pieces::PackedPiece;

/// A piece of a running response on its way from the intake to the packer.
#[derive(Debug)]
pub(crate) struct PlannedPiece {
    lifecycle: Arc<Lifecycle>,
    position: u64,
    redaction_id: Option<String>,
    content: PieceContent,
}

#[derive(Debug)]
enum PieceContent {
    Next(Vec<Bytes>),
    /// Beginning and end of all that came, in place of the pieces before.
    Ends(Box<StreamedBody>),
}

impl PlannedPiece {
    /// The next part of a response.
    pub(crate) fn next(
        lifecycle: Arc<Lifecycle>,
        position: u64,
        redaction_id: Option<String>,
        chunks: Vec<Bytes>,
    ) -> Self {
        Self {
            lifecycle,
            position,
            redaction_id,
            content: PieceContent::Next(chunks),
        }
    }

    /// What is kept so far of a response above the payload cap, in place of the pieces before.
    pub(crate) fn ends(lifecycle: Arc<Lifecycle>, streamed: StreamedBody) -> Self {
        Self {
            lifecycle,
            position: 0,
            redaction_id: None,
            content: PieceContent::Ends(Box::new(streamed)),
        }
    }

    pub(crate) fn pack(self) -> PackedPiece {
        let (content, ends) = match self.content {
            PieceContent::Next(chunks) => (chunks.concat(), None),
            PieceContent::Ends(streamed) => {
                let (length, sha256, excerpt) = streamed.finish();
                (excerpt.bytes, Some((length, sha256, excerpt.head)))
            }
        };
        let (encoding, data) = pack_alone(&content);
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let kept = count(content.len());
        let row = PieceRow {
            opened_seq: self.lifecycle.opened_seq(),
            position: self.position,
            length: ends.map_or(kept, |(length, ..)| length),
            kept,
            head: ends.map(|(.., head)| count(head)),
            sha256: ends.map(|(_, sha256, _)| sha256),
            redaction_id: self.redaction_id,
            encoding,
            data,
        };
        PackedPiece {
            lifecycle: self.lifecycle,
            row,
        }
    }
}
