//! Exports what ended since, in the order of the ends.

use std::io::Write;

use super::item::write_requests;
use super::{Counts, ExportOptions, Sink};
use crate::db::{self, ReadConnection};
use crate::error::{ExportError, ReadError};
use crate::model::RequestRecord;
use crate::read::content::ContentReader;
use crate::read::feed::{FeedFact, FeedReader};

/// Writes each request at its end or its erasure, from this event up to the newest one at the start.
pub(super) fn write_ended(
    connect: &dyn Fn() -> Result<ReadConnection, ReadError>,
    options: &ExportOptions,
    sink: &mut dyn Sink,
    out: &mut dyn Write,
    counts: &mut Counts,
    from: u64,
) -> Result<(), ExportError> {
    // A store that continues to record must not make the export endless.
    let end = db::log_events(&*connect()?).map_err(ReadError::from)?;
    let mut feed = FeedReader::new(from)?;
    let mut reader = ContentReader::default();
    counts.next_since_ended = Some(from);
    loop {
        let items = feed.read(&*connect()?, &options.filter, end)?;
        counts.unreadable.extend(feed.take_unreadable());
        let Some(items) = items else {
            return Ok(());
        };
        for item in items {
            if options.limit.is_some_and(|limit| counts.requests >= limit) {
                return Ok(());
            }
            let requests: Vec<RequestRecord> = match item.fact {
                FeedFact::Ended(request) => vec![*request],
                FeedFact::Erased(requests) => requests,
                FeedFact::Pruned { from, to } => {
                    counts.pruned.push((from, to));
                    Vec::new()
                }
                FeedFact::ContentPruned { .. } => Vec::new(),
            };
            write_requests(connect, options, sink, out, counts, &mut reader, &requests)?;
            counts.next_since_ended = Some(item.seq.saturating_add(1));
        }
        // Also behind events that make nothing final.
        counts.next_since_ended = Some(feed.next_seq());
    }
}
