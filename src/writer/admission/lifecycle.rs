//! The state of a lifecycle that its handle, its receipts and the writer share.

use std::sync::{Arc, PoisonError};

use crate::log::BodyFact;
use crate::model::{Message, MessageToolCall, Timestamp, WireProtocol};
use crate::payload::{Key, PayloadPlan, StreamedBody};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::wire::ResponseParser;

/// How much of a lifecycle is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Queued = 0,
    OpenedCommitted = 1,
    EndedCommitted = 2,
}

/// One request from its opening to the commit of its end. Shared by the handle, its receipts and the writer;
/// it lives until the last of them drops it.
///
/// The intake sets `opened_seq`, the committer raises `stage`; any thread reads them. `notes` are the intake's
/// alone: they are kept here so that it needs no table of lifecycles, and their lock is never contended.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    pub(crate) request_id: String,
    /// Set by the writer when it numbers the opening event. Openings come before everything else
    /// of their lifecycle, so that no map from request ids to places in the log is needed.
    opened_seq: AtomicU64,
    stage: AtomicU8,
    /// Whether a piece of the response could not be written: then no more are sent. Set by the committer, read by
    /// the handle.
    are_pieces_over: AtomicBool,
    notes: Mutex<Notes>,
}

/// What the writer remembers of a lifecycle between its opening and its end. Boxed where rare and large: every
/// lifecycle has one of these.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What the opening says of it.
    pub(crate) route: Option<Arc<Route>>,
    /// The key of the delta cache, to pack the response against its request.
    pub(crate) conversation: Option<Key>,
    /// A response above the payload cap, digested as it comes.
    pub(crate) streamed: Option<Box<StreamedBody>>,
    /// The protocol in which the response is parsed; absent if it is not parsed.
    pub(crate) wire_protocol: Option<WireProtocol>,
    /// The call that the request asks to execute.
    pub(crate) executed: Option<Box<MessageToolCall>>,
    /// Parses a response above the payload cap as it comes.
    pub(crate) parser: Option<Box<ResponseParser>>,
    /// Whether parsing the response has failed.
    pub(crate) is_unreadable: bool,
    /// The forwarded body's digest, for the end's event.
    pub(crate) upstream_body: Option<Box<PayloadPlan>>,
    /// Pieces of the response that were submitted.
    pub(crate) pieces: u64,
    /// What the end decides about.
    pub(crate) held: Option<Box<HeldRequest>>,
    /// The request body's digest: tells whether the forwarded body differs.
    pub(crate) request_sha256: Option<crate::model::Digest>,
    /// When the request began, where the gateway told: its price may depend on the hour.
    pub(crate) started_at: Option<Timestamp>,
}

/// Where a request goes, as its opening says. Lifecycles share it, since few providers and models serve most requests
/// of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) provider_name: Option<String>,
    pub(crate) request_model: Option<String>,
    pub(crate) client_model: Option<String>,
}

/// Content of a request whose capture is deferred. The handle has reserved its bytes.
#[derive(Debug)]
pub(crate) struct HeldRequest {
    pub(crate) body: Option<(BodyFact, PayloadPlan)>,
    pub(crate) messages: Option<Vec<Message>>,
}

impl Lifecycle {
    pub(crate) fn new(request_id: String) -> Self {
        Self {
            request_id,
            opened_seq: AtomicU64::new(0),
            stage: AtomicU8::new(Stage::Queued as u8),
            are_pieces_over: AtomicBool::new(false),
            notes: Mutex::new(Notes::default()),
        }
    }

    pub(crate) fn opened_seq(&self) -> u64 {
        self.opened_seq.load(Ordering::Acquire)
    }

    pub(crate) fn set_opened_seq(&self, seq: u64) {
        self.opened_seq.store(seq, Ordering::Release);
    }

    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// Called by the committer after the commit. Stages only grow.
    pub(crate) fn reach(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// Whether a piece of the response is still of use.
    pub(crate) fn takes_pieces(&self) -> bool {
        !self.are_pieces_over.load(Ordering::Relaxed) && !self.has_reached(Stage::EndedCommitted)
    }

    pub(crate) fn end_pieces(&self) {
        self.are_pieces_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// The number of the next piece, from 0.
    pub(crate) fn next_piece(&mut self) -> u64 {
        let next = self.pieces;
        self.pieces = next.saturating_add(1);
        next
    }
}
