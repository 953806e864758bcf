//! The handle of one request: lives from its opening to its end.

mod told;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::clock::{elapsed_micros, now_micros};
use crate::config::Capture;
use crate::error::RecordError;
use crate::model::{
    Adjustments, Completion, Failure, LateContext, Normaliser, RESPONSE_WITHHELD, Rejection, Usage,
    seen_status,
};
use crate::receipt::Receipt;
use crate::redaction::Redaction;
use crate::writer::{
    BodyGrant, ChunksCommand, Command, EndCommand, Ending, Lifecycle, Loss, PieceCutter,
    Reservation, SecretRedactor, Shared, Stage,
};

/// Chunks beyond the payload cap go to the writer in pieces of this size, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// One request's lifecycle. End it with [`finish`](Self::finish), or with [`complete`](Self::complete),
/// [`fail`](Self::fail) or [`reject`](Self::reject). If it is dropped, the request ends as `abandoned`: the
/// client went away, or the gateway's code returned early. If the stream had already signalled its end, it is
/// `completed` all the same: clients hang up at that point.
///
/// After `finish` and a drop, the writer reads usage, models and errors from the response's bytes. The other
/// ends are complete by themselves; nothing is parsed for them unless they ask for it
/// ([`Completion::read_body`](crate::Completion::read_body)).
///
/// No method waits for the disk, and none fails the gateway's request.
#[must_use = "dropping the handle records the request as abandoned"]
pub struct RequestHandle {
    request_id: RequestId,
    /// `None`: nothing is recorded, or the end has been sent.
    active: Option<Active>,
}

/// The id of the request: that of the lifecycle, or the handle's own where nothing is recorded.
#[derive(Debug)]
enum RequestId {
    Shared(Arc<Lifecycle>),
    Own(String),
}

/// The state of a recorded request until its end, which consumes it. Owned by the handle, on whichever thread that
/// is; only `shared` and `lifecycle` are shared with the writer, and both are reached without waiting for it.
#[derive(Debug)]
struct Active {
    shared: Arc<Shared>,
    lifecycle: Arc<Lifecycle>,
    started: Instant,
    /// Whether `started` is when the request arrived; `false` for records of the past.
    is_live: bool,
    upstream_started_us: Option<u64>,
    upstream_ended_us: Option<u64>,
    first_chunk_us: Option<u64>,
    response_model: Option<String>,
    response_provider_name: Option<String>,
    http_status: Option<u16>,
    usage: Option<Usage>,
    late: LateContext,
    chunks: Vec<Bytes>,
    /// Bytes of `chunks`.
    held_bytes: usize,
    /// Bytes of all chunks.
    streamed_bytes: u64,
    /// Whether chunks were sent ahead, because the response is above the payload cap.
    is_above_cap: bool,
    /// Cuts a long response into pieces that survive a crash; `None` if nothing may be written before its end.
    pieces: Option<PieceCutter>,
    response_grant: BodyGrant,
    /// Whether the response is left out because it could not be redacted.
    is_withheld: bool,
    capture: Option<Capture>,
    /// Whether the end decides what is kept.
    is_deferred: bool,
    adjustments: Adjustments,
    /// What the end needs, and the bytes of `chunks`.
    reservation: Reservation,
    /// The bytes of a deferred request, which the writer holds until the end.
    held: Reservation,
}

impl RequestHandle {
    /// The handle of an admitted request. It cuts pieces only if they are wanted at all, the request is live, its
    /// body is kept, and a redaction, if any, can treat parts separately.
    pub(crate) fn new(
        shared: Arc<Shared>,
        lifecycle: Arc<Lifecycle>,
        started: Instant,
        is_live: bool,
        [reservation, held]: [Reservation; 2],
        capture: Option<Capture>,
        late: LateContext,
    ) -> Self {
        let can_be_cut = shared.redaction.as_ref().is_none_or(Redaction::can_cut);
        let captured = capture.unwrap_or(shared.capture);
        // Pieces of a deferred response would be what a success must not leave.
        let is_kept = captured == Capture::Full;
        let is_wanted = shared.pieces.are_wanted();
        let pieces =
            (is_wanted && is_live && is_kept && can_be_cut).then(|| PieceCutter::new(started));
        Self {
            request_id: RequestId::Shared(Arc::clone(&lifecycle)),
            active: Some(Active {
                shared,
                lifecycle,
                started,
                is_live,
                upstream_started_us: None,
                upstream_ended_us: None,
                first_chunk_us: None,
                response_model: None,
                response_provider_name: None,
                http_status: None,
                usage: None,
                late,
                chunks: Vec::new(),
                held_bytes: 0,
                streamed_bytes: 0,
                is_above_cap: false,
                pieces,
                response_grant: BodyGrant::Granted,
                is_withheld: false,
                capture,
                is_deferred: captured == Capture::Deferred,
                adjustments: Adjustments::default(),
                reservation,
                held,
            }),
        }
    }

    /// A lifecycle that was left out for want of capacity.
    pub(crate) fn lost(request_id: String) -> Self {
        Self {
            request_id: RequestId::Own(request_id),
            active: None,
        }
    }

    /// A handle that records nothing: to serve a request although [`Recorder::open`](crate::Recorder::open)
    /// returned an error.
    pub fn unrecorded() -> Self {
        Self::lost(String::new())
    }

    /// Whether this request is being recorded. `false` for [`unrecorded`](Self::unrecorded), and
    /// where the lifecycle was left out for want of capacity.
    pub fn is_recorded(&self) -> bool {
        self.active.is_some()
    }

    /// The request's id, as given or as made. Empty for [`unrecorded`](Self::unrecorded).
    pub fn request_id(&self) -> &str {
        match &self.request_id {
            RequestId::Shared(lifecycle) => &lifecycle.request_id,
            RequestId::Own(id) => id,
        }
    }

    /// Proof that the opening is committed: for gateways that forward nothing before it is.
    pub fn opened_receipt(&self) -> Receipt {
        Receipt::new(self.active.as_ref().map(|active| {
            (
                Arc::clone(&active.shared),
                Arc::clone(&active.lifecycle),
                Stage::OpenedCommitted,
            )
        }))
    }

    /// The request is being sent upstream now.
    pub fn upstream_started(&mut self) {
        if let Some(active) = &mut self.active {
            active.upstream_started_us = active.elapsed_us();
        }
    }

    /// The upstream's response is complete now.
    pub fn upstream_ended(&mut self) {
        if let Some(active) = &mut self.active {
            active.upstream_ended_us = active.elapsed_us();
        }
    }

    /// The next chunk of a streamed response. Not copied; the writer joins them. The first one
    /// stamps the time to first chunk.
    pub fn chunk(&mut self, chunk: impl Into<Bytes>) {
        if let Some(active) = &mut self.active {
            active.chunk(chunk.into());
        }
    }

    /// Ends the lifecycle with the HTTP status that the client got. The writer reads the rest from the bytes of
    /// the response: its id, the served model, usage, finish reasons, tool calls and errors. Text and tool
    /// inputs stay in the body, and readers get them from there.
    ///
    /// A whole response below 400 is completed. Any other is failed: a status from 400 on, an error in the
    /// response (also in the middle of a stream), or a stream that breaks off (`incomplete_stream`). What was
    /// set on the handle takes precedence over the bytes.
    ///
    /// ```
    /// # use auditlite::{Recorder, RecordError, RequestContext, WireProtocol};
    /// # fn serve(recorder: &Recorder, request: bytes::Bytes, chunks: Vec<bytes::Bytes>) -> Result<(), RecordError> {
    /// let mut audit = recorder.open(RequestContext::new(WireProtocol::OpenAiChat), request)?;
    /// for chunk in chunks {
    ///     audit.chunk(chunk);
    /// }
    /// audit.finish(200)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete), which also says what it may wait for.
    pub fn finish(mut self, http_status: u16) -> Result<Receipt, RecordError> {
        let (seen, adjustments) = seen_status(http_status);
        let mut ending = Ending::finished(http_status);
        ending.http_status = seen;
        self.end(ending, adjustments)
    }

    /// Ends the lifecycle as completed. What is not given is not recorded, unless
    /// [`Completion::read_body`](crate::Completion::read_body) asks the writer to read it.
    ///
    /// # Blocking
    ///
    /// Never waits for the disk. Waits for capacity for the response's bytes only with
    /// [`Overflow::Wait`](crate::Overflow::Wait).
    ///
    /// # Errors
    ///
    /// [`RecordError::Closed`] or [`RecordError::WriterStopped`] when the end cannot be recorded
    /// any more; the next open marks the request interrupted.
    pub fn complete(mut self, mut completion: Completion) -> Result<Receipt, RecordError> {
        let mut adjustments = self.redact(|redactor| redactor.completion(&mut completion));
        let mut normaliser = Normaliser::default();
        normaliser.completion(&mut completion);
        adjustments.add(normaliser.into_adjustments());
        self.end(completion.into(), adjustments)
    }

    /// Ends the lifecycle as failed. What is not given is not recorded, unless
    /// [`Failure::read_body`](crate::Failure::read_body) asks the writer to read it.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete), which also says what it may wait for.
    pub fn fail(mut self, mut failure: Failure) -> Result<Receipt, RecordError> {
        let mut adjustments = self.redact(|redactor| redactor.failure(&mut failure));
        let mut normaliser = Normaliser::default();
        normaliser.failure(&mut failure);
        adjustments.add(normaliser.into_adjustments());
        self.end(failure.into(), adjustments)
    }

    /// Ends the lifecycle as rejected: the gateway refused the request.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete), which also says what it may wait for.
    pub fn reject(mut self, mut rejection: Rejection) -> Result<Receipt, RecordError> {
        let mut adjustments = self.redact(|redactor| redactor.rejection(&mut rejection));
        let mut normaliser = Normaliser::default();
        normaliser.rejection(&mut rejection);
        adjustments.add(normaliser.into_adjustments());
        self.end(rejection.into(), adjustments)
    }

    /// Ends the lifecycle as dropping the handle does, and gives a receipt for it.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub fn abandon(mut self) -> Result<Receipt, RecordError> {
        self.end(Ending::abandoned(), Adjustments::default())
    }

    /// Redacts the fields of an end; returns those for which the redaction failed.
    fn redact(&self, texts: impl FnOnce(&mut SecretRedactor<'_>)) -> Adjustments {
        let mut adjustments = Adjustments::default();
        let shared = self.active.as_ref().map(|active| &active.shared);
        if let Some(mut redactor) = shared.and_then(|shared| SecretRedactor::of(shared)) {
            texts(&mut redactor);
            adjustments.add(redactor.into_failed());
        }
        adjustments
    }

    fn end(&mut self, ending: Ending, adjustments: Adjustments) -> Result<Receipt, RecordError> {
        match self.active.take() {
            Some(active) => active.end(ending, adjustments),
            None => Ok(Receipt::new(None)),
        }
    }
}

impl Active {
    /// Microseconds since the request arrived, where the handle was there to see it.
    fn elapsed_us(&self) -> Option<u64> {
        self.is_live.then(|| elapsed_micros(self.started))
    }

    /// Takes a chunk. In this order: time and length always count; then capacity is reserved, and without it the whole
    /// response is left out, since a body with a hole is worth nothing. A response above the payload cap is sent
    /// ahead; below it, a piece may be due that only a crash would make use of.
    fn chunk(&mut self, chunk: Bytes) {
        if self.first_chunk_us.is_none() {
            self.first_chunk_us = self.elapsed_us();
        }
        let length = chunk.len();
        self.streamed_bytes = self
            .streamed_bytes
            .saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if self.response_grant == BodyGrant::Shed || length == 0 {
            return;
        }
        let wanted = Reservation::new(0, length.saturating_add(size_of::<Bytes>()));
        if !self.shared.reserve_content(wanted) {
            self.shed_response();
            return;
        }
        self.reservation.add(wanted);
        self.chunks.push(chunk);
        self.held_bytes = self.held_bytes.saturating_add(length);
        let bound = if self.is_above_cap {
            PIECE_BYTES
        } else {
            self.shared.payload_bytes_max
        };
        let due = self.pieces.as_mut().and_then(|pieces| {
            let is_due = pieces.is_due(&self.shared.pieces, self.held_bytes);
            is_due.then_some(pieces)
        });
        if self.held_bytes > bound {
            match SecretRedactor::of(&self.shared) {
                None => self.send_ahead(),
                // A secret may lie across pieces.
                Some(mut redactor) => {
                    redactor.fail();
                    self.withhold_response();
                }
            }
        } else if let Some(pieces) = due {
            match self.is_above_cap {
                true => self.send_ahead(),
                false => pieces.send(&self.shared, &self.lifecycle, &self.chunks),
            }
        }
    }

    /// Above the payload cap only the ends of a response are kept, so that the writer can digest
    /// and cut what came so far; memory stays bounded however long the stream runs.
    fn send_ahead(&mut self) {
        let slot = Reservation::new(1, 0);
        if !self.shared.capacity.try_reserve(slot) {
            return; // tried again with the next chunk
        }
        let mut reservation = self.reservation.split_off(0);
        reservation.add(slot);
        let command = ChunksCommand {
            lifecycle: Arc::clone(&self.lifecycle),
            chunks: std::mem::take(&mut self.chunks),
            keeps_pieces: self.pieces.is_some() && self.lifecycle.takes_pieces(),
            reservation,
        };
        if let Some(pieces) = &mut self.pieces {
            pieces.restart();
        }
        self.held_bytes = 0;
        self.is_above_cap = true;
        let _ = self.shared.submit(Command::Chunks(Box::new(command)));
    }

    /// Reserves these bytes for the end. Zero bytes are always granted.
    fn grant_for(&mut self, bytes: usize) -> BodyGrant {
        let wanted = Reservation::new(0, bytes);
        if bytes > 0 && !self.shared.reserve_content(wanted) {
            return BodyGrant::Shed;
        }
        self.reservation.add(wanted);
        BodyGrant::Granted
    }

    /// Leaves the response body out: its length is still counted, its digest is unknown. The end counts the
    /// loss, unless it passes the body in one piece.
    fn shed_response(&mut self) {
        self.response_grant = BodyGrant::Shed;
        self.chunks = Vec::new();
        self.held_bytes = 0;
        self.pieces = None;
        let mut held = self.reservation.split_off(0);
        held.events = 0;
        self.shared.capacity.release(held);
    }

    /// Leaves the response body out because it could not be redacted.
    fn withhold_response(&mut self) {
        self.shed_response();
        self.is_withheld = true;
    }

    /// Redacts the response in one piece. Returns the id of the policy.
    fn redact_response(&mut self, ending: &mut Ending) -> Option<String> {
        let shared = Arc::clone(&self.shared);
        let mut redactor = SecretRedactor::of(&shared)?;
        if let Some(body) = &mut ending.response_body {
            self.is_withheld = !redactor.body(body);
        } else if !self.chunks.is_empty() {
            let mut body = Bytes::from(self.chunks.concat());
            if redactor.body(&mut body) {
                self.streamed_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
                self.chunks = vec![body];
            } else {
                self.withhold_response();
            }
        }
        if self.is_withheld {
            self.adjustments.flag(RESPONSE_WITHHELD);
        }
        Some(redactor.id())
    }

    /// Submits the end. It cannot be refused for want of capacity: its event was reserved at the opening, and the bytes
    /// of its metadata are reserved by force. Only its bodies may be shed, which is counted. What was set on the
    /// handle fills the fields that the ending leaves empty.
    fn end(mut self, mut ending: Ending, adjustments: Adjustments) -> Result<Receipt, RecordError> {
        let at = now_micros();
        self.shared.check_process(at)?;
        let latency_us = self.elapsed_us();
        let redaction_id = self.redact_response(&mut ending);
        let metadata_bytes = ending.metadata_bytes() + size_of::<EndCommand>();
        let reservation = self.shared.capacity.force_reserve(metadata_bytes);
        self.reservation.add(reservation);
        // Redacted before this, so that length and capacity are those of what is recorded.
        let response_length = match &ending.response_body {
            None => self.streamed_bytes,
            Some(body) => {
                // A body in one piece replaces the chunks.
                self.chunks = Vec::new();
                let length = body.len();
                self.response_grant = match self.is_withheld {
                    true => BodyGrant::Shed,
                    false => self.grant_for(length),
                };
                u64::try_from(length).unwrap_or(u64::MAX)
            }
        };
        let content_grant = self.grant_for(ending.content_bytes());
        if self.response_grant == BodyGrant::Shed {
            ending.response_body = None;
        }
        let is_response_lost = self.response_grant == BodyGrant::Shed && !self.is_withheld;
        for is_lost in [is_response_lost, content_grant == BodyGrant::Shed] {
            if is_lost {
                self.shared.count_loss(Loss::Payload, at);
            }
        }
        // Where both say something, the end does: it is the later word.
        if let Some(model) = self.response_model.take() {
            ending.response_model.get_or_insert(model);
        }
        ending.http_status = ending.http_status.or(self.http_status);
        ending.usage = ending.usage.or(self.usage);
        self.adjustments.add(adjustments);
        // A gateway that never says when the upstream was done ends the request right after it.
        let upstream_ended_us = self.upstream_ended_us.or(latency_us);
        let upstream_latency_us = self
            .upstream_started_us
            .zip(upstream_ended_us)
            .map(|(start, end)| end.saturating_sub(start));
        self.reservation.add(self.held);
        let command = EndCommand {
            lifecycle: Arc::clone(&self.lifecycle),
            at,
            ending,
            chunks: self.chunks,
            response_length,
            body_grant: self.response_grant,
            content_grant,
            latency_us,
            upstream_latency_us,
            time_to_first_chunk_us: self.first_chunk_us,
            response_provider_name: self.response_provider_name,
            late: self.late,
            capture: self.capture,
            adjustments: self.adjustments,
            redaction_id,
            held_bytes: self.held.bytes,
            span: tracing::Span::current(),
            reservation: self.reservation,
        };
        self.shared.submit(Command::End(Box::new(command)))?;
        Ok(Receipt::new(Some((
            self.shared,
            self.lifecycle,
            Stage::EndedCommitted,
        ))))
    }
}

impl Drop for RequestHandle {
    fn drop(&mut self) {
        if let Some(active) = self.active.take() {
            // An error means that the store is gone; the next open marks the request interrupted.
            let _ = active.end(Ending::abandoned(), Adjustments::default());
        }
    }
}

impl fmt::Debug for RequestHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHandle")
            .field("request_id", &self.request_id())
            .field("is_recorded", &self.is_recorded())
            .finish_non_exhaustive()
    }
}
