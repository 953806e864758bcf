//! Which requests a query selects, and in which order.

use std::ops::RangeInclusive;

use super::read::{RequestRecord, Status};
use super::setters;
use super::timestamp::Timestamp;
use crate::config::{ATTRIBUTES_MAX, FILTER_RANGES_MAX};
use crate::error::named;

/// Requests of a page, where nothing else is asked for.
const PAGE_REQUESTS: usize = 100;

/// Which requests a list shows. Every condition that is set must hold. Default: all requests.
///
/// ```
/// use auditlite::{RequestFilter, Status};
///
/// let failed = RequestFilter::new().user_id("u-17").statuses([Status::Failed]);
/// assert_eq!(failed.user_id.as_deref(), Some("u-17"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RequestFilter {
    /// Opened at this time or later.
    pub since: Option<Timestamp>,
    /// Opened before this time.
    pub until: Option<Timestamp>,
    /// In one of these states; none given: in any.
    pub statuses: Vec<Status>,
    /// The client got an HTTP status in one of these ranges, such as `429..=429` or `500..=599`, at most
    /// [`FILTER_RANGES_MAX`]; none given: any, or no status.
    pub http_statuses: Vec<RangeInclusive<u16>>,
    /// With this type of error; `*` and `?` stand for any characters and for one.
    pub error_type: Option<String>,
    /// Sent to this path of a URL, which has no query; `*` and `?` stand for any characters and for one.
    pub url_path: Option<String>,
    /// Routed to or served by this provider; `*` and `?` stand for any characters and for one.
    pub provider_name: Option<String>,
    /// Served by this model, routed to it, or asked for it; `*` and `?` stand for any characters
    /// and for one.
    pub model: Option<String>,
    /// Of this user; an empty one: without a user.
    pub user_id: Option<String>,
    /// Of this session.
    pub session_id: Option<String>,
    /// With this as `conversation_id`, else `context_id`, else `session_id`. A conversation is one
    /// user's: of several users whose clients chose the same id, [`user_id`](Self::user_id) tells which.
    pub conversation_id: Option<String>,
    /// Of this trace.
    pub trace_id: Option<String>,
    /// With exactly this id: all that share it.
    pub request_id: Option<String>,
    /// The model asked to have this tool called; `*` and `?` stand for any characters and for one.
    pub tool_name: Option<String>,
    /// Cost at least this, in millionths of a US dollar; requests whose cost is not known do not.
    pub cost_microdollars_min: Option<u64>,
    /// Took at least this long, in microseconds.
    pub latency_us_min: Option<u64>,
    /// Have all of these attributes: key and value; at most
    /// [`ATTRIBUTES_MAX`], as many as a request has.
    pub attributes: Vec<(String, String)>,
    /// Opened after the request with this `opened_seq`: what is new since then, in any list, sum or export.
    /// Where a list continues, its [`cursor`](ListOptions::cursor) says.
    pub after_seq: Option<u64>,
}

impl RequestFilter {
    /// All requests.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        text: error_type, url_path, provider_name, model, user_id, session_id, conversation_id, trace_id,
            request_id, tool_name;
        value: cost_microdollars_min: u64, latency_us_min: u64, after_seq: u64;
        list: statuses: Status, http_statuses: RangeInclusive<u16>;
        time: since, until;
    }

    /// Adds one of the [`attributes`](Self::attributes).
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }

    /// Why this is not a valid filter; `None`: it is.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        const RANGES: &str = "a filter has at most 16 ranges of HTTP statuses";
        const { assert!(FILTER_RANGES_MAX == 16) };
        if self.http_statuses.len() > FILTER_RANGES_MAX {
            return Some(RANGES);
        }
        if self.http_statuses.iter().any(RangeInclusive::is_empty) {
            return Some("a range of HTTP statuses ends before it starts");
        }
        const ATTRIBUTES: &str = "a filter has at most 64 attributes";
        const { assert!(ATTRIBUTES_MAX == 64) };
        (self.attributes.len() > ATTRIBUTES_MAX).then_some(ATTRIBUTES)
    }

    /// This filter for each state that it names; just itself where it names one or none.
    pub(crate) fn by_status(&self) -> Vec<Self> {
        let mut statuses = self.statuses.clone();
        statuses.sort_unstable();
        statuses.dedup();
        if statuses.len() < 2 {
            return vec![self.clone()];
        }
        let one = |status| Self {
            statuses: vec![status],
            ..self.clone()
        };
        statuses.into_iter().map(one).collect()
    }

    /// The conversation of this request: those of its user with its conversation's id. `None`: it
    /// belongs to none.
    pub(crate) fn conversation_of(request: &RequestRecord) -> Option<Self> {
        Some(Self {
            conversation_id: Some(request.conversation()?.to_owned()),
            user_id: Some(request.user_id.clone().unwrap_or_default()),
            ..Self::default()
        })
    }
}

/// The order of a list, and which part of it. Default: the 100 newest.
///
/// ```
/// use auditlite::{ListOptions, RequestOrder};
///
/// let options = ListOptions::new().order(RequestOrder::Oldest).limit(500);
/// assert_eq!((options.cursor, options.limit), (None, 500));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListOptions {
    /// What comes first. Default: the newest request.
    pub order: RequestOrder,
    /// Continue after the request with this `opened_seq`: [`Page::next`](crate::Page::next), or what a
    /// follower kept. Default: from the beginning. Only the orders by time have one.
    pub cursor: Option<u64>,
    /// Most requests of a page, 1 to 10,000. Default: 100.
    pub limit: usize,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            order: RequestOrder::default(),
            cursor: None,
            limit: PAGE_REQUESTS,
        }
    }
}

impl ListOptions {
    /// The 100 newest.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        plain: order: RequestOrder, limit: usize;
    }

    /// Sets [`cursor`](Self::cursor): a number, or [`Page::next`](crate::Page::next) as it is.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Into<Option<u64>>) -> Self {
        self.cursor = cursor.into();
        self
    }
}

/// The order of a list of requests.
///
/// Those by time are in the order of the log, and go from page to page. The others have most of something
/// first: requests of which it is not known are left out, all that match are read (narrow the filter in a
/// large store), and there is no next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RequestOrder {
    /// The newest first. The default.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
    /// By cost.
    Cost,
    /// By latency of the whole request.
    Latency,
    /// By time to the first chunk of a streamed response.
    FirstChunk,
    /// By input tokens.
    InputTokens,
    /// By output tokens.
    OutputTokens,
    /// By length of the request body.
    RequestBytes,
}

named! {
    RequestOrder;
    Newest => "newest",
    Oldest => "oldest",
    Cost => "cost",
    Latency => "latency",
    FirstChunk => "first-chunk",
    InputTokens => "input-tokens",
    OutputTokens => "output-tokens",
    RequestBytes => "request-bytes",
}

impl RequestOrder {
    /// Whether it is the order of the log, in which a list goes from page to page.
    pub fn is_by_time(self) -> bool {
        matches!(self, Self::Newest | Self::Oldest)
    }

    /// The column that decides.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Newest | Self::Oldest => "opened_seq",
            Self::Cost => "cost_microdollars",
            Self::Latency => "latency_us",
            Self::FirstChunk => "time_to_first_chunk_us",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::RequestBytes => "request_bytes",
        }
    }
}
