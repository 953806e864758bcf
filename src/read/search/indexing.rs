//! Building the index: by the writer in idle time, or by a search of a file without a writer.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{SearchLag, lag};
use crate::db::{Connection, DatabasePath, DbError, FileLinks, WriterLock, search as index};
use crate::error::{OpenError, ReadError, SearchIndexError, chain};
use crate::model::{CanonicalMessage, Digest, MessagePart, RequestRecord, Status};
use crate::payload::{Hasher, text_prefix};
use crate::read::content::ContentReader;
use crate::read::transcript::{message_key, transcript};

/// Requests that are read at a time.
const PAGE: usize = 64;
/// Requests that are examined in one transaction, and the time limit.
const STEP_REQUESTS: usize = 1024;
const STEP_TIME: Duration = Duration::from_millis(20);
/// The same, for a caller that does nothing else. A transaction writes each page that it changes once, and the keys
/// of messages change nearly all pages of their index: the longer it is, the fewer are written.
const LONG_STEP_TIME: Duration = Duration::from_secs(2);
const LONG_STEP_REQUESTS: usize = 32_768;
/// Times that building waits for a reader of the write-ahead log, each for the busy timeout of two seconds.
const LOG_TRIES: usize = 30;
/// Conversations whose last messages are compared with the next request, and bytes of them: some of the longest
/// requests, in a quarter of what the cache of bodies takes.
const SENT_MAX: usize = 64;
const SENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes that a message or a part takes in addition to its text.
const SENT_BYTES: usize = 128;

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
    packer: index::Packer,
    sent: Sent,
}

impl Indexer {
    pub(crate) fn new() -> Self {
        Self {
            reader: ContentReader::default(),
            packer: index::Packer::new(),
            sent: Sent::default(),
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
        let is_dropped = index::extent(connection)?.is_some_and(|extent| extent.is_dropped);
        let is_outdated = index::form(connection)? == index::Form::Unsplit;
        if is_outdated && !is_dropped {
            // Of an earlier build. Where there is none yet, only the empty tables are made again.
            index::in_transaction(connection, index::replace)?;
        }
        if is_outdated || is_dropped {
            index::drop_step(connection)?;
            return Ok(false);
        }
        // Between transactions what was added may be removed.
        self.sent = Sent::default();
        let is_done =
            index::in_transaction(connection, |connection| -> Result<bool, IndexError> {
                let stored = index::extent(connection)?.map(|extent| extent.next_seq);
                let mut next_seq = stored.unwrap_or(0);
                let kept_from = index::kept_from(connection)?;
                let mut looked_at = 0_usize;
                let is_done = loop {
                    let page = PAGE.min(requests_max.saturating_sub(looked_at));
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
                        if !is_kept || self.add(connection, &request)? {
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
            *self = Self::new();
        }
        Ok(is_done)
    }

    /// Adds what a request said first. `false`: a damaged body says nothing.
    fn add(
        &mut self,
        connection: &Connection,
        request: &RequestRecord,
    ) -> Result<bool, IndexError> {
        let found = match transcript(connection, &mut self.reader, request) {
            Err(ReadError::Damaged(_)) => return Ok(false),
            found => found.map_err(IndexError::Failed)?,
        };
        let scope = index::scope_of(request);
        let before = self.sent.take(&scope);
        let is_repeated =
            |(message, before): &(&CanonicalMessage, &CanonicalMessage)| message == before;
        let repeated = found
            .messages
            .iter()
            .zip(&before)
            .take_while(is_repeated)
            .count();
        let sent = found
            .messages
            .iter()
            .skip(repeated)
            .map(|message| (message, false));
        let said = found.replies.iter().map(|message| (message, true));
        for (message, is_reply) in sent.chain(said) {
            // Most messages were sent before.
            let key = key_of(&scope.0, message);
            if index::is_known(connection, &key)? {
                continue;
            }
            let flattened = message.flattened();
            let Some(text) = searched_text(&flattened) else {
                continue;
            };
            index::add(
                connection,
                &mut self.packer,
                &index::NewMessage {
                    request_seq: request.opened_seq,
                    is_reply,
                    position: message.position,
                    role: &message.role,
                    key,
                    text,
                },
            )?;
        }
        self.sent.hold(scope, found.messages);
        Ok(true)
    }
}

/// What was sent last in each of the last conversations, and is in the index: the next request mostly repeats it,
/// and need not look up each message again. Valid within one transaction.
#[derive(Debug, Default)]
struct Sent {
    conversations: VecDeque<(Digest, usize, Vec<CanonicalMessage>)>,
    bytes: usize,
}

impl Sent {
    fn take(&mut self, scope: &Digest) -> Vec<CanonicalMessage> {
        let place = self
            .conversations
            .iter()
            .rposition(|(other, ..)| other == scope);
        let Some((_, bytes, messages)) = place.and_then(|place| self.conversations.remove(place))
        else {
            return Vec::new();
        };
        self.bytes = self.bytes.saturating_sub(bytes);
        messages
    }

    /// The oldest go first.
    fn hold(&mut self, scope: Digest, messages: Vec<CanonicalMessage>) {
        let bytes = messages
            .iter()
            .map(bytes_of)
            .fold(SENT_BYTES, usize::saturating_add);
        self.bytes = self.bytes.saturating_add(bytes);
        self.conversations.push_back((scope, bytes, messages));
        while self.bytes > SENT_BYTES_MAX || self.conversations.len() > SENT_MAX {
            let Some((_, bytes, _)) = self.conversations.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

/// Memory that a message takes, about.
fn bytes_of(message: &CanonicalMessage) -> usize {
    let texts = message.parts.iter().map(|part| match part {
        MessagePart::Text(text)
        | MessagePart::Thinking(text)
        | MessagePart::Refusal(text)
        | MessagePart::Other(text) => text.len(),
        MessagePart::ToolCall(call) => call.input.len(),
        MessagePart::ToolResult(result) => result.text.len(),
    });
    texts
        .map(|bytes| bytes.saturating_add(SENT_BYTES))
        .fold(SENT_BYTES, usize::saturating_add)
}

/// The searched text of a message; `None`: it has none.
pub(super) fn searched_text(flattened: &str) -> Option<&str> {
    let text = text_prefix(flattened, index::TEXT_BYTES_MAX);
    (!text.trim().is_empty()).then_some(text)
}

pub(super) fn key_of(scope: &[u8; 32], message: &CanonicalMessage) -> [u8; 16] {
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
/// Reads what is new, at some thousand to some ten thousand requests a second; no other process can write meanwhile.
/// The write-ahead log stays below about 100 MiB: while another process reads from a long one, building waits for it,
/// at most a minute. It then ends with the index as far as it is.
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
                let lag = lag_now(connection)?;
                if !is_done && !is_log_moved(connection, progress)? {
                    return lag_now(connection);
                }
                if is_done || !progress(lag) {
                    index::empty_log(connection)?;
                    return Ok(lag);
                }
            }
        }
        step = indexer.long_step(connection);
    }
}

/// Keeps the write-ahead log bounded. `false`: a reader needs it for long, or the caller ends the work.
fn is_log_moved(
    connection: &Connection,
    progress: &mut dyn FnMut(SearchLag) -> bool,
) -> Result<bool, IndexError> {
    for _ in 0..LOG_TRIES {
        if index::move_log(connection)? {
            return Ok(true);
        }
        if !progress(lag_now(connection)?) {
            break;
        }
    }
    Ok(false)
}

fn lag_now(connection: &Connection) -> Result<SearchLag, IndexError> {
    lag(connection).map_err(IndexError::Failed)
}
