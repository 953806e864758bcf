//! Deltas: content as a reference to one body, and a frame packed against that body and another.
//!
//! A conversation's next request mostly repeats the one before. So a delta stores how many bytes to copy from
//! the start (`head`) and the end (`tail`) of the first base, and only what is between them as new content. The
//! new content is compressed with a *prefix*: bytes of the bases that it probably quotes.
//!
//! The stored form is a short header of LEB128 numbers, and then one zstd frame of the new content:
//!
//! | number | meaning |
//! |---|---|
//! | head | bytes from the start of the first base that are the start of this content |
//! | tail | bytes at the end of the first base that are the end of this content |
//! | from, length | range of the first base that is the prefix's first part |
//! | second | bytes from the start of the second base that are the prefix's second part |

use std::io;
use std::ops::Range;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_frame_content_size};

/// The bodies that are needed to read a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bases {
    pub(crate) first: i64,
    pub(crate) second: Option<i64>,
}

/// How a body is packed against others.
#[derive(Debug)]
pub(crate) struct PlannedDelta {
    pub(crate) bases: Bases,
    pub(crate) head: u64,
    pub(crate) tail: u64,
    pub(crate) first_range: (u64, u64),
    pub(crate) second_length: u64,
    /// The range of its prefix in the collected texts, directly followed by that of the new content. zstd
    /// is faster if they are adjacent, since it then treats both as one window.
    pub(crate) prefix: Range<usize>,
    pub(crate) new: Range<usize>,
}

/// The largest header: five numbers of at most ten bytes.
const HEADER_BYTES_MAX: usize = 50;
/// New content shorter than this is packed without Huffman coding of its literals. On recorded traffic that
/// saves 0.4 to 2 µs of 2 to 4 µs for a frame, and adds 2 to 77 bytes to it.
const HUFFMAN_BYTES_MIN: usize = 1024;

/// How much effort to spend on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// zstd's own parameters of a level.
    Level(i32),
    /// Against a prefix: level 1, matches of at least six bytes.
    Prefix { has_huffman: bool },
}

/// Packs frames against prefixes. Borrows the prefixes, so that one zstd context serves a whole group:
/// making a context asks for the processor's features, which takes 14 µs under a hypervisor. Used by one
/// thread at a time.
pub(crate) struct Packer<'p> {
    context: CCtx<'p>,
    /// The effort for which the context's parameters are set.
    effort: Option<Effort>,
    /// The last frame, and the header before it.
    frame: Vec<u8>,
    header: Vec<u8>,
}

impl<'p> Packer<'p> {
    pub(crate) fn new() -> Self {
        Self {
            context: CCtx::create(),
            effort: None,
            frame: Vec::new(),
            header: Vec::with_capacity(HEADER_BYTES_MAX),
        }
    }

    fn set_effort(&mut self, effort: Effort) -> Result<(), usize> {
        use CParameter::{CompressionLevel, MinMatch, TargetLength};
        if self.effort == Some(effort) {
            return Ok(());
        }
        self.effort = None;
        // 0 means the level's own value. At this level, a target length turns Huffman coding of literals
        // off.
        let (level, min_match, target_length) = match effort {
            Effort::Level(level) => (level, 0, 0),
            Effort::Prefix { has_huffman } => (1, 6, u32::from(!has_huffman)),
        };
        for parameter in [
            CompressionLevel(level),
            MinMatch(min_match),
            TargetLength(target_length),
        ] {
            self.context.set_parameter(parameter)?;
        }
        self.effort = Some(effort);
        Ok(())
    }

    /// Packs one frame; it is valid until the next call.
    pub(crate) fn frame(
        &mut self,
        effort: Effort,
        prefix: &'p [u8],
        content: &[u8],
    ) -> io::Result<&[u8]> {
        let failed = |code| io::Error::other(zstd::zstd_safe::get_error_name(code));
        self.set_effort(effort).map_err(failed)?;
        if !prefix.is_empty() {
            self.context.ref_prefix(prefix).map_err(failed)?;
        }
        self.frame.clear();
        self.frame.reserve(compress_bound(content.len()));
        self.context
            .compress2(&mut self.frame, content)
            .map_err(failed)?;
        Ok(&self.frame)
    }

    /// The stored form of a delta with this new text: that of the plan, or the same without media.
    pub(crate) fn delta(&mut self, planned: &PlannedDelta, texts: &'p [u8], new: &[u8]) -> Vec<u8> {
        let prefix = texts.get(planned.prefix.clone()).unwrap_or_default();
        let effort = Effort::Prefix {
            has_huffman: new.len() >= HUFFMAN_BYTES_MIN,
        };
        if let Err(error) = self.frame(effort, prefix, new) {
            tracing::error!(%error, "content could not be packed");
            return self.raw_delta(planned, new);
        }
        self.write_header(planned);
        [self.header.as_slice(), &self.frame].concat()
    }

    /// The same without compression. Nothing is lost: a zstd frame can hold its content as it is.
    pub(super) fn raw_delta(&mut self, planned: &PlannedDelta, new: &[u8]) -> Vec<u8> {
        self.frame.clear();
        raw_frame(new, &mut self.frame);
        self.write_header(planned);
        [self.header.as_slice(), &self.frame].concat()
    }

    fn write_header(&mut self, planned: &PlannedDelta) {
        let (from, to) = planned.first_range;
        self.header.clear();
        for number in [
            planned.head,
            planned.tail,
            from,
            to.saturating_sub(from),
            planned.second_length,
        ] {
            write_number(&mut self.header, number);
        }
    }
}

impl PlannedDelta {
    /// The content that the bases do not have.
    pub(super) fn new_text<'t>(&self, texts: &'t [u8]) -> &'t [u8] {
        texts.get(self.new.clone()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Packer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

/// The parts of a delta's content.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Bytes from the start of the first base.
    pub(crate) head: usize,
    /// The content between head and tail.
    pub(crate) new: Vec<u8>,
    /// Bytes at the end of the first base; they do not overlap the head.
    pub(crate) tail: usize,
}

impl Applied {
    /// Joins the whole content; `first` is the first base.
    pub(crate) fn join(self, first: &[u8]) -> Option<Vec<u8>> {
        let tail_begin = first.len().checked_sub(self.tail)?;
        let (head, tail) = (first.get(..self.head)?, first.get(tail_begin..)?);
        Some([head, &self.new, tail].concat())
    }
}

/// How many bytes a delta copies from the start of its first base.
pub(crate) fn copied_head(mut data: &[u8]) -> Option<u64> {
    read_number(&mut data)
}

/// Unpacks frames and deltas. Keeps zstd's working memory, which takes longer to set up than a short delta
/// takes to unpack. Used by one thread at a time.
pub(crate) struct Unpacker {
    context: DCtx<'static>,
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self {
            context: DCtx::create(),
        }
    }

    /// Unpacks the stored form of a delta of `length` bytes. `None`: its parts, the bases and the length
    /// contradict each other.
    pub(crate) fn apply(
        &mut self,
        first: &[u8],
        second: Option<&[u8]>,
        mut data: &[u8],
        length: u64,
    ) -> Option<Applied> {
        let mut number = || read_number(&mut data);
        let (head, tail) = (number()?, number()?);
        let (from, prefix_length, second_length) = (number()?, number()?, number()?);
        let size = |number: u64| usize::try_from(number).ok();
        let prefix = first.get(size(from)?..size(from.checked_add(prefix_length)?)?)?;
        let second = second.unwrap_or_default().get(..size(second_length)?)?;
        let prefix = [prefix, second].concat();
        // Memory is allocated only if the frame's header and the recorded length agree.
        let new_length = get_frame_content_size(data).ok()??;
        let copied = head.checked_add(tail)?;
        if copied.checked_add(new_length)? != length || size(copied)? > first.len() {
            return None;
        }
        let mut new = Vec::with_capacity(size(new_length)?);
        self.frame(&prefix, data, &mut new)?;
        (new.len() == size(new_length)?).then_some(Applied {
            head: size(head)?,
            new,
            tail: size(tail)?,
        })
    }

    /// Unpacks a frame of `length` bytes that stands alone.
    pub(crate) fn alone(&mut self, frame: &[u8], length: u64) -> Option<Vec<u8>> {
        if get_frame_content_size(frame).ok()?? != length {
            return None;
        }
        let mut content = Vec::with_capacity(usize::try_from(length).ok()?);
        self.frame(&[], frame, &mut content)?;
        (u64::try_from(content.len()).ok()? == length).then_some(content)
    }

    /// Unpacks a frame against its prefix, into the spare capacity of `out`.
    fn frame(&mut self, prefix: &[u8], frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
        /// The first bytes of a trained dictionary. Source: RFC 8878, section 5.
        const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xA4, 0x30, 0xEC];
        if prefix.starts_with(&DICTIONARY_MAGIC) {
            // Content that looks like a dictionary must not be used as one.
            let mut context = DCtx::create();
            context.ref_prefix(prefix).ok()?;
            return context.decompress(out, frame).ok().map(drop);
        }
        // Any other dictionary is used as raw content, which is what a prefix is.
        self.context
            .decompress_using_dict(out, frame, prefix)
            .ok()
            .map(drop)
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

/// Writes a zstd frame that holds its content as it is (RFC 8878, section 3.1.1): the fallback if the
/// packer cannot allocate memory.
fn raw_frame(content: &[u8], out: &mut Vec<u8>) {
    const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
    /// Content size in eight bytes, one segment, no checksum, no dictionary.
    const DESCRIPTOR: u8 = 0b1110_0000;
    const BLOCK_BYTES_MAX: usize = 128 * 1024;
    out.extend_from_slice(&MAGIC);
    out.push(DESCRIPTOR);
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    let mut blocks = content.chunks(BLOCK_BYTES_MAX).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&[1, 0, 0]);
    }
    while let Some(block) = blocks.next() {
        let is_last = u32::from(blocks.peek().is_none());
        let size = u32::try_from(block.len()).unwrap_or(0);
        let [low, middle, high, _] = (size << 3 | is_last).to_le_bytes();
        out.extend_from_slice(&[low, middle, high]);
        out.extend_from_slice(block);
    }
}

/// LEB128, as in DWARF and WebAssembly.
pub(super) fn write_number(out: &mut Vec<u8>, mut number: u64) {
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

pub(super) fn read_number(data: &mut &[u8]) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_frames_are_frames() {
        for length in [0, 1, 1000, 128 * 1024, 128 * 1024 + 1, 1_000_000] {
            let content: Vec<u8> = b"what is said"
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect();
            let mut frame = Vec::new();
            raw_frame(&content, &mut frame);
            assert_eq!(get_frame_content_size(&frame).unwrap(), Some(length as u64));
            let mut back = Vec::with_capacity(length);
            DCtx::create().decompress(&mut back, &frame).unwrap();
            assert_eq!(back, content);
        }
    }

    #[test]
    fn a_prefix_that_looks_like_a_dictionary_is_content_like_any_other() {
        let rest = b"says what is said, and says it again";
        for start in [&[0x37, 0xA4, 0x30, 0xEC, 1, 2, 3, 4][..], b"content "] {
            let first = [start, rest].concat();
            let new = [rest.as_slice(), b"; and more"].concat();
            let texts = [first.clone(), new.clone()].concat();
            let planned = PlannedDelta {
                bases: Bases {
                    first: 1,
                    second: None,
                },
                head: 0,
                tail: 0,
                first_range: (0, first.len() as u64),
                second_length: 0,
                prefix: 0..first.len(),
                new: first.len()..texts.len(),
            };
            let data = Packer::new().delta(&planned, &texts, &new);
            assert!(data.len() < new.len(), "packed against the prefix");
            let length = new.len() as u64;
            let mut unpacker = Unpacker::new();
            for _ in 0..2 {
                let applied = unpacker.apply(&first, None, &data, length).unwrap();
                assert_eq!(applied.join(&first).unwrap(), new);
            }
        }
    }
}
