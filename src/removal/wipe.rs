//! Wiping: nothing of what was erased is left in the write-ahead log, nor on any page.

use super::Session;
use crate::db::{Needles, Removal, Scrub, leftovers};
use crate::error::{ReadError, RemovalError};

/// Pages that are scrubbed in one step.
const SCRUBS_EACH: usize = 16;
/// Times that the file is looked through: scrubbing moves rows, and so do those who record.
const PASSES_MAX: usize = 8;

impl Session<'_> {
    /// `false`: readers were in the way all the time, or something was still left after all passes.
    pub(super) fn wipe(&self, needles: &Needles) -> Result<bool, RemovalError> {
        for _ in 0..PASSES_MAX {
            if !self.truncate()? {
                return Ok(false);
            }
            let left = leftovers(&self.connection, self.path, needles).map_err(ReadError::from)?;
            for scrubs in left.chunks(SCRUBS_EACH) {
                self.scrub(scrubs)?;
            }
            // Of those who record meanwhile there is always something left.
            if left.is_empty() || needles.is_everything() {
                self.step(
                    None,
                    Removal {
                        wipe_pending: Some(false),
                        ..Removal::default()
                    },
                )?;
                return self.truncate();
            }
        }
        Ok(false)
    }

    fn scrub(&self, scrubs: &[Scrub]) -> Result<(), RemovalError> {
        self.step(
            None,
            Removal {
                scrubs: scrubs.to_vec(),
                ..Removal::default()
            },
        )
    }
}
