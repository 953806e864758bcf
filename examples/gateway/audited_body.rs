//! A response's body with the request's audit handle inside.
//!
//! Whatever happens to the body happens to the trail: read to its end, the request is finished; broken
//! off by the upstream, failed; dropped because the client went away, abandoned. What the bytes say is
//! read from them by the store's writer, later and elsewhere.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use auditlite::{Failure, Receipt, RecordError, RequestHandle};
use axum::http::StatusCode;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

/// Longest time that an upstream may say nothing, before its answer and in the middle of it.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(600);

/// An upstream's response on its way to the client, chunk by chunk.
#[derive(Debug)]
pub(crate) struct AuditedBody {
    upstream: Incoming,
    /// Absent once the request has ended.
    audit: Option<RequestHandle>,
    status: StatusCode,
    silence: Pin<Box<Sleep>>,
}

impl AuditedBody {
    /// Passes on `upstream`, records it with `audit`.
    pub(crate) fn new(upstream: Incoming, audit: RequestHandle, status: StatusCode) -> Self {
        let mut body = Self {
            upstream,
            audit: Some(audit),
            status,
            silence: Box::pin(tokio::time::sleep(SILENCE_MAX)),
        };
        // A server does not ask a body that it knows to be empty.
        body.end_if_over();
        body
    }

    /// The server stops asking once it has as many bytes as were announced.
    fn end_if_over(&mut self) {
        if self.upstream.is_end_stream() {
            self.finish();
        }
    }

    /// The upstream's response is complete, for better or worse.
    fn finish(&mut self) {
        if let Some(mut audit) = self.audit.take() {
            audit.upstream_ended();
            note(audit.finish(self.status.as_u16()));
        }
    }

    /// The upstream's response will not become complete.
    fn fail(&mut self, error_type: &str, message: String) {
        if let Some(mut audit) = self.audit.take() {
            audit.upstream_ended();
            // What came before says what it cost all the same.
            let failure = Failure::new(error_type)
                .error_message(message)
                .read_body(true);
            note(audit.fail(failure));
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
                if let (Some(audit), Some(chunk)) = (&mut body.audit, frame.data_ref()) {
                    audit.chunk(chunk.clone());
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
                body.finish();
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
