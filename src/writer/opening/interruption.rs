//! Ends requests that a crash left open as `interrupted`, with the pieces of their responses that were written.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::Config;
use crate::db::{Appender, DbError, DbErrorKind, OpenRequest, Part, SeenResponse};
use crate::error::chain;
use crate::log::{BodyFact, EndKind, Ended, EventKind, Kept};
use crate::model::{CostSource, Timestamp, UsageSource, WireProtocol};
use crate::payload::{Content, Excerpt, PayloadPlan, excerpt_of, sha256};
use crate::writer::admission::ending::ParseResponse;
use crate::writer::admission::lifecycle::Route;
use crate::writer::commit::request::EndNote;
use crate::writer::stages::batch::BatchBuilder;
use crate::writer::stages::bodies::{committed, committed_excerpt, count};
use crate::writer::stages::complete::Response;
use crate::writer::stages::prices::Prices;

/// Ends one request that a crash left open. If pieces of its response were written, they become its body: the
/// event commits to them, and the packer parses them like any response, which also decides the outcome.
pub(crate) fn interrupt(
    request: OpenRequest,
    at: i64,
    config: &Config,
    appender: &Appender,
    prices: &Prices,
    prepared: &mut BatchBuilder,
) -> Result<(), DbError> {
    let mut ended = Ended {
        kind: EndKind::Interrupted,
        request_id: request.request_id,
        opened_seq: request.opened_seq,
        store_opened_seq: Some(request.store_opened_seq),
        ..Ended::default()
    };
    if let Some(mut seen) = seen_response(appender, request.opened_seq)? {
        let event_index = prepared.events.len();
        let (seq, content) = (
            prepared.next_seq(),
            Bytes::from(std::mem::take(&mut seen.content)),
        );
        // Of a response above the cap only head and tail were kept: nothing is parsed beyond the head.
        let begin = seen.excerpt.map_or(u64::MAX, |(.., head)| head);
        let begin = usize::try_from(begin).map_or(content.len(), |begin| begin.min(content.len()));
        let readable = content.slice(..begin);
        let (kind, payload) = commit(&seen, content, config.payload_bytes_max);
        ended.response_body = Some(kind);
        ended.redaction_id = seen.redaction_id;
        prepared.push_payload(seq, Part::Body, payload);
        prepared.ended_pieces.push(request.opened_seq);
        let protocol = WireProtocol::from(request.wire_protocol.as_deref().unwrap_or_default());
        if config.read_bodies && protocol.is_supported() {
            let response = Response::Whole(protocol, readable);
            prepared.group.responses.push((event_index, response));
        }
        prepared.ends.push(EndNote {
            event_index,
            span: tracing::Span::none(),
            route: Some(Arc::new(Route {
                provider_name: request.provider_name,
                request_model: request.request_model,
                client_model: request.client_model,
            })),
            executed: None,
            parse_response: ParseResponse::Yes,
            prices: prices.stated(),
            started_at: Some(Timestamp::from_micros(request.opened_at)),
        });
    } else {
        ended.usage_source = Some(UsageSource::Absent);
        ended.cost_source = Some(CostSource::Unknown);
    }
    prepared.push(at, EventKind::Ended(Box::new(ended)));
    Ok(())
}

/// Unreadable pieces count as none: they must not keep a store from opening.
fn seen_response(appender: &Appender, opened_seq: u64) -> Result<Option<SeenResponse>, DbError> {
    match appender.seen_response(opened_seq) {
        Err(error) if matches!(error.kind, DbErrorKind::Corrupt | DbErrorKind::Other) => {
            tracing::warn!(target: "auditlite", opened_seq, problem = chain(&error), "what was written of a response cannot be read");
            Ok(None)
        }
        seen => seen,
    }
}

fn commit(
    seen: &SeenResponse,
    content: Bytes,
    payload_bytes_max: usize,
) -> (BodyFact, Option<PayloadPlan>) {
    if let Some((length, sha256, head)) = seen.excerpt {
        let excerpt = Excerpt {
            bytes: content.to_vec(),
            head: usize::try_from(head).unwrap_or(usize::MAX),
        };
        return committed_excerpt(length, sha256, excerpt);
    }
    let (length, digest) = (count(content.len()), sha256(&content));
    if content.len() > payload_bytes_max {
        return committed_excerpt(length, digest, excerpt_of(&content));
    }
    committed(length, digest, Kept::Whole, Content::Alone(content), None)
}
