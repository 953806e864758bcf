//! The summary of a parsed request, cached with its body, so that only the new part of the next one is parsed.

use crate::model::WireProtocol;
use crate::payload::{Note, Overlap};
use crate::sync::{caught, trip};
use crate::wire::RequestSummary;

/// The parameters of a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestNote(Box<(WireProtocol, RequestSummary)>);

impl Note for RequestNote {
    fn held_bytes(&self) -> usize {
        size_of_val(&*self.0) + self.0.1.heap_bytes()
    }

    fn messages_end(&self) -> Option<usize> {
        self.summary().messages_end()
    }
}

impl RequestNote {
    /// Parses a request, or its new part after the request `before`. `None`: parsing panicked, and nothing is known of
    /// the body.
    pub(crate) fn of(
        before: Option<Self>,
        overlap: Overlap,
        protocol: &WireProtocol,
        path: &str,
        body: &[u8],
    ) -> Option<Self> {
        caught(|| {
            trip("request", body);
            match before {
                Some(Self(mut before)) if before.0 == *protocol => {
                    let known = std::mem::take(&mut before.1);
                    let length = overlap.previous_length;
                    before.1 = known.into_next(path, length, body, overlap.head, overlap.tail);
                    Self(before)
                }
                _ => {
                    let summary = RequestSummary::parse(protocol, path, body);
                    Self(Box::new((protocol.clone(), summary)))
                }
            }
        })
    }

    pub(crate) fn summary(&self) -> &RequestSummary {
        &self.0.1
    }
}
