//! Finds what the log says about the subject of an erasure and the tables do not: a changed row would
//! otherwise protect a request from being erased.

use memchr::memmem::Finder;

use super::segment_lines::LineRemover;
use crate::db::{self, Bound, Connection};
use crate::error::ReadError;
use crate::log::{Event, EventKind, Opened, lines, removed_leaf};
use crate::model::stored_identifier;

/// Whose requests are looked for, by what their opening events say.
#[derive(Debug, Default)]
pub(super) struct Whom {
    pub(super) request_id: Option<String>,
    /// Empty: requests without a user.
    pub(super) user_id: Option<String>,
    pub(super) conversation_id: Option<String>,
}

impl Whom {
    fn is_meant(&self, opened: &Opened) -> bool {
        let conversation = opened.conversation_id.as_ref();
        let conversation = conversation
            .or(opened.context_id.as_ref())
            .or(opened.session_id.as_ref());
        let is = |wanted: &Option<String>, found: Option<&String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| stored_identifier(wanted) == found.map_or("", String::as_str))
        };
        is(&self.request_id, Some(&opened.request_id))
            && is(&self.user_id, opened.user_id.as_ref())
            && is(&self.conversation_id, conversation)
    }

    /// A text that every matching line contains; `None`: nothing is looked for.
    fn mark(&self) -> Option<String> {
        let ids = [&self.request_id, &self.conversation_id, &self.user_id];
        let id = ids.into_iter().flatten().find(|id| !id.is_empty())?;
        serde_json::to_string(&stored_identifier(id)).ok()
    }
}

/// Reads the log before `end`, and calls `found` for each matching request whose opening line is there.
/// What cannot be read is skipped. A text is searched in the unpacked segments, and only lines that contain
/// it are parsed: a log of a million events takes about a second.
pub(super) fn visit(
    connection: &Connection,
    redactor: &mut LineRemover,
    whom: &Whom,
    end: u64,
    found: &mut dyn FnMut(&mut LineRemover, u64) -> Result<(), crate::error::RemovalError>,
) -> Result<(), crate::error::RemovalError> {
    let Some(mark) = whom.mark() else {
        return Ok(());
    };
    let finder = Finder::new(mark.as_bytes());
    let mut next = Some(0);
    while let Some(seq) = next.filter(|seq| *seq < end) {
        let segment = db::segment_of(connection, seq).map_err(ReadError::from)?;
        let Some(segment) = segment.filter(|segment| segment.first_seq == seq) else {
            // There is nothing here, or a segment that contradicts itself.
            next = db::bound(connection, Bound::NextSegment(seq)).map_err(ReadError::from)?;
            continue;
        };
        next = Some(seq.saturating_add(segment.count.max(1)));
        let Ok(text) = redactor.decode(segment) else {
            continue;
        };
        if finder.find(&text).is_none() {
            continue;
        }
        for line in lines(&text) {
            if removed_leaf(line).is_some() || finder.find(line).is_none() {
                continue;
            }
            if let Ok(event) = Event::from_line(line)
                && let EventKind::Opened(opened) = &event.kind
                && event.seq < end
                && whom.is_meant(opened)
            {
                found(redactor, event.seq)?;
            }
        }
    }
    Ok(())
}
