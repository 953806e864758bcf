//! What a reader gets.

use std::fmt;
use std::str::FromStr;

use super::setters;
use super::source::{CostSource, UsageSource};
use super::timestamp::Timestamp;
use super::usage_details::UsageDetails;
use crate::error::{ParseError, named};

use super::adjustments::{
    REQUEST_UNPARSED, REQUEST_WITHHELD, RESPONSE_UNPARSED, RESPONSE_WITHHELD, USAGE_UNPARSED,
};

/// Where a request stands in its lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Status {
    /// Opened, not ended yet.
    Pending,
    /// Answered.
    Completed,
    /// Let in, then failed.
    Failed,
    /// Refused by the gateway.
    Rejected,
    /// The handle was dropped without an end: the client went away.
    Abandoned,
    /// Found open when the store was opened again after a crash.
    Interrupted,
}

named! {
    Status;
    Pending => "pending",
    Completed => "completed",
    Failed => "failed",
    Rejected => "rejected",
    Abandoned => "abandoned",
    Interrupted => "interrupted",
}

/// A SHA-256 digest; prints as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Its digits, as it is printed.
    pub(crate) fn hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
        let mut hex = [0; 64];
        let (pairs, _) = hex.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads 64 hexadecimal digits, with or without the prefix `sha256:`.
impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let error = || ParseError::new("64 hexadecimal digits", text);
        let mut bytes = [0; 32];
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(error());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |at: u8| {
                char::from(at)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            let [high, low] = pair.map(digit);
            *byte = high
                .zip(low)
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(error)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// One request as recorded so far: its metadata, never its bodies.
///
/// Durations are microseconds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields that carry a gateway's own words are described where they are set.
pub struct RequestRecord {
    /// `seq` of the event that opened the request: unique, ascending, the cursor of lists.
    pub opened_seq: u64,
    /// `seq` of the event that ended it.
    pub ended_seq: Option<u64>,
    pub request_id: String,
    pub status: Status,
    /// When the request arrived.
    pub opened_at: Timestamp,
    pub latency_us: Option<u64>,
    pub upstream_latency_us: Option<u64>,
    pub time_to_first_chunk_us: Option<u64>,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub context_id: Option<String>,
    pub conversation_id: Option<String>,
    pub trace_id: Option<String>,
    /// `user`, `job` or `mcp`.
    pub actor_type: Option<String>,
    pub actor_id: Option<String>,
    pub operation_name: Option<String>,
    /// Path of the request's URL, without its query.
    pub url_path: Option<String>,
    /// The provider that the gateway routed to.
    pub provider_name: Option<String>,
    /// The provider that served, where it is another one.
    pub response_provider_name: Option<String>,
    pub client_model: Option<String>,
    pub request_model: Option<String>,
    /// The model that served.
    pub response_model: Option<String>,
    pub wire_protocol: Option<String>,
    pub is_streaming: bool,
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub attributes: Vec<(String, String)>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub cache_write_input_tokens: Option<u64>,
    pub reasoning_output_tokens: Option<u64>,
    /// Where the counts come from; absent where none were used, before the end, and in files of earlier builds.
    pub usage_source: Option<UsageSource>,
    /// What the response says of its usage beyond these counts: modalities, lifetimes of cache writes, tier, server
    /// tools, other models. Absent where it says nothing.
    pub usage_details: Option<Box<UsageDetails>>,
    /// Cost in millionths of a US dollar; absent where the price book does not know the model.
    pub cost_microdollars: Option<u64>,
    /// Where the cost comes from; absent as [`usage_source`](Self::usage_source) is.
    pub cost_source: Option<CostSource>,
    /// `seq` of the event that states the price book from which the cost was computed, see
    /// [`Reader::price_book`](crate::Reader::price_book).
    pub price_book_seq: Option<u64>,
    pub finish_reasons: Vec<String>,
    /// How many tools the model asked to have called.
    pub tool_call_count: u64,
    /// The provider's own id of the response.
    pub response_id: Option<String>,
    pub http_status: Option<u16>,
    pub error_type: Option<String>,
    pub error_message: Option<String>,
    /// Length of the full request body in bytes.
    pub request_bytes: u64,
    /// Length of the full response body in bytes; absent where there was none.
    pub response_bytes: Option<u64>,
    /// Fields that were brought into their bounds, see [`InvalidField`](crate::InvalidField):
    /// shortened, left out, or replaced by the bound.
    pub adjusted_fields: Vec<String>,
    /// Flags of parts that were not parsed or recorded in full: `request_unparsed`, `response_unparsed`
    /// (a body that could not be parsed in full), `usage_unparsed` (invalid token counts),
    /// `request_withheld`, `response_withheld` (left out because its redaction failed), `unprepared`
    /// (a fault of the writer), `row_refused` (the file refused the row; the log has it).
    pub body_flags: Vec<String>,
    /// Whether its content and personal metadata were erased. Its id, time, provider, models and usage remain.
    pub is_erased: bool,
    /// Whether another request has the same id, because the client or the gateway used it more than once. The id
    /// then names neither of them; [`reference`](Self::reference) names each.
    pub is_id_shared: bool,
}

impl RequestRecord {
    /// A name that only this request has, accepted wherever an id is: its id, or `#` and its
    /// [`opened_seq`](Self::opened_seq) if it shares its id.
    pub fn reference(&self) -> String {
        // An id that begins like a number of an event would name another request; `=` and `last` mean
        // something to the command line.
        let is_read_otherwise =
            self.request_id.starts_with(['#', '=']) || self.request_id == "last";
        if self.is_id_shared || is_read_otherwise {
            format!("#{}", self.opened_seq)
        } else {
            self.request_id.clone()
        }
    }

    /// What groups the requests of one user to a conversation: `conversation_id`, else `context_id`,
    /// else `session_id`. Another user's with the same id is another conversation.
    pub fn conversation(&self) -> Option<&str> {
        self.conversation_id
            .as_deref()
            .or(self.context_id.as_deref())
            .or(self.session_id.as_deref())
    }

    /// Whether a body could not be parsed in the request's wire protocol, or not in full.
    pub fn is_unparsed(&self) -> bool {
        [REQUEST_UNPARSED, RESPONSE_UNPARSED, USAGE_UNPARSED]
            .iter()
            .any(|flag| self.has_flag(flag))
    }

    /// Whether content was left out because its redaction failed.
    pub fn is_withheld(&self) -> bool {
        self.has_flag(REQUEST_WITHHELD) || self.has_flag(RESPONSE_WITHHELD)
    }

    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        self.body_flags.iter().any(|name| name == flag)
    }

    /// The model that served, else the one routed to, else the one asked for.
    pub fn model(&self) -> Option<&str> {
        self.response_model
            .as_deref()
            .or(self.request_model.as_deref())
            .or(self.client_model.as_deref())
    }

    /// The provider that served, else the one routed to.
    pub fn provider(&self) -> Option<&str> {
        self.response_provider_name
            .as_deref()
            .or(self.provider_name.as_deref())
    }
}

/// One tool that a model asked to have called.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedToolCall {
    /// Its place among the calls of the response, from 0.
    pub position: u64,
    /// The provider's id of the call.
    pub tool_call_id: String,
    /// The tool's name.
    pub tool_name: String,
    /// Length of the full input in bytes.
    pub input_bytes: u64,
    /// The input, cut after 64 KiB at a character; absent where content was not kept.
    pub input: Option<String>,
}

/// Prints id, name and size, never the input.
impl fmt::Debug for RecordedToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedToolCall")
            .field("position", &self.position)
            .field("tool_call_id", &self.tool_call_id)
            .field("tool_name", &self.tool_name)
            .field("input_bytes", &self.input_bytes)
            .finish_non_exhaustive()
    }
}

/// Which body of a request. There is no third: matching both is meant to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadSide {
    /// What the client sent.
    Request,
    /// What the client got.
    Response,
}

named! {
    PayloadSide;
    Request => "request",
    Response => "response",
}

/// What is known of a body without reading it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyInfo {
    /// Length of the full body in bytes, whatever is kept.
    pub length: u64,
    /// SHA-256 of the full body, whatever is kept. Absent where the body was shed, erased or pruned.
    pub sha256: Option<Digest>,
    /// Bytes that are kept.
    pub kept: u64,
    /// Bytes that the kept content takes in the file.
    pub stored: u64,
    /// Why it is no longer in the file: `erased` or `pruned`, or `missing` if the log says that it was kept and no
    /// event says why it is gone, so that it was deleted without a record.
    pub removed: Option<&'static str>,
    /// Whether it is not kept because its capture was deferred
    /// ([`Capture::Deferred`](crate::Capture::Deferred)): the request succeeded, a crash interrupted it, or it has not
    /// ended yet.
    pub is_deferred: bool,
    /// Whether the line of the log that commits to it cannot be read: nothing of this could be compared with it,
    /// and may be anything.
    pub is_unchecked: bool,
}

/// One body, exactly as sent or as far as it was kept.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Payload {
    /// The kept bytes: the whole body, or its head followed by its tail.
    pub bytes: Vec<u8>,
    /// Length of the full body in bytes.
    pub length: u64,
    /// SHA-256 of the full body.
    pub sha256: Digest,
    /// Where the body was above the payload cap: how many of `bytes` are its head. The rest is its
    /// tail, and [`dropped`](Self::dropped) bytes between them are not kept.
    pub head: Option<u64>,
    /// Whether these bytes could not be compared with what the log commits to: its line cannot be read, or,
    /// of a response that has not ended, is not there yet. They may be anything.
    pub is_unchecked: bool,
}

impl Payload {
    /// Whether only an excerpt is kept.
    pub fn is_truncated(&self) -> bool {
        self.head.is_some()
    }

    /// Exact number of bytes that are not kept.
    pub fn dropped(&self) -> u64 {
        let kept = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.length.saturating_sub(kept)
    }
}

/// Prints sizes and the digest, never the bytes.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("length", &self.length)
            .field("sha256", &self.sha256)
            .field("kept", &self.bytes.len())
            .field("head", &self.head)
            .field("is_unchecked", &self.is_unchecked)
            .finish()
    }
}

/// How often a tool was asked for, see [`Reader::tools`](crate::Reader::tools).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ToolStats {
    /// The tool's name.
    pub tool_name: String,
    /// How often a model asked to have it called.
    pub calls: u64,
    /// In how many responses.
    pub requests: u64,
    /// Bytes of all inputs together.
    pub input_bytes: u64,
}

/// One page of a list.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The requests.
    pub requests: Vec<RequestRecord>,
    /// The [`cursor`](crate::ListOptions::cursor) of the next page; absent on the last one.
    pub next: Option<u64>,
    /// Requests of the page that are in the file and cannot be read. They are not among the others,
    /// and count as much towards the limit.
    pub unreadable: Vec<UnreadableRequest>,
}

/// A request whose row has a value that it cannot have. `verify` says more, and `doctor --rebuild` rewrites
/// it from the log.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableRequest {
    /// Its key, as it stands in the file; below zero where that is what is wrong.
    pub opened_seq: i64,
    /// What is wrong, in plain words.
    pub what: String,
}

impl Page {
    /// The last request of the page, in the order of the log, whether or not it can be read.
    pub(crate) fn newest(&self) -> Option<u64> {
        let read = self.requests.iter().map(|request| request.opened_seq);
        let unreadable = self.unreadable.iter();
        let unreadable = unreadable.filter_map(|request| u64::try_from(request.opened_seq).ok());
        read.chain(unreadable).max()
    }
}

/// What statistics are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatsKey {
    /// The hour (UTC) in which the request was opened, as its first microsecond.
    Hour,
    /// The day (UTC) in which the request was opened, as its first microsecond.
    Day,
    /// The provider that served, else the one routed to.
    Provider,
    /// The model that served, else the one routed to, else the one asked for.
    Model,
    /// The user.
    User,
}

named! {
    StatsKey;
    Hour => "hour",
    Day => "day",
    Provider => "provider",
    Model => "model",
    User => "user",
}

/// Which requests statistics count, and how they are grouped.
///
/// Statistics come from the hourly rollup: the times are widened to whole hours, and requests
/// count once they have ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StatsFilter {
    /// Opened in this hour or later.
    pub since: Option<Timestamp>,
    /// Opened before the end of this hour.
    pub until: Option<Timestamp>,
    /// Served by this provider; `*` and `?` stand for any characters and for one.
    pub provider_name: Option<String>,
    /// Served by this model; `*` and `?` stand for any characters and for one.
    pub model: Option<String>,
    /// Of this user.
    pub user_id: Option<String>,
    /// One row for each combination of these; none: one row for everything.
    pub group_by: Vec<StatsKey>,
}

impl StatsFilter {
    /// All requests, in one row.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        text: provider_name, model, user_id;
        list: group_by: StatsKey;
        time: since, until;
    }
}

/// Sums over a group of ended requests.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StatsRow {
    /// Start of the hour or day, where grouped by it.
    pub time: Option<Timestamp>,
    /// The provider, where grouped by it; empty where requests had none.
    pub provider_name: Option<String>,
    /// The model, where grouped by it; empty where requests had none.
    pub model: Option<String>,
    /// The user, where grouped by it; empty where requests had none.
    pub user_id: Option<String>,
    /// Requests that ended, in whatever way.
    pub requests: u64,
    /// Of these: answered.
    pub completed: u64,
    /// Of these: failed.
    pub failed: u64,
    /// Of these: rejected.
    pub rejected: u64,
    /// Of these: abandoned.
    pub abandoned: u64,
    /// Of these: interrupted by a crash.
    pub interrupted: u64,
    /// Sum of input tokens.
    pub input_tokens: u64,
    /// Sum of output tokens.
    pub output_tokens: u64,
    /// Sum of input tokens read from a provider's cache.
    pub cache_read_input_tokens: u64,
    /// Sum of input tokens written to a provider's cache.
    pub cache_write_input_tokens: u64,
    /// Sum of reasoning tokens.
    pub reasoning_output_tokens: u64,
    /// Requests that may have used tokens, but whose counts are not known: the provider gave none, or the body
    /// that has them was left out, cut or not parsed. The sums of tokens lack theirs. Rejected requests and those
    /// that failed with an error status are not included.
    pub without_usage: u64,
    /// Sum of the costs that are known, in millionths of a US dollar.
    pub cost_microdollars: u64,
    /// Requests with usage whose cost is not known; the sum of costs lacks theirs.
    pub unpriced: u64,
    /// Sum of latencies, in microseconds.
    pub latency_us_sum: u64,
    /// Requests with a latency: divide by this.
    pub latency_count: u64,
    /// Requests whose counts are those of a response that broke off: the sums of tokens have at least as much.
    pub partial_usage: u64,
    /// Requests whose counts the gateway told.
    pub told_usage: u64,
    /// Requests whose cost was computed from such partial counts.
    pub partial_cost: u64,
    /// Requests whose cost the gateway told or the response stated.
    pub told_cost: u64,
    /// Requests whose cost lacks something that the price book has no price for.
    pub incomplete_cost: u64,
    /// Requests that count to another model and used tokens of this one (an adviser, one that compacted the context or
    /// declined). The sums have those tokens and what they cost; the counts above do not have these requests. 0 where
    /// sums are of all models.
    pub credited_requests: u64,
    /// Of these: with counts of a response that broke off.
    pub credited_partial_usage: u64,
    /// Of these: with counts that the gateway told.
    pub credited_told_usage: u64,
    /// Of these: with tokens of this model whose cost is not known apart. It may be in that of the other model.
    pub credited_unpriced: u64,
}
