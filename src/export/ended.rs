//! Exports what ended since, in the order of the ends.

use super::item::ItemReader;
use crate::db;
use crate::error::{ExportError, ReadError};
use crate::model::RequestRecord;
use crate::read::feed::{FeedFact, FeedReader};

/// Reads each request at its end or its erasure, from this event up to the newest one at the start.
pub(super) fn read_ended(reader: &mut ItemReader<'_>, from: u64) -> Result<(), ExportError> {
    // A store that continues to record must not make the export endless.
    let end = db::log_events(&*(reader.connect)()?).map_err(ReadError::from)?;
    let mut feed = FeedReader::new(from)?;
    reader.counts.next_since_ended = Some(from);
    loop {
        let items = feed.read(&*(reader.connect)()?, &reader.options.filter, end)?;
        reader.counts.unreadable.extend(feed.take_unreadable());
        let Some(items) = items else {
            return Ok(());
        };
        let mut requests: Vec<RequestRecord> = Vec::new();
        let mut left = reader.left();
        let mut next = feed.next_seq();
        for item in items {
            if left == 0 {
                next = item.seq;
                break;
            }
            match item.fact {
                FeedFact::Ended(request) => requests.push(*request),
                FeedFact::Erased(erased) => requests.extend(erased),
                FeedFact::Pruned { from, to } => reader.counts.pruned.push((from, to)),
                FeedFact::ContentPruned { .. } => {}
            }
            left = reader.left().saturating_sub(count(&requests));
        }
        reader.read(requests)?;
        // Also behind events that make nothing final.
        reader.counts.next_since_ended = Some(next);
        if left == 0 {
            return Ok(());
        }
    }
}

fn count(requests: &[RequestRecord]) -> u64 {
    u64::try_from(requests.len()).unwrap_or(u64::MAX)
}
