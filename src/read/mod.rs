//! Reading: from an id to a record, and from a record to its bodies.
//!
//! - `lookup`, `requests`: one record by its name, pages of records by a filter;
//! - `payloads/`: from packed rows to the exact bytes; the only place where bodies are unpacked;
//! - `commitments`: compares bytes with what the log's line commits to;
//! - `content`: both of these, for each body of a record;
//! - `feed`: what became final, in the order of the log;
//! - `tool_links`: which requests executed a model's calls;
//! - `transcript/`: messages, parsed from those bodies on demand;
//! - `search/`: full text over the messages, and its index.

pub(super) mod commitments;
pub(super) mod content;
pub(super) mod feed;
pub(super) mod last_turn;
pub(super) mod lookup;
pub(super) mod payloads;
pub(super) mod requests;
pub(super) mod search;
pub(super) mod tool_links;
pub(super) mod transcript;
