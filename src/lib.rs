//! An embedded, local-first audit store for AI gateways.
//!
//! A gateway records the lifecycle of every AI request, and a background writer commits it to one SQLite file.
//! Anyone can then read, price and verify what happened, offline, without a server. No recording call waits for the
//! disk, and the log records every loss.
//!
//! # Example: record a request and read it back
//!
//! `examples/quickstart.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! # Example: a streamed response, and a client that goes away
//!
//! ```
//! # use auditlite::{Recorder, RequestContext, RecordError};
//! # fn serve(recorder: &Recorder, chunks: Vec<bytes::Bytes>) -> Result<(), RecordError> {
//! let mut audit = recorder.open(RequestContext::new("openai.chat"), r#"{"stream":true}"#)?;
//! for chunk in chunks {
//!     audit.chunk(chunk); // not copied; the writer joins them
//! }
//! // Usage, models, tool calls, errors: the writer reads them from the bytes. Dropped before this
//! // line, the request is recorded as abandoned.
//! audit.finish(200)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to continue
//!
//! - [`Store`] opens a file for writing and guards it; [`StoreBuilder`] lists the settings.
//! - [`Recorder`] and [`RequestHandle`] record; [`RequestContext`], [`Completion`], [`Failure`] and
//!   [`Rejection`] carry what is recorded.
//! - [`Reader`] reads, from the store or from a [`ReadOnlyStore`] in another process.
//! - [`Redaction`] removes secrets before anything is recorded.
//! - [`PriceBook`] turns usage into cost.
//! - [`ParsedRequest`], [`RequestSummary`] and [`ParsedResponse`] read bodies of many wire
//!   protocols, streamed or not; [`WireProtocol::detect`] tells which it is.

#![forbid(unsafe_code)]

mod bundle;
mod clock;
mod closing;
mod config;
mod db;
mod doctor;
mod error;
mod export;
mod feed;
mod follow;
mod handle;
mod log;
mod merkle;
mod model;
mod payload;
mod pricing;
mod process;
mod read;
mod reader;
mod rebuild;
mod receipt;
mod recorder;
mod redaction;
mod regular_file;
mod removal;
mod store;
mod sync;
mod verify;
mod wire;
mod writer;

#[cfg(test)]
mod tests;

/// The README's example runs: it is part of `examples/quickstart.rs`, as `tests/it/documents.rs` checks. It
/// runs in a folder of its own, because it makes `audit.db` where it is.
#[cfg(doctest)]
#[doc = "```\nmod quickstart {"]
#[doc = include_str!("../examples/quickstart.rs")]
#[doc = "
    pub fn run() {
        main().unwrap();
    }
}

fn main() {
    let name = format!(\"auditlite-quickstart-{}\", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    quickstart::run();
    assert!(folder.join(\"audit.db\").exists());
    std::fs::remove_dir_all(&folder).unwrap();
}
```"]
pub struct Quickstart;

pub use bundle::{
    BundleOptions, BundleReport, BundleSignature, BundleSummary, verify_bundle,
    verify_consistency_proof, verify_inclusion_proof,
};
pub use closing::Closing;
pub use config::{
    ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, COST_MICRODOLLARS_MAX,
    Capture, Durability, ERROR_MESSAGE_BYTES_MAX, EXCERPT_BYTES, FILTER_RANGES_MAX,
    FINISH_REASONS_MAX, IDENTIFIER_BYTES_MAX, LATENCY_US_MAX, MESSAGES_MAX, Overflow,
    PAYLOAD_CAP_BYTES_MAX, SAMPLING_PARAMETER_MAX, TOKEN_LIMIT_MAX, TOKENS_MAX, TOOL_CALLS_MAX,
    TOOL_INPUT_BYTES_MAX,
};
pub use doctor::DoctorReport;
pub use error::{
    BundleError, ExportError, FlushError, KeyError, OpenError, ParseError, PriceBookError,
    ReadError, ReceiptError, RecordError, RemovalError, SearchIndexError, VerifyError,
};
pub use export::{
    BackupReport, ExportContent, ExportFormat, ExportOptions, ExportReader, ExportSummary,
    Replaced, RestoreError, RestoreOptions, RestoreReport, export_schema, restore,
};
pub use feed::Feed;
pub use follow::Follower;
pub use handle::RequestHandle;
pub use merkle::{SigningKey, VerifyingKey};
pub use model::{
    Actor, ActorKind, BilledUnit, BodyInfo, CacheWriteTokens, CanonicalMessage, Completion,
    CostSource, Digest, Failure, InvalidField, ListOptions, Message, MessagePart, MessageToolCall,
    MessageToolResult, ModalityTokens, ModelUsage, Page, Payload, PayloadSide, PriceSource,
    RecordedToolCall, Rejection, RequestContext, RequestFilter, RequestOrder, RequestRecord,
    ServerToolUsage, StatsFilter, StatsKey, StatsRow, Status, Timestamp, Timing, ToolCall,
    ToolStats, UnreadableRequest, Usage, UsageDetails, UsageSoFar, UsageSource, WireProtocol,
    stored_identifier,
};
pub use pricing::{Cost, CostQuery, PriceBook};
pub use read::feed::{FeedFact, FeedItem};
pub use read::search::{
    SearchHit, SearchLag, SearchOptions, SearchResult, SnippetPart, update_search_index,
};
pub use read::tool_links::ToolLink;
pub use read::transcript::{
    Conversation, ConversationMessage, ConversationOptions, ToolResult, Transcript,
};
pub use reader::body_infos::BodyInfos;
pub use reader::{ReadOnlyStore, Reader};
pub use rebuild::rebuild;
pub use receipt::Receipt;
pub use recorder::Recorder;
pub use redaction::{Redaction, RedactionError};
pub use removal::{EraseReport, EraseSelector, PruneReport, Retention};
pub use store::{Store, StoreBuilder};
pub use verify::{
    Finding, FindingKind, NotKept, OtherLog, VerifyOptions, VerifyProgress, VerifyReport,
    VerifyStage,
};
pub use wire::{
    BatchResult, OfferedTool, ParsedRequest, ParsedResponse, RequestSummary, ResponseError,
    ResponseParser,
};
pub use writer::{Alarm, CheckpointNotice, CloseReport, Health, HealthState};
