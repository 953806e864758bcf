//! Wiping: nothing of what was erased is left in the write-ahead log, nor on any page.

use super::Session;
use crate::db::{Needles, Removal, leftovers};
use crate::error::{ReadError, RemovalError};

/// Pages that are scrubbed in one step.
const SCRUBS_EACH: usize = 16;
/// Times that the file is looked through. The first finds all that is left; the others are for pages
/// whose rows were moved between the look and the scrubbing. More would not end: what is left of
/// others' rows, recorded meanwhile, may have a text in it that was erased (`u-1`, where `u-12` is).
const PASSES_MAX: usize = 3;

impl Session<'_> {
    /// `false`: readers of an old state were in the way all the time.
    pub(super) fn wipe(&self, needles: &Needles) -> Result<bool, RemovalError> {
        for pass in 0..PASSES_MAX {
            if !self.truncate()? {
                return Ok(false);
            }
            let left = leftovers(&self.connection, self.path, needles, pass == 0)
                .map_err(ReadError::from)?;
            if left.is_empty() {
                break;
            }
            for scrubs in left.chunks(SCRUBS_EACH) {
                self.step(
                    None,
                    Removal {
                        scrubs: scrubs.to_vec(),
                        ..Removal::default()
                    },
                )?;
            }
        }
        self.step(
            None,
            Removal {
                wipe_pending: Some(false),
                ..Removal::default()
            },
        )?;
        self.truncate()
    }
}
