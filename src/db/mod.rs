//! The database: the only code that names rusqlite or r2d2.
//!
//! Opens, migrates, appends and reads. Knows nothing of channels or handles.

mod alone;
mod append;
mod aside;
mod backup;
mod compare;
mod error;
mod files;
mod filter;
mod held;
mod inspect;
mod keyed;
mod mend;
mod migrate;
mod mount;
mod open;
mod pieces;
mod plain;
mod pool;
mod project;
mod read;
mod rebuild;
mod refusals;
mod removals;
mod remove;
mod replace;
mod rows;
mod schema;
pub(crate) mod search;
mod snapshot;
mod stats;
mod structure;
mod sums;
mod times;
mod tree;
mod watch;
mod wipe;

pub(crate) use append::{Appender, Batch, Checkpoint, OpenRequest, Segment};
pub(crate) use aside::{Aside, Readable};
pub(crate) use backup::copy_into;
pub(crate) use compare::Comparison;
pub(crate) use error::{DbError, DbErrorKind};
pub(crate) use files::{DatabasePath, FileLinks, WriterLock, free_space};
pub(crate) use filter::{Walk, list, top};
pub(crate) use inspect::{FileFacts, inspect};
pub(crate) use open::{open_error, sqlite_version};
pub(crate) use pieces::{PIECES_MAX, PieceRow, SeenResponse, seen_response};
pub(crate) use plain::{PlainBody, PlainDatabase, PlainRequest};
pub(crate) use pool::{ReadConnection, ReaderPool, open_reader, restart_clock};
pub(crate) use read::{
    StoredPayload, StoredSegment, by_request_id, by_request_id_prefix, by_session_id, by_trace_id,
    conversation_users, payload, tool_calls,
};
pub(crate) use rebuild::{Compared, compare_projections, rebuild_projections};
pub(crate) use refusals::Refusals;
pub(crate) use removals::{
    RemovalKind, RemovedRange, has_removals, pruned_to, removal_of, removed_between,
    removed_requests, usage_between,
};
pub(crate) use remove::{
    Bound, Links, Redacted, Removal, Repacked, are_links_whole, bound, dependants, links_through,
    packed_against, payloads_between, requests_between, segment_of, segment_start, space_used,
};
pub(crate) use replace::{ReplacedFiles, give_as_before};
pub(crate) use rows::RequestRow;
pub(crate) use rusqlite::Connection;
pub(crate) use schema::Schema;
pub(crate) use snapshot::{PayloadRow, PayloadRows, Snapshot, StoredCheckpoint};
pub(crate) use stats::{stats, stats_of, tools};
pub(crate) use structure::{IndexEntries, is_of_search_index};
pub(crate) use times::visit_times;
pub(crate) use tree::{CheckpointRow, TreeHead, log_events, log_id};
pub(crate) use watch::{FileWatch, Presence, ReadFile};
pub(crate) use wipe::RawFile;

/// Bytes of a page; that of every file that this library creates.
pub(crate) const PAGE_BYTES: u64 = 8192;

/// Parts of an event's content, as they number the rows of `payloads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Body = 0,
    Content = 1,
    Prepared = 2,
}

/// The key of an event's content in `payloads`.
pub(crate) fn payload_id(seq: u64, part: Part) -> i64 {
    seq_to_sql(seq)
        .saturating_mul(4)
        .saturating_add(part as i64)
}

/// The event that commits to a payload.
pub(crate) fn event_seq(payload_id: i64) -> i64 {
    payload_id.div_euclid(4)
}

/// SQLite's integers are signed; a log does not get that long.
pub(crate) fn seq_to_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
