//! Segments: the lines of one group commit, compressed.
//!
//! A single event makes a short segment, and a few hundred bytes of JSON hardly shrink on their own. So
//! short segments are compressed against a built-in text that has the usual fields in their usual order.
//! Long segments repeat themselves enough. They are packed in pieces, so that one line can be read without
//! unpacking all of them.

use zstd::bulk::{Compressor, Decompressor};

use crate::payload::unpack;

/// The built-in dictionary 2. Part of the file format: it never changes; a better one gets a new number.
/// Number 1, and the encoding 2 that used it, belonged to file version 1.
const DICTIONARY_2: &[u8] = include_bytes!("dictionary_2.txt");
const LEVEL_SHORT: i32 = 3;
/// A higher level finds chance matches among the digests; encoding these costs more than it saves.
const LEVEL_LONG: i32 = 1;
/// For segments shorter than this, the dictionary pays.
const SHORT_BYTES: usize = 16 * 1024;
/// Lines in one frame of a long segment: some 150 KB, which unpack in a fraction of a millisecond. Part of
/// the file format.
const FRAME_LINES: usize = 512;
/// No segment is longer than this before compression; it bounds the memory of a reader. A group commit
/// takes 8,192 events and 4 MiB of strings that came with them, plus the one event that exceeds this. A
/// byte takes at most six as JSON, and the fixed fields of an event less than a kilobyte. Together that is
/// a third of this.
const SEGMENT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// No line is shorter, newline included: `#` and a hash in base64.
const LINE_BYTES_MIN: u64 = 46;

/// How `log_segments.data` is packed. The numbers are part of the file format.
const AS_IS: i64 = 0;
const ZSTD: i64 = 1;
const ZSTD_DICTIONARY_2: i64 = 3;

/// Why a segment cannot be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    #[error("the packer of log segments could not be set up: {0}")]
    Setup(std::io::Error),
    #[error("the packing {0} of a log segment is not known")]
    UnknownEncoding(i64),
    #[error("a log segment does not unpack to its recorded {0} bytes")]
    Damaged(u64),
    #[error("a log segment of {length} bytes cannot hold {count} events")]
    Sizes { count: u64, length: u64 },
    #[error("a log segment holds {found} whole lines and says {count}")]
    Lines { found: u64, count: u64 },
}

/// Packs lines. Keeps zstd's working memory between calls.
pub(crate) struct SegmentEncoder {
    long: Compressor<'static>,
    short: Compressor<'static>,
}

impl SegmentEncoder {
    pub(crate) fn new() -> Result<Self, SegmentError> {
        Ok(Self {
            long: Compressor::new(LEVEL_LONG).map_err(SegmentError::Setup)?,
            short: Compressor::with_dictionary(LEVEL_SHORT, DICTIONARY_2)
                .map_err(SegmentError::Setup)?,
        })
    }

    /// Returns the code of the packing, and the packed lines.
    pub(crate) fn encode(&mut self, lines: &[u8]) -> (i64, Vec<u8>) {
        let (encoding, packed) = if lines.len() < SHORT_BYTES {
            (ZSTD_DICTIONARY_2, self.short.compress(lines))
        } else {
            (ZSTD, self.encode_frames(lines))
        };
        match packed {
            Ok(packed) if packed.len() < lines.len() => (encoding, packed),
            Ok(_) => (AS_IS, lines.to_vec()),
            Err(error) => {
                tracing::error!(target: "auditlite", %error, "events could not be packed");
                (AS_IS, lines.to_vec())
            }
        }
    }

    fn encode_frames(&mut self, lines: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut packed = Vec::new();
        let mut rest = lines;
        while !rest.is_empty() {
            let end = memchr::memchr_iter(b'\n', rest).nth(FRAME_LINES - 1);
            let (frame, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            let frame = self.long.compress(frame)?;
            if packed.is_empty() && after.is_empty() {
                return Ok(frame);
            }
            packed.extend_from_slice(&frame);
            rest = after;
        }
        Ok(packed)
    }
}

impl std::fmt::Debug for SegmentEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SegmentEncoder")
    }
}

/// Unpacks segments.
pub(crate) struct SegmentDecoder {
    plain: Decompressor<'static>,
    dictionary_2: Decompressor<'static>,
}

impl SegmentDecoder {
    pub(crate) fn new() -> Result<Self, SegmentError> {
        Ok(Self {
            plain: Decompressor::new().map_err(SegmentError::Setup)?,
            dictionary_2: Decompressor::with_dictionary(DICTIONARY_2)
                .map_err(SegmentError::Setup)?,
        })
    }

    /// The lines exactly as recorded: `count` of them, `length` bytes in total. Memory is allocated only if
    /// these two match.
    pub(crate) fn decode(
        &mut self,
        encoding: i64,
        data: Vec<u8>,
        length: u64,
        count: u64,
    ) -> Result<Vec<u8>, SegmentError> {
        check_sizes(count, length)?;
        let lines = match encoding {
            AS_IS => Some(data),
            ZSTD => unpack_frames(&mut self.plain, &data, length),
            ZSTD_DICTIONARY_2 => unpack(&mut self.dictionary_2, &data, length),
            other => return Err(SegmentError::UnknownEncoding(other)),
        };
        let lines = lines
            .filter(|lines| u64::try_from(lines.len()).ok() == Some(length))
            .ok_or(SegmentError::Damaged(length))?;
        check_lines(&lines, count)?;
        Ok(lines)
    }

    /// The index of the first line in the piece that contains the line with this index.
    pub(crate) fn piece_of(encoding: i64, index: u64) -> u64 {
        let frame_lines = u64::try_from(FRAME_LINES).unwrap_or(u64::MAX);
        match encoding {
            ZSTD => index - index % frame_lines,
            _ => 0,
        }
    }

    /// The piece that contains the line with this index: the index of its first line, and its lines.
    pub(crate) fn decode_piece(
        &mut self,
        encoding: i64,
        data: Vec<u8>,
        length: u64,
        count: u64,
        index: u64,
    ) -> Result<(u64, Vec<u8>), SegmentError> {
        check_sizes(count, length)?;
        let damaged = || SegmentError::Damaged(length);
        if encoding != ZSTD {
            return Ok((0, self.decode(encoding, data, length, count)?));
        }
        let frame_lines = u64::try_from(FRAME_LINES).unwrap_or(u64::MAX);
        let first = Self::piece_of(encoding, index);
        let place = usize::try_from(first / frame_lines).map_err(|_| damaged())?;
        let (frame, bytes) = frames(&data).nth(place).flatten().ok_or_else(damaged)?;
        if bytes > length {
            return Err(damaged());
        }
        let lines = unpack(&mut self.plain, frame, bytes).ok_or_else(damaged)?;
        // Callers index the lines: an index of newlines alone would take eight times the memory.
        check_lines(&lines, count.saturating_sub(first).min(frame_lines))?;
        Ok((first, lines))
    }
}

/// Whether a segment of `length` bytes can have this many lines.
pub(crate) fn check_sizes(count: u64, length: u64) -> Result<(), SegmentError> {
    let is_possible = length <= SEGMENT_BYTES_MAX && count > 0 && count <= length / LINE_BYTES_MIN;
    if is_possible {
        Ok(())
    } else {
        Err(SegmentError::Sizes { count, length })
    }
}

/// Whether these are this many whole lines.
fn check_lines(lines: &[u8], count: u64) -> Result<(), SegmentError> {
    let found = memchr::memchr_iter(b'\n', lines).count();
    let found = u64::try_from(found).unwrap_or(u64::MAX);
    if found == count && lines.ends_with(b"\n") {
        Ok(())
    } else {
        Err(SegmentError::Lines { found, count })
    }
}

/// Consecutive frames, each with the length in its header. A `None` is the last item: what follows is not a
/// frame, or has no length.
fn frames(data: &[u8]) -> impl Iterator<Item = Option<(&[u8], u64)>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = zstd::zstd_safe::find_frame_compressed_size(rest)
            .ok()
            .and_then(|bytes| rest.split_at_checked(bytes));
        let Some((frame, after)) = next else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        let length = zstd::zstd_safe::get_frame_content_size(frame)
            .ok()
            .flatten();
        Some(length.map(|length| (frame, length)))
    })
}

/// Unpacks frames whose headers say that they have `length` bytes together. No memory is allocated before
/// this is known.
fn unpack_frames(decompressor: &mut Decompressor<'_>, data: &[u8], length: u64) -> Option<Vec<u8>> {
    let stated = frames(data).try_fold(0_u64, |sum, frame| sum.checked_add(frame?.1))?;
    if stated != length {
        return None;
    }
    // One after the other, as the library does.
    decompressor
        .decompress(data, usize::try_from(length).ok()?)
        .ok()
}

impl std::fmt::Debug for SegmentDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SegmentDecoder")
    }
}

/// The lines of an unpacked segment, each without its newline.
pub(crate) fn lines(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(segment.strip_suffix(b"\n").unwrap_or(segment));
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'\n', text);
        rest = end.and_then(|end| text.get(end + 1..));
        text.get(..end.unwrap_or(text.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_round_trip_and_single_events_shrink() {
        let mut encoder = SegmentEncoder::new().unwrap();
        let mut decoder = SegmentDecoder::new().unwrap();
        let line = b"{\"seq\":7,\"at\":1764000000000000,\"event\":\"opened\",\"request_id\":\"r-1\",\"provider_name\":\"openai\",\"request_model\":\"gpt-4o\",\"is_streaming\":true,\"request_body\":{\"length\":10,\"commitment\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}}\n";
        for count in [1, 3, 1000] {
            let segment = line.repeat(count);
            let (encoding, data) = encoder.encode(&segment);
            assert!(data.len() * 2 < segment.len(), "{count}: {}", data.len());
            let length = segment.len() as u64;
            let lines_held = count as u64;
            let mut decode = |length, count| decoder.decode(encoding, data.clone(), length, count);
            let back = decode(length, lines_held).unwrap();
            assert_eq!(back, segment);
            assert_eq!(lines(&back).count(), count);
            assert!(decode(length - 1, lines_held).is_err());
            for wrong in [0, lines_held - 1, lines_held + 1, u64::MAX] {
                assert!(decode(length, wrong).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn a_line_of_a_long_segment_is_read_without_the_others() {
        let mut encoder = SegmentEncoder::new().unwrap();
        let mut decoder = SegmentDecoder::new().unwrap();
        for count in [1, 2, 300, 511, 512, 513, 1024, 1025, 5000] {
            let segment: String = (0..count)
                .map(|number| {
                    format!(
                        "{{\"seq\":{number},\"event\":\"opened\",\"more\":\"{}\"}}\n",
                        "x".repeat(60)
                    )
                })
                .collect();
            let (encoding, data) = encoder.encode(segment.as_bytes());
            let length = segment.len() as u64;
            assert_eq!(
                decoder
                    .decode(encoding, data.clone(), length, count)
                    .unwrap(),
                segment.as_bytes()
            );
            for index in (0..count).step_by(97).chain([count - 1]) {
                let piece = decoder.decode_piece(encoding, data.clone(), length, count, index);
                let (first, piece) = piece.unwrap();
                let line = lines(&piece)
                    .nth(usize::try_from(index - first).unwrap())
                    .unwrap();
                let expected = segment
                    .lines()
                    .nth(usize::try_from(index).unwrap())
                    .unwrap();
                assert_eq!(line, expected.as_bytes(), "{index} of {count}");
                assert!(encoding != ZSTD || lines(&piece).count() <= FRAME_LINES);
            }
            // Cut off, or with something after it.
            let cut = data.get(..data.len() - 1).unwrap().to_vec();
            assert!(decoder.decode(encoding, cut, length, count).is_err());
            let more = [&data[..], b"more"].concat();
            assert!(decoder.decode(encoding, more, length, count).is_err());
        }
    }

    #[test]
    fn a_piece_of_more_lines_than_the_segment_says_is_damage() {
        let newlines = vec![b'\n'; 1 << 20];
        let data = zstd::bulk::compress(&newlines, 1).unwrap();
        let length = newlines.len() as u64;
        let piece = SegmentDecoder::new()
            .unwrap()
            .decode_piece(ZSTD, data, length, 100, 3);
        assert!(
            matches!(piece, Err(SegmentError::Lines { .. })),
            "{piece:?}"
        );
    }
}
