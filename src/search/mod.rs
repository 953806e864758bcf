//! Search: full text over what was said, each message once, where it first appeared.
//!
//! The index is built off the hot path: by the writer when it is idle, or by whoever searches a file
//! that nobody writes to. It says how far it lags.

mod words;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::chain::Recent;
use crate::db::{self, Connection, DatabasePath, WriterLock, search as index};
use crate::error::{OpenError, ReadError, SearchIndexError};
use crate::payload::{Hasher, text_prefix};
use crate::record::{CanonicalMessage, RequestFilter, RequestRecord, Status};
use crate::transcript::{message_key, transcript};

/// Most messages of one search.
const HITS_MAX: usize = 200;
/// Requests that are looked at in one transaction, and for how long at most.
const STEP_REQUESTS: usize = 64;
const STEP_TIME: Duration = Duration::from_millis(20);
/// The same for whoever does nothing else.
const LONG_STEP_TIME: Duration = Duration::from_millis(500);
const LONG_STEP_REQUESTS: usize = 4096;
/// Bodies that are held between two steps.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is searched, and how the result is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchOptions {
    /// Messages of these requests: the ones in which they first appeared. Default: all.
    pub filter: RequestFilter,
    /// Newest first instead of best first. Default: no.
    pub is_newest_first: bool,
    /// Most messages, 1 to 200. Default: 20.
    pub limit: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            filter: RequestFilter::default(),
            is_newest_first: false,
            limit: 20,
        }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchResult {
    /// Messages that match.
    pub hits: Vec<SearchHit>,
    /// How far the index is behind.
    pub lag: SearchLag,
}

/// A message that matches.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchHit {
    /// The request in which the message first appeared.
    pub request: RequestRecord,
    /// `system`, `user`, `assistant` or `tool`, or what the protocol calls it.
    pub role: String,
    /// Whether the model said it, in the response.
    pub is_reply: bool,
    /// Its place in the request's messages, or in the replies.
    pub position: u64,
    /// How well it matches: BM25, larger is better.
    pub score: f64,
    /// Where it matches.
    pub snippet: Vec<SnippetPart>,
}

/// A piece of a text around a match.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnippetPart {
    /// The text as it stands in the message.
    pub text: String,
    /// Whether it is what was searched for.
    pub is_match: bool,
}

/// Prints its size, never the text.
impl std::fmt::Debug for SnippetPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnippetPart")
            .field("text_bytes", &self.text.len())
            .field("is_match", &self.is_match)
            .finish()
    }
}

/// How far the search index is behind the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SearchLag {
    /// Whether there is an index at all.
    pub is_built: bool,
    /// Events of the log that are newer than what the index has seen.
    pub events: u64,
    /// Requests that the index has seen and still waits for, most of them not ended.
    pub waiting: u64,
    /// When the first request that the index has not seen was opened, in microseconds since the Unix
    /// epoch. Absent: it has seen all.
    pub missing_since: Option<i64>,
}

impl SearchLag {
    /// Whether every request that has ended is in the index.
    pub fn is_none(&self) -> bool {
        self.is_built && self.missing_since.is_none()
    }
}

/// How far the index is.
pub(crate) fn lag(connection: &Connection) -> Result<SearchLag, ReadError> {
    let state = index::state(connection)?;
    let is_behind = state.missing_since.is_some();
    Ok(SearchLag {
        is_built: state.next_seq.is_some(),
        events: match is_behind {
            true => state.log_end.saturating_sub(state.next_seq.unwrap_or(0)),
            false => 0,
        },
        waiting: state.waiting,
        missing_since: state.missing_since,
    })
}

/// Messages that match.
pub(crate) fn search(
    connection: &Connection,
    query: &str,
    options: &SearchOptions,
) -> Result<SearchResult, ReadError> {
    if !(1..=HITS_MAX).contains(&options.limit) {
        return Err(ReadError::InvalidArgument(format!(
            "a search gives between 1 and {HITS_MAX} messages, not {}",
            options.limit
        )));
    }
    let words = words::expression(query)?;
    let found = index::find(
        connection,
        &words,
        &options.filter,
        options.is_newest_first,
        options.limit,
    )?;
    let snippets = index::snippets(&found, &words)?;
    let mut hits = Vec::with_capacity(found.len());
    for (message, snippet) in found.into_iter().zip(snippets) {
        let Some(request) = index::by_opened_seq(connection, message.request_seq)? else {
            continue;
        };
        hits.push(SearchHit {
            request,
            role: message.role,
            is_reply: message.is_reply,
            position: message.position,
            // SQLite's is negative, so that an ascending order puts the best first.
            score: -message.score,
            snippet: snippet
                .into_iter()
                .map(|(text, is_match)| SnippetPart { text, is_match })
                .collect(),
        });
    }
    Ok(SearchResult {
        hits,
        lag: lag(connection)?,
    })
}

/// Builds the index, step by step.
#[derive(Debug)]
pub(crate) struct Indexer {
    recent: Recent,
}

impl Indexer {
    pub(crate) fn new() -> Self {
        Self {
            recent: Recent::with_bytes(RECENT_BYTES_MAX),
        }
    }

    /// Whether the file has an index, which is then to be kept up.
    pub(crate) fn is_built(connection: &Connection) -> Result<bool, ReadError> {
        Ok(index::next_seq(connection)?.is_some())
    }

    /// Looks at the next requests, for some milliseconds, in one transaction. `true`: there are no
    /// more that could be looked at now.
    pub(crate) fn step(&mut self, connection: &mut Connection) -> Result<bool, ReadError> {
        self.take(connection, STEP_REQUESTS, STEP_TIME)
    }

    fn take(
        &mut self,
        connection: &mut Connection,
        requests_max: usize,
        time: Duration,
    ) -> Result<bool, ReadError> {
        let begun = Instant::now();
        let recent = &mut self.recent;
        let is_done = index::in_transaction(connection, |connection| -> Result<bool, ReadError> {
            let stored = index::next_seq(connection)?;
            let mut next_seq = stored.unwrap_or(0);
            let mut looked_at = 0_usize;
            let is_done = loop {
                let page = STEP_REQUESTS.min(requests_max.saturating_sub(looked_at));
                let requests = index::next_requests(connection, next_seq, page)?;
                if requests.is_empty() {
                    break page > 0;
                }
                for request in requests {
                    if begun.elapsed() >= time && looked_at > 0 {
                        looked_at = requests_max;
                        break;
                    }
                    looked_at = looked_at.saturating_add(1);
                    if request.status == Status::Pending {
                        index::wait_for(connection, request.opened_seq)?;
                    } else {
                        add(connection, recent, &request)?;
                        index::wait_no_more(connection, request.opened_seq)?;
                    }
                    next_seq = next_seq.max(request.opened_seq.saturating_add(1));
                }
                if looked_at >= requests_max {
                    break false;
                }
            };
            if stored != Some(next_seq) {
                index::set_next_seq(connection, next_seq)?;
            }
            Ok(is_done)
        })?;
        if is_done {
            self.recent = Recent::with_bytes(RECENT_BYTES_MAX);
        }
        Ok(is_done)
    }
}

/// Adds what a request said first. A damaged body says nothing.
fn add(
    connection: &Connection,
    recent: &mut Recent,
    request: &RequestRecord,
) -> Result<(), ReadError> {
    let found = match transcript(connection, recent, request) {
        Err(ReadError::Damaged(_)) => return Ok(()),
        found => found?,
    };
    let scope = index::scope_of(request);
    let sent = found.messages.iter().map(|message| (message, false));
    let said = found.replies.iter().map(|message| (message, true));
    for (message, is_reply) in sent.chain(said) {
        let text = message.flattened();
        let text = text_prefix(&text, index::TEXT_BYTES_MAX);
        if text.trim().is_empty() {
            continue;
        }
        index::add(
            connection,
            &index::NewMessage {
                request_seq: request.opened_seq,
                is_reply,
                position: message.position,
                role: &message.role,
                key: key_of(&scope.0, message),
                text,
            },
        )?;
    }
    Ok(())
}

fn key_of(scope: &[u8; 32], message: &CanonicalMessage) -> [u8; 16] {
    let mut hasher = Hasher::default();
    hasher.update(scope);
    hasher.update(&message_key(message).0);
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(hasher.finish().0) {
        *to = from;
    }
    key
}

/// Brings the search index of a file that nobody writes to up to date; builds it where there is none
/// yet. `progress` is told how far it is after every step and may end the work by returning `false`.
///
/// A store that is open keeps its index up by itself, in idle times, once there is one or with
/// [`StoreBuilder::search_index`](crate::StoreBuilder::search_index).
///
/// # Blocking
///
/// Reads what is new, at some thousand requests in a second; nobody else can write meanwhile.
///
/// # Errors
///
/// [`SearchIndexError::Open`] with [`OpenError::Locked`] where a store has the file open.
pub fn update_search_index(
    path: impl AsRef<Path>,
    mut progress: impl FnMut(SearchLag) -> bool,
) -> Result<SearchLag, SearchIndexError> {
    let path = DatabasePath::new(path.as_ref())?;
    if !path.exists() {
        return Err(OpenError::NotFound {
            path: path.as_path().to_owned(),
        }
        .into());
    }
    let _lock = WriterLock::acquire(&path)?;
    let mut connection = db::search::open_for_indexing(&path)?;
    let mut indexer = Indexer::new();
    loop {
        let is_done = indexer.take(&mut connection, LONG_STEP_REQUESTS, LONG_STEP_TIME)?;
        let lag = lag(&connection)?;
        if is_done || !progress(lag) {
            return Ok(lag);
        }
    }
}
