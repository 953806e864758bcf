//! The event's facts about a body, and the payload that the file keeps of it.

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
        media: None,
    };
    let fact = BodyFact {
        length,
        commitment: Some(payload.commitment()),
        kept,
        ..BodyFact::default()
    };
    (fact, Some(payload))
}

/// What an opening states of a body that the end decides about. Salt and digest are those of the body itself, so
/// that two events which both commit to it do so with the same commitment. What is held becomes a copy: the body
/// may be a small part of a large buffer, and is held for long.
pub(crate) fn deferred(fact: &BodyFact, held: &mut PayloadPlan) -> (BodyFact, PayloadPlan) {
    if let Content::Alone(body) = &mut held.content {
        *body = Bytes::copy_from_slice(body);
    }
    let stated = BodyFact {
        length: fact.length,
        commitment: fact.commitment,
        kept: Kept::Deferred,
        ..BodyFact::default()
    };
    let payload = PayloadPlan {
        length: held.length,
        sha256: held.sha256,
        salt: held.salt,
        kept: 0,
        head: None,
        content: Content::Digest,
        media: None,
    };
    (stated, payload)
}

/// What is stated and kept of a body of which only the ends are kept.
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
