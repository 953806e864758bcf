//! Search: full text over what was said, each message once, where it first appeared.
//!
//! The index is built off the hot path: by the writer in idle time, or by a search of a file without a
//! writer. The result says how far the index lags behind.

mod compare;
mod indexing;
mod query;

use super::commitments::Commitments;
use super::requests;
use crate::db::{Connection, search as index};
use crate::error::ReadError;
use crate::model::{RequestFilter, RequestRecord, Timestamp, UnreadableRequest, setters};

pub(crate) use compare::{Compared, UNPROVED, compare, compare_between, compare_request};
pub use indexing::update_search_index;
pub(crate) use indexing::{IndexError, Indexer, rebuild};

/// Limit of messages in one search.
const HITS_MAX: usize = 200;
/// Matches that are ranked, unless all are to be: a word that every message has takes 20 ms. The newest are what a
/// person searches for.
const RANKED_MAX: usize = 20_000;

/// What is searched, and the order of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchOptions {
    /// Messages of these requests, in which they first appeared. Default: all.
    pub filter: RequestFilter,
    /// Newest first instead of best first. Default: no.
    pub is_newest_first: bool,
    /// Rank every match, however many there are, not only the newest 20,000. It takes about 0.3 µs a match and
    /// more. Default: no.
    pub is_all_ranked: bool,
    /// Limit of messages, 1 to 200. Default: 20.
    pub limit: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            filter: RequestFilter::default(),
            is_newest_first: false,
            is_all_ranked: false,
            limit: 20,
        }
    }
}

impl SearchOptions {
    /// The 20 best of the newest 20,000 messages that match.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        plain: filter: RequestFilter, is_newest_first: bool, is_all_ranked: bool, limit: usize;
    }

    /// Checks a search before an index is built for it; [`Reader::search`](crate::Reader::search) does the same.
    ///
    /// ```
    /// use auditlite::SearchOptions;
    ///
    /// assert!(SearchOptions::new().check("refund -card").is_ok());
    /// assert!(SearchOptions::new().check("-card").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadError::InvalidArgument`] where there is nothing to search for, or too much, or the options are wrong.
    pub fn check(&self, query: &str) -> Result<(), ReadError> {
        checked(query, self, index::Form::Split).map(drop)
    }
}

/// What a search found.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchResult {
    /// Matching messages.
    pub hits: Vec<SearchHit>,
    /// More than 20,000 messages match. The older ones were not ranked: one of them may be better than these
    /// ([`SearchOptions::is_all_ranked`]).
    pub is_ranking_cut: bool,
    /// How far the index is behind the log.
    pub lag: SearchLag,
    /// Requests of matching messages whose rows cannot be read.
    pub unreadable: Vec<UnreadableRequest>,
}

/// A matching message.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchHit {
    /// The request in which the message first appeared.
    pub request: RequestRecord,
    /// `system`, `user`, `assistant` or `tool`, or another role of the protocol.
    pub role: String,
    /// Whether the model said it, in the response.
    pub is_reply: bool,
    /// Its position in the request's messages, or in the replies.
    pub position: u64,
    /// How well it matches: BM25, larger is better.
    pub score: f64,
    /// Where it matches.
    pub snippet: Vec<SnippetPart>,
    /// Whether the line of the log that commits to the message cannot be read: the text could not be
    /// compared with it, and may be anything.
    pub is_unchecked: bool,
}

/// A piece of a text around a match.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnippetPart {
    /// The text as in the message.
    pub text: String,
    /// Whether it matches the search.
    pub is_match: bool,
}

/// Prints the size, never the text.
impl std::fmt::Debug for SnippetPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnippetPart")
            .field("text_bytes", &self.text.len())
            .field("is_match", &self.is_match)
            .finish()
    }
}

/// How far the search index is behind the log.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SearchLag {
    /// Whether there is an index at all.
    pub is_built: bool,
    /// Events of the log that the index has not seen.
    pub events: u64,
    /// Requests that the index has seen but that have not ended: it adds them when they end.
    pub waiting: u64,
    /// Requests that are examined again, each with those that follow it in its conversation (otherwise of
    /// its user): something that was said before them was erased or pruned, and they may have repeated it.
    pub again: u64,
    /// Requests that could not be read when the index came to them, or with a body that is missing or not
    /// what was recorded: their messages are not found. [`rebuild`](crate::rebuild()) tries them again.
    pub unread: u64,
    /// An earlier build made the index: words inside Chinese, Japanese and Korean text are not found until a store
    /// or [`update_search_index`] has built it again.
    pub is_outdated: bool,
    /// The index was found damaged, and is not completely built again yet.
    pub is_damaged: bool,
    /// When the first request was opened that the index has not seen.
    /// Absent: it has seen all.
    pub missing_since: Option<Timestamp>,
}

impl SearchLag {
    /// Whether every request that has ended is in the index.
    pub fn is_none(&self) -> bool {
        self.is_built && !self.is_outdated && self.missing_since.is_none() && self.again == 0
    }
}

/// How far the index is behind.
pub(crate) fn lag(connection: &Connection) -> Result<SearchLag, ReadError> {
    let state = index::state(connection)?;
    let extent = state.index.unwrap_or_default();
    let is_behind = state.missing_since.is_some();
    let is_built = state.index.is_some() && !extent.is_dropped;
    Ok(SearchLag {
        is_built,
        is_outdated: is_built && index::form(connection)? == index::Form::Unsplit,
        events: match is_behind {
            true => state.log_end.saturating_sub(extent.next_seq),
            false => 0,
        },
        waiting: state.waiting,
        again: state.again,
        unread: state.unread,
        is_damaged: extent.damaged_at.is_some(),
        missing_since: state.missing_since.map(Timestamp::from_micros),
    })
}

/// Whether the remains of an index that was given up still have to be deleted; an error if that cannot be
/// told.
pub(crate) fn is_dropping(connection: &Connection) -> Result<bool, ReadError> {
    Ok(index::extent(connection)?.is_some_and(|extent| extent.is_dropped))
}

/// The expression for the index.
fn checked(query: &str, options: &SearchOptions, form: index::Form) -> Result<String, ReadError> {
    if !(1..=HITS_MAX).contains(&options.limit) {
        return Err(ReadError::InvalidArgument(format!(
            "a search gives between 1 and {HITS_MAX} messages, not {}",
            options.limit
        )));
    }
    requests::check_filter(&options.filter)?;
    query::expression(query, form)
}

/// Finds matching messages.
///
/// The index finds the messages, the rows give their requests, and the log tells whether a message is still
/// what was recorded. If nothing is found, the index is asked for something that it must find: so damage is
/// not mistaken for "no such message".
pub(crate) fn search(
    connection: &Connection,
    query: &str,
    options: &SearchOptions,
) -> Result<SearchResult, ReadError> {
    let form = index::form(connection)?;
    let words = checked(query, options, form)?;
    let lag = lag(connection)?;
    if !lag.is_built {
        // The remains of a dropped index are not trusted.
        return Ok(SearchResult {
            hits: Vec::new(),
            is_ranking_cut: false,
            lag,
            unreadable: Vec::new(),
        });
    }
    let order = match options.is_newest_first {
        true => index::Order::Newest,
        false => index::Order::Best {
            of_newest: (!options.is_all_ranked).then_some(RANKED_MAX),
        },
    };
    let index::Found {
        messages: found,
        is_cut,
    } = index::find(connection, &words, &options.filter, order, options.limit)?;
    if found.is_empty() && !index::as_of_one_moment(connection, index::is_answering)? {
        let what = "the search index does not find what it holds";
        return Err(ReadError::Damaged(what.to_owned()));
    }
    let snippets = index::snippets(&found, &words, form)?;
    let mut unreadable = Vec::new();
    let mut commitments = Commitments::default();
    let mut hits = Vec::with_capacity(found.len());
    for (message, snippet) in found.into_iter().zip(snippets) {
        let request = match index::by_opened_seq(connection, message.request_seq)? {
            None => continue,
            Some((_, Ok(request))) => request,
            Some((opened_seq, Err(what))) => {
                unreadable.push(UnreadableRequest { opened_seq, what });
                continue;
            }
        };
        let said_in = match message.is_reply {
            true => request.ended_seq.unwrap_or(request.opened_seq),
            false => request.opened_seq,
        };
        hits.push(SearchHit {
            is_unchecked: !commitments.is_known(connection, said_in)?,
            request,
            role: message.role,
            is_reply: message.is_reply,
            position: message.position,
            // SQLite's score is negative, so that the best comes first in ascending order.
            score: -message.score,
            snippet: snippet
                .into_iter()
                .map(|(text, is_match)| SnippetPart { text, is_match })
                .collect(),
        });
    }
    Ok(SearchResult {
        hits,
        is_ranking_cut: is_cut,
        lag,
        unreadable,
    })
}
