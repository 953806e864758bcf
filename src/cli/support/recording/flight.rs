//! Requests that were submitted and are not known to be durable yet, and counts of the others.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use auditlite::Receipt;
use serde::Serialize;

/// Requests that may wait for their commit: enough for several commits. With this bound and the next, the store's
/// own capacity is never used up, so that nothing blocks there or is left out.
const REQUESTS_MAX: usize = 2048;
/// Bytes that may wait, where each request takes its line and a fixed part. A single request may be larger.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The fixed part that each request takes in the store, roughly.
const REQUEST_BYTES: usize = 2048;

/// What became of the lines so far.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Counts {
    /// Requests that are committed: a second run finds them.
    pub(crate) recorded: u64,
    /// Requests that the file already had.
    pub(crate) already_recorded: u64,
    pub(crate) bad_lines: u64,
    /// Requests that were submitted and are not committed.
    pub(crate) not_committed: u64,
    /// Bytes of the bodies of `recorded`.
    pub(crate) body_bytes: u64,
}

impl Counts {
    /// The file that everything was committed to is destroyed.
    pub(super) fn disown(&mut self) {
        self.not_committed = self.not_committed.saturating_add(self.recorded);
        self.recorded = 0;
        self.body_bytes = 0;
    }
}

/// One submitted request.
struct Sent {
    receipt: Receipt,
    request_id: Option<String>,
    line_bytes: usize,
    body_bytes: u64,
}

/// Requests on their way to the disk, oldest first. Lives in [`Feed`](super::Feed) behind a lock: the reading
/// thread adds requests, and both threads settle those that are committed.
#[derive(Default)]
pub(super) struct Flight {
    sent: VecDeque<Sent>,
    /// How many of `sent` have an id.
    ids: HashMap<String, usize>,
    /// Bytes that `sent` take.
    bytes: usize,
    pub(super) counts: Counts,
    /// Set at the end: no more requests are accepted.
    pub(super) is_stopped: bool,
}

impl Flight {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn requests(&self) -> u64 {
        u64::try_from(self.sent.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn has_room(&self, line_bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(taken(line_bytes));
        self.is_empty() || self.sent.len() < REQUESTS_MAX && bytes <= BYTES_MAX
    }

    pub(super) fn has_id(&self, request_id: &str) -> bool {
        self.ids.contains_key(request_id)
    }

    pub(super) fn oldest(&self) -> Option<Receipt> {
        self.sent.front().map(|sent| sent.receipt.clone())
    }

    pub(super) fn push(
        &mut self,
        request_id: Option<&str>,
        line_bytes: usize,
        body_bytes: u64,
        receipt: Receipt,
    ) {
        let request_id = request_id.map(str::to_owned);
        if let Some(id) = request_id.clone() {
            let of_id = self.ids.entry(id).or_default();
            *of_id = of_id.saturating_add(1);
        }
        self.bytes = self.bytes.saturating_add(taken(line_bytes));
        self.sent.push_back(Sent {
            receipt,
            request_id,
            line_bytes,
            body_bytes,
        });
    }

    pub(super) fn count(&mut self, which: impl Fn(&mut Counts) -> &mut u64) {
        let count = which(&mut self.counts);
        *count = count.saturating_add(1);
    }

    /// Counts what has become durable. Commits come in the order of the requests.
    pub(super) fn settle(&mut self) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.receipt.is_durable()) {
            self.bytes = self.bytes.saturating_sub(taken(sent.line_bytes));
            if let Some(id) = sent.request_id
                && let Entry::Occupied(mut of_id) = self.ids.entry(id)
            {
                *of_id.get_mut() = of_id.get().saturating_sub(1);
                if *of_id.get() == 0 {
                    of_id.remove();
                }
            }
            let counts = &mut self.counts;
            counts.recorded = counts.recorded.saturating_add(1);
            counts.body_bytes = counts.body_bytes.saturating_add(sent.body_bytes);
        }
    }

    /// Called after the store's close: requests that are not durable now never will be.
    pub(super) fn finish(&mut self) -> Counts {
        self.settle();
        self.counts.not_committed = self.requests();
        self.counts
    }
}

fn taken(line_bytes: usize) -> usize {
    line_bytes.saturating_add(REQUEST_BYTES)
}
