//! Which pages of a database its write-ahead log has, by the log's own frames.
//! Source: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
//!
//! SQLite takes the number of pages from the first page of the database, which the log need not have, and not from the
//! log's commits.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The first field where checksums are made of big-endian numbers; one less: of little-endian ones.
const MAGIC_BIG_ENDIAN: u32 = 0x377f_0683;
const PAGE_BYTES_MAX: u32 = 1 << 16;
const BUFFER_BYTES: usize = 1 << 18;

/// What the log says of its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPages {
    /// Pages of the database after the last commit in the log; 0: no commit is in it.
    pub(crate) database_pages: u64,
    /// Different pages behind the `after` of [`read`] in frames up to that commit.
    pub(crate) found: u64,
}

/// Reads the log's frames, as far as they are valid. `None`: it is no log.
pub(crate) fn read(log: &Path, after: u64) -> io::Result<Option<LogPages>> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(log)?);
    let mut pages = LogPages {
        database_pages: 0,
        found: 0,
    };
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut file, &mut header)? {
        return Ok(Some(pages));
    }
    let [magic, _, page_bytes, _, salt_1, salt_2, ..] = numbers(&header);
    let is_page = page_bytes.is_power_of_two() && (512..=PAGE_BYTES_MAX).contains(&page_bytes);
    if magic & !1 != MAGIC_BIG_ENDIAN & !1 || !is_page {
        return Ok(None);
    }
    let mut sum = Checksum {
        is_big_endian: magic == MAGIC_BIG_ENDIAN,
        sums: [0, 0],
    };
    sum.add(&header[..24]);
    let mut page = vec![0; usize::try_from(page_bytes).unwrap_or_default()];
    let (mut committed, mut uncommitted) = (HashSet::new(), Vec::new());
    let mut frame = [0; FRAME_HEADER_BYTES];
    while fill(&mut file, &mut frame)? && fill(&mut file, &mut page)? {
        let [number, size, frame_salt_1, frame_salt_2, sum_1, sum_2, ..] = numbers(&frame);
        sum.add(&frame[..8]);
        sum.add(&page);
        if (frame_salt_1, frame_salt_2) != (salt_1, salt_2) || sum.sums != [sum_1, sum_2] {
            break;
        }
        if u64::from(number) > after {
            uncommitted.push(number);
        }
        if size > 0 {
            committed.extend(uncommitted.drain(..));
            pages.database_pages = u64::from(size);
        }
    }
    let is_in = |number: &&u32| u64::from(**number) <= pages.database_pages;
    pages.found = u64::try_from(committed.iter().filter(is_in).count()).unwrap_or(u64::MAX);
    Ok(Some(pages))
}

/// `false`: the file ends before.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The big-endian numbers of a header.
fn numbers(header: &[u8]) -> [u32; 8] {
    let mut numbers = [0; 8];
    for (number, bytes) in numbers.iter_mut().zip(header.as_chunks().0) {
        *number = u32::from_be_bytes(*bytes);
    }
    numbers
}

/// The checksum of everything up to a frame.
struct Checksum {
    is_big_endian: bool,
    sums: [u32; 2],
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let [mut first, mut second] = self.sums;
        let number = match self.is_big_endian {
            true => u32::from_be_bytes,
            false => u32::from_le_bytes,
        };
        for [a, b, c, d, e, f, g, h] in bytes.as_chunks().0 {
            first = first
                .wrapping_add(number([*a, *b, *c, *d]))
                .wrapping_add(second);
            second = second
                .wrapping_add(number([*e, *f, *g, *h]))
                .wrapping_add(first);
        }
        self.sums = [first, second];
    }
}
