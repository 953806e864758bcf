//! An event in its shortest form, recorded if preparing or encoding it failed.

use crate::log::{Ended, EventKind, Opened, Served};

/// The body flag of an event whose preparation failed: the event records only that it happened.
pub(crate) const UNPREPARED: &str = "unprepared";

/// The shortest form of an event whose line could not be written.
pub(crate) fn barest(fact: &EventKind) -> EventKind {
    let body_flags = vec![UNPREPARED.to_owned()];
    match fact {
        EventKind::Opened(opened) => EventKind::Opened(Box::new(Opened {
            request_id: opened.request_id.clone(),
            started_at: opened.started_at,
            request_body: opened.request_body.clone(),
            content: opened.content.clone(),
            body_flags,
            ..Opened::default()
        })),
        EventKind::Ended(ended) => EventKind::Ended(Box::new(Ended {
            kind: ended.kind,
            request_id: ended.request_id.clone(),
            opened_seq: ended.opened_seq,
            response_body: ended.response_body.clone(),
            content: ended.content.clone(),
            upstream_body: ended.upstream_body.clone(),
            request_body: ended.request_body.clone(),
            body_flags,
            ..Ended::default()
        })),
        EventKind::Served(served) => EventKind::Served(Served {
            request_id: served.request_id.clone(),
            opened_seq: served.opened_seq,
            ..Served::default()
        }),
        // The store's own events contain nothing from outside.
        other => other.clone(),
    }
}
