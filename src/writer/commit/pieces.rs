//! Pieces of long responses, as the committer writes them: after the batch that they came with.

use std::sync::Arc;

use super::committer::Committer;
use crate::db::{DbErrorKind, PieceRow};
use crate::error::chain;
use crate::writer::admission::lifecycle::Lifecycle;

/// A piece of a running response on its way from the packer to the committer.
#[derive(Debug)]
pub(crate) struct PackedPiece {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) row: PieceRow,
}

impl Committer {
    /// Writes pieces, once. If that fails, no more of these responses are written, so that the written ones are
    /// contiguous.
    pub(crate) fn write_pieces(&mut self, pieces: &[PackedPiece]) {
        let wanted: Vec<&PackedPiece> = pieces
            .iter()
            .filter(|piece| piece.lifecycle.takes_pieces())
            .collect();
        if wanted.is_empty() {
            return;
        }
        let rows: Vec<&PieceRow> = wanted.iter().map(|piece| &piece.row).collect();
        if let Err(error) = self.appender.write_pieces(&rows) {
            for piece in wanted {
                piece.lifecycle.end_pieces();
            }
            // After a failed write or sync, the connection cannot be trusted.
            self.is_suspect |= !matches!(error.kind, DbErrorKind::Busy | DbErrorKind::Full);
            tracing::warn!(
                target: "auditlite",
                path = ?self.path.as_path(),
                problem = chain(&error),
                "what came so far of long responses could not be written; a crash would lose it, their ends will not"
            );
        }
        self.checkpoints.note_commit();
    }

    /// Deletes all pieces, which are of no use once no request is open. A failure must not keep a store from opening.
    pub(crate) fn take_all_pieces_away(&mut self) {
        if let Err(error) = self.appender.delete_all_pieces() {
            self.is_suspect = true;
            tracing::warn!(target: "auditlite", path = ?self.path.as_path(), problem = chain(&error), "unneeded pieces of responses could not be deleted");
        }
    }
}
