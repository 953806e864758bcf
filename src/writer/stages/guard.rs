//! Guards the preparation of commands: a panic, which is a bug of ours or of a library, costs the content of that
//! command only. The next command has nothing to do with it.

use std::sync::Arc;

use super::barest::UNPREPARED;
use super::batch::{BatchBuilder, Mark};
use super::bodies::shed;
use super::intake::Intake;
use crate::log::{EndKind, Ended, EventKind, Opened};
use crate::sync::atomic::Ordering;
use crate::sync::caught;
use crate::writer::admission::capacity::Reservation;
use crate::writer::admission::command::Command;
use crate::writer::admission::lifecycle::{Lifecycle, Stage};
use crate::writer::admission::losses::Loss;
use crate::writer::admission::redactor::SecretRedactor;

/// The least that must be known of a command to record that it existed. Copied before a command is prepared,
/// because preparing consumes it and may panic.
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
    Update,
}

impl Stub {
    /// `None`: the command has no content from outside, so preparing it cannot panic.
    fn of(command: &Command) -> Option<Self> {
        let (lifecycle, at, kind) = match command {
            Command::Open(open) => {
                let body_length = open.body_length;
                (&open.lifecycle, open.at, StubKind::Opened { body_length })
            }
            Command::Served(served) => (&served.lifecycle, served.at, StubKind::Update),
            Command::UpstreamBody(batch) => (&batch.lifecycle, 0, StubKind::Update),
            Command::Chunks(chunks) => (&chunks.lifecycle, 0, StubKind::Update),
            Command::Piece(piece) => (&piece.lifecycle, 0, StubKind::Update),
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
    /// Prepares a command; if that panics, it is recorded in its shortest form.
    pub(crate) fn prepare(&mut self, command: Command, batch: &mut BatchBuilder) {
        let Some(stub) = Stub::of(&command) else {
            return;
        };
        let mark = batch.mark();
        let redactor = SecretRedactor::of(&self.shared);
        let prepare = || self.preparer.command(command, redactor, batch);
        if caught(prepare).is_none() {
            self.record_barest(stub, mark, batch);
        }
    }

    /// Records a command whose preparation panicked. The batch is rewound to where it was before the command,
    /// and then gets one event with the id, the kind and the lengths: so a bug costs details of one event, and
    /// the log still counts it. Its body is recorded as lost.
    fn record_barest(&mut self, stub: Stub, mark: Mark, batch: &mut BatchBuilder) {
        tracing::error!(
            target: "auditlite",
            request_id = stub.lifecycle.request_id,
            kind = ?stub.kind,
            "preparing an event failed; it is recorded in its barest form. This is a bug, please report it"
        );
        let counters = &self.shared.counters;
        counters.unprepared_events.fetch_add(1, Ordering::Relaxed);
        batch.rewind(mark);
        // The cache of recent bodies may be half changed.
        self.preparer.reset_delta_cache();
        let body_flags = vec![UNPREPARED.to_owned()];
        let request_id = stub.lifecycle.request_id.clone();
        let (loss, stage) = match stub.kind {
            StubKind::Opened { body_length } => {
                let seq = batch.push(
                    stub.at,
                    EventKind::Opened(Box::new(Opened {
                        request_id,
                        request_body: shed(body_length),
                        body_flags,
                        ..Opened::default()
                    })),
                );
                stub.lifecycle.set_opened_seq(seq);
                let loss = (body_length > 0).then_some(Loss::Payload);
                (loss, Some(Stage::OpenedCommitted))
            }
            StubKind::Ended { kind, body_length } => {
                let has_body = body_length > 0;
                batch.push(
                    stub.at,
                    EventKind::Ended(Box::new(Ended {
                        kind,
                        request_id,
                        opened_seq: stub.lifecycle.opened_seq(),
                        response_body: has_body.then(|| shed(body_length)),
                        body_flags,
                        ..Ended::default()
                    })),
                );
                (
                    has_body.then_some(Loss::Payload),
                    Some(Stage::EndedCommitted),
                )
            }
            StubKind::Update => (Some(Loss::Update), None),
        };
        if let Some(loss) = loss {
            self.shared.count_loss(loss, crate::clock::now_micros());
        }
        // All its bytes are released with the next packed group, since its body is gone already.
        batch.hold(stub.reservation, u64::MAX);
        if let Some(stage) = stage {
            batch.reached.push((stub.lifecycle, stage));
        }
    }
}
