//! The feed of a store: each finished request once, in the order of the ends. See [`Reader::feed`].

use crate::error::ReadError;
use crate::model::{RequestFilter, UnreadableRequest};
use crate::read::feed::{FeedItem, FeedReader};
use crate::reader::Reader;

/// Returns what became final, in the order of the log, see [`Reader::feed`].
#[derive(Debug)]
pub struct Feed {
    reader: Reader,
    filter: RequestFilter,
    events: FeedReader,
}

impl Reader {
    /// Each finished request once and final, from this event of the log on, in the order of the ends (`ended_seq`), and
    /// what happens to requests later. Nothing of a request comes before it has ended, and one that is still open delays
    /// no other. 0: from the beginning.
    ///
    /// ```
    /// # use auditlite::{FeedFact, Reader, ReadError, RequestFilter};
    /// # fn ship(reader: &Reader, from: u64) -> Result<u64, ReadError> {
    /// let mut feed = reader.feed(&RequestFilter::default(), from)?;
    /// while let Some(items) = feed.read()? {
    ///     for item in items {
    ///         match item.fact {
    ///             FeedFact::Ended(request) => println!("{} {}", item.seq, request.request_id),
    ///             other => println!("{} {other:?}", item.seq),
    ///         }
    ///     }
    /// }
    /// Ok(feed.next_seq()) // where the next one begins
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadError::InvalidArgument`].
    pub fn feed(&self, filter: &RequestFilter, from: u64) -> Result<Feed, ReadError> {
        crate::read::requests::check_filter(filter)?;
        Ok(Feed {
            reader: self.clone(),
            filter: filter.clone(),
            events: FeedReader::new(from)?,
        })
    }
}

impl Feed {
    /// What the next few hundred events made final, which may be nothing. `None`: all that is committed is read; a later
    /// call goes on. Never waits.
    ///
    /// # Errors
    ///
    /// What the database reported. The next call goes on where this one failed.
    pub fn read(&mut self) -> Result<Option<Vec<FeedItem>>, ReadError> {
        let connection = self.reader.connection()?;
        self.events.read(&connection, &self.filter, u64::MAX)
    }

    /// The event that is read next: where a later feed goes on.
    pub fn next_seq(&self) -> u64 {
        self.events.next_seq()
    }

    /// Requests that cannot be read and were passed over, since the last call.
    pub fn take_unreadable(&mut self) -> Vec<UnreadableRequest> {
        self.events.take_unreadable()
    }
}
