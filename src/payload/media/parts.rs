//! The stored form of a payload that refers to media: a header, and what is stored without them.
//!
//! Everything is as without media, but for the *new text*: the whole content, or what a delta has between the
//! common head and the common tail. Media are left out of it where the header says so.
//!
//! The header has LEB128 numbers:
//!
//! | number | meaning |
//! |---|---|
//! | encoding | of what follows the header: 0 as is, 1 zstd, 2 delta |
//! | count | of the media, 1 to 256 |
//! | gap, media_id, length | for each: bytes of the new text after the one before, which medium, its bytes |

use super::MEDIA_MAX;
use crate::payload::delta::{read_number, write_number};
use crate::payload::encoding::Encoding;

/// A place of the new text at which a medium is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// Bytes between the medium before, or the start, and this one.
    pub(crate) gap: u64,
    pub(crate) media_id: i64,
    pub(crate) length: u64,
}

/// A payload as it is stored: which media it has, and the rest.
#[derive(Debug)]
pub(crate) struct Parts<'d> {
    pub(crate) holes: Vec<Hole>,
    /// Bytes of all of them.
    pub(crate) hole_bytes: u64,
    /// What is packed without them, and how.
    pub(crate) encoding: Encoding,
    pub(crate) data: &'d [u8],
}

impl<'d> Parts<'d> {
    /// `None`: that is no stored form.
    pub(crate) fn of(encoding: Encoding, mut data: &'d [u8]) -> Option<Self> {
        let mut parts = Self {
            holes: Vec::new(),
            hole_bytes: 0,
            encoding,
            data,
        };
        if encoding != Encoding::Media {
            return Some(parts);
        }
        let inner = i64::try_from(read_number(&mut data)?).ok()?;
        parts.encoding = Encoding::from_code(inner).filter(|inner| *inner != Encoding::Media)?;
        let count = usize::try_from(read_number(&mut data)?).ok()?;
        if !(1..=MEDIA_MAX).contains(&count) {
            return None;
        }
        for _ in 0..count {
            let hole = Hole {
                gap: read_number(&mut data)?,
                media_id: i64::try_from(read_number(&mut data)?).ok()?,
                length: read_number(&mut data)?,
            };
            parts.hole_bytes = parts.hole_bytes.checked_add(hole.length)?;
            parts.holes.push(hole);
        }
        parts.data = data;
        Some(parts)
    }

    /// The stored form of a payload with these media, of which the rest is packed so.
    pub(crate) fn join(holes: &[Hole], encoding: Encoding, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 8 + 12 * holes.len());
        write_number(&mut out, encoding.code().unsigned_abs());
        write_number(&mut out, u64::try_from(holes.len()).unwrap_or(u64::MAX));
        for hole in holes {
            write_number(&mut out, hole.gap);
            write_number(&mut out, hole.media_id.unsigned_abs());
            write_number(&mut out, hole.length);
        }
        out.extend_from_slice(data);
        out
    }

    /// The new text with its media. `medium` has one of exactly the hole's length. `None`: it is not there, or the
    /// text is too short.
    pub(crate) fn fill(
        &self,
        text: Vec<u8>,
        mut medium: impl FnMut(&Hole) -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        if self.holes.is_empty() {
            return Some(text);
        }
        let mut filled = Vec::with_capacity(text.len().checked_add(size(self.hole_bytes)?)?);
        let mut rest = text.as_slice();
        for hole in &self.holes {
            let (gap, after) = rest.split_at_checked(size(hole.gap)?)?;
            filled.extend_from_slice(gap);
            let medium = medium(hole)?;
            if medium.len() != size(hole.length)? {
                return None;
            }
            filled.extend_from_slice(&medium);
            rest = after;
        }
        filled.extend_from_slice(rest);
        Some(filled)
    }
}

fn size(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_form_is_read_as_it_was_written() {
        let holes = [
            Hole {
                gap: 3,
                media_id: 1,
                length: 4,
            },
            Hole {
                gap: 0,
                media_id: 300,
                length: 2,
            },
        ];
        let data = Parts::join(&holes, Encoding::AsIs, b"abcdef");
        let parts = Parts::of(Encoding::Media, &data).unwrap();
        assert_eq!(
            (parts.holes.as_slice(), parts.hole_bytes),
            (holes.as_slice(), 6)
        );
        assert_eq!(
            (parts.encoding, parts.data),
            (Encoding::AsIs, b"abcdef".as_slice())
        );
        let medium = |hole: &Hole| Some(vec![b'#'; size(hole.length)?]);
        let filled = parts.fill(b"abcdef".to_vec(), medium).unwrap();
        assert_eq!(filled, b"abc######def");
        // A medium of another length, one that is missing, and a text that is too short.
        assert_eq!(parts.fill(b"abcdef".to_vec(), |_| Some(vec![0; 3])), None);
        assert_eq!(parts.fill(b"abcdef".to_vec(), |_| None), None);
        assert_eq!(parts.fill(b"ab".to_vec(), medium), None);
    }

    #[test]
    fn what_is_no_stored_form_is_refused() {
        let hole = Hole {
            gap: 0,
            media_id: 1,
            length: u64::MAX,
        };
        for data in [
            Vec::new(),
            Parts::join(&[], Encoding::AsIs, b"x"),
            Parts::join(&[hole; MEDIA_MAX + 1], Encoding::AsIs, b"x"),
            // More bytes than there can be.
            Parts::join(&[hole; 2], Encoding::AsIs, b"x"),
            Parts::join(&[hole], Encoding::Media, b"x"),
            vec![9, 1, 0, 1, 1],
            vec![0, 2, 0, 1, 1],
        ] {
            assert!(Parts::of(Encoding::Media, &data).is_none(), "{data:?}");
        }
        let other = Parts::of(Encoding::Zstd, b"frame").unwrap();
        assert_eq!((other.holes.len(), other.data), (0, b"frame".as_slice()));
    }
}
