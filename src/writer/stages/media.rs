//! Media of bodies: which of them the file has already.
//!
//! A medium may be referred to only if it is certain to be there when the payload is committed. There are two
//! reasons to be certain:
//!
//! - It was planned or found since the last removal began. What was planned is committed first, in order.
//! - A payload in the file refers to it that no removal is about to remove.
//!
//! A removal therefore announces what it is about to remove (`forget`) before its first step, as it does for the
//! bases of deltas. What was planned before that is committed before, and refers to its media from then on.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::db::{Connection, stop_after};
use crate::error::ReadError;
use crate::model::Digest;
use crate::payload::{
    Content, Domain, Hole, MediaKey, PayloadPlan, PlannedMedia, Unpacker, media_in,
};
use crate::read::payloads::find_medium;
use crate::sync::caught;
use crate::writer::admission::queue::Shared;

/// Of the memory for conversations, this part at most is for known media, and so much at most.
const CACHE_PART: usize = 16;
const BYTES_MAX: usize = 256 * 1024;
/// What an entry of the table takes.
const ENTRY_BYTES: usize = 96;
/// The longest that one look into the file may take, of a file that was made to be slow.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// The media that are known to be there. Belongs to the intake's thread.
pub(crate) struct MediaTable {
    key: MediaKey,
    shared: Arc<Shared>,
    known: KnownMedia,
    /// What is being removed, in ascending ranges of ids of payloads.
    forgotten: Vec<(i64, i64)>,
    unpacker: Option<Unpacker>,
    counts: MediaCounts,
}

/// Media of bodies so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MediaCounts {
    /// Stored.
    pub(crate) stored: u64,
    /// Referred to because they were stored before.
    pub(crate) shared: u64,
}

impl MediaTable {
    /// Of the memory for conversations, what the table takes at most.
    pub(crate) fn bytes_max(conversation_cache_bytes: usize) -> usize {
        BYTES_MAX.min(conversation_cache_bytes / CACHE_PART)
    }

    pub(crate) fn new(key: MediaKey, shared: Arc<Shared>, bytes_max: usize) -> Self {
        Self {
            key,
            shared,
            known: KnownMedia::new(bytes_max / ENTRY_BYTES),
            forgotten: Vec::new(),
            unpacker: None,
            counts: MediaCounts::default(),
        }
    }

    pub(crate) fn counts(&self) -> MediaCounts {
        self.counts
    }

    /// Knows none any more: what was planned last may not be committed.
    pub(crate) fn reset(&mut self) {
        self.known.clear();
    }

    /// Refers to none any more that only payloads with ids in these ranges refer to. They may still be in the file
    /// for a while.
    pub(crate) fn forget(&mut self, ranges: &[(i64, i64)]) {
        self.known.clear();
        self.forgotten = ranges.to_vec();
    }

    /// Plans the media at these places of a body, whose new text begins at `start`. The payload must be written
    /// before any that is planned later.
    pub(crate) fn plan(
        &mut self,
        connection: Option<&Connection>,
        body: &[u8],
        start: usize,
        runs: Vec<Range<usize>>,
    ) -> Option<Box<PlannedMedia>> {
        if runs.is_empty() {
            return None;
        }
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let mut planned = PlannedMedia::default();
        let mut from = start;
        for run in runs {
            let content = body.get(run.clone()).unwrap_or_default();
            let digest = self.key.digest(Domain::default(), content);
            let media_id = match self.find(connection, &digest, content) {
                Some(media_id) => {
                    self.counts.shared += 1;
                    media_id
                }
                None => {
                    self.counts.stored += 1;
                    planned.new.push((planned.holes.len(), digest));
                    self.shared.media_ids.next()
                }
            };
            self.known.insert(digest, media_id);
            planned.holes.push(Hole {
                gap: count(run.start - from),
                media_id,
                length: count(run.len()),
            });
            from = run.end;
        }
        Some(Box::new(planned))
    }

    /// Plans the media of a body that stands alone.
    pub(crate) fn plan_alone(
        &mut self,
        connection: Option<&Connection>,
        payload: &mut PayloadPlan,
    ) {
        if let Content::Alone(body) = &payload.content
            && payload.head.is_none()
        {
            let runs = media_in(body, &[]).into_iter().map(|(run, _)| run);
            let runs = runs.collect();
            payload.media = self.plan(connection, body, 0, runs);
        }
    }

    fn find(
        &mut self,
        connection: Option<&Connection>,
        digest: &Digest,
        content: &[u8],
    ) -> Option<i64> {
        if let Some(media_id) = self.known.get(digest) {
            return Some(media_id);
        }
        let connection = connection?;
        let ranges = &self.forgotten;
        let unpacker = self.unpacker.get_or_insert_with(Unpacker::new);
        let found = caught(|| {
            stop_after(connection, READ_TIMEOUT)
                .map_err(ReadError::from)
                .and_then(|()| find_medium(connection, unpacker, digest, content, ranges))
        });
        match found {
            Some(Ok(found)) => found,
            // It is stored once more, which loses nothing.
            Some(Err(error)) => {
                tracing::debug!(target: "auditlite", %error, "known media cannot be looked up; one is stored once more");
                None
            }
            None => {
                self.unpacker = None;
                None
            }
        }
    }
}

impl std::fmt::Debug for MediaTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaTable").finish_non_exhaustive()
    }
}

/// Ids by digests, of those that were used last: two halves, of which the older one is let go when the newer one is
/// full.
struct KnownMedia {
    recent: HashMap<Digest, i64>,
    before: HashMap<Digest, i64>,
    half_max: usize,
}

impl KnownMedia {
    fn new(entries_max: usize) -> Self {
        Self {
            recent: HashMap::new(),
            before: HashMap::new(),
            half_max: entries_max / 2,
        }
    }

    fn get(&self, digest: &Digest) -> Option<i64> {
        let found = self.recent.get(digest);
        found.or_else(|| self.before.get(digest)).copied()
    }

    fn insert(&mut self, digest: Digest, media_id: i64) {
        if self.recent.len() >= self.half_max && !self.recent.contains_key(&digest) {
            self.before = std::mem::take(&mut self.recent);
        }
        if self.half_max > 0 {
            self.recent.insert(digest, media_id);
        }
    }

    fn clear(&mut self) {
        self.recent = HashMap::new();
        self.before = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_media_are_bounded_and_the_last_ones_are_known() {
        let digest = |number: i64| Digest(std::array::from_fn(|at| number.to_le_bytes()[at % 8]));
        let mut known = KnownMedia::new(64);
        for number in 0..1000 {
            known.insert(digest(number), number);
            assert!(known.recent.len() + known.before.len() <= 64);
            for last in (number - 31).max(0)..=number {
                assert_eq!(known.get(&digest(last)), Some(last));
            }
        }
        known.clear();
        assert_eq!(known.get(&digest(999)), None);
    }
}
