//! Reading: from an id to a record, and from a record to its bodies.

pub(super) mod commitments;
pub(super) mod content;
pub(super) mod lookup;
pub(super) mod payloads;
pub(super) mod requests;
pub(super) mod search;
pub(super) mod transcript;
