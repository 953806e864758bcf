//! Preparation that fails for what one command holds costs that command's content, never the writer:
//! a panic there is a bug of ours or of a library, and the next command has nothing to do with it.

use std::sync::Arc;

use super::batch::{Mark, Prepared};
use super::bodies::shed;
use super::intake::Intake;
use crate::log::{EndKind, Ended, Fact, Opened, Served};
use crate::sync::atomic::Ordering;
use crate::sync::caught;
use crate::writer::admission::capacity::Reservation;
use crate::writer::admission::command::Command;
use crate::writer::admission::lifecycle::{Lifecycle, Stage};
use crate::writer::admission::losses::Loss;
use crate::writer::admission::redactor::Redactor;

/// Among the altered fields of an event whose preparation failed: it holds nothing but that it was.
const UNPREPARED: &str = "unprepared";

/// What has to be known of a command to record that it was.
#[derive(Debug)]
struct Stub {
    lifecycle: Arc<Lifecycle>,
    at: i64,
    kind: StubKind,
    reservation: Reservation,
}

#[derive(Debug)]
enum StubKind {
    Opened { body_length: u64 },
    Ended { kind: EndKind, body_length: u64 },
    Notice,
}

impl Stub {
    /// `None`: what the command brings is not from outside.
    fn of(command: &Command) -> Option<Self> {
        let (lifecycle, at, kind) = match command {
            Command::Open(open) => {
                let body_length = open.body_length;
                (&open.lifecycle, open.at, StubKind::Opened { body_length })
            }
            Command::Served(served) => (&served.lifecycle, served.at, StubKind::Notice),
            Command::Prepared(prepared) => (&prepared.lifecycle, 0, StubKind::Notice),
            Command::Chunks(chunks) => (&chunks.lifecycle, 0, StubKind::Notice),
            Command::Piece(piece) => (&piece.lifecycle, 0, StubKind::Notice),
            Command::End(end) => {
                let (kind, body_length) = (end.ending.kind, end.response_length);
                (
                    &end.lifecycle,
                    end.at,
                    StubKind::Ended { kind, body_length },
                )
            }
            _ => return None,
        };
        Some(Self {
            lifecycle: Arc::clone(lifecycle),
            at,
            kind,
            reservation: command.reservation(),
        })
    }
}

impl Intake {
    /// Prepares a command; where that fails, what it was is recorded in its barest form.
    pub(crate) fn prepare(&mut self, command: Command, prepared: &mut Prepared) {
        let Some(stub) = Stub::of(&command) else {
            return;
        };
        let mark = prepared.mark();
        let redactor = Redactor::of(&self.shared);
        let prepare = || self.preparer.command(command, redactor, prepared);
        if caught(prepare).is_none() {
            self.record_barest(stub, mark, prepared);
        }
    }

    fn record_barest(&mut self, stub: Stub, mark: Mark, prepared: &mut Prepared) {
        tracing::error!(
            target: "auditlite",
            request_id = stub.lifecycle.request_id,
            kind = ?stub.kind,
            "preparing an event failed; it is recorded in its barest form. This is a bug, please report it"
        );
        let vitals = &self.shared.vitals;
        vitals.unprepared_events.fetch_add(1, Ordering::Relaxed);
        prepared.rewind(mark);
        // What is kept of recent bodies may be half changed.
        self.preparer.forget();
        let altered = vec![UNPREPARED.to_owned()];
        let request_id = stub.lifecycle.request_id.clone();
        let (loss, stage) = match stub.kind {
            StubKind::Opened { body_length } => {
                let seq = prepared.push(
                    stub.at,
                    Fact::Opened(Box::new(Opened {
                        request_id,
                        request_body: shed(body_length),
                        altered,
                        ..Opened::default()
                    })),
                );
                stub.lifecycle.set_opened_seq(seq);
                let loss = (body_length > 0).then_some(Loss::Payload);
                (loss, Some(Stage::OpenedCommitted))
            }
            StubKind::Ended { kind, body_length } => {
                let has_body = body_length > 0;
                prepared.push(
                    stub.at,
                    Fact::Ended(Box::new(Ended {
                        kind,
                        request_id,
                        opened_seq: stub.lifecycle.opened_seq(),
                        response_body: has_body.then(|| shed(body_length)),
                        altered,
                        ..Ended::default()
                    })),
                );
                (
                    has_body.then_some(Loss::Payload),
                    Some(Stage::EndedCommitted),
                )
            }
            StubKind::Notice => (Some(Loss::Notice), None),
        };
        if let Some(loss) = loss {
            self.shared.count_loss(loss, crate::clock::now_micros());
        }
        // Its body has gone with it.
        prepared.hold(stub.reservation, u64::MAX);
        if let Some(stage) = stage {
            prepared.reached.push((stub.lifecycle, stage));
        }
    }
}

/// What is written of an event whose line could not be.
pub(crate) fn barest(fact: &Fact) -> Fact {
    let altered = vec![UNPREPARED.to_owned()];
    match fact {
        Fact::Opened(opened) => Fact::Opened(Box::new(Opened {
            request_id: opened.request_id.clone(),
            started_at: opened.started_at,
            request_body: opened.request_body.clone(),
            content: opened.content.clone(),
            altered,
            ..Opened::default()
        })),
        Fact::Ended(ended) => Fact::Ended(Box::new(Ended {
            kind: ended.kind,
            request_id: ended.request_id.clone(),
            opened_seq: ended.opened_seq,
            response_body: ended.response_body.clone(),
            content: ended.content.clone(),
            prepared_body: ended.prepared_body.clone(),
            altered,
            ..Ended::default()
        })),
        Fact::Served(served) => Fact::Served(Served {
            request_id: served.request_id.clone(),
            opened_seq: served.opened_seq,
            ..Served::default()
        }),
        // Nothing of them is from outside.
        other => other.clone(),
    }
}
