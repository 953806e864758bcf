//! Which pages of a database its write-ahead log has, by the log's own frames.
//! Source: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use super::raw_io;

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// How many different pages above `after` and up to `last` are in the frames of this log. Frames of an earlier round
/// count too: they can only make a log look more complete.
pub(crate) fn pages_between(log: &Path, page_bytes: u64, after: u64, last: u64) -> io::Result<u64> {
    let file = File::open(log)?;
    let frame_bytes = page_bytes.saturating_add(FRAME_HEADER_BYTES);
    let frames = file.metadata()?.len().saturating_sub(HEADER_BYTES) / frame_bytes;
    let mut pages = HashSet::new();
    for frame in 0..frames {
        let mut page = [0; 4];
        let at = HEADER_BYTES.saturating_add(frame.saturating_mul(frame_bytes));
        raw_io::read_at(&file, &mut page, at)?;
        let page = u64::from(u32::from_be_bytes(page));
        if page > after && page <= last {
            pages.insert(page);
        }
    }
    Ok(u64::try_from(pages.len()).unwrap_or(u64::MAX))
}
