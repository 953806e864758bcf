//! Following a store: requests as they end.

use std::collections::BTreeSet;

use crate::error::ReadError;
use crate::reader::Reader;
use crate::record::{RequestFilter, RequestRecord, Status, UnreadableRequest};

/// Most requests that are waited for. Beyond, the oldest is given as it stands.
const PENDING_MAX: usize = 10_000;
/// Openings that are looked at in one poll.
const PAGE_REQUESTS: usize = 500;

/// Gives the requests of a store as they end, see [`Reader::follow`].
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    filter: RequestFilter,
    /// The last opening that was seen.
    after: Option<u64>,
    /// Openings whose end is waited for.
    pending: BTreeSet<u64>,
    unreadable: Vec<UnreadableRequest>,
}

impl Reader {
    /// Follows the store: what matches and ends from now on, of requests opened after the one with
    /// this `opened_seq` (`None`: of all).
    ///
    /// ```no_run
    /// # use auditlite::{Reader, ReadError, RequestFilter, Status};
    /// # fn follow(reader: &Reader) -> Result<(), ReadError> {
    /// let filter = RequestFilter {
    ///     status: Some(Status::Failed),
    ///     ..RequestFilter::default()
    /// };
    /// let newest = reader.list(&RequestFilter::default(), None, 1)?;
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
        }
    }
}

impl Follower {
    /// Requests that were passed over since the last call, because they cannot be read.
    pub fn take_unreadable(&mut self) -> Vec<UnreadableRequest> {
        std::mem::take(&mut self.unreadable)
    }

    /// What has ended since the last call, in order of the openings: each request once. Never waits
    /// for more. At most 500 new openings are looked at; 10,000 ends are waited for, beyond which
    /// the oldest request is given though it is pending.
    ///
    /// # Errors
    ///
    /// What the database reported. The next call goes on where this one failed.
    pub fn poll(&mut self) -> Result<Vec<RequestRecord>, ReadError> {
        let opened = RequestFilter {
            // What only the end tells is asked for once there is one.
            status: None,
            provider_name: None,
            model: None,
            tool_name: None,
            cost_microdollars_min: None,
            latency_us_min: None,
            ..self.filter.clone()
        };
        let page = self.reader.list_after(&opened, self.after, PAGE_REQUESTS)?;
        if let Some(newest) = page.newest() {
            self.after = Some(newest);
        }
        self.unreadable.extend(page.unreadable);
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

    fn one(
        &self,
        filter: &RequestFilter,
        opened_seq: u64,
    ) -> Result<Option<RequestRecord>, ReadError> {
        let page = self
            .reader
            .list_after(filter, opened_seq.checked_sub(1), 1)?;
        let found = page.requests.into_iter().next();
        Ok(found.filter(|request| request.opened_seq == opened_seq))
    }
}
