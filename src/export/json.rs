//! Writes JSON into memory, as `serde_json` writes it: long texts in blocks, and nothing through a tree of values.

use serde::Serialize;

use crate::model::{Digest, FieldValue};

/// Bytes that are looked at together.
const BLOCK_BYTES: usize = 16;

/// A string: the characters that JSON has escapes for are escaped.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// The inside of a string.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len());
    let (blocks, rest) = text.as_chunks::<BLOCK_BYTES>();
    for block in blocks {
        // Without an early end, so that the bytes are compared together.
        if block
            .iter()
            .fold(false, |any, byte| any | is_escaped(*byte))
        {
            escape_each(out, block);
        } else {
            out.extend_from_slice(block);
        }
    }
    escape_each(out, rest);
}

#[inline]
fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn escape_each(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0C => b'f',
            0..0x20 => {
                let low = char::from_digit(u32::from(byte & 15), 16).map_or(b'0', |low| low as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

/// A number, or whatever else needs no care for its length.
pub(super) fn value(out: &mut Vec<u8>, value: &impl Serialize) {
    // Memory takes everything, and every value here has a form in JSON.
    let _ = serde_json::to_writer(out, value);
}

/// The value of a field.
pub(super) fn field(out: &mut Vec<u8>, field: &FieldValue<'_>) {
    match field {
        FieldValue::Absent => out.extend_from_slice(b"null"),
        FieldValue::Text(text) => string(out, text.as_bytes()),
        other => value(out, other),
    }
}

/// A digest in hex, between quotes.
pub(super) fn digest(out: &mut Vec<u8>, digest: &Digest) {
    out.push(b'"');
    out.extend_from_slice(&digest.hex());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_serde_json_escapes_them() {
        let all: String = (0..0x250).filter_map(char::from_u32).collect();
        for begin in all.char_indices().map(|(at, _)| at) {
            let text = all.get(begin..).unwrap();
            let mut out = Vec::new();
            string(&mut out, text.as_bytes());
            assert_eq!(out, serde_json::to_vec(text).unwrap());
        }
    }
}
