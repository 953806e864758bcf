//! Writes JSON into memory, as `serde_json` writes it: long texts in blocks, and nothing through a tree of values.

use serde::Serialize;

use crate::model::{Digest, FieldValue};

/// A string: the characters that JSON has escapes for are escaped.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// The inside of a string. A block of eight bytes is written whole, and cut off again before what is to be escaped.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len());
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk() {
        let plain = plain_bytes(*block);
        out.extend_from_slice(block);
        let Some(byte) = block.get(plain) else {
            rest = after;
            continue;
        };
        out.truncate(out.len().saturating_sub(block.len() - plain));
        escape_byte(out, *byte);
        rest = rest.get(plain + 1..).unwrap_or_default();
    }
    rest.iter().for_each(|byte| escape_byte(out, *byte));
}

/// How many bytes come before the first that is to be escaped.
///
/// The highest bit of a byte of the sum tells that it is: where a subtraction borrows from a later byte, that one may be
/// wrong, but an earlier byte is then right.
fn plain_bytes(block: [u8; 8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_le_bytes(block);
    let below = |text: u64, bound: u8| text.wrapping_sub(EACH * u64::from(bound)) & !text;
    let equals = |byte: u8| below(text ^ (EACH * u64::from(byte)), 1);
    let found = (below(text, 0x20) | equals(b'"') | equals(b'\\')) & (EACH * 0x80);
    usize::try_from(found.trailing_zeros() / 8).unwrap_or_default()
}

fn escape_byte(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        0..0x20 => {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            return;
        }
        plain => {
            out.push(plain);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
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
