//! Deltas: content as a reference into one body and a frame packed against it and another.
//!
//! The stored form is a short header of LEB128 numbers, then one zstd frame of the content after
//! the copied part:
//!
//! | number | meaning |
//! |---|---|
//! | copied | bytes from the start of the first base that are the start of this content |
//! | from, length | range of the first base that is the prefix's first part |
//! | second | bytes from the start of the second base that are the prefix's second part |

use std::io;
use std::ops::Range;

use bytes::Bytes;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_frame_content_size};

/// Bodies that a delta needs to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bases {
    pub(crate) first: i64,
    pub(crate) second: Option<i64>,
}

/// How a body is packed against others.
#[derive(Debug)]
pub(crate) struct PlannedDelta {
    pub(crate) bases: Bases,
    pub(crate) copied: u64,
    pub(crate) first_range: (u64, u64),
    pub(crate) second_length: u64,
    /// Where among the collected prefixes its own lies.
    pub(crate) prefix: Range<usize>,
    /// The whole content.
    pub(crate) whole: Bytes,
}

impl PlannedDelta {
    /// What comes after the copied part.
    fn rest(&self) -> &[u8] {
        usize::try_from(self.copied)
            .ok()
            .and_then(|copied| self.whole.get(copied..))
            .unwrap_or_default()
    }
}

/// The largest header: four numbers of at most ten bytes.
const HEADER_BYTES_MAX: usize = 40;

/// Packs frames against prefixes. Borrows them all, so that one context serves a whole batch.
pub(crate) struct Packer<'p> {
    context: CCtx<'p>,
}

impl<'p> Packer<'p> {
    pub(crate) fn new() -> Self {
        Self {
            context: CCtx::create(),
        }
    }

    /// One frame at the end of `out`.
    pub(crate) fn frame(
        &mut self,
        level: i32,
        prefix: &'p [u8],
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let failed = |code| io::Error::other(zstd::zstd_safe::get_error_name(code));
        self.context
            .set_parameter(CParameter::CompressionLevel(level))
            .map_err(failed)?;
        if !prefix.is_empty() {
            self.context.ref_prefix(prefix).map_err(failed)?;
        }
        let mut frame = Vec::with_capacity(compress_bound(content.len()));
        self.context
            .compress2(&mut frame, content)
            .map_err(failed)?;
        out.reserve_exact(frame.len());
        out.extend_from_slice(&frame);
        Ok(())
    }

    /// The stored form of a delta.
    pub(crate) fn delta(
        &mut self,
        level: i32,
        planned: &PlannedDelta,
        prefixes: &'p [u8],
    ) -> io::Result<Vec<u8>> {
        let prefix = prefixes.get(planned.prefix.clone()).unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER_BYTES_MAX);
        let (from, to) = planned.first_range;
        for number in [
            planned.copied,
            from,
            to.saturating_sub(from),
            planned.second_length,
        ] {
            write_number(&mut out, number);
        }
        self.frame(level, prefix, planned.rest(), &mut out)?;
        Ok(out)
    }
}

impl std::fmt::Debug for Packer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

/// What a delta says of its content.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Bytes from the start of the first base.
    pub(crate) copied: usize,
    /// What follows them.
    pub(crate) rest: Vec<u8>,
}

/// Unpacks the stored form of a delta of `length` bytes. `None`: its parts, the bases and the
/// length contradict each other.
pub(crate) fn apply(
    first: &[u8],
    second: Option<&[u8]>,
    mut data: &[u8],
    length: u64,
) -> Option<Applied> {
    let mut number = || read_number(&mut data);
    let (copied, from, prefix_length, second_length) = (number()?, number()?, number()?, number()?);
    let size = |number: u64| usize::try_from(number).ok();
    let prefix = first.get(size(from)?..size(from.checked_add(prefix_length)?)?)?;
    let second = second.unwrap_or_default().get(..size(second_length)?)?;
    let prefix = [prefix, second].concat();
    // Memory is taken only for what the frame and the recorded length agree on.
    let rest_length = get_frame_content_size(data).ok()??;
    let copied_length = size(copied)?;
    if copied.checked_add(rest_length)? != length || copied_length > first.len() {
        return None;
    }
    let mut rest = Vec::with_capacity(size(rest_length)?);
    let mut context = DCtx::create();
    if !prefix.is_empty() {
        context.ref_prefix(&prefix).ok()?;
    }
    context.decompress(&mut rest, data).ok()?;
    (rest.len() == size(rest_length)?).then_some(Applied {
        copied: copied_length,
        rest,
    })
}

/// LEB128, as in DWARF and WebAssembly.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = (number & 0x7F).to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn read_number(data: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = data.split_first()?;
        *data = rest;
        number |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
