//! Which requests are meant, and in which order.

use std::ops::RangeInclusive;

use super::read::{RequestRecord, Status};
use crate::config::{ATTRIBUTES_MAX, FILTER_RANGES_MAX};

/// Which requests a list shows. Every condition that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestFilter {
    /// Opened at this time or later.
    pub since: Option<i64>,
    /// Opened before this time.
    pub until: Option<i64>,
    /// In one of these states; none given: in any.
    pub statuses: Vec<Status>,
    /// The client got an HTTP status in one of these ranges, such as `429..=429` or `500..=599`, at most
    /// [`FILTER_RANGES_MAX`](crate::FILTER_RANGES_MAX); none given: any, or no status.
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
    /// [`ATTRIBUTES_MAX`](crate::ATTRIBUTES_MAX), as many as a request has.
    pub attributes: Vec<(String, String)>,
    /// Opened after the request with this `opened_seq`: the cursor of a reader of new requests.
    pub after: Option<u64>,
}

impl RequestFilter {
    /// What keeps this from being a filter; `None`: nothing.
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

/// What the requests of [`Reader::top`](crate::Reader::top) have most of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestOrder {
    /// Cost.
    Cost,
    /// Latency of the whole request.
    Latency,
    /// Time to the first chunk of a streamed response.
    FirstChunk,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Length of the request body.
    RequestBytes,
}

impl RequestOrder {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cost,
        Self::Latency,
        Self::FirstChunk,
        Self::InputTokens,
        Self::OutputTokens,
        Self::RequestBytes,
    ];

    /// The name as the command line writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::FirstChunk => "first-chunk",
            Self::InputTokens => "input-tokens",
            Self::OutputTokens => "output-tokens",
            Self::RequestBytes => "request-bytes",
        }
    }

    /// The order of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.name() == name)
    }

    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Cost => "cost_microdollars",
            Self::Latency => "latency_us",
            Self::FirstChunk => "time_to_first_chunk_us",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::RequestBytes => "request_bytes",
        }
    }
}
