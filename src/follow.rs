//! Following a store: requests as they end.

use std::collections::VecDeque;

use crate::db::{self, ReadFile, log_id};
use crate::error::ReadError;
use crate::model::{ListOptions, RequestFilter, RequestOrder, RequestRecord, UnreadableRequest};
use crate::read::feed::{FeedFact, FeedReader};
use crate::read::requests;
use crate::reader::Reader;

/// Requests from which on a poll reads no more of the log.
const REQUESTS_ENOUGH: usize = 500;
/// Parts of the log that one poll reads where few requests match: a tenth of a second.
const READS_MAX: usize = 32;

/// Ends that are remembered, to find where an older copy of the log parts from what was seen; and how many of those
/// before the first poll.
const SEEN_MAX: usize = 1000;
const SEEN_BEFORE: usize = 100;

/// An end that was returned.
#[derive(Debug)]
struct Seen {
    ended_seq: u64,
    opened_seq: u64,
    request_id: String,
}

/// Returns the requests of a store as they end, see [`Reader::follow`].
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    filter: RequestFilter,
    /// The event that is read next.
    next: u64,
    /// The place in the log of `next`, once there is a file.
    feed: Option<FeedReader>,
    unreadable: Vec<UnreadableRequest>,
    /// Ends that were seen, oldest first.
    seen: VecDeque<Seen>,
    /// The file that was polled last, and the id of its log.
    file: Option<(ReadFile, String)>,
    /// The log of a file that took the other's place.
    replaced_by: Option<String>,
}

impl Reader {
    /// Follows the store: returns the matching requests that end after this event of the log (`None`: all), in the order
    /// of their ends. Each comes once, and one that stays open delays no other.
    ///
    /// It follows the path, not the file: if the file is moved away and another one started, as a rotation does,
    /// it continues with the new one ([`Follower::take_replacement`]).
    ///
    /// ```no_run
    /// # use auditlite::{Reader, ReadError, RequestFilter};
    /// # use auditlite::Status;
    /// # fn follow(reader: &Reader) -> Result<(), ReadError> {
    /// let filter = RequestFilter::new().statuses([Status::Failed]);
    /// let mut follower = reader.follow(&filter, reader.last_seq()?);
    /// loop {
    ///     for request in follower.poll()? {
    ///         println!("{} {:?}", request.request_id, request.error_type);
    ///     }
    ///     std::thread::sleep(std::time::Duration::from_millis(250));
    /// }
    /// # }
    /// ```
    pub fn follow(&self, filter: &RequestFilter, after: Option<u64>) -> Follower {
        Follower {
            reader: self.clone(),
            filter: filter.clone(),
            next: after.map_or(0, |after| after.saturating_add(1)),
            feed: None,
            unreadable: Vec::new(),
            seen: VecDeque::new(),
            file: None,
            replaced_by: None,
        }
    }

    /// The last event of the log; `None`: it has none.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn last_seq(&self) -> Result<Option<u64>, ReadError> {
        Ok(db::log_events(&*self.connection()?)?.checked_sub(1))
    }
}

impl Follower {
    /// Requests that were skipped since the last call, because they cannot be read.
    pub fn take_unreadable(&mut self) -> Vec<UnreadableRequest> {
        std::mem::take(&mut self.unreadable)
    }

    /// The id of the log that is followed now, returned once after another file has replaced the one before.
    /// Another log is followed from its beginning; an older copy of the same log, from its end.
    pub fn take_replacement(&mut self) -> Option<String> {
        self.replaced_by.take()
    }

    /// The requests that have ended since the last call, in the order of their ends, each once. Never waits. Where many
    /// have, some hundreds; the next call goes on.
    ///
    /// # Errors
    ///
    /// What the database reported. The next call continues where this one failed.
    pub fn poll(&mut self) -> Result<Vec<RequestRecord>, ReadError> {
        requests::check_filter(&self.filter)?;
        if !self.follow_path()? {
            return Ok(Vec::new());
        }
        let mut feed = match self.feed.take() {
            Some(feed) => feed,
            None => FeedReader::new(self.next)?,
        };
        let mut ended = Vec::new();
        let connection = self.reader.connection()?;
        for _ in 0..READS_MAX {
            match feed.read(&connection, &self.filter, u64::MAX) {
                Ok(Some(items)) => {
                    ended.extend(items.into_iter().filter_map(|item| match item.fact {
                        FeedFact::Ended(request) => Some(*request),
                        _ => None,
                    }));
                    self.next = feed.next_seq();
                }
                Ok(None) => break,
                // What was read comes first; the next call meets the error again.
                Err(_) if !ended.is_empty() => break,
                Err(error) => return Err(error),
            }
            if ended.len() >= REQUESTS_ENOUGH {
                break;
            }
        }
        drop(connection);
        self.unreadable.extend(feed.take_unreadable());
        self.feed = Some(feed);
        self.remember(&ended);
        Ok(ended)
    }

    /// Checks which file is at the path. `false`: it is still being created.
    fn follow_path(&mut self) -> Result<bool, ReadError> {
        let connection = self.reader.connection()?;
        let Some(file) = connection.file() else {
            return Ok(true);
        };
        if let Some((known, _)) = &self.file
            && known.is_same(&file)
        {
            return Ok(true);
        }
        let Some(log) = log_id(&connection)? else {
            return Ok(false);
        };
        // Returned to the pool first: it may be the only connection.
        drop(connection);
        match self.file.as_ref().map(|(_, before)| *before == log) {
            None => {
                let every = RequestFilter::default();
                let options = ListOptions::new().limit(SEEN_BEFORE);
                let mut page = self.reader.list(&every, &options)?;
                page.requests.sort_by_key(|request| request.ended_seq);
                page.requests
                    .retain(|request| request.ended_seq.is_some_and(|ended| ended < self.next));
                self.remember(&page.requests);
            }
            Some(is_same_log) => {
                self.next = match is_same_log {
                    true => self.after_last_in_common()?,
                    false => 0,
                };
                self.feed = None;
                self.seen.clear();
                self.replaced_by = Some(log.clone());
            }
        }
        self.file = Some((file, log));
        Ok(true)
    }

    fn remember(&mut self, requests: &[RequestRecord]) {
        let seen = requests.iter().filter_map(|request| {
            Some(Seen {
                ended_seq: request.ended_seq?,
                opened_seq: request.opened_seq,
                request_id: request.request_id.clone(),
            })
        });
        self.seen.extend(seen);
        let too_many = self.seen.len().saturating_sub(SEEN_MAX);
        self.seen.drain(..too_many);
    }

    /// The event after the newest end that was seen and that the new file has too. If it has none of them, nothing that
    /// it has is returned again.
    fn after_last_in_common(&self) -> Result<u64, ReadError> {
        for seen in self.seen.iter().rev() {
            let options = ListOptions::new().order(RequestOrder::Oldest).limit(1);
            let options = options.cursor(seen.opened_seq.checked_sub(1));
            let page = self.reader.list(&RequestFilter::default(), &options)?;
            let found = page.requests.first();
            if found.is_some_and(|found| {
                found.request_id == seen.request_id && found.ended_seq == Some(seen.ended_seq)
            }) {
                return Ok(seen.ended_seq.saturating_add(1));
            }
        }
        Ok(db::log_events(&*self.reader.connection()?)?)
    }
}
