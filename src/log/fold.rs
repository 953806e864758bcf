//! Folding: derives from a run of events what it says about each request, hour and minute.
//!
//! The writer and the rebuild use the same fold, so both make the same rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::event::{Event, EventKind, Gap, StoreClosed};
use super::hours::{DayKey, HourKey, HourSums, count_end, hour_of, hour_start, minute_of};
use super::removal::{Erased, ErasedRequest, Pruned};
use super::request_events::{Ended, Opened, ToolCallFact, merged_attributes};

/// An opening event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestStart<'a> {
    pub(crate) at: i64,
    pub(crate) opened: &'a Opened,
}

impl RequestStart<'_> {
    /// When the request arrived.
    pub(crate) fn opened_at(&self) -> i64 {
        self.opened.started_at.unwrap_or(self.at)
    }
}

/// An ending event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestEnd<'a> {
    pub(crate) seq: u64,
    pub(crate) ended: &'a Ended,
}

impl<'a> RequestEnd<'a> {
    pub(crate) fn tool_calls(&self) -> &'a [ToolCallFact] {
        &self.ended.tool_calls
    }
}

/// What a run of events says about one request.
#[derive(Debug)]
pub(crate) struct RequestChange<'a> {
    pub(crate) opened_seq: u64,
    /// Present if the request was opened in this run; otherwise its row exists already.
    pub(crate) start: Option<RequestStart<'a>>,
    pub(crate) conversation_id: Option<&'a str>,
    pub(crate) user_id: Option<&'a str>,
    /// Without a start those of the end alone: they add to the row's.
    pub(crate) attributes: Cow<'a, [(String, String)]>,
    pub(crate) response_model: Option<&'a str>,
    pub(crate) response_provider_name: Option<&'a str>,
    pub(crate) end: Option<RequestEnd<'a>>,
}

impl<'a> RequestChange<'a> {
    fn new(opened_seq: u64, start: Option<RequestStart<'a>>) -> Self {
        let opened = start.map(|start| start.opened);
        Self {
            opened_seq,
            start,
            conversation_id: opened.and_then(|opened| opened.conversation_id.as_deref()),
            user_id: opened.and_then(|opened| opened.user_id.as_deref()),
            attributes: Cow::Borrowed(opened.map_or(&[], |opened| &opened.attributes)),
            response_model: None,
            response_provider_name: None,
            end: None,
        }
    }

    fn remaining(request: &'a ErasedRequest) -> Self {
        let start = RequestStart {
            at: 0,
            opened: &request.opened,
        };
        let ended = &request.ended;
        let mut change = Self::new(request.opened_seq(), Some(start));
        change.end(request.ended_seq, ended);
        change
    }

    /// The opening's word on user and conversation counts, the end's where it has none.
    fn end(&mut self, seq: u64, ended: &'a Ended) {
        self.serve(&ended.response_model, &ended.response_provider_name);
        self.conversation_id = self.conversation_id.or(ended.conversation_id.as_deref());
        self.user_id = self.user_id.or(ended.user_id.as_deref());
        if !ended.attributes.is_empty() {
            self.attributes = match self.attributes.is_empty() {
                true => Cow::Borrowed(&ended.attributes),
                false => Cow::Owned(merged_attributes(&self.attributes, &ended.attributes)),
            };
        }
        self.end = Some(RequestEnd { seq, ended });
    }

    /// A later value of what serves the request wins; an absent value changes nothing.
    fn serve(&mut self, model: &'a Option<String>, provider_name: &'a Option<String>) {
        self.response_model = model.as_deref().or(self.response_model);
        self.response_provider_name = provider_name.as_deref().or(self.response_provider_name);
    }
}

/// The bits of a minute's last seq that are set, so that its row changes with every 1,024th event only: a commit of a
/// few events writes a page for each row that changes. Who looks a time up sees some 1,000 requests more at most.
pub(crate) const MINUTE_SEQ_MASK: u64 = 1023;

/// The openings that fall into a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinuteRange {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

/// The fold of a run of events.
#[derive(Debug, Default)]
pub(crate) struct Fold<'a> {
    /// Seq of the run's first event.
    pub(crate) first_seq: u64,
    pub(crate) changes: Vec<RequestChange<'a>>,
    pub(crate) hours: HashMap<HourKey, HourSums>,
    pub(crate) minutes: BTreeMap<i64, MinuteRange>,
    /// Store openings that began: seq and time.
    pub(crate) openings: Vec<(u64, i64)>,
    /// Store openings that ended: seq and time.
    pub(crate) closings: Vec<(u64, i64, &'a StoreClosed)>,
    pub(crate) gaps: Vec<(u64, &'a Gap)>,
    /// What remains of erased requests; it replaces their rows.
    pub(crate) remains: Vec<RequestChange<'a>>,
    pub(crate) erased: Vec<(u64, &'a Erased)>,
    pub(crate) pruned: Vec<(u64, &'a Pruned)>,
}

impl<'a> Fold<'a> {
    /// Folds the events in one pass. Each request has one entry in `changes`, in the order in which the run
    /// first mentions it. The first end of a request wins: an event after it is ignored, as it is in the
    /// tables. Hours are counted last, since a `served` event may change the key under which an end is
    /// counted.
    pub(crate) fn new(events: &'a [Event]) -> Self {
        let mut fold = Self {
            first_seq: events.first().map_or(0, |event| event.seq),
            ..Self::default()
        };
        // The index in `changes` of each request.
        let mut places: HashMap<u64, usize> = HashMap::new();
        for event in events {
            match &event.kind {
                EventKind::Opened(opened) => {
                    let start = RequestStart {
                        at: event.at,
                        opened,
                    };
                    fold.count_minute(start.opened_at(), event.seq);
                    places.insert(event.seq, fold.changes.len());
                    fold.changes
                        .push(RequestChange::new(event.seq, Some(start)));
                }
                EventKind::Served(served) => {
                    if let Some(change) = fold.change(&mut places, served.opened_seq)
                        && change.end.is_none()
                    {
                        change.serve(&served.response_model, &served.response_provider_name);
                    }
                }
                EventKind::Ended(ended) => {
                    if let Some(change) = fold.change(&mut places, ended.opened_seq)
                        && change.end.is_none()
                    {
                        change.end(event.seq, ended);
                    }
                }
                EventKind::StoreOpened(_) => fold.openings.push((event.seq, event.at)),
                EventKind::StoreClosed(closed) => fold.closings.push((event.seq, event.at, closed)),
                EventKind::Gap(gap) => fold.gaps.push((event.seq, gap)),
                EventKind::Erased(erased) => fold.erase(event.seq, erased),
                EventKind::Pruned(pruned) => fold.prune(event.seq, pruned),
                // Ends refer to it by its seq.
                EventKind::PriceBook(_) => {}
            }
        }
        fold.count_hours();
        fold
    }

    fn erase(&mut self, seq: u64, erased: &'a Erased) {
        for request in &erased.requests {
            let change = RequestChange::remaining(request);
            if let Some(start) = &change.start {
                self.count_minute(start.opened_at(), change.opened_seq);
            }
            self.remains.push(change);
        }
        self.erased.push((seq, erased));
    }

    fn prune(&mut self, seq: u64, pruned: &'a Pruned) {
        self.count_pruned(pruned);
        self.pruned.push((seq, pruned));
    }

    /// Counts what pruned requests had counted.
    pub(crate) fn count_pruned(&mut self, pruned: &Pruned) {
        for usage in &pruned.usage {
            self.hours
                .entry(usage.key())
                .or_default()
                .merge(&usage.sums);
        }
    }

    fn change(
        &mut self,
        places: &mut HashMap<u64, usize>,
        opened_seq: u64,
    ) -> Option<&mut RequestChange<'a>> {
        let place = *places.entry(opened_seq).or_insert_with(|| {
            self.changes.push(RequestChange::new(opened_seq, None));
            self.changes.len() - 1
        });
        self.changes.get_mut(place)
    }

    /// Counts an opening in its minute.
    pub(crate) fn count_minute(&mut self, opened_at: i64, opened_seq: u64) {
        let last_seq = opened_seq | MINUTE_SEQ_MASK;
        self.minutes
            .entry(minute_of(opened_at))
            .and_modify(|range| {
                range.first_seq = range.first_seq.min(opened_seq);
                range.last_seq = range.last_seq.max(last_seq);
            })
            .or_insert(MinuteRange {
                first_seq: opened_seq,
                last_seq,
            });
    }

    /// Counts requests that were opened and ended in this run. A request that was opened earlier is counted
    /// once its row tells its time and user, see [`count_end`](Self::count_end).
    fn count_hours(&mut self) {
        // Many requests share a key, which is cloned once.
        let mut counted: HashMap<_, HourSums> = HashMap::new();
        for change in self.changes.iter().chain(&self.remains) {
            let (Some(start), Some(end)) = (&change.start, &change.end) else {
                continue;
            };
            let opened = start.opened;
            let provider = change
                .response_provider_name
                .or(opened.provider_name.as_deref());
            let model = change
                .response_model
                .or(opened.request_model.as_deref())
                .or(opened.client_model.as_deref());
            let key = (
                hour_of(start.opened_at()),
                provider.unwrap_or_default(),
                model.unwrap_or_default(),
                change.user_id.unwrap_or_default(),
            );
            let others = end.ended.shares_of_others(key.2);
            for (model, share) in &others {
                let key = (key.0, key.1, *model, key.3);
                counted.entry(key).or_default().merge(share);
            }
            let sums = counted.entry(key).or_default();
            match others.is_empty() {
                true => sums.add(end.ended),
                false => sums.merge(&end.ended.own_share(&others)),
            }
        }
        for ((hour, provider_name, model, user_id), sums) in counted {
            let key = HourKey::new(hour_start(hour), provider_name, model, user_id);
            self.hours.entry(key).or_default().merge(&sums);
        }
    }

    /// The hours by day, over all users.
    pub(crate) fn days(&self) -> HashMap<DayKey<'_>, HourSums> {
        let mut days: HashMap<DayKey<'_>, HourSums> = HashMap::new();
        for (key, sums) in &self.hours {
            days.entry(key.day()).or_default().merge(sums);
        }
        days
    }

    /// Counts the end of a request that was opened before this run.
    pub(crate) fn count_end(&mut self, key: HourKey, ended: &Ended) {
        count_end(&mut self.hours, key, ended);
    }
}
