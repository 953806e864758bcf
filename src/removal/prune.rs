//! Pruning: removes what is too old or exceeds a size. Oldest first; content first, then metadata.

use std::time::Duration;

use super::clock_check::clock_ahead;
use super::segment_lines::LineRemover;
use super::{Session, dependants};
use crate::clock::now_micros;
use crate::db::{
    self, Bound, Connection, Pages, Part, Removal, RemovalKind, RewrittenSegment, StoredSegment,
    payload_id,
};
use crate::error::{ReadError, RemovalError};
use crate::log::{Event, EventKind, Pruned, PrunedKind, PrunedUsage};
use crate::model::setters;
use crate::read::search;

/// Events whose content one step removes.
const CONTENT_EVENTS_EACH: u64 = 512;
/// Metadata is removed by whole segments: of this many events, and at least one segment.
const METADATA_EVENTS_EACH: u64 = 512;
/// Free pages that one step returns to the disk.
const VACUUM_PAGES_EACH: u32 = 64;

/// How long recorded data is kept. Default: everything, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Retention {
    /// Bodies and other content of requests that arrived longer ago than this are removed. Lengths,
    /// commitments and everything else in the log stay.
    pub content_older_than: Option<Duration>,
    /// Requests that arrived longer ago than this are removed completely. The leaf hashes of their events
    /// stay, and the hourly sums of their usage without the user. Content is removed first.
    pub metadata_older_than: Option<Duration>,
    /// The bytes that the pages in use may take. If they take more, the oldest content is removed, and if
    /// no content is left, the oldest requests.
    pub size_bytes_max: Option<u64>,
    /// Whether to trust the clock whatever it says. Default: no. If it is more than seven days ahead of the
    /// last time in the log before this opening, plus what a monotonic clock has counted since, nothing is
    /// removed because of its age: a clock that is ahead for a moment would make everything too old. Times
    /// of less than an hour that are as far from those before them are not trusted either. So removal by
    /// age also waits if a store was not opened for more than a week: set `true` then, or open the store
    /// again once it was open for an hour.
    ///
    /// [`Store::prune`](crate::Store::prune) reports
    /// [`RemovalError::ClockAhead`]; a retention policy waits and raises
    /// [`Alarm::ClockAhead`](crate::Alarm::ClockAhead). `size_bytes_max` works in any case.
    pub clock_is_right: bool,
}

impl Retention {
    /// Everything, for ever.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        value: content_older_than: Duration, metadata_older_than: Duration, size_bytes_max: u64;
        plain: clock_is_right: bool;
    }

    /// Whether anything is to be removed at all.
    pub(crate) fn is_any(&self) -> bool {
        self.by_age() || self.size_bytes_max.is_some()
    }

    fn by_age(&self) -> bool {
        self.content_older_than.is_some() || self.metadata_older_than.is_some()
    }

    /// Whether a clock that is ahead would remove what should stay.
    pub(super) fn depends_on_the_clock(&self) -> bool {
        self.by_age() && !self.clock_is_right
    }

    /// Without the limits of age.
    pub(super) fn by_size(&self) -> Self {
        Self {
            content_older_than: None,
            metadata_older_than: None,
            ..*self
        }
    }
}

/// What [`Store::prune`](crate::Store::prune) removed or would remove.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PruneReport {
    /// Bodies and other content, kept or only digested.
    pub payloads: u64,
    /// Bytes that their content took in the file, with the media that no other body has.
    pub payload_bytes: u64,
    /// Requests that were removed completely.
    pub requests: u64,
    /// Bodies that were packed against these and stand alone now. 0 in a preview.
    pub repacked: u64,
    /// Bodies that were packed against these and cannot be read any more: they were damaged before, and are
    /// lost together with what they were packed against. 0 in a preview.
    pub not_repacked: u64,
    /// How many of the requests have lines in a segment that cannot be read. Everything else of them is
    /// removed; their lines stay in that segment. 0 in a preview.
    pub unreadable: u64,
    /// Bytes that were returned to the disk. 0 in a preview.
    pub freed_bytes: u64,
    /// Whether no byte of what was removed is left in the write-ahead log or in the database below it.
    /// `false`: a reader of an old snapshot was in the way for 10 s. Prune again, even with nothing left to
    /// prune, to finish. Only erasing zeroes unused space within pages. Always `false` in a preview.
    pub is_overwritten: bool,
    /// Only in a preview: how far the clock is ahead of the times in the log, so that pruning would refuse
    /// to trust it ([`Retention::clock_is_right`]).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "clock_ahead_us",
            serialize_with = "crate::clock::serialize_micros"
        )
    )]
    pub clock_ahead: Option<Duration>,
}

/// Up to where content and metadata are removed because of their age.
#[derive(Debug, Clone, Copy)]
struct Cuts {
    content: u64,
    metadata: u64,
    /// Nothing is removed from here on: requests that have not ended, and what follows them.
    limit: u64,
}

impl Cuts {
    fn new(connection: &Connection, retention: &Retention) -> Result<Self, ReadError> {
        let end = db::bound(connection, Bound::LogEnd)?.unwrap_or(0);
        let pending = db::bound(connection, Bound::FirstPending)?;
        let limit = pending.map_or(end, |pending| pending.min(end));
        let now = now_micros();
        let cut = |age: Option<Duration>| -> Result<u64, ReadError> {
            let Some(age) = age else { return Ok(0) };
            let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            let since = Bound::FirstSince(now.saturating_sub(age));
            let first = db::bound(connection, since)?;
            Ok(first.unwrap_or(end).min(limit))
        };
        let metadata = cut(retention.metadata_older_than)?;
        Ok(Self {
            content: cut(retention.content_older_than)?.max(metadata),
            metadata,
            limit,
        })
    }
}

/// What would be removed.
pub(crate) fn preview(
    connection: &Connection,
    retention: &Retention,
) -> Result<PruneReport, ReadError> {
    let cuts = Cuts::new(connection, retention)?;
    let mut report = PruneReport::default();
    if retention.depends_on_the_clock() {
        report.clock_ahead = clock_ahead(connection, None)?;
    }
    let first = payload_id(0, Part::Body);
    let count = |to: u64| {
        let last = payload_id(to, Part::Body).saturating_sub(1);
        let (payloads, bytes) = db::payloads_between(connection, first, last)?;
        let media = db::media_only_in(connection, &[(first, last)])?;
        Ok::<_, ReadError>((payloads, bytes.saturating_add(media)))
    };
    (report.payloads, report.payload_bytes) = count(cuts.content)?;
    if let Some(max) = retention.size_bytes_max {
        let used = db::space_used(connection)?.used_bytes();
        let mut to = cuts.content;
        while used.saturating_sub(report.payload_bytes) > max && to < cuts.limit {
            to = to.saturating_add(CONTENT_EVENTS_EACH).min(cuts.limit);
            (report.payloads, report.payload_bytes) = count(to)?;
        }
    }
    report.requests = db::requests_between(connection, 0, cuts.metadata.saturating_sub(1))?;
    Ok(report)
}

pub(super) fn prune(
    session: &Session<'_>,
    retention: &Retention,
    go_on: &dyn Fn() -> bool,
) -> Result<PruneReport, RemovalError> {
    let connection = &session.connection;
    let cuts = Cuts::new(connection, retention)?;
    let mut pruner = Pruner {
        session,
        redactor: LineRemover::new()?,
        report: PruneReport::default(),
        compared: search::Compared::new(),
    };
    let done = pruner.all(cuts, retention, go_on);
    let report = pruner.report;
    done.map_err(|error| error.after(report.requests, report.payloads))?;
    Ok(report)
}

struct Pruner<'s> {
    session: &'s Session<'s>,
    redactor: LineRemover,
    report: PruneReport,
    compared: search::Compared,
}

/// A segment of the log, as far as it exists.
struct Span {
    segment: Option<StoredSegment>,
    /// The first event after it.
    end: u64,
}

impl Pruner<'_> {
    fn all(
        &mut self,
        cuts: Cuts,
        retention: &Retention,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), RemovalError> {
        while go_on() && self.content(cuts.content)? {}
        while go_on() && self.metadata(cuts.metadata)? {}
        if let Some(max) = retention.size_bytes_max {
            let connection = &self.session.connection;
            let used = || db::space_used(connection).map_err(ReadError::from);
            while go_on()
                && used()?.used_bytes() > max
                && (self.content(cuts.limit)? || self.metadata(cuts.limit)?)
            {}
        }
        // It may have been given up meanwhile; if it cannot be dropped, the next removal retries.
        self.session.drop_index()?;
        self.give_back(go_on)
    }

    /// The segment that begins at this event. If there is no consistent segment, the range up to the next
    /// one. `None`: its end is unknown.
    fn span(&self, first_seq: u64) -> Result<Option<Span>, ReadError> {
        let connection = &self.session.connection;
        let segment =
            db::segment_of(connection, first_seq)?.filter(|segment| segment.first_seq == first_seq);
        let next = db::bound(connection, Bound::NextSegment(first_seq))?;
        let stated = segment
            .as_ref()
            .map(|segment| first_seq.saturating_add(segment.count));
        let Some(end) = next.or(stated).filter(|end| *end > first_seq) else {
            return Ok(None);
        };
        Ok(Some(Span {
            segment: segment.filter(|_| stated == Some(end)),
            end,
        }))
    }

    /// The segment without lines of requests; `None`: it had none. An error if it cannot be read.
    fn redacted(&mut self, span: Span) -> Result<Option<RewrittenSegment>, ReadError> {
        let Some(segment) = span.segment else {
            return Err(ReadError::Damaged(
                "it is gone, or contradicts itself".to_owned(),
            ));
        };
        self.redactor.redact(segment, |_, line| is_of_request(line))
    }

    /// Removes the oldest content before `cut`, as much as one step may. `false`: there is none.
    ///
    /// Continues where the last step ended, at the first payload that exists. Dependants outside of the
    /// range are repacked first, and the words in the search index are compared with the bodies, since the
    /// bodies are about to disappear.
    fn content(&mut self, cut: u64) -> Result<bool, RemovalError> {
        let connection = &self.session.connection;
        let from = db::pruned_to(connection, RemovalKind::Content).map_err(ReadError::from)?;
        let before = payload_id(from, Part::Body).saturating_sub(1);
        let next = db::packed_against(connection, before, 1).map_err(ReadError::from)?;
        let Some(next) = next.first() else {
            return Ok(false);
        };
        let from = u64::try_from(db::event_seq(next.payload_id)).unwrap_or(from);
        if from >= cut {
            return Ok(false);
        }
        let to = from.saturating_add(CONTENT_EVENTS_EACH).min(cut);
        let range = (
            payload_id(from, Part::Body),
            payload_id(to, Part::Body).saturating_sub(1),
        );
        let repacked = dependants::repack(self.session, &[range])?;
        let (payloads, bytes) =
            db::payloads_between(connection, range.0, range.1).map_err(ReadError::from)?;
        let media = db::media_only_in(connection, &[range]).map_err(ReadError::from)?;
        let bytes = bytes.saturating_add(media);
        // Words of changed or deleted rows of the index would stay behind.
        let index_suspicion = search::compare_between(connection, &mut self.compared, from, to)?;
        self.session.step(
            Some(EventKind::Pruned(Box::new(Pruned {
                what: PrunedKind::Content,
                from,
                to,
                ..Pruned::default()
            }))),
            Removal {
                payloads: vec![range],
                index_suspicion,
                ..Removal::default()
            },
        )?;
        let report = &mut self.report;
        report.repacked = report.repacked.saturating_add(repacked.done);
        report.not_repacked = report.not_repacked.saturating_add(repacked.failed);
        report.payloads = report.payloads.saturating_add(payloads);
        report.payload_bytes = report.payload_bytes.saturating_add(bytes);
        Ok(true)
    }

    /// Removes the oldest requests before `cut`, as many as one step may. `false`: there are none.
    ///
    /// A step covers whole segments, within one opening of the store. The lines of requests are replaced by
    /// their leaf hashes, and the sums of their rows go into the `pruned` event. A range with only the
    /// store's own events is skipped.
    fn metadata(&mut self, cut: u64) -> Result<bool, RemovalError> {
        let connection = &self.session.connection;
        let mut from = db::pruned_to(connection, RemovalKind::Metadata).map_err(ReadError::from)?;
        loop {
            // A range stays within one opening, so that its accounts can be checked.
            let session =
                db::bound(connection, Bound::NextSession(from)).map_err(ReadError::from)?;
            let end = session.map_or(cut, |session| session.min(cut));
            let mut segments = Vec::new();
            let (mut to, mut unreadable) = (from, 0_u64);
            while to.saturating_sub(from) < METADATA_EVENTS_EACH {
                let Some(span) = self.span(to)?.filter(|span| span.end <= end) else {
                    break;
                };
                let first = std::mem::replace(&mut to, span.end);
                match self.redacted(span) {
                    // It must not stop pruning: its lines stay, unread, and everything else is removed.
                    // Verification of the log fails there before and after.
                    Err(ReadError::Damaged(what)) => {
                        tracing::warn!(target: "auditlite", segment = first, what, "this segment of the log cannot be read, so lines that should be pruned stay in it; everything else of their requests is removed");
                        let requests = db::requests_between(connection, first, to - 1)
                            .map_err(ReadError::from)?;
                        unreadable = unreadable.saturating_add(requests);
                    }
                    redacted => segments.extend(redacted?),
                }
            }
            if to == from {
                return Ok(false);
            }
            let last = to.saturating_sub(1);
            let requests = db::requests_between(connection, from, last).map_err(ReadError::from)?;
            if segments.is_empty() && requests == 0 {
                // Only events of the store itself, which stay.
                from = to;
                continue;
            }
            let kind = self.pruned_metadata(from, to, requests)?;
            self.session.step(
                Some(kind),
                Removal {
                    segments,
                    ..Removal::default()
                },
            )?;
            let report = &mut self.report;
            report.requests = report.requests.saturating_add(requests);
            report.unreadable = report.unreadable.saturating_add(unreadable);
            return Ok(true);
        }
    }

    fn pruned_metadata(
        &self,
        from: u64,
        to: u64,
        requests: u64,
    ) -> Result<EventKind, RemovalError> {
        let rows = db::usage_between(&self.session.connection, from, to.saturating_sub(1))
            .map_err(ReadError::from)?;
        let mut usage: Vec<PrunedUsage> = Vec::new();
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by(|(left, _), (right, _)| {
            let key = |key: &crate::log::HourKey| {
                (key.hour, key.provider_name.clone(), key.model.clone())
            };
            key(left).cmp(&key(right))
        });
        for (key, sums) in rows {
            let is_same = |usage: &&mut PrunedUsage| {
                usage.hour == key.hour
                    && usage.provider_name == key.provider_name
                    && usage.model == key.model
            };
            match usage.last_mut().filter(is_same) {
                Some(usage) => usage.sums.merge(&sums),
                None => usage.push(PrunedUsage {
                    hour: key.hour,
                    provider_name: key.provider_name,
                    model: key.model,
                    sums,
                }),
            }
        }
        Ok(EventKind::Pruned(Box::new(Pruned {
            what: PrunedKind::Metadata,
            from,
            to,
            requests,
            usage,
        })))
    }

    /// Returns free pages to the disk.
    fn give_back(&mut self, go_on: &dyn Fn() -> bool) -> Result<(), RemovalError> {
        let space = || db::space_used(&self.session.connection).map_err(ReadError::from);
        let Pages {
            bytes_each,
            mut free,
            ..
        } = space()?;
        let mut given = 0_u64;
        while free > 0 && go_on() {
            self.session.step(
                None,
                Removal {
                    vacuum_pages: VACUUM_PAGES_EACH,
                    ..Removal::default()
                },
            )?;
            let left = space()?.free;
            if left >= free {
                break;
            }
            given = given.saturating_add(free - left);
            free = left;
        }
        self.report.freed_bytes = given.saturating_mul(bytes_each);
        // If a reader is in the way, a policy leaves this to the next checkpoint; and it disturbs nothing
        // if nothing was done.
        if given > 0 || !self.session.is_paced {
            self.report.is_overwritten = self.session.truncate(&[])?;
        }
        Ok(())
    }
}

/// Whether a line belongs to the lifecycle of a request; lines of the store itself stay.
fn is_of_request(line: &[u8]) -> bool {
    matches!(
        Event::from_line(line).map(|event| event.kind),
        Ok(EventKind::Opened(_) | EventKind::Served(_) | EventKind::Ended(_))
    )
}
