//! Excerpts: what is kept of a body that is too long to keep whole.

use bytes::Bytes;

use super::hash::Hasher;
use crate::config::EXCERPT_BYTES;
use crate::model::Digest;

/// Head and tail of a body above the cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// Head and tail, one after the other.
    pub(crate) bytes: Vec<u8>,
    /// How many of `bytes` are the head.
    pub(crate) head: usize,
}

/// The first and last [`EXCERPT_BYTES`] of `body`. Text is cut at character boundaries.
pub(crate) fn excerpt_of(body: &[u8]) -> Excerpt {
    let head = body.get(..EXCERPT_BYTES).unwrap_or(body);
    let tail_start = body.len().saturating_sub(EXCERPT_BYTES).max(head.len());
    join(head, body.get(tail_start..).unwrap_or_default())
}

fn join(head: &[u8], tail: &[u8]) -> Excerpt {
    let head = without_split_end(head);
    let tail = without_split_start(tail);
    Excerpt {
        bytes: [head, tail].concat(),
        head: head.len(),
    }
}

/// `text` up to `bytes_max`, cut at a character boundary.
pub(crate) fn text_prefix(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or(text)
}

/// Drops the start of a UTF-8 character whose rest was cut off; other bytes stay.
fn without_split_end(bytes: &[u8]) -> &[u8] {
    for back in 1..=3.min(bytes.len()) {
        let at = bytes.len() - back;
        let Some(&byte) = bytes.get(at) else { break };
        if byte & 0b1100_0000 == 0b1000_0000 {
            continue; // a continuation byte: its first byte lies before
        }
        let needed = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        if needed > back {
            return bytes.get(..at).unwrap_or(bytes);
        }
        break;
    }
    bytes
}

/// Drops the rest of a UTF-8 character whose start was cut off: at most three continuation bytes. More of
/// them in a row are not text, and stay.
fn without_split_start(bytes: &[u8]) -> &[u8] {
    let rest = bytes
        .iter()
        .take_while(|&&byte| byte & 0b1100_0000 == 0b1000_0000)
        .count();
    if rest > 3 {
        return bytes;
    }
    bytes.get(rest..).unwrap_or_default()
}

/// A body above the cap that arrives in pieces: hashed as it arrives, with only its two ends in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamedBody {
    hasher: Hasher,
    length: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl StreamedBody {
    pub(crate) fn push(&mut self, chunk: &Bytes) {
        self.hasher.update(chunk);
        self.length = self
            .length
            .saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        let free_bytes = EXCERPT_BYTES
            .saturating_sub(self.head.len())
            .min(chunk.len());
        let (head, rest) = chunk.split_at(free_bytes);
        self.head.extend_from_slice(head);
        let last = rest
            .get(rest.len().saturating_sub(EXCERPT_BYTES)..)
            .unwrap_or(rest);
        self.tail.extend_from_slice(last);
        let over = self.tail.len().saturating_sub(EXCERPT_BYTES);
        self.tail.drain(..over);
    }

    pub(crate) fn finish(self) -> (u64, Digest, Excerpt) {
        let excerpt = join(&self.head, &self.tail);
        (self.length, self.hasher.finish(), excerpt)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sha256;
    use super::*;

    fn text(bytes: usize, offset: usize) -> String {
        let mut text = "x".repeat(offset);
        while text.len() < bytes {
            text.push_str("aä漢🦀");
        }
        text
    }

    #[test]
    fn cuts_in_text_never_split_a_character() {
        for offset in 0..12 {
            let body = text(100_000, offset);
            let excerpt = excerpt_of(body.as_bytes());
            let (head, tail) = excerpt.bytes.split_at(excerpt.head);
            let head = std::str::from_utf8(head).unwrap();
            let tail = std::str::from_utf8(tail).unwrap();
            assert!(body.starts_with(head) && body.ends_with(tail));
            assert!(head.len() > EXCERPT_BYTES - 4 && tail.len() > EXCERPT_BYTES - 4);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_cut_exactly() {
        let body: Vec<u8> = (0..100_000_u32).map(|i| (i % 7) as u8 | 0x80).collect();
        let excerpt = excerpt_of(&body);
        assert_eq!(excerpt.head, EXCERPT_BYTES);
        assert_eq!(excerpt.bytes.len(), 2 * EXCERPT_BYTES);
    }

    #[test]
    fn a_streamed_body_gives_the_same_excerpt_and_digest() {
        let body = text(60_000, 1);
        for size in [1, 7, 4096, 8192, 8193, 50_000] {
            let mut streamed = StreamedBody::default();
            for chunk in body.as_bytes().chunks(size) {
                streamed.push(&Bytes::copy_from_slice(chunk));
            }
            let (length, digest, excerpt) = streamed.finish();
            assert_eq!(length, body.len() as u64);
            assert_eq!(digest, sha256(body.as_bytes()));
            assert_eq!(excerpt, excerpt_of(body.as_bytes()));
        }
    }
}
