//! Search: full text over what was said, each message once, where it first appeared.
//!
//! The index is built off the hot path: by the writer in idle time, or by a search of a file without a
//! writer. The result says how far the index lags behind.

mod compare;
mod query;

use std::path::Path;
use std::time::{Duration, Instant};

use super::commitments::Commitments;
use super::content::ContentReader;
use super::requests;
use super::transcript::{message_key, transcript};
use crate::db::{Connection, DatabasePath, DbError, FileLinks, WriterLock, search as index};
use crate::error::{OpenError, ReadError, SearchIndexError, chain};
use crate::model::{
    CanonicalMessage, RequestFilter, RequestRecord, Status, Timestamp, UnreadableRequest, setters,
};
use crate::payload::{Hasher, text_prefix};

pub(crate) use compare::{Compared, UNPROVED, compare, compare_between, compare_request};

/// Limit of messages in one search.
const HITS_MAX: usize = 200;
/// Requests that are examined in one transaction, and the time limit.
const STEP_REQUESTS: usize = 64;
const STEP_TIME: Duration = Duration::from_millis(20);
/// The same, for a caller that does nothing else.
const LONG_STEP_TIME: Duration = Duration::from_millis(500);
const LONG_STEP_REQUESTS: usize = 4096;

/// What is searched, and the order of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchOptions {
    /// Messages of these requests, in which they first appeared. Default: all.
    pub filter: RequestFilter,
    /// Newest first instead of best first. Default: no.
    pub is_newest_first: bool,
    /// Limit of messages, 1 to 200. Default: 20.
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

impl SearchOptions {
    /// The 20 best of all messages.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        plain: filter: RequestFilter, is_newest_first: bool, limit: usize;
    }
}

/// What a search found.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchResult {
    /// Matching messages.
    pub hits: Vec<SearchHit>,
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
    /// The index was found damaged, and is not completely built again yet.
    pub is_damaged: bool,
    /// When the first request was opened that the index has not seen.
    /// Absent: it has seen all.
    pub missing_since: Option<Timestamp>,
}

impl SearchLag {
    /// Whether every request that has ended is in the index.
    pub fn is_none(&self) -> bool {
        self.is_built && self.missing_since.is_none() && self.again == 0
    }
}

/// How far the index is behind.
pub(crate) fn lag(connection: &Connection) -> Result<SearchLag, ReadError> {
    let state = index::state(connection)?;
    let extent = state.index.unwrap_or_default();
    let is_behind = state.missing_since.is_some();
    Ok(SearchLag {
        is_built: state.index.is_some() && !extent.is_dropped,
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
    if !(1..=HITS_MAX).contains(&options.limit) {
        return Err(ReadError::InvalidArgument(format!(
            "a search gives between 1 and {HITS_MAX} messages, not {}",
            options.limit
        )));
    }
    requests::check_filter(&options.filter)?;
    let words = query::expression(query)?;
    let lag = lag(connection)?;
    if !lag.is_built {
        // The remains of a dropped index are not trusted.
        return Ok(SearchResult {
            hits: Vec::new(),
            lag,
            unreadable: Vec::new(),
        });
    }
    let found = index::find(
        connection,
        &words,
        &options.filter,
        options.is_newest_first,
        options.limit,
    )?;
    if found.is_empty() && !index::as_of_one_moment(connection, index::is_answering)? {
        let what = "the search index does not find what it holds";
        return Err(ReadError::Damaged(what.to_owned()));
    }
    let snippets = index::snippets(&found, &words)?;
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
        lag,
        unreadable,
    })
}

/// Why a step of building failed.
#[derive(Debug)]
pub(crate) enum IndexError {
    /// The index is damaged.
    Damaged(String),
    /// Something that does not concern the index.
    Failed(ReadError),
}

impl From<DbError> for IndexError {
    fn from(error: DbError) -> Self {
        match error.is_damage() {
            true => Self::Damaged(chain(&error)),
            false => Self::Failed(error.into()),
        }
    }
}

/// Builds the index step by step. Owned by the thread that builds: the committer in idle time, or the
/// caller of [`update_search_index`].
#[derive(Debug)]
pub(crate) struct Indexer {
    reader: ContentReader,
}

impl Indexer {
    pub(crate) fn new() -> Self {
        Self {
            reader: ContentReader::default(),
        }
    }

    /// Whether the file has an index, which must then be kept up to date. An index whose own facts
    /// contradict each other is given up.
    pub(crate) fn is_built(connection: &Connection) -> Result<bool, IndexError> {
        let state = index::state(connection)?;
        let Some(extent) = state.index else {
            return Ok(false);
        };
        if !extent.is_dropped {
            index::check_settings(connection)?;
            if extent.next_seq > state.log_end {
                return Err(IndexError::Damaged(format!(
                    "search_state says that the search index goes to seq {}, and the log ends at {}",
                    extent.next_seq, state.log_end
                )));
            }
        }
        Ok(true)
    }

    /// Gives the index up: the next steps delete it, and those after them build it again.
    pub(crate) fn give_up(&mut self, connection: &mut Connection) -> Result<(), ReadError> {
        *self = Self::new();
        Ok(index::in_transaction(connection, index::give_up)?)
    }

    /// Examines the next requests for some milliseconds in one transaction. `true`: no further request can
    /// be examined now.
    pub(crate) fn step(&mut self, connection: &mut Connection) -> Result<bool, IndexError> {
        self.take(connection, STEP_REQUESTS, STEP_TIME)
    }

    /// The same, for a caller that does nothing else.
    fn long_step(&mut self, connection: &mut Connection) -> Result<bool, IndexError> {
        self.take(connection, LONG_STEP_REQUESTS, LONG_STEP_TIME)
    }

    /// One step. An index that is being dropped loses its next rows. Otherwise requests are taken in pages:
    /// one without an end is noted to be examined later, a readable one is added, and a damaged one is
    /// noted as unread. A request that is examined again also marks the next one of its conversation. The
    /// extent is written in the same transaction, so that a crash never skips a request.
    fn take(
        &mut self,
        connection: &mut Connection,
        requests_max: usize,
        time: Duration,
    ) -> Result<bool, IndexError> {
        let begun = Instant::now();
        if index::extent(connection)?.is_some_and(|extent| extent.is_dropped) {
            index::drop_step(connection)?;
            return Ok(false);
        }
        let reader = &mut self.reader;
        let is_done =
            index::in_transaction(connection, |connection| -> Result<bool, IndexError> {
                let stored = index::extent(connection)?.map(|extent| extent.next_seq);
                let mut next_seq = stored.unwrap_or(0);
                let kept_from = index::kept_from(connection)?;
                let mut looked_at = 0_usize;
                let is_done = loop {
                    let page = STEP_REQUESTS.min(requests_max.saturating_sub(looked_at));
                    let requests = index::next_requests(connection, next_seq, page)?;
                    if requests.is_empty() {
                        break page > 0;
                    }
                    for ((opened_seq, request), is_again) in requests {
                        if begun.elapsed() >= time && looked_at > 0 {
                            looked_at = requests_max;
                            break;
                        }
                        looked_at = looked_at.saturating_add(1);
                        let opened_seq = u64::try_from(opened_seq).unwrap_or(0);
                        next_seq = next_seq.max(opened_seq.saturating_add(1));
                        // `next_seq` has moved on already: a request that cannot be indexed now is noted,
                        // and never makes the index wait.
                        let Ok(request) = request else {
                            index::note_unread(connection, opened_seq)?;
                            continue;
                        };
                        if request.status == Status::Pending {
                            index::wait_for(connection, request.opened_seq)?;
                            continue;
                        }
                        let is_kept = request.opened_seq >= kept_from;
                        if !is_kept || add(connection, reader, &request)? {
                            index::wait_no_more(connection, request.opened_seq)?;
                        } else {
                            index::note_unread(connection, request.opened_seq)?;
                        }
                        if is_again {
                            index::look_again(connection, &request, request.opened_seq)?;
                        }
                    }
                    if looked_at >= requests_max {
                        break false;
                    }
                };
                if stored != Some(next_seq) {
                    index::set_next_seq(connection, next_seq)?;
                }
                if is_done {
                    index::set_complete(connection)?;
                }
                Ok(is_done)
            })?;
        if is_done {
            self.reader = ContentReader::default();
        }
        Ok(is_done)
    }
}

/// Adds what a request said first. `false`: a damaged body says nothing.
fn add(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<bool, IndexError> {
    let found = match transcript(connection, reader, request) {
        Err(ReadError::Damaged(_)) => return Ok(false),
        found => found.map_err(IndexError::Failed)?,
    };
    let scope = index::scope_of(request);
    let sent = found.messages.iter().map(|message| (message, false));
    let said = found.replies.iter().map(|message| (message, true));
    for (message, is_reply) in sent.chain(said) {
        let flattened = message.flattened();
        let Some(text) = searched_text(&flattened) else {
            continue;
        };
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
    Ok(true)
}

/// The searched text of a message; `None`: it has none.
fn searched_text(flattened: &str) -> Option<&str> {
    let text = text_prefix(flattened, index::TEXT_BYTES_MAX);
    (!text.trim().is_empty()).then_some(text)
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

/// Brings the search index of a file without a writer up to date, or builds it. `progress` is called after
/// every step, and ends the work by returning `false`.
///
/// An open store keeps its index up to date by itself in idle time, if there is one or with
/// [`StoreBuilder::search_index`](crate::StoreBuilder::search_index).
///
/// # Blocking
///
/// Reads what is new, at some thousand requests a second; no other process can write meanwhile.
///
/// # Errors
///
/// [`SearchIndexError::Open`] with [`OpenError::Locked`] if a store has the file open.
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
    let _lock = WriterLock::acquire(&path, FileLinks::Refused)?;
    let mut connection = index::open_for_indexing(&path)?;
    match build(&mut connection, &mut progress) {
        Ok(lag) => Ok(lag),
        Err(IndexError::Failed(error)) => Err(error.into()),
        Err(IndexError::Damaged(what)) => Err(ReadError::DerivedDamaged(what).into()),
    }
}

/// Drops the index, or the remains of one, and builds it again. The caller holds the writer's lock.
pub(crate) fn rebuild(path: &DatabasePath) -> Result<(), OpenError> {
    let mut connection = index::open_for_indexing(path)?;
    let built = match index::is_empty(&connection) {
        Ok(true) => return Ok(()),
        _ => Indexer::new()
            .give_up(&mut connection)
            .map_err(IndexError::Failed)
            .and_then(|()| build(&mut connection, &mut |_| true)),
    };
    let path = path.as_path().to_owned();
    match built {
        Ok(_) => Ok(()),
        Err(IndexError::Damaged(what)) => Err(OpenError::Damaged { path, what }),
        Err(IndexError::Failed(error)) => {
            let source = error.into();
            Err(OpenError::Database { path, source })
        }
    }
}

/// Builds the index completely, or until `progress` returns `false`. A damaged index is dropped first.
fn build(
    connection: &mut Connection,
    progress: &mut dyn FnMut(SearchLag) -> bool,
) -> Result<SearchLag, IndexError> {
    let mut indexer = Indexer::new();
    let mut is_given_up = false;
    let mut step = Indexer::is_built(connection).and_then(|_| indexer.long_step(connection));
    loop {
        match step {
            // Damage in an index that was just built will not disappear.
            Err(IndexError::Damaged(_)) if !is_given_up => {
                indexer.give_up(connection).map_err(IndexError::Failed)?;
                is_given_up = true;
            }
            Err(error) => return Err(error),
            Ok(is_done) => {
                let lag = lag(connection).map_err(IndexError::Failed)?;
                if is_done || !progress(lag) {
                    index::empty_log(connection)?;
                    return Ok(lag);
                }
                index::move_log(connection)?;
            }
        }
        step = indexer.long_step(connection);
    }
}
