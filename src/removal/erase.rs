//! Erasing: removes content, salts and personal metadata of requests when an operator demands it.

use std::collections::{BTreeMap, BTreeSet};

use super::segment_lines::LineRemover;
use super::unlisted::{self, Whom};
use super::{Session, dependants};
use crate::db::{self, Bound, Connection, Removal, RequestRow, RewrittenSegment, Walk, payload_id};
use crate::error::{ReadError, RemovalError};
use crate::log::{
    BodyFact, ERASED_REQUESTS_MAX, EndKind, Ended, Erased, ErasedRequest, EventKind, Opened,
};
use crate::model::{RequestFilter, RequestRecord, Status};
use crate::read::lookup::get_exact;
use crate::read::search;
use crate::read::transcript::only_user;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1024;
/// Segments that one step rewrites at most: bounds its transaction.
const SEGMENTS_EACH: usize = 16;

/// Whose content and personal metadata are erased.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EraseSelector {
    /// The request with exactly this id, or `#` and its [`opened_seq`](RequestRecord::opened_seq). An error
    /// if several share the id.
    Request(String),
    /// Every request of this user.
    User(String),
    /// Every request of this conversation: `conversation_id`, otherwise `context_id`, otherwise
    /// `session_id`. An error if several users have one with this id.
    Conversation(String),
    /// Every request of this user's conversation.
    UserConversation {
        /// The user; empty for requests without a user.
        user_id: String,
        /// `conversation_id`, otherwise `context_id`, otherwise `session_id`.
        conversation_id: String,
    },
}

/// What [`Store::erase`](crate::Store::erase) erased or would erase.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EraseReport {
    /// Requests.
    pub requests: u64,
    /// Bodies and other content, kept or only digested.
    pub payloads: u64,
    /// Bytes that their content took in the file, with the media that no other body has.
    pub payload_bytes: u64,
    /// Bodies of other requests that were packed against these and stand alone now. 0 in a preview.
    pub repacked: u64,
    /// Bodies of other requests that were packed against these and cannot be read any more: they were
    /// damaged before, and are lost together with what they were packed against. The log names them. 0 in a
    /// preview.
    pub not_repacked: u64,
    /// Requests that were meant but are not completely erased, in addition to [`requests`](Self::requests).
    ///
    /// If the row cannot be read, everything is still there: [`rebuild`](crate::rebuild()) rewrites the rows
    /// from the log; erase again then.
    ///
    /// If the segment with its lines cannot be read, its content, its row and its words in the index are
    /// erased. The lines, which say who it was, remain unread in that segment. Keep the rest of the file
    /// from others, or restore that segment from a copy and erase the request again by its number.
    pub unreadable: u64,
    /// Requests that are meant according to the log but not according to the tables: the rows were changed
    /// or deleted. They are still there: [`rebuild`](crate::rebuild()) rewrites the tables from the log;
    /// erase again then. 0 in a preview, which only reads the tables.
    pub unlisted: u64,
    /// Whether no byte of what was erased is left: not in the search index, the write-ahead log, or unused
    /// space of the file. `false`: a reader of an old snapshot was in the way for 10 s, or the search index
    /// is too damaged to be dropped. Erase again, even with nothing left to erase, to finish;
    /// [`rebuild`](crate::rebuild()) makes the search index again.
    pub is_fully_erased: bool,
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

    /// The same selection by what the log itself says.
    fn whom(&self, meant: &Meant) -> Whom {
        match self {
            // A number says nothing about the content of the log.
            Self::Request(id) if id.starts_with('#') => Whom::default(),
            Self::Request(id) => Whom {
                request_id: Some(id.clone()),
                ..Whom::default()
            },
            Self::User(id) => Whom {
                user_id: Some(id.clone()),
                ..Whom::default()
            },
            Self::Conversation(id) => Whom {
                conversation_id: Some(id.clone()),
                user_id: meant.filter.user_id.clone(),
                ..Whom::default()
            },
            Self::UserConversation {
                user_id,
                conversation_id,
            } => Whom {
                user_id: Some(user_id.clone()),
                conversation_id: Some(conversation_id.clone()),
                ..Whom::default()
            },
        }
    }

    /// What is meant. It is decided once, so that every step means the same.
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
            // Slack may still have to be zeroed.
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
            statuses: status.into_iter().collect(),
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
    let mut redactor = LineRemover::new()?;
    let mut before = u64::MAX;
    let mut payloads = Vec::new();
    loop {
        let page = meant.page(connection, before, None)?;
        let Some(next) = last_of(&page) else {
            payloads.sort_unstable();
            report.count_media(connection, &payloads)?;
            return Ok(report);
        };
        before = next;
        for request in report.readable(page).filter(|request| !request.is_erased) {
            let mut is_whole = true;
            for seq in [Some(request.opened_seq), request.ended_seq]
                .into_iter()
                .flatten()
            {
                let segment = db::segment_start(connection, seq)?.unwrap_or(0);
                is_whole &= redactor.can_redact(connection, segment)?;
                payloads.push(ids_of(seq));
            }
            report.count_content(connection, &request)?;
            report.count(is_whole);
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
    session.flush()?;
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
    let whom = selector.whom(&meant);
    let done = erase_all(session, (&meant, &whom), end, reason, &mut report)
        .and_then(|()| session.zero_slack())
        .map_err(|error| error.after(report.requests, report.payloads));
    report.is_fully_erased = done?;
    Ok(report)
}

/// Erases everything that is meant, newest first. Pages of rows come from the tables. Requests that are
/// erased already have only their lines removed, if these could not be read then. At the end, the log is
/// searched for requests that the tables do not show, since a changed row must not protect a request
/// silently.
fn erase_all(
    session: &Session<'_>,
    (meant, whom): (&Meant, &Whom),
    end: u64,
    reason: &str,
    report: &mut EraseReport,
) -> Result<(), RemovalError> {
    let connection = &session.connection;
    let mut redactor = LineRemover::new()?;
    let mut compared = search::Compared::new();
    let mut before = end;
    loop {
        let page = meant.page(connection, before, None)?;
        let Some(next) = last_of(&page) else { break };
        before = next;
        let (mut requests, erased): (Vec<_>, Vec<_>) = report
            .readable(page)
            .filter(|request| request.ended_seq.is_some())
            .partition(|request| !request.is_erased);
        requests.reverse();
        while !requests.is_empty() {
            let helpers = (&mut redactor, &mut compared);
            step(session, helpers, &mut requests, reason, report)?;
        }
        for request in &erased {
            take_lines(session, &mut redactor, request, report)?;
        }
    }
    session.restart_clock()?;
    unlisted::visit(
        connection,
        &mut redactor,
        whom,
        end,
        &mut |redactor, seq| {
            match db::search::by_opened_seq(connection, seq).map_err(ReadError::from)? {
                // Its line could not be read when it was erased.
                Some((_, Ok(request))) if request.is_erased => {
                    take_lines(session, redactor, &request, report)?;
                }
                // It was counted already.
                Some((_, Err(_))) => {}
                _ => {
                    tracing::warn!(target: "auditlite", seq, "the log has a request that should be erased, but the tables do not show that it is meant");
                    report.unlisted = report.unlisted.saturating_add(1);
                }
            }
            Ok(())
        },
    )
}

/// Removes the lines of a request that is recorded as erased, if they could not be read then.
fn take_lines(
    session: &Session<'_>,
    redactor: &mut LineRemover,
    request: &RequestRecord,
    report: &mut EraseReport,
) -> Result<(), RemovalError> {
    let mut lines: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for seq in [Some(request.opened_seq), request.ended_seq]
        .into_iter()
        .flatten()
    {
        let segment = segment_start(session, seq)?;
        lines.entry(segment).or_default().insert(seq);
    }
    let (segments, unreadable) = redacted(session, redactor, lines)?;
    if segments.is_empty() && unreadable.is_empty() {
        return Ok(());
    }
    if !segments.is_empty() {
        session.step(
            None,
            Removal {
                segments,
                ..Removal::default()
            },
        )?;
    }
    report.count(unreadable.is_empty());
    Ok(())
}

fn segment_start(session: &Session<'_>, seq: u64) -> Result<u64, RemovalError> {
    let segment = db::segment_start(&session.connection, seq).map_err(ReadError::from)?;
    Ok(segment.unwrap_or(0))
}

/// Segments without these lines, and the first seqs of segments that cannot be read. Their lines stay, and
/// everything else is removed all the same.
fn redacted(
    session: &Session<'_>,
    redactor: &mut LineRemover,
    lines: BTreeMap<u64, BTreeSet<u64>>,
) -> Result<(Vec<RewrittenSegment>, BTreeSet<u64>), RemovalError> {
    let mut segments = Vec::new();
    let mut unreadable = BTreeSet::new();
    for (segment, seqs) in lines {
        let stored = db::segment_of(&session.connection, segment).map_err(ReadError::from)?;
        // A segment that is gone holds no lines.
        let Some(stored) = stored else { continue };
        match redactor.redact(stored, |seq, _| seqs.contains(&seq)) {
            Err(ReadError::Damaged(what)) => {
                tracing::warn!(target: "auditlite", segment, what, "this segment of the log cannot be read, so lines that should be erased stay in it; everything else is erased");
                unreadable.insert(segment);
            }
            redacted => segments.extend(redacted?),
        }
    }
    Ok((segments, unreadable))
}

/// Erases the first of the requests, as many as one step may.
///
/// First collects, for each request, its segments and payload ids, compares its messages in the search
/// index, and counts its content. Then repacks what depends on the payloads, rewrites the segments, and
/// commits the `erased` event together with the removal.
fn step(
    session: &Session<'_>,
    (redactor, compared): (&mut LineRemover, &mut search::Compared),
    requests: &mut Vec<RequestRecord>,
    reason: &str,
    report: &mut EraseReport,
) -> Result<(), RemovalError> {
    let connection = &session.connection;
    // The lines to remove, by their segment.
    let mut lines: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut erased = Vec::new();
    // The segments that have the lines of each request.
    let mut places = Vec::new();
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
            let segment = segment_start(session, seq)?;
            lines.entry(segment).or_default().insert(seq);
            places.push(segment);
            payloads.push(ids_of(seq));
        }
        if index_suspicion.is_none() {
            index_suspicion = search::compare_request(connection, compared, request)?;
        }
        report.count_content(connection, request)?;
        erased.push(remains_of(request, ended_seq));
    }
    requests.drain(..erased.len().min(requests.len()));
    payloads.sort_unstable();
    let repacked = dependants::repack(session, &payloads)?;
    report.repacked = report.repacked.saturating_add(repacked.done);
    report.not_repacked = report.not_repacked.saturating_add(repacked.failed);
    report.count_media(connection, &payloads)?;
    let (segments, unreadable) = redacted(session, redactor, lines)?;
    let kind = EventKind::Erased(Box::new(Erased {
        reason: reason.to_owned(),
        requests: erased,
    }));
    session.step(
        Some(kind),
        Removal {
            segments,
            payloads,
            index_suspicion,
            ..Removal::default()
        },
    )?;
    for places in places.chunks(2) {
        report.count(!places.iter().any(|segment| unreadable.contains(segment)));
    }
    Ok(())
}

/// The range of ids for the payloads of an event.
fn ids_of(seq: u64) -> (i64, i64) {
    let first = payload_id(seq, db::Part::Body);
    (first, first.saturating_add(3))
}

/// The last seq of a page; `None`: no event could have opened anything after it.
fn last_of(page: &[RequestRow]) -> Option<u64> {
    let (key, _) = page.last()?;
    u64::try_from(*key).ok()
}

impl EraseReport {
    /// The readable requests of a page. Others are counted and skipped.
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

    /// Counts an erased request: completely, or except its lines.
    fn count(&mut self, is_whole: bool) {
        let count = match is_whole {
            true => &mut self.requests,
            false => &mut self.unreadable,
        };
        *count = count.saturating_add(1);
    }

    fn count_content(
        &mut self,
        connection: &Connection,
        request: &RequestRecord,
    ) -> Result<(), ReadError> {
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

    /// Counts the media that only these payloads, in ascending ranges of ids, refer to.
    fn count_media(
        &mut self,
        connection: &Connection,
        payloads: &[(i64, i64)],
    ) -> Result<(), ReadError> {
        let bytes = db::media_only_in(connection, payloads)?;
        self.payload_bytes = self.payload_bytes.saturating_add(bytes);
        Ok(())
    }
}

/// What remains of a request: nothing that tells who sent it, where it belongs or what was said. Fields are
/// listed one by one, and the rest is empty by default: a new field is erased unless it is added here.
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
            started_at: Some(request.opened_at.as_micros()),
            operation_name: request.operation_name.clone(),
            provider_name: request.provider_name.clone(),
            client_model: request.client_model.clone(),
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
            usage_source: request.usage_source,
            cost_source: request.cost_source,
            price_book_seq: request.price_book_seq,
            usage_details: request.usage_details.clone(),
            latency_us: request.latency_us,
            upstream_latency_us: request.upstream_latency_us,
            time_to_first_chunk_us: request.time_to_first_chunk_us,
            response_body: request.response_bytes.map(body),
            // Names of fields: which of the figures were adjusted.
            adjusted_fields: request.adjusted_fields.clone(),
            body_flags: request.body_flags.clone(),
            ..Ended::default()
        },
    }
}
