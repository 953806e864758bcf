//! A line while it is written: in memory that the next one uses again.

use std::io::Write;

use crate::error::ExportError;

/// Memory that is kept for the next line. Most lines are shorter, and a long one must not take it for good.
pub(super) const KEPT_BYTES: usize = 1 << 20;

/// The line.
#[derive(Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
}

impl Line {
    /// An empty one.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        &mut self.bytes
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> Result<(), ExportError> {
        out.write_all(&self.bytes).map_err(ExportError::Output)
    }
}
