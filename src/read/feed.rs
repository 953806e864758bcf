//! The feed: what became final, in the order of the log.
//!
//! The log is read, not the table of requests, which has no order of ends: a request comes at its ending event, and what
//! happens to it later, an erasure or a pruning, at the event that records it. The line of an erased request's end is
//! gone, so such a request comes once, at its erasure.

use std::collections::BTreeMap;

use crate::db::{self, Connection};
use crate::error::ReadError;
use crate::log::{Event, EventKind, PrunedKind, SegmentDecoder, lines, removed_leaf};
use crate::model::{RequestFilter, RequestRecord, UnreadableRequest};

/// Events that one call reads: their records take a few megabytes at most.
const EVENTS_MAX: usize = 512;

/// One event that made something of a request final.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FeedItem {
    /// The event's place in the log. To go on behind it, begin at the next one.
    pub seq: u64,
    /// What happened.
    pub fact: FeedFact,
}

/// What an event made final.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FeedFact {
    /// A request ended. Its record changes no more, unless it is erased or pruned.
    Ended(Box<RequestRecord>),
    /// Requests were erased: what remains of each, to take the place of what came before. Filters do not apply, since
    /// what remains does not say whose it was.
    Erased(Vec<RequestRecord>),
    /// Bodies of the events from the first number on and below the second were removed.
    ContentPruned {
        /// The first event.
        from: u64,
        /// The event after the last.
        to: u64,
    },
    /// Requests that were opened by these events were removed.
    Pruned {
        /// The first event.
        from: u64,
        /// The event after the last.
        to: u64,
    },
}

/// A place in the log, and the segment that is being read.
pub(crate) struct FeedReader {
    next: u64,
    decoder: SegmentDecoder,
    segment: Option<Unpacked>,
    unreadable: Vec<UnreadableRequest>,
}

/// A segment's lines.
struct Unpacked {
    end: u64,
    text: Vec<u8>,
    /// Where the line of the next event begins.
    offset: usize,
}

/// What a line makes final.
enum Line {
    Ended {
        opened_seq: u64,
    },
    Erased {
        opened_seqs: Vec<u64>,
    },
    Other(FeedFact),
    /// It cannot be read. If it ended a request, the table says which.
    Damaged,
    Nothing,
}

impl std::fmt::Debug for FeedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedReader")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl FeedReader {
    /// Begins at this event.
    pub(crate) fn new(from: u64) -> Result<Self, ReadError> {
        Ok(Self {
            next: from,
            decoder: SegmentDecoder::new()
                .map_err(|error| ReadError::Damaged(error.to_string()))?,
            segment: None,
            unreadable: Vec::new(),
        })
    }

    /// The event that is read next.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next
    }

    /// Requests that cannot be read and were passed over, since the last call.
    pub(crate) fn take_unreadable(&mut self) -> Vec<UnreadableRequest> {
        std::mem::take(&mut self.unreadable)
    }

    /// What the next events made final, below `end`. `None`: all of them are read. Nothing where none of the next
    /// [`EVENTS_MAX`] did.
    pub(crate) fn read(
        &mut self,
        connection: &Connection,
        filter: &RequestFilter,
        end: u64,
    ) -> Result<Option<Vec<FeedItem>>, ReadError> {
        // One state of the file: a line that is gone then has its erasure in the same state or in a later one.
        let _snapshot = db::read_snapshot(connection)?;
        let end = end.min(db::log_events(connection)?);
        if self.next >= end {
            return Ok(None);
        }
        let begin = self.next;
        let (read, next) = self.lines(connection, end)?;
        match self.facts(connection, filter, begin..next, read) {
            Ok(facts) => {
                self.next = next;
                Ok(Some(facts))
            }
            Err(error) => {
                // It has gone on beyond `next`.
                self.segment = None;
                Err(error)
            }
        }
    }

    /// The next lines, and the event behind them.
    fn lines(
        &mut self,
        connection: &Connection,
        end: u64,
    ) -> Result<(Vec<(u64, Line)>, u64), ReadError> {
        let mut seq = self.next;
        let mut read = Vec::new();
        if self
            .segment
            .as_ref()
            .is_none_or(|segment| segment.end <= seq)
        {
            self.segment = None;
            let Some(stored) = db::segment_of(connection, seq)? else {
                return Err(ReadError::Damaged(format!("the log has no event {seq}")));
            };
            let (first, segment_end) = (
                stored.first_seq,
                stored.first_seq.saturating_add(stored.count),
            );
            if segment_end <= seq {
                return Err(ReadError::Damaged(format!("the log has no event {seq}")));
            }
            let text =
                self.decoder
                    .decode(stored.encoding, stored.data, stored.length, stored.count);
            let Ok(text) = text else {
                // Its number of events is only what its row says.
                return ended_lines(connection, seq..segment_end.min(end));
            };
            let before = usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX);
            let offset = match before.checked_sub(1) {
                None => 0,
                Some(last) => memchr::memchr_iter(b'\n', &text)
                    .nth(last)
                    .map_or(text.len(), |at| at.saturating_add(1)),
            };
            self.segment = Some(Unpacked {
                end: segment_end,
                text,
                offset,
            });
        }
        let Some(segment) = &mut self.segment else {
            return Ok((read, seq));
        };
        let rest = segment.text.get(segment.offset..).unwrap_or_default();
        for line in lines(rest).take(EVENTS_MAX) {
            if seq >= end.min(segment.end) {
                break;
            }
            segment.offset = segment.offset.saturating_add(line.len()).saturating_add(1);
            read.push((seq, Line::of(line, seq)));
            seq = seq.saturating_add(1);
        }
        Ok((read, seq))
    }

    /// Reads the requests that the lines name, and puts them in the order of the lines.
    fn facts(
        &mut self,
        connection: &Connection,
        filter: &RequestFilter,
        range: std::ops::Range<u64>,
        mut read: Vec<(u64, Line)>,
    ) -> Result<Vec<FeedItem>, ReadError> {
        if read.iter().any(|(_, line)| matches!(line, Line::Damaged)) {
            let ended = db::ended_between(connection, range, EVENTS_MAX)?;
            let ended: BTreeMap<u64, u64> = ended.into_iter().collect();
            for (seq, line) in &mut read {
                if let (Line::Damaged, Some(opened_seq)) = (&line, ended.get(seq)) {
                    *line = Line::Ended {
                        opened_seq: *opened_seq,
                    };
                }
            }
        }
        let (mut ended, mut erased) = (Vec::new(), Vec::new());
        for (_, line) in &read {
            match line {
                Line::Ended { opened_seq } => ended.push(*opened_seq),
                Line::Erased { opened_seqs } => erased.extend(opened_seqs),
                Line::Other(_) | Line::Damaged | Line::Nothing => {}
            }
        }
        let mut ended = self.requests(connection, filter, &ended)?;
        let mut erased = self.requests(connection, &RequestFilter::default(), &erased)?;
        let fact = |line| match line {
            // An erased one comes at its erasure.
            Line::Ended { opened_seq } => ended
                .remove(&opened_seq)
                .filter(|request| !request.is_erased)
                .map(|request| FeedFact::Ended(Box::new(request))),
            Line::Erased { opened_seqs } => Some(FeedFact::Erased(
                opened_seqs
                    .iter()
                    .filter_map(|seq| erased.remove(seq))
                    .collect(),
            )),
            Line::Other(fact) => Some(fact),
            Line::Damaged | Line::Nothing => None,
        };
        let mut fact = fact;
        let facts = read
            .into_iter()
            .filter_map(|(seq, line)| fact(line).map(|fact| FeedItem { seq, fact }));
        Ok(facts.collect())
    }

    fn requests(
        &mut self,
        connection: &Connection,
        filter: &RequestFilter,
        opened_seqs: &[u64],
    ) -> Result<BTreeMap<u64, RequestRecord>, ReadError> {
        let mut found = BTreeMap::new();
        if opened_seqs.is_empty() {
            return Ok(found);
        }
        for (opened_seq, request) in db::list_of(connection, filter, opened_seqs)? {
            match request {
                Ok(request) => {
                    found.insert(request.opened_seq, request);
                }
                Err(what) => self.unreadable.push(UnreadableRequest { opened_seq, what }),
            }
        }
        Ok(found)
    }
}

/// What the table of requests says of lines that cannot be read, and the event behind the last of these.
fn ended_lines(
    connection: &Connection,
    range: std::ops::Range<u64>,
) -> Result<(Vec<(u64, Line)>, u64), ReadError> {
    let ended = db::ended_between(connection, range.clone(), EVENTS_MAX)?;
    let next = match ended.last() {
        Some((last, _)) if ended.len() == EVENTS_MAX => last.saturating_add(1),
        _ => range.end,
    };
    let lines = ended
        .into_iter()
        .map(|(seq, opened_seq)| (seq, Line::Ended { opened_seq }));
    Ok((lines.collect(), next))
}

impl Line {
    fn of(line: &[u8], seq: u64) -> Self {
        if removed_leaf(line).is_some() {
            return Self::Nothing;
        }
        match Event::from_line(line) {
            Ok(event) if event.seq == seq => match event.kind {
                EventKind::Ended(ended) => Self::Ended {
                    opened_seq: ended.opened_seq,
                },
                EventKind::Erased(erased) => Self::Erased {
                    opened_seqs: erased
                        .requests
                        .iter()
                        .map(|request| request.opened_seq())
                        .collect(),
                },
                EventKind::Pruned(pruned) => {
                    let (from, to) = (pruned.from, pruned.to);
                    Self::Other(match pruned.what {
                        PrunedKind::Content => FeedFact::ContentPruned { from, to },
                        PrunedKind::Metadata => FeedFact::Pruned { from, to },
                    })
                }
                _ => Self::Nothing,
            },
            _ => Self::Damaged,
        }
    }
}
