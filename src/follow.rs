//! Following a store: requests as they end.

use std::collections::{BTreeSet, VecDeque};

use crate::db::{ReadFile, log_id};
use crate::error::ReadError;
use crate::model::{
    ListOptions, Page, RequestFilter, RequestOrder, RequestRecord, Status, UnreadableRequest,
};
use crate::read::requests;
use crate::reader::Reader;

/// Most requests whose end is waited for. Beyond, the oldest is returned as it is.
const PENDING_MAX: usize = 10_000;
/// Openings that one poll reads.
const PAGE_REQUESTS: usize = 500;

/// Openings that are remembered, to find where an older copy of the log parts from what was seen; and
/// how many of those before the first poll.
const SEEN_MAX: usize = 1000;
const SEEN_BEFORE: usize = 100;

/// Returns the requests of a store as they end, see [`Reader::follow`].
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    filter: RequestFilter,
    /// The last opening that was seen.
    after: Option<u64>,
    /// Openings whose end is waited for.
    pending: BTreeSet<u64>,
    unreadable: Vec<UnreadableRequest>,
    /// Openings that were seen, oldest first.
    seen: VecDeque<(u64, String)>,
    /// The file that was polled last, and the id of its log.
    file: Option<(ReadFile, String)>,
    /// The log of a file that took the other's place.
    replaced_by: Option<String>,
}

impl Reader {
    /// Follows the store: returns the matching requests that end from now on, among those opened after the one
    /// with this `opened_seq` (`None`: among all).
    ///
    /// It follows the path, not the file: if the file is moved away and another one started, as a rotation does,
    /// it continues with the new one ([`Follower::take_replacement`]).
    ///
    /// ```no_run
    /// # use auditlite::{ListOptions, Reader, ReadError, RequestFilter, Status};
    /// # fn follow(reader: &Reader) -> Result<(), ReadError> {
    /// let filter = RequestFilter::new().statuses([Status::Failed]);
    /// let newest = reader.list(&RequestFilter::new(), &ListOptions::new().limit(1))?;
    /// let mut follower = reader.follow(&filter, newest.requests.first().map(|newest| newest.opened_seq));
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
            after,
            pending: BTreeSet::new(),
            unreadable: Vec::new(),
            seen: VecDeque::new(),
            file: None,
            replaced_by: None,
        }
    }
}

impl Follower {
    /// Requests that were skipped since the last call, because they cannot be read.
    pub fn take_unreadable(&mut self) -> Vec<UnreadableRequest> {
        std::mem::take(&mut self.unreadable)
    }

    /// The id of the log that is followed now, returned once after another file has replaced the one before.
    /// Another log is followed from its beginning; an older copy of the same log, from its end. Requests that
    /// had not ended in the file before are dropped.
    pub fn take_replacement(&mut self) -> Option<String> {
        self.replaced_by.take()
    }

    /// The requests that have ended since the last call, in the order of their openings, each once. Never
    /// waits. Reads at most 500 new openings, and remembers at most 10,000 requests without an end; beyond, the
    /// oldest is returned although it is pending.
    ///
    /// # Errors
    ///
    /// What the database reported. The next call continues where this one failed.
    pub fn poll(&mut self) -> Result<Vec<RequestRecord>, ReadError> {
        requests::check_filter(&self.filter)?;
        if !self.follow_path()? {
            return Ok(Vec::new());
        }
        let opened = RequestFilter {
            // An opening matches by what it knows. Conditions on the end are checked below, once there is one.
            statuses: Vec::new(),
            http_statuses: Vec::new(),
            error_type: None,
            provider_name: None,
            model: None,
            tool_name: None,
            cost_microdollars_min: None,
            latency_us_min: None,
            ..self.filter.clone()
        };
        let page = self.oldest(&opened, self.after, PAGE_REQUESTS)?;
        if let Some(newest) = page.newest() {
            self.after = Some(newest);
        }
        self.unreadable.extend(page.unreadable);
        self.remember(&page.requests);
        self.pending
            .extend(page.requests.iter().map(|request| request.opened_seq));
        let mut ended = Vec::new();
        for opened_seq in self.pending.clone() {
            let Some(request) = self.one(&RequestFilter::default(), opened_seq)? else {
                // Removed in the meantime.
                self.pending.remove(&opened_seq);
                continue;
            };
            let is_given_up = self.pending.len() > PENDING_MAX;
            if request.status == Status::Pending && !is_given_up {
                continue;
            }
            let matching = self.one(&self.filter, opened_seq)?;
            self.pending.remove(&opened_seq);
            ended.extend(matching);
        }
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
                if let Some(after) = self.after {
                    let before = Some(after.saturating_add(1));
                    let every = RequestFilter::default();
                    let options = ListOptions::new().cursor(before).limit(SEEN_BEFORE);
                    let mut page = self.reader.list(&every, &options)?;
                    page.requests.reverse();
                    self.remember(&page.requests);
                }
            }
            Some(is_same_log) => {
                self.after = match is_same_log {
                    true => self.last_in_common()?,
                    false => None,
                };
                self.pending.clear();
                self.seen.clear();
                self.replaced_by = Some(log.clone());
            }
        }
        self.file = Some((file, log));
        Ok(true)
    }

    fn remember(&mut self, requests: &[RequestRecord]) {
        let seen = requests
            .iter()
            .map(|request| (request.opened_seq, request.request_id.clone()));
        self.seen.extend(seen);
        let too_many = self.seen.len().saturating_sub(SEEN_MAX);
        self.seen.drain(..too_many);
    }

    /// The newest opening that was seen and that the new file has too. If it has none of them, nothing that it
    /// has is returned again.
    fn last_in_common(&self) -> Result<Option<u64>, ReadError> {
        for (opened_seq, request_id) in self.seen.iter().rev() {
            let found = self.one(&RequestFilter::default(), *opened_seq)?;
            if found.is_some_and(|found| found.request_id == *request_id) {
                return Ok(Some(*opened_seq));
            }
        }
        let newest = ListOptions::new().limit(1);
        let newest = self.reader.list(&RequestFilter::default(), &newest)?;
        Ok(newest.requests.first().map(|newest| newest.opened_seq))
    }

    fn oldest(
        &self,
        filter: &RequestFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let options = ListOptions::new().order(RequestOrder::Oldest);
        self.reader
            .list(filter, &options.cursor(cursor).limit(limit))
    }

    fn one(
        &self,
        filter: &RequestFilter,
        opened_seq: u64,
    ) -> Result<Option<RequestRecord>, ReadError> {
        let page = self.oldest(filter, opened_seq.checked_sub(1), 1)?;
        let found = page.requests.into_iter().next();
        Ok(found.filter(|request| request.opened_seq == opened_seq))
    }
}
