//! What an event states of a body, and what the file keeps of it.

use bytes::Bytes;

use crate::log::{BodyFact, Kept};
use crate::model::Digest;
use crate::payload::{Content, Excerpt, PayloadPlan, commitment, sha256};

/// The event's part and the file's part of a payload.
pub(crate) fn committed(
    length: u64,
    sha256: Digest,
    kept: Kept,
    content: Content,
    head: Option<u64>,
) -> (BodyFact, Option<PayloadPlan>) {
    let payload = PayloadPlan {
        length,
        sha256,
        salt: rand::random(),
        kept: match &content {
            Content::Digest => 0,
            Content::Alone(bytes) => count(bytes.len()),
            Content::Delta(_) => length,
        },
        head,
        content,
    };
    let fact = BodyFact {
        length,
        commitment: Some(payload.commitment()),
        kept,
        ..BodyFact::default()
    };
    (fact, Some(payload))
}

/// The same, of a body of which only the ends are kept.
pub(crate) fn committed_excerpt(
    length: u64,
    digest: Digest,
    excerpt: Excerpt,
) -> (BodyFact, Option<PayloadPlan>) {
    let head = count(excerpt.head);
    let kept = sha256(&excerpt.bytes);
    let content = Content::Alone(Bytes::from(excerpt.bytes));
    let (mut fact, payload) = committed(length, digest, Kept::Excerpt, content, Some(head));
    fact.head = Some(head);
    fact.excerpt_commitment = payload
        .as_ref()
        .map(|payload| commitment(&payload.salt, &kept));
    (fact, payload)
}

pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A body of which nothing is kept, for want of capacity.
pub(crate) fn shed(length: u64) -> BodyFact {
    BodyFact {
        length,
        commitment: None,
        kept: Kept::Nothing,
        ..BodyFact::default()
    }
}
