//! Finds what the log says about the subject of an erasure and the tables do not: a changed row would
//! otherwise protect a request from being erased.

use memchr::memmem::Finder;

use super::segment_lines::LineRemover;
use crate::db::{self, Bound, Connection};
use crate::error::ReadError;
use crate::log::{Ended, Event, EventKind, Opened, lines, removed_leaf};
use crate::model::stored_identifier;

/// Whose requests are looked for, by what their events say.
#[derive(Debug, Default)]
pub(super) struct Whom {
    pub(super) request_id: Option<String>,
    /// Empty: requests without a user.
    pub(super) user_id: Option<String>,
    pub(super) conversation_id: Option<String>,
}

impl Whom {
    /// The opening's word on user and conversation counts, the end's where it has none.
    fn is_meant(&self, opened: &Opened, ended: Option<&Ended>) -> bool {
        let user = opened.user_id.as_ref();
        let user = user.or(ended.and_then(|ended| ended.user_id.as_ref()));
        let conversation = opened.conversation_id.as_ref();
        let conversation = conversation
            .or(ended.and_then(|ended| ended.conversation_id.as_ref()))
            .or(opened.context_id.as_ref())
            .or(opened.session_id.as_ref());
        let is = |wanted: &Option<String>, found: Option<&String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| stored_identifier(wanted) == found.map_or("", String::as_str))
        };
        is(&self.request_id, Some(&opened.request_id))
            && is(&self.user_id, user)
            && is(&self.conversation_id, conversation)
    }

    /// What one of the two lines of every request that is meant has. None: nothing is looked for.
    fn marks(&self) -> Vec<String> {
        let ids = [&self.request_id, &self.conversation_id, &self.user_id];
        ids.into_iter()
            .flatten()
            .filter(|id| !id.is_empty())
            .filter_map(|id| serde_json::to_string(&stored_identifier(id)).ok())
            .collect()
    }
}

/// The event of this seq, where its line is there and can be read.
fn event_at(connection: &Connection, redactor: &mut LineRemover, seq: u64) -> Option<Event> {
    let segment = db::segment_of(connection, seq).ok()??;
    let place = usize::try_from(seq.checked_sub(segment.first_seq)?).ok()?;
    let text = redactor.decode(segment).ok()?;
    let event = Event::from_line(lines(&text).nth(place)?).ok()?;
    (event.seq == seq).then_some(event)
}

/// The end of a request, by its row; a row that another program changed leads to none.
fn end_of(connection: &Connection, redactor: &mut LineRemover, seq: u64) -> Option<Box<Ended>> {
    let (_, request) = db::search::by_opened_seq(connection, seq).ok()??;
    let event = event_at(connection, redactor, request.ok()?.ended_seq?)?;
    match event.kind {
        EventKind::Ended(ended) if ended.opened_seq == seq => Some(ended),
        _ => None,
    }
}

/// The opening that this line makes known as one that is meant, alone or with its request's other line.
fn meant_by(
    connection: &Connection,
    redactor: &mut LineRemover,
    whom: &Whom,
    marks: &[Finder<'_>],
    event: &Event,
) -> Option<u64> {
    let is_meant = |redactor: &mut LineRemover, seq: u64, opened: &Opened| {
        let ended = end_of(connection, redactor, seq);
        whom.is_meant(opened, ended.as_deref())
    };
    match &event.kind {
        EventKind::Opened(opened) => is_meant(redactor, event.seq, opened).then_some(event.seq),
        EventKind::Ended(ended) if ended.user_id.is_some() || ended.conversation_id.is_some() => {
            let seq = ended.opened_seq;
            let EventKind::Opened(opened) = event_at(connection, redactor, seq)?.kind else {
                return None;
            };
            let line = serde_json::to_vec(&opened).unwrap_or_default();
            // Made known by its own line.
            let is_known = has_any(marks, &line) && is_meant(redactor, seq, &opened);
            (!is_known && whom.is_meant(&opened, Some(ended))).then_some(seq)
        }
        _ => None,
    }
}

fn has_any(marks: &[Finder<'_>], text: &[u8]) -> bool {
    marks.iter().any(|mark| mark.find(text).is_some())
}

/// Reads the log before `end`, and calls `found` for each request of `whom` that still has its lines. What cannot
/// be read is skipped. Each unpacked segment is searched for the ids as text, and only lines that contain one
/// are parsed: a log of a million events takes about a second.
pub(super) fn visit(
    connection: &Connection,
    redactor: &mut LineRemover,
    whom: &Whom,
    end: u64,
    found: &mut dyn FnMut(&mut LineRemover, u64) -> Result<(), crate::error::RemovalError>,
) -> Result<(), crate::error::RemovalError> {
    let texts = whom.marks();
    if texts.is_empty() {
        return Ok(());
    }
    let marks: Vec<Finder<'_>> = texts.iter().map(Finder::new).collect();
    let mut next = Some(0);
    while let Some(seq) = next.filter(|seq| *seq < end) {
        let segment = db::segment_of(connection, seq).map_err(ReadError::from)?;
        let Some(segment) = segment.filter(|segment| segment.first_seq == seq) else {
            // No segment starts here, or its row contradicts itself: continue with the next one that exists.
            next = db::bound(connection, Bound::NextSegment(seq)).map_err(ReadError::from)?;
            continue;
        };
        next = Some(seq.saturating_add(segment.count.max(1)));
        let Ok(text) = redactor.decode(segment) else {
            continue;
        };
        if !has_any(&marks, &text) {
            continue;
        }
        for line in lines(&text) {
            if removed_leaf(line).is_some() || !has_any(&marks, line) {
                continue;
            }
            if let Ok(event) = Event::from_line(line)
                && let Some(seq) = meant_by(connection, redactor, whom, &marks, &event)
                && seq < end
            {
                found(redactor, seq)?;
            }
        }
    }
    Ok(())
}
