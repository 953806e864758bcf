//! Bodies as a `Content-Encoding` leaves them: gzip, zlib, zstd, Brotli.
//!
//! The bytes tell, not a header, which gateways pass on or drop as they like. gzip, zlib and zstd begin with marks of their
//! own. Brotli has none: what is neither text nor anything else that is known is tried as Brotli. The body itself is kept
//! as it was sent; only its reading is decoded.

use std::io::{self, Write};

/// Bytes that are looked at before the encoding is decided.
pub(super) const SNIFFED_BYTES: usize = 16;
/// The largest window of zstd that is decoded, as a power of two: RFC 9659 allows 8 MiB over HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The buffer of the Brotli decoder.
const BROTLI_BUFFER_BYTES: usize = 4096;
/// Bytes that are decoded at once, so that little is decoded beyond the bound.
const STEP_BYTES: usize = 4096;
/// The longest that a decoded request becomes: as much as is read of a response.
const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Collects what a decoder writes, up to a bound.
#[derive(Debug)]
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            return Err(io::Error::other("more than the bound"));
        };
        self.left = left;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes a body chunk by chunk.
pub(super) struct Decoder(Kind);

enum Kind {
    Gzip(flate2::write::MultiGzDecoder<Bounded>),
    Zlib(flate2::write::ZlibDecoder<Bounded>),
    Zstd(zstd::stream::write::Decoder<'static, Bounded>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Bounded>>),
}

/// A body that is damaged, of another kind, or longer than the bound.
#[derive(Debug)]
pub(super) struct NotDecoded;

impl Decoder {
    /// A decoder for a body that begins with these bytes; `None`: it is not encoded. `bytes_max` bounds the result.
    pub(super) fn of(beginning: &[u8], bytes_max: usize) -> Option<Self> {
        let encoding = encoding_of(beginning)?;
        let out = Bounded {
            bytes: Vec::new(),
            left: bytes_max,
        };
        let kind = match encoding {
            Encoding::Gzip => Kind::Gzip(flate2::write::MultiGzDecoder::new(out)),
            Encoding::Zlib => Kind::Zlib(flate2::write::ZlibDecoder::new(out)),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(out).ok()?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
                Kind::Zstd(decoder)
            }
            Encoding::Brotli => {
                let writer = brotli_decompressor::DecompressorWriter::new(out, BROTLI_BUFFER_BYTES);
                Kind::Brotli(Box::new(writer))
            }
        };
        Some(Self(kind))
    }

    /// Decodes the next chunk and passes on what it brings, piece by piece.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), NotDecoded> {
        for step in chunk.chunks(STEP_BYTES) {
            let written = self.write(step);
            // What came before the damage is read.
            let out = self.out();
            if !out.bytes.is_empty() {
                take(&out.bytes);
                out.bytes.clear();
            }
            written.map_err(|_| NotDecoded)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writer: &mut dyn Write = match &mut self.0 {
            Kind::Gzip(decoder) => decoder,
            Kind::Zlib(decoder) => decoder,
            Kind::Zstd(decoder) => decoder,
            Kind::Brotli(decoder) => decoder,
        };
        writer.write_all(bytes)?;
        writer.flush()
    }

    fn out(&mut self) -> &mut Bounded {
        match &mut self.0 {
            Kind::Gzip(decoder) => decoder.get_mut(),
            Kind::Zlib(decoder) => decoder.get_mut(),
            Kind::Zstd(decoder) => decoder.get_mut(),
            Kind::Brotli(decoder) => decoder.get_mut(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Zlib,
    Zstd,
    Brotli,
}

/// Whether a body that begins with these bytes is encoded.
pub(super) fn is_encoded(beginning: &[u8]) -> bool {
    encoding_of(beginning).is_some()
}

fn encoding_of(beginning: &[u8]) -> Option<Encoding> {
    let beginning = beginning.get(..SNIFFED_BYTES).unwrap_or(beginning);
    Some(match beginning {
        [0x1F, 0x8B, ..] => Encoding::Gzip,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Encoding::Zstd,
        // A zero byte begins an AWS event stream.
        [] | [0, ..] => return None,
        _ if is_text(beginning) || begins_as_text(beginning) => return None,
        // A window of 32 KiB, and a check of the two bytes.
        [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => Encoding::Zlib,
        _ => Encoding::Brotli,
    })
}

/// Whether JSON or server-sent events begin here, however damaged they are.
fn begins_as_text(bytes: &[u8]) -> bool {
    let bytes = without_mark(bytes).trim_ascii_start();
    match bytes {
        [b'{' | b'[', next, ..] => {
            next.is_ascii_whitespace() || matches!(next, b'"' | b'{' | b'[' | b'}' | b']')
        }
        bytes => [&b"data"[..], b"event", b"id:", b"retry", b":"]
            .iter()
            .any(|field| bytes.starts_with(field)),
    }
}

/// Whether the bytes are the beginning of UTF-8 text without control characters.
fn is_text(bytes: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // Cut within a character.
        Err(error) => error.error_len().is_none(),
    };
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    is_utf8 && !bytes.iter().any(is_control)
}

/// The whole body decoded; `None`: it is not encoded, or damaged.
pub(super) fn decoded(body: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = Decoder::of(body, DECODED_BYTES_MAX)?;
    let mut whole = Vec::new();
    decoder
        .feed(body, &mut |piece| whole.extend_from_slice(piece))
        .ok()?;
    Some(whole)
}

/// The bytes without a byte order mark.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"{\"model\":\"m\",\"text\":\"hello, hello, hello, hello\"}";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// `TEXT`, as `brotli -q 5 -w WINDOW` writes it for some windows.
    fn encoded() -> Vec<Vec<u8>> {
        vec![
            gzip(TEXT),
            zlib(TEXT),
            zstd::bulk::compress(TEXT, 3).unwrap(),
        ]
    }

    #[test]
    fn encodings_are_known_by_their_bytes_however_these_are_cut() {
        for body in encoded() {
            assert_eq!(decoded(&body).as_deref(), Some(TEXT));
            let mut decoder = Decoder::of(&body, 1000).unwrap();
            let mut whole = Vec::new();
            for byte in body.chunks(1) {
                let mut take = |piece: &[u8]| whole.extend_from_slice(piece);
                decoder.feed(byte, &mut take).unwrap();
            }
            assert_eq!(whole, TEXT);
        }
    }

    #[test]
    fn text_and_event_streams_are_not_encoded() {
        for body in [
            &b"{}"[..],
            b"",
            b"[",
            b"data: 1\n\n",
            b"\xEF\xBB\xBF{}",
            b"event: x\r\n",
            "{\"é".as_bytes(),
            &"{\"é".as_bytes()[..3],
            b"\0\0\0\x10",
            b"{\"a\xFF\xFE",
            b"data: \xFF",
        ] {
            assert!(Decoder::of(body, 9).is_none(), "{body:?}");
        }
    }

    #[test]
    fn what_decodes_to_more_than_the_bound_ends_there() {
        let zeros = vec![b' '; 1 << 20];
        for body in [
            gzip(&zeros),
            zlib(&zeros),
            zstd::bulk::compress(&zeros, 3).unwrap(),
        ] {
            let mut decoder = Decoder::of(&body, 1 << 16).unwrap();
            let mut bytes = 0;
            assert!(
                decoder
                    .feed(&body, &mut |piece| bytes += piece.len())
                    .is_err()
            );
            assert!(bytes <= 1 << 16);
        }
    }

    #[test]
    fn damage_is_no_panic() {
        for whole in encoded() {
            for at in 0..whole.len() {
                let mut body = whole.clone();
                body[at] ^= 0x41;
                decoded(&body);
                decoded(&whole[..at]);
            }
        }
    }
}
