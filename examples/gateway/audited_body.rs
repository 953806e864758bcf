//! A response's body with the request's audit handle inside.
//!
//! Whatever happens to the body happens to the trail: read to its end, the request is completed;
//! broken off by the upstream, failed; dropped because the client went away, abandoned.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use auditlite::{Completion, Failure, Receipt, RecordError, RequestHandle};
use axum::http::StatusCode;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::openai::{Answer, ResponseReader};

/// Longest time that an upstream may say nothing, before its answer and in the middle of it.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(600);

/// An upstream's response on its way to the client, chunk by chunk.
#[derive(Debug)]
pub(crate) struct AuditedBody {
    upstream: Incoming,
    /// Absent once the request has ended.
    trail: Option<Trail>,
    silence: Pin<Box<Sleep>>,
}

impl AuditedBody {
    /// Passes on `upstream`, records it with `audit`.
    pub(crate) fn new(
        upstream: Incoming,
        audit: RequestHandle,
        reader: ResponseReader,
        status: StatusCode,
    ) -> Self {
        let mut body = Self {
            upstream,
            trail: Some(Trail {
                audit,
                reader,
                status,
            }),
            silence: Box::pin(tokio::time::sleep(SILENCE_MAX)),
        };
        // A server does not ask a body that it knows to be empty.
        body.end_if_over();
        body
    }

    /// The server stops asking once it has as many bytes as were announced.
    fn end_if_over(&mut self) {
        if self.upstream.is_end_stream()
            && let Some(trail) = self.trail.take()
        {
            trail.end();
        }
    }

    fn fail(&mut self, error_type: &str, message: String) {
        if let Some(trail) = self.trail.take() {
            trail.fail(error_type, message);
        }
    }
}

impl Body for AuditedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = self.get_mut();
        match Pin::new(&mut body.upstream).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(trail), Some(chunk)) = (&mut body.trail, frame.data_ref()) {
                    trail.chunk(chunk);
                }
                body.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
                body.end_if_over();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                body.fail("upstream_broke_off", chain(&error));
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                if let Some(trail) = body.trail.take() {
                    trail.end();
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                if body.silence.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                let message = format!("the upstream said nothing for {SILENCE_MAX:?}");
                body.fail("timeout", message.clone());
                Poll::Ready(Some(Err(message.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}

impl Drop for AuditedBody {
    fn drop(&mut self) {
        // Clients hang up as soon as a stream has said that it is over, often before the last
        // empty chunk. Any other trail that is dropped here is recorded as abandoned.
        if let Some(trail) = self.trail.take_if(|trail| trail.reader.is_done()) {
            trail.end();
        }
    }
}

#[derive(Debug)]
struct Trail {
    audit: RequestHandle,
    reader: ResponseReader,
    status: StatusCode,
}

/// Sets what [`Completion`] and [`Failure`] have in common.
macro_rules! with_answer {
    ($end:expr, $answer:expr, $status:expr) => {{
        let (mut end, mut answer, status): (_, Answer, StatusCode) = ($end, $answer, $status);
        end.http_status = Some(status.as_u16());
        end.usage = answer.usage;
        end.finish_reasons = answer.finish_reasons();
        end.tool_calls = answer.tool_calls();
        end.response_id = answer.id;
        end.response_model = answer.model;
        end.assistant_text = (!answer.text.is_empty()).then_some(answer.text);
        end
    }};
}

impl Trail {
    fn chunk(&mut self, chunk: &Bytes) {
        self.audit.chunk(chunk.clone());
        let was_known = self.reader.model().is_some();
        self.reader.feed(chunk);
        // Told at once, so that an abandoned request has it too.
        if let (false, Some(model)) = (was_known, self.reader.model()) {
            self.audit.set_served_model(model);
        }
    }

    /// The upstream's response is complete, for better or worse.
    fn end(mut self) {
        self.audit.upstream_ended();
        let is_cut_off = self.reader.is_cut_off();
        let mut answer = self.reader.finish();
        let error = answer.error.take();
        if self.status.as_u16() < 400 && error.is_none() && !is_cut_off {
            let completion = with_answer!(Completion::new(), answer, self.status);
            note(self.audit.complete(completion));
            return;
        }
        let (error_type, message) = match error {
            Some(error) => (error.error_type, error.message),
            None if is_cut_off => (Some("incomplete_stream".to_owned()), None),
            None => (None, None),
        };
        let error_type = error_type.unwrap_or_else(|| self.status.as_str().to_owned());
        let mut failure = with_answer!(Failure::new(error_type), answer, self.status);
        failure.error_message = message;
        note(self.audit.fail(failure));
    }

    /// The upstream's response will not become complete.
    fn fail(mut self, error_type: &str, message: String) {
        self.audit.upstream_ended();
        let failure = Failure::new(error_type).error_message(message);
        let failure = with_answer!(failure, self.reader.finish(), self.status);
        note(self.audit.fail(failure));
    }
}

/// A trail that could not be written is the operator's business, not the client's.
pub(crate) fn note(outcome: Result<Receipt, RecordError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "the end of a request was not recorded");
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
