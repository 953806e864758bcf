//! The recorder: what a gateway keeps in its state.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::clock::{elapsed_micros, now_micros};
use crate::config::Capture;
use crate::error::RecordError;
use crate::handle::RequestHandle;
use crate::model::{
    Adjustments, LateContext, Normaliser, REQUEST_WITHHELD, Rejection, RequestContext, add_names,
    told_adjusted,
};
use crate::receipt::Receipt;
use crate::writer::{
    Admission, BodyGrant, Command, Health, Lifecycle, OpenCommand, SecretRedactor, Share, Shared,
};

/// Heap and channel space of a lifecycle without its texts, in bytes: the commands, the shared state, the
/// encoded events. The end reserves its own command ([`RequestHandle`]).
const LIFECYCLE_BYTES: usize = 2560;

/// Records requests. Cheap to clone, and to be shared by all threads of a gateway.
///
/// All clones share one state with the writer. A recorder may outlive the [`Store`](crate::Store) that made it,
/// and does not keep it open: after the store is closed, [`open`](Self::open) returns [`RecordError::Closed`].
#[derive(Debug, Clone)]
pub struct Recorder {
    pub(crate) shared: Arc<Shared>,
}

impl Recorder {
    /// Opens the lifecycle of a request. Readers see it as `pending` after the next group commit.
    ///
    /// The body is not copied: pass a [`Bytes`] that is in memory anyway. Fields out of their
    /// bounds are shortened or left out and flagged, see [`RequestContext`].
    ///
    /// # Blocking
    ///
    /// Never waits for the disk. Waits for capacity only with
    /// [`Overflow::Wait`](crate::Overflow::Wait).
    ///
    /// # Errors
    ///
    /// [`RecordError::Full`] with [`Overflow::Strict`](crate::Overflow::Strict) when the capacity
    /// is used up; [`RecordError::Forked`] in a process that was forked from the one that opened the store
    /// (10 ms after the fork at the latest); [`RecordError::Closed`] or [`RecordError::WriterStopped`] when nothing can be
    /// recorded any more. To serve the request all the same, continue with [`RequestHandle::unrecorded`]:
    ///
    /// ```
    /// # use auditlite::{Recorder, RequestContext, RequestHandle};
    /// # fn serve(recorder: &Recorder, context: RequestContext, body: bytes::Bytes) {
    /// let audit = recorder
    ///     .open(context, body)
    ///     .unwrap_or_else(|_error| RequestHandle::unrecorded());
    /// # }
    /// ```
    pub fn open(
        &self,
        mut context: RequestContext,
        request_body: impl Into<Bytes>,
    ) -> Result<RequestHandle, RecordError> {
        let now = now_micros();
        self.shared.check_process(now)?;
        let (started, at) = match context.arrived {
            None => (Instant::now(), now),
            Some(arrived) => {
                let ago = i64::try_from(elapsed_micros(arrived)).unwrap_or(i64::MAX);
                (arrived, now.saturating_sub(ago))
            }
        };
        let mut body = request_body.into();
        let mut adjustments = Adjustments::default();
        let mut is_withheld = false;
        // Redaction before bounds: cutting a text first could cut a secret in two, and leave half of it.
        let redaction_id = SecretRedactor::of(&self.shared).map(|mut redactor| {
            redactor.context(&mut context);
            is_withheld = !redactor.body(&mut body);
            let id = redactor.id();
            adjustments.add(redactor.into_failed());
            id
        });
        let mut normaliser = Normaliser::default();
        normaliser.context(&mut context);
        adjustments.add(normaliser.into_adjustments());
        add_names(&mut adjustments.fields, told_adjusted(&mut context));
        if is_withheld {
            adjustments.flag(REQUEST_WITHHELD);
        }
        let request_id = context.request_id.take().unwrap_or_else(|| {
            let mut text = uuid::Uuid::encode_buffer();
            let id = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
            id.to_owned()
        });
        // Counted as an opening on its way, so that a close waits for it. Order inside: reserve, then submit.
        // Losses are counted by `admit`; a refused submission releases what it reserved.
        self.shared.state.open(|| {
            let metadata = LIFECYCLE_BYTES.saturating_add(context_bytes(&context));
            let body_bytes = if is_withheld { 0 } else { body.len() };
            let capture = context.capture;
            let is_deferred = capture.unwrap_or(self.shared.capture) == Capture::Deferred;
            let held_bytes = match is_deferred {
                true => body_bytes.saturating_add(messages_bytes(&context)),
                false => 0,
            };
            // What is held until an end must leave space for the openings and ends of others.
            let share = if held_bytes > 0 {
                Share::Spare
            } else if body_bytes > 0 {
                Share::Content
            } else {
                Share::All
            };
            let (mut reservation, mut body_grant) =
                match self.shared.admit(metadata, body_bytes, share, at)? {
                    Admission::Admitted(reservation, body_grant) => (reservation, body_grant),
                    Admission::Shed => return Ok(RequestHandle::lost(request_id)),
                };
            if is_withheld {
                body_grant = BodyGrant::Shed;
            }
            let mut opening = reservation.split_off(1);
            let held = match body_grant {
                BodyGrant::Granted => held_bytes,
                BodyGrant::Shed => 0,
            };
            let held = opening.split_off_bytes(u64::try_from(held).unwrap_or(u64::MAX));
            let late = LateContext::after(&context);
            let is_live = context.started_at.is_none();
            let lifecycle = Arc::new(Lifecycle::new(request_id));
            let body_length = u64::try_from(body.len()).unwrap_or(u64::MAX);
            // A body that is shed must not take queue space.
            let body = match body_grant {
                BodyGrant::Granted => body,
                BodyGrant::Shed => Bytes::new(),
            };
            let command = OpenCommand {
                lifecycle: Arc::clone(&lifecycle),
                at,
                context,
                body,
                body_length,
                body_grant,
                adjustments,
                redaction_id,
                reservation: opening,
            };
            if let Err(refusal) = self.shared.submit(Command::Open(Box::new(command))) {
                reservation.add(held);
                self.shared.capacity.release(reservation);
                return Err(refusal);
            }
            let shared = Arc::clone(&self.shared);
            Ok(RequestHandle::new(
                shared,
                lifecycle,
                started,
                is_live,
                [reservation, held],
                capture,
                late,
            ))
        })
    }

    /// The writer's state, for the gateway's health endpoint. Never waits.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Records a request that is refused at once: [`open`](Self::open) and
    /// [`reject`](RequestHandle::reject) in one call.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn reject(
        &self,
        context: RequestContext,
        request_body: impl Into<Bytes>,
        rejection: Rejection,
    ) -> Result<Receipt, RecordError> {
        self.open(context, request_body)?.reject(rejection)
    }
}

/// Bytes that a context has on the heap, roughly.
fn context_bytes(context: &RequestContext) -> usize {
    let texts = [
        &context.user_id,
        &context.session_id,
        &context.context_id,
        &context.conversation_id,
        &context.trace_id,
        &context.operation_name,
        &context.provider_name,
        &context.request_model,
        &context.client_model,
        &context.url_path,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let attributes: usize = context
        .attributes
        .iter()
        .map(|(key, value)| key.len() + value.len() + 48)
        .sum();
    texts + attributes + messages_bytes(context)
}

fn messages_bytes(context: &RequestContext) -> usize {
    context.messages.iter().flatten().map(message_bytes).sum()
}

fn message_bytes(message: &crate::model::Message) -> usize {
    let calls: usize = message
        .tool_calls
        .iter()
        .map(|call| call.tool_call_id.len() + call.tool_name.len() + call.input.len() + 72)
        .sum();
    let results: usize = message
        .tool_results
        .iter()
        .map(|result| result.tool_call_id.len() + result.text.len() + 48)
        .sum();
    message.role.len() + message.text.len() + calls + results + 96
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::log::{Ended, Opened};
    use crate::writer::EndCommand;

    #[test]
    fn a_lifecycle_reserves_what_its_parts_take() {
        let shared = size_of::<Lifecycle>();
        let queued = size_of::<OpenCommand>() + size_of::<EndCommand>() + shared;
        let prepared = size_of::<Opened>() + size_of::<Ended>() + shared;
        // An allocator takes more than what it holds: a quarter, as measured with glibc's.
        let taken = queued.max(prepared) * 5 / 4;
        let reserved = LIFECYCLE_BYTES + size_of::<EndCommand>();
        assert!(taken <= reserved, "{taken} bytes of {reserved}");
    }
}
