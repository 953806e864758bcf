//! What events say about bodies: lengths and commitments, never content.

use serde::{Deserialize, Serialize};

use super::error::EventError;
use crate::model::Digest;

/// What the log has of a body: its length, and a commitment to its digest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct BodyFact {
    pub(crate) length: u64,
    /// Absent for an empty body, and for a body that was shed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub(crate) commitment: Option<Digest>,
    #[serde(default, skip_serializing_if = "Kept::is_whole")]
    pub(crate) kept: Kept,
    /// Excerpt: the bytes of the head; the rest of what is kept is the tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) head: Option<u64>,
    /// Excerpt: SHA-256(salt || SHA-256 of the kept bytes). The digest of the whole body says nothing about
    /// these.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub(crate) excerpt_commitment: Option<Digest>,
}

/// What the line of any event says about bodies: enough to compare content with it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(crate) struct BodyFacts {
    pub(crate) seq: u64,
    /// Absent in openings: tells a request body that comes with the end from one that came with the opening.
    #[serde(default)]
    opened_seq: Option<u64>,
    #[serde(default)]
    request_body: Option<BodyFact>,
    #[serde(default)]
    response_body: Option<BodyFact>,
    #[serde(default)]
    pub(crate) content: Option<BodyFact>,
    #[serde(default)]
    pub(crate) upstream_body: Option<BodyFact>,
}

impl BodyFacts {
    /// Reads a line, with or without its newline.
    pub(crate) fn from_line(line: &[u8]) -> Result<Self, EventError> {
        Ok(serde_json::from_str(std::str::from_utf8(line)?)?)
    }

    /// The event's own body: of an opening the request's, of an end the response's.
    pub(crate) fn body(&self) -> Option<&BodyFact> {
        match self.opened_seq {
            None => self.request_body.as_ref(),
            Some(_) => self.response_body.as_ref(),
        }
    }

    /// The request's body, kept at the end.
    pub(crate) fn late_request_body(&self) -> Option<&BodyFact> {
        self.opened_seq.and(self.request_body.as_ref())
    }
}

/// How much of a body was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    #[default]
    Whole,
    /// Above the cap: head and tail.
    Excerpt,
    /// Only the digest: capture was off, or only the digest matters.
    Digest,
    /// Nothing: the body was shed because the queue was full.
    Nothing,
    /// Only the digest: the end decides what is kept. A request body that is kept then is in the end's event; a
    /// response with this was not.
    Deferred,
}

impl Kept {
    // serde passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// Digests as lower-case hex.
mod hex {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    use crate::model::Digest;

    // serde passes a reference to the field.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let Some(digest) = digest else {
            return serializer.serialize_none();
        };
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let mut text = [0; 64];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(digest.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Digest;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("64 hex digits")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Digest, E> {
                let wrong = || E::custom("a digest has 64 hex digits");
                if text.len() != 64 || !text.is_ascii() {
                    return Err(wrong());
                }
                let mut digest = [0; 32];
                let (pairs, _) = text.as_bytes().as_chunks::<2>();
                for (byte, &[high, low]) in digest.iter_mut().zip(pairs) {
                    let value = |digit: u8| char::from(digit).to_digit(16).ok_or_else(wrong);
                    *byte = u8::try_from(value(high)? * 16 + value(low)?).map_err(|_| wrong())?;
                }
                Ok(Digest(digest))
            }
        }
        deserializer.deserialize_str(Hex).map(Some)
    }
}
