//! Erasing: content, salts and personal metadata of requests, on somebody's demand.

use std::collections::{BTreeMap, BTreeSet};

use super::redact::Redactor;
use super::{Session, dependants};
use crate::db::{self, Bound, Connection, Removal, RequestRow, Walk, payload_id};
use crate::error::{ReadError, RemovalError};
use crate::log::{
    BodyFact, ERASED_REQUESTS_MAX, EndKind, Ended, Erased, ErasedRequest, Fact, Opened,
};
use crate::query::get_exact;
use crate::record::{RequestFilter, RequestRecord, Status};
use crate::search;
use crate::transcript::only_user;

/// Longest reason in bytes.
const REASON_BYTES_MAX: usize = 1024;
/// Most segments of the log that one step packs anew: bounds its transaction.
const SEGMENTS_EACH: usize = 16;

/// Whose content and personal metadata are to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EraseSelector {
    /// The request with exactly this id, or `#` and its [`opened_seq`](RequestRecord::opened_seq). An error
    /// where several share the id.
    Request(String),
    /// Every request of this user.
    User(String),
    /// Every request of this conversation: `conversation_id`, else `context_id`, else `session_id`. An
    /// error where several users have one of this id.
    Conversation(String),
    /// Every request of this user's conversation.
    UserConversation {
        /// Whose; empty: of requests without a user.
        user_id: String,
        /// `conversation_id`, else `context_id`, else `session_id`.
        conversation_id: String,
    },
}

/// What [`Store::erase`](crate::Store::erase) erased, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EraseReport {
    /// Requests.
    pub requests: u64,
    /// Bodies and other content, kept or only digested.
    pub payloads: u64,
    /// Bytes that their content took in the file.
    pub payload_bytes: u64,
    /// Bodies of others that were packed against these, and stand alone now. 0 in a preview.
    pub repacked: u64,
    /// Bodies of others that were packed against these and could not be read any more: damaged before,
    /// and lost with what they were packed against. The log names them. 0 in a preview.
    pub not_repacked: u64,
    /// Requests that were meant and whose rows cannot be read: they are still there.
    /// [`rebuild`](crate::rebuild) writes the rows anew from the log; erase again then.
    pub unreadable: u64,
    /// Whether no byte of it is left: neither in the search index, nor in the write-ahead log, nor in
    /// space that the file does not use. `false`: a reader of an old state was in the way for 10 s, or
    /// the search index is too damaged to be taken out. Erasing again, then with nothing left to erase,
    /// takes care of the rest; [`rebuild`](crate::rebuild) makes a search index anew.
    pub is_wiped: bool,
}

impl EraseSelector {
    fn id(&self) -> &str {
        match self {
            Self::Request(id) | Self::User(id) | Self::Conversation(id) => id,
            Self::UserConversation {
                conversation_id, ..
            } => conversation_id,
        }
    }

    /// What is meant; decided once, so that every step means the same.
    fn resolve(&self, connection: &Connection) -> Result<Meant, ReadError> {
        let of_user = |conversation_id: &String, user_id: String| RequestFilter {
            conversation_id: Some(conversation_id.clone()),
            user_id: Some(user_id),
            ..RequestFilter::default()
        };
        let meant = match self {
            Self::Request(id) => get_exact(connection, id).map(|request| Meant {
                only: Some(request.opened_seq),
                filter: RequestFilter::default(),
            }),
            Self::User(id) => Ok(Meant::all(RequestFilter {
                user_id: Some(id.clone()),
                ..RequestFilter::default()
            })),
            Self::Conversation(id) => {
                only_user(connection, id).map(|user_id| Meant::all(of_user(id, user_id)))
            }
            Self::UserConversation {
                user_id,
                conversation_id,
            } => Ok(Meant::all(of_user(conversation_id, user_id.clone()))),
        };
        match meant {
            // There may be something to wipe still.
            Err(ReadError::NotFound(_)) => Ok(Meant {
                only: Some(u64::MAX),
                filter: RequestFilter::default(),
            }),
            meant => meant,
        }
    }
}

/// The requests that a selector means.
struct Meant {
    /// The one that this event opened.
    only: Option<u64>,
    filter: RequestFilter,
}

impl Meant {
    fn all(filter: RequestFilter) -> Self {
        Self { only: None, filter }
    }

    /// The next requests before this seq, newest first.
    fn page(
        &self,
        connection: &Connection,
        before: u64,
        status: Option<Status>,
    ) -> Result<Vec<RequestRow>, ReadError> {
        if let Some(opened_seq) = self.only {
            let found = db::search::by_opened_seq(connection, opened_seq)?;
            let is_meant = |(_, row): &RequestRow| {
                let is_in = |request: &RequestRecord| status.is_none_or(|is| request.status == is);
                opened_seq < before && row.as_ref().is_ok_and(is_in)
            };
            return Ok(found.into_iter().filter(is_meant).collect());
        }
        let filter = RequestFilter {
            status,
            ..self.filter.clone()
        };
        let walk = Walk::Before(Some(before));
        Ok(db::list(connection, &filter, walk, ERASED_REQUESTS_MAX)?)
    }
}

/// What would be erased.
pub(crate) fn preview(
    connection: &Connection,
    selector: &EraseSelector,
) -> Result<EraseReport, ReadError> {
    let meant = selector.resolve(connection)?;
    let mut report = EraseReport::default();
    let mut before = u64::MAX;
    loop {
        let page = meant.page(connection, before, None)?;
        let Some(next) = last_of(&page) else {
            return Ok(report);
        };
        before = next;
        for request in report.readable(page).filter(|request| !request.is_erased) {
            report.count(connection, &request)?;
        }
    }
}

pub(super) fn erase(
    session: &Session<'_>,
    selector: &EraseSelector,
    reason: &str,
) -> Result<EraseReport, RemovalError> {
    if selector.id().is_empty() {
        return Err(RemovalError::InvalidArgument(
            "an empty id names nothing".to_owned(),
        ));
    }
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(RemovalError::InvalidArgument(format!(
            "a reason has 1 to {REASON_BYTES_MAX} bytes"
        )));
    }
    session.forget()?;
    let connection = &session.connection;
    let meant = selector.resolve(connection)?;
    let end = db::bound(connection, Bound::LogEnd)
        .map_err(ReadError::from)?
        .unwrap_or(0);
    let pending = meant.page(connection, end, Some(Status::Pending))?;
    if let Some(pending) = pending.into_iter().find_map(|(_, row)| row.ok()) {
        return Err(RemovalError::Pending {
            request_id: pending.request_id,
        });
    }
    let mut report = EraseReport::default();
    let mut redactor = Redactor::new()?;
    let mut compared = search::Compared::new();
    let mut before = end;
    loop {
        let page = meant.page(connection, before, None)?;
        let Some(next) = last_of(&page) else { break };
        before = next;
        let mut requests: Vec<_> = report
            .readable(page)
            .filter(|request| !request.is_erased && request.ended_seq.is_some())
            .collect();
        requests.reverse();
        if report.requests == 0 && !requests.is_empty() {
            dependants::fill_links(session)?;
        }
        while !requests.is_empty() {
            let helpers = (&mut redactor, &mut compared);
            step(session, helpers, &mut requests, reason, &mut report)?;
        }
    }
    report.is_wiped = session.wipe()?;
    Ok(report)
}

/// Erases the first of the requests, as many as one step may.
fn step(
    session: &Session<'_>,
    (redactor, compared): (&mut Redactor, &mut search::Compared),
    requests: &mut Vec<RequestRecord>,
    reason: &str,
    report: &mut EraseReport,
) -> Result<(), RemovalError> {
    let connection = &session.connection;
    // Lines that go, by the segment that they are in.
    let mut lines: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut erased = Vec::new();
    let mut payloads = Vec::new();
    let mut index_suspicion = None;
    for request in &*requests {
        if !erased.is_empty() && lines.len() >= SEGMENTS_EACH {
            break;
        }
        let Some(ended_seq) = request.ended_seq else {
            continue;
        };
        for seq in [request.opened_seq, ended_seq] {
            let segment = db::segment_start(connection, seq).map_err(ReadError::from)?;
            lines.entry(segment.unwrap_or(0)).or_default().insert(seq);
            payloads.push(ids_of(seq));
        }
        if index_suspicion.is_none() {
            index_suspicion = search::compare_request(connection, compared, request)?;
        }
        report.count(connection, request)?;
        erased.push(remains_of(request, ended_seq));
    }
    requests.drain(..erased.len().min(requests.len()));
    payloads.sort_unstable();
    let repacked = dependants::repack(session, &payloads)?;
    report.repacked = report.repacked.saturating_add(repacked.done);
    report.not_repacked = report.not_repacked.saturating_add(repacked.failed);
    let mut segments = Vec::new();
    for (segment, seqs) in lines {
        let stored = db::segment_of(connection, segment).map_err(ReadError::from)?;
        let stored = stored.ok_or_else(|| {
            ReadError::Damaged(format!("the log segment at seq {segment} is gone"))
        })?;
        segments.extend(redactor.redact(stored, |seq, _| seqs.contains(&seq))?);
    }
    let fact = Fact::Erased(Box::new(Erased {
        reason: reason.to_owned(),
        requests: erased,
    }));
    session.step(
        Some(fact),
        Removal {
            segments,
            payloads,
            index_suspicion,
            ..Removal::default()
        },
    )
}

/// Ids that the payloads of an event can have.
fn ids_of(seq: u64) -> (i64, i64) {
    let first = payload_id(seq, db::Part::Body);
    (first, first.saturating_add(3))
}

/// Where a page ends; `None`: nothing that an event could have opened comes behind it.
fn last_of(page: &[RequestRow]) -> Option<u64> {
    let (key, _) = page.last()?;
    u64::try_from(*key).ok()
}

impl EraseReport {
    /// What can be read of a page. The rest is counted, and the others go all the same.
    fn readable(&mut self, page: Vec<RequestRow>) -> impl Iterator<Item = RequestRecord> + use<> {
        let mut requests = Vec::with_capacity(page.len());
        for (opened_seq, row) in page {
            match row {
                Ok(request) => requests.push(request),
                Err(what) => {
                    tracing::warn!(target: "auditlite", opened_seq, what, "a request that is to be erased cannot be read");
                    self.unreadable = self.unreadable.saturating_add(1);
                }
            }
        }
        requests.into_iter()
    }

    fn count(&mut self, connection: &Connection, request: &RequestRecord) -> Result<(), ReadError> {
        self.requests = self.requests.saturating_add(1);
        for seq in [Some(request.opened_seq), request.ended_seq] {
            let Some((first, last)) = seq.map(ids_of) else {
                continue;
            };
            let (payloads, bytes) = db::payloads_between(connection, first, last)?;
            self.payloads = self.payloads.saturating_add(payloads);
            self.payload_bytes = self.payload_bytes.saturating_add(bytes);
        }
        Ok(())
    }
}

/// What stays of a request: nothing that says who it was, where it belongs or what was said.
fn remains_of(request: &RequestRecord, ended_seq: u64) -> ErasedRequest {
    let status = EndKind::of(request.status).unwrap_or_default();
    let body = |length| BodyFact {
        length,
        ..BodyFact::default()
    };
    ErasedRequest {
        ended_seq,
        status,
        opened: Opened {
            request_id: request.request_id.clone(),
            started_at: Some(request.opened_at),
            operation_name: request.operation_name.clone(),
            provider_name: request.provider_name.clone(),
            requested_model: request.requested_model.clone(),
            request_model: request.request_model.clone(),
            wire_protocol: request.wire_protocol.as_deref().unwrap_or_default().into(),
            is_streaming: request.is_streaming,
            request_body: body(request.request_bytes),
            ..Opened::default()
        },
        ended: Ended {
            kind: status,
            request_id: request.request_id.clone(),
            opened_seq: request.opened_seq,
            response_model: request.response_model.clone(),
            response_provider_name: request.response_provider_name.clone(),
            http_status: request.http_status,
            error_type: request.error_type.clone(),
            input_tokens: request.input_tokens,
            output_tokens: request.output_tokens,
            cache_read_input_tokens: request.cache_read_input_tokens,
            cache_write_input_tokens: request.cache_write_input_tokens,
            reasoning_output_tokens: request.reasoning_output_tokens,
            cost_microdollars: request.cost_microdollars,
            latency_us: request.latency_us,
            upstream_latency_us: request.upstream_latency_us,
            time_to_first_chunk_us: request.time_to_first_chunk_us,
            response_body: request.response_bytes.map(body),
            // Names of fields: which of the figures are not what was told.
            altered: request.altered.clone(),
            ..Ended::default()
        },
    }
}
