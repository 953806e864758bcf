//! The database: the only code that names rusqlite or r2d2.
//!
//! Opens, migrates, appends and reads. Knows nothing of channels or handles.
//!
//! - `connection/`: opens files and connections, and compares their schema before anything else is read;
//! - `write/`: a batch as one transaction, also what a removal writes;
//! - `read/`: queries for one request, lists and sums;
//! - `search/`: the full-text index;
//! - `remove/`: what is deleted, and what SQLite leaves of it in unused space;
//! - `check/`: compares a file with its log, and rebuilds what is derived;
//! - `rows`, `ended_rows`, `rollups`, `segments`, `media`: columns of requests, what of them is counted, sums, rows of
//!   the log, media; all folders use them.

mod added_columns;
mod backup;
mod check;
mod connection;
mod ended_rows;
mod error;
mod export;
mod keyed;
mod media;
mod read;
mod remove;
mod rollups;
mod rows;
pub(crate) mod search;
mod segments;
mod write;

pub(crate) use backup::copy_into;
pub(crate) use check::inspect::{FileFacts, inspect};
pub(crate) use check::media::{MediaFault, media_faults};
pub(crate) use check::projections::ProjectionCheck;
pub(crate) use check::rebuild::{Compared, compare_projections, rebuild_projections};
pub(crate) use check::snapshot::{PayloadRow, PayloadRows, Snapshot, StoredCheckpoint};
pub(crate) use check::structure::{IndexEntries, is_of_search_index};
pub(crate) use connection::aside::{Aside, Readable};
pub(crate) use connection::files::{DatabasePath, FileLinks, WriterLock, free_space};
pub(crate) use connection::pool::{ReadConnection, ReaderPool, open_reader, restart_clock};
pub(crate) use connection::replace::{ReplacedFiles, give_as_before};
pub(crate) use connection::schema::Schema;
pub(crate) use connection::settings::{sqlite_version, stop_after};
pub(crate) use connection::watch::{FileWatch, Presence, ReadFile};
pub(crate) use error::open_error;
pub(crate) use error::{DbError, DbErrorKind};
pub(crate) use export::{ExportBody, ExportColumn, ExportDatabase, ExportRequest};
pub(crate) use read::ended::{ended_between, list_of};
pub(crate) use read::list::{Walk, list, top};
pub(crate) use read::lookup::{
    StoredPayload, by_request_id, by_request_id_part, by_request_id_prefix, by_session_id,
    by_trace_id, conversation_users, has_request_id, newest_of_conversation, payload,
    tool_callers_near, tool_calls,
};
pub(crate) use read::media::{
    StoredMedium, has_holder_outside, media_end, media_key, media_only_in, media_with, medium,
};
pub(crate) use read::read_snapshot;
pub(crate) use read::removals::{
    RemovalKind, RemovedRange, erasures_from, has_removals, pruned_to, removal_of, removed_between,
    removed_requests,
};
pub(crate) use read::stats::{stats, stats_of, tools};
pub(crate) use read::times::visit_times;
pub(crate) use remove::content::{
    Bound, Links, Pages, Removal, Repacked, RewrittenSegment, are_links_whole, bound, dependants,
    links_through, packed_against, payloads_between, requests_between, segment_of, segment_start,
    space_used,
};
pub(crate) use remove::slack::RawFile;
pub(crate) use rows::RequestRow;
pub(crate) use rusqlite::Connection;
pub(crate) use segments::StoredSegment;
pub(crate) use segments::{log_events, log_id};
pub(crate) use write::append::{Appender, Batch, OpenRequest, Segment, WalCheckpoint};
pub(crate) use write::pieces::{PIECES_MAX, PieceRow, SeenResponse, seen_response};
pub(crate) use write::refusals::Refusals;
pub(crate) use write::removals::usage_between;
pub(crate) use write::tree::{CheckpointRow, TreeHead};

/// Parts of an event's content; they number the rows of `payloads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Body = 0,
    Content = 1,
    UpstreamBody = 2,
    /// Of an end: the request's body, which its opening deferred.
    RequestBody = 3,
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

/// SQLite's integers are signed; a log never gets that long.
pub(crate) fn seq_to_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
