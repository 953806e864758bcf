//! Errors: one type for each kind of operation, each saying what happened, to what, and what to do.
//!
//! No type of another crate is part of them; causes are boxed and reached through `source()`.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

mod open;
mod parse;

pub use open::OpenError;
pub use parse::ParseError;
pub(crate) use parse::named;

/// The cause of an error, of whatever type.
pub(crate) type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// Why a request was not admitted for recording.
///
/// It never means that the gateway's request should fail, except where the gateway chose
/// [`Overflow::Strict`](crate::Overflow::Strict) in order to refuse what it cannot audit.
/// [`RequestHandle::unrecorded`](crate::RequestHandle::unrecorded) stands in for the handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The capacity is used up and the store is strict.
    #[error(
        "the audit store's capacity is used up; retry later, or raise capacity_events and capacity_bytes"
    )]
    Full,
    /// The store was closed.
    #[error("the audit store is closed")]
    Closed,
    /// The writer has stopped and will not come back.
    #[error("the audit store's writer has stopped: {0}; open the store again")]
    WriterStopped(String),
    /// This process was forked from the one that opened the store: it has none of its threads.
    #[error("{}", crate::process::FORKED)]
    Forked,
}

/// Why a receipt could not be turned into proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The event is not committed yet. It may be later.
    #[error("the event was not committed within {0:?}; it is still queued")]
    Timeout(Duration),
    /// The lifecycle was shed for want of capacity; a `gap` event records it.
    #[error("the lifecycle was shed because the audit store's capacity was used up")]
    Shed,
    /// The writer stopped before the event was committed.
    #[error("the audit store's writer stopped before the event was committed")]
    WriterStopped,
}

/// Why a flush did not finish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The time is over; the writer continues.
    #[error("not everything was committed within {0:?}; the writer continues")]
    Timeout(Duration),
    /// The writer has stopped.
    #[error("the audit store's writer has stopped; open the store again")]
    WriterStopped,
}

/// Why something could not be erased or pruned. What was not removed is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// A request that is to be erased has not ended.
    #[error("request {request_id:?} has not ended; erase it once it has")]
    Pending {
        /// Its id.
        request_id: String,
    },
    /// An argument is out of its bounds.
    #[error("{0}")]
    InvalidArgument(String),
    /// The clock is more than a week ahead of the time that follows from the log and a monotonic clock: what seems
    /// too old may not be ([`Retention::clock_is_right`](crate::Retention::clock_is_right)). Nothing was removed.
    #[error("the clock is {} days ahead of the times in the log, so nothing is removed by its age; check the clock", ahead.as_secs() / (24 * 60 * 60))]
    ClockAhead {
        /// By how much.
        ahead: Duration,
    },
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A step took longer than any should. It may still be executed.
    #[error("the writer did not get to it within {0:?}; look at the store's health")]
    Timeout(Duration),
    /// The writer has stopped.
    #[error("the audit store's writer has stopped; open the store again")]
    WriterStopped,
    /// The database refused it.
    #[error("it could not be written: {0}")]
    Failed(String),
    /// It ended before everything was removed. What was removed until then stays removed, and is recorded.
    #[error("it stopped early, after removing {requests} requests and {payloads} bodies")]
    Unfinished {
        /// Requests that are gone, or erased.
        requests: u64,
        /// Bodies and other content that are gone.
        payloads: u64,
        /// Why it ended.
        source: Box<RemovalError>,
    },
}

impl RemovalError {
    /// This error, and what was done before it.
    pub(crate) fn after(self, requests: u64, payloads: u64) -> Self {
        match (requests, payloads) {
            (0, 0) => self,
            _ => Self::Unfinished {
                requests,
                payloads,
                source: Box::new(self),
            },
        }
    }
}

impl From<FlushError> for RemovalError {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::Timeout(timeout) => Self::Timeout(timeout),
            FlushError::WriterStopped => Self::WriterStopped,
        }
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No request has this id, prefix or trace id.
    #[error("no request matches {0:?}")]
    NotFound(String),
    /// Several requests match.
    #[error("{what:?} matches several requests, among them {}; give a longer prefix, or `#` and the number of an opening event", candidates.join(", "))]
    Ambiguous {
        /// What was looked for.
        what: String,
        /// References of some that match: their ids, or `#` and `opened_seq` where they share one.
        candidates: Vec<String>,
    },
    /// Several users have a conversation of this id.
    #[error("{}", ambiguous_conversation(conversation_id, users, *has_more))]
    AmbiguousConversation {
        /// What was looked for.
        conversation_id: String,
        /// The users, at most 20; an empty one stands for requests without a user.
        users: Vec<String>,
        /// Whether there are more than these.
        has_more: bool,
    },
    /// The body is not kept: capture was off, or it was shed, erased or pruned.
    #[error(
        "the {side} body of {request_id:?} was not kept ({reason}); its length was {length} bytes"
    )]
    NotKept {
        /// The request.
        request_id: String,
        /// `request` or `response`.
        side: &'static str,
        /// Why.
        reason: &'static str,
        /// Its full length.
        length: u64,
    },
    /// The request has no such body.
    #[error("{request_id:?} has no {side} body")]
    NoBody {
        /// The request.
        request_id: String,
        /// `request` or `response`.
        side: &'static str,
    },
    /// What is stored contradicts itself.
    #[error("the database is damaged: {0}; keep the file and run `auditlite verify` on it")]
    Damaged(String),
    /// The row of a request has an impossible value. It can be rebuilt from the log.
    #[error(
        "the row of the request with opened_seq {opened_seq} is damaged: {what}; `auditlite doctor --rebuild` writes the tables again from the log"
    )]
    DamagedRow {
        /// Its key, as it stands in the file.
        opened_seq: i64,
        /// What is wrong, in plain words.
        what: String,
    },
    /// The line of the log that commits to content cannot be read, so that the content may be anything, and the
    /// requested value has no place to say so. The bodies themselves can be read, with a flag.
    #[error(
        "the line of event {seq} in the log cannot be read, so that what is kept of the event cannot be checked, and whether more was recorded with it is not known; keep the file and run `auditlite verify` on it"
    )]
    Unchecked {
        /// The event.
        seq: u64,
    },
    /// A derived table, for searching and counting, contradicts itself. It can be rebuilt from the log.
    #[error(
        "what the database keeps to search and count by is damaged ({0}); `auditlite doctor --rebuild` makes it again from the log"
    )]
    DerivedDamaged(String),
    /// An argument is out of its bounds.
    #[error("{0}")]
    InvalidArgument(String),
    /// This process was forked from the one that opened the store; SQLite's connections and locks must not be used
    /// in a fork.
    #[error("{}", crate::process::FORKED)]
    Forked,
    /// No connection became free in time.
    #[error("no reading connection became free; raise `readers` or read less at once")]
    NoConnection(#[source] Cause),
    /// The read took longer than it may.
    #[error("the read took longer than the store's read_timeout; read less at once")]
    Timeout,
    /// Anything else that the database reported.
    #[error("the database could not be read")]
    Database(#[source] Cause),
}

fn ambiguous_conversation(id: &str, users: &[String], has_more: bool) -> String {
    let name = |user: &String| match user.as_str() {
        "" => "none".to_owned(),
        user => format!("{user:?}"),
    };
    let mut names: Vec<String> = users.iter().map(name).collect();
    names.extend(has_more.then(|| "and more".to_owned()));
    let names = names.join(", ");
    format!(
        "{id:?} is a conversation of several users ({names}); name the one that is meant (`--user`)"
    )
}

/// Why the search index could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchIndexError {
    /// The file could not be opened for writing.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file could not be read, or the index not be written.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a file could not be verified at all. What is wrong with it is no error, but a
/// [finding](crate::Finding).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The anchor file could not be read.
    #[error("the anchor file {path:?} could not be read")]
    Anchor {
        /// The path as given.
        path: PathBuf,
        /// What the operating system reported.
        source: std::io::Error,
    },
    /// The anchor file is larger than any should be.
    #[error("the anchor file {path:?} is larger than {bytes_max} bytes; is it the right file?")]
    AnchorTooLarge {
        /// The path as given.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// No thread could be started.
    #[error("no thread could be started to check the payloads")]
    Thread(#[source] std::io::Error),
}

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log has no checkpoint yet with which a bundle could be compared.
    #[error(
        "the log has no checkpoint yet; a store makes one a minute after an event and when it is closed"
    )]
    NoCheckpoint,
    /// The bundle could not be written.
    #[error("the bundle could not be written")]
    Output(#[source] std::io::Error),
    /// The bundle could not be read.
    #[error("the bundle could not be read")]
    Input(#[source] std::io::Error),
    /// What was read has not the form of a bundle.
    #[error("this is not a bundle: {0}")]
    NotABundle(&'static str),
}

/// Why an export could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The copy could not be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The export could not be written.
    #[error("the export could not be written")]
    Output(#[source] std::io::Error),
    /// A file of the export could not be made.
    #[error("{path:?} could not be {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// `created`, `written` or `put in its place`.
        what: &'static str,
        /// What the operating system reported.
        source: std::io::Error,
    },
}

/// Why a price book could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PriceBookError {
    /// The file could not be read.
    #[error("the price book {path:?} could not be read")]
    Read {
        /// The path as given.
        path: PathBuf,
        /// What the operating system reported.
        source: std::io::Error,
    },
    /// The file is larger than any price book should be.
    #[error("the price book {path:?} is larger than {bytes_max} bytes; is it the right file?")]
    TooLarge {
        /// The path as given.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// The file was read, and what it holds cannot be used.
    #[error("the price book {path:?} cannot be used")]
    File {
        /// The path as given.
        path: PathBuf,
        /// Why not.
        source: Box<PriceBookError>,
    },
    /// The text is not of the format.
    #[error("the price book is not valid {format}")]
    Syntax {
        /// `JSON` or `TOML`.
        format: &'static str,
        /// Where and why.
        source: Cause,
    },
    /// The text is well-formed, and not a price book.
    #[error("the text is not a price book: {0}")]
    Shape(String),
    /// An entry cannot be used.
    #[error("the price of {entry:?} cannot be used: {problem}")]
    Entry {
        /// The model or pattern.
        entry: String,
        /// What is wrong.
        problem: String,
    },
}

/// Why a text is not a key. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name cannot be that of a key.
    #[error("a key's name has 1 to 256 bytes, without spaces, control characters and '+'")]
    Name,
    /// The text does not have the form of a key.
    #[error(
        "it is not a key: one looks like NAME+KEYID+BASE64, a secret one starts with PRIVATE+KEY+"
    )]
    Format,
    /// A public key stands where a secret one is needed.
    #[error("it is not a secret key; those start with PRIVATE+KEY+")]
    NotSecret,
    /// A secret key stands where a public one is needed.
    #[error("it is a secret key; give the public one, which does not start with PRIVATE+KEY+")]
    NotPublic,
    /// The key is not of Ed25519.
    #[error("the key is of another algorithm than Ed25519")]
    Algorithm,
    /// Name and key do not belong together: something was mistyped or cut off.
    #[error("the key's id does not fit its name and bytes; was it copied in full?")]
    KeyId,
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
