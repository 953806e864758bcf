//! Turns an end into its event, and the plan of the response. Also decides (`keeping`) which bodies of a deferred
//! capture are kept: here the outcome is known.

use bytes::Bytes;

use super::batch::BatchBuilder;
use super::bodies::{committed, committed_excerpt, shed};
use super::complete::{Response, outcome};
use super::prepare::{Keeping, Preparer, feed, json_of};
use crate::config::Capture;
use crate::db::{Part, payload_id};
use crate::log::{BodyFact, EndKind, Ended, EventKind, Kept, ToolCallFact};
use crate::model::{
    Adjustments, CostSource, Message, Normaliser, RESPONSE_UNPARSED, Timing, ToolCall, UsageSource,
};
use crate::payload::{Content, EndContent, PayloadPlan, StreamedBody};
use crate::sync::trip;
use crate::writer::admission::capacity::BodyGrant;
use crate::writer::admission::command::EndCommand;
use crate::writer::admission::ending::{Ending, ParseResponse};
use crate::writer::admission::lifecycle::{Notes, Stage};
use crate::writer::commit::request::EndNote;

/// The facts about bodies in an end's event.
struct PlannedBodies {
    response_body: Option<BodyFact>,
    content: Option<BodyFact>,
    upstream_body: Option<BodyFact>,
    request_body: Option<BodyFact>,
}

impl Preparer {
    /// Plans the response and the content that the gateway reported, pushes their payloads, and the event. The
    /// packer parses the response and completes the event; the end note says where and how.
    ///
    /// The opening left its notes in the lifecycle (conversation, protocol, digests); they are taken here,
    /// since no command follows an end. Payloads come before the event: they carry the seq that the event
    /// gets with the last `push`.
    pub(crate) fn end(&mut self, mut command: EndCommand, batch: &mut BatchBuilder) {
        let response_id = command.ending.response_id.as_deref().unwrap_or_default();
        trip("end", response_id.as_bytes());
        let mut notes = std::mem::take(&mut *command.lifecycle.notes());
        if notes.pieces > 0 {
            batch.ended_pieces.push(command.lifecycle.opened_seq());
        }
        let seq = batch.next_seq();
        let (response_body, response, keeping) =
            self.plan_response(&mut command, &mut notes, batch);
        if notes.is_unreadable {
            command.adjustments.flag(RESPONSE_UNPARSED);
            batch.unparsed = batch.unparsed.saturating_add(1);
        }
        let tool_calls = tool_call_facts(&mut command.ending.tool_calls);
        let (mut request_body, mut messages) = (None, None);
        // Deferred capture: the outcome is known now, and decides whether the held request body is kept.
        if let Some(held) = notes.held.take()
            && !matches!(keeping, Keeping::Digest(_))
        {
            (request_body, messages) = (held.body, held.messages);
        }
        let content = self.plan_content(&mut command, messages, keeping, batch);
        let upstream_body = notes.upstream_body.as_ref().map(|payload| BodyFact {
            length: payload.length,
            commitment: Some(payload.commitment()),
            kept: Kept::Digest,
            ..BodyFact::default()
        });
        batch.push_payload(
            seq,
            Part::UpstreamBody,
            notes.upstream_body.take().map(|payload| *payload),
        );
        let (request_body, mut request_payload) = request_body.unzip();
        self.plan_media(request_payload.as_mut());
        batch.push_payload(seq, Part::RequestBody, request_payload);
        let event_index = batch.events.len();
        batch
            .ends
            .push(self.end_note(&mut command, &mut notes, event_index));
        if let Some(response) = response {
            batch.group.responses.push((event_index, response));
        }
        let (at, lifecycle) = (command.at, std::sync::Arc::clone(&command.lifecycle));
        let response_bytes = command.body_grant.bytes(command.response_length);
        let body_bytes = response_bytes.saturating_add(command.held_bytes);
        let reservation = command.reservation;
        let bodies = PlannedBodies {
            response_body,
            content,
            upstream_body,
            request_body,
        };
        let ended = ended_event(command, tool_calls, bodies);
        batch.push(at, EventKind::Ended(Box::new(ended)));
        batch.hold(reservation, body_bytes);
        batch.reached.push((lifecycle, Stage::EndedCommitted));
    }

    /// Plans the response's body and says what the packer is to parse. Four cases: (1) the body was shed; (2)
    /// it was above the payload cap, and its chunks were digested and parsed as they came, so that only the
    /// last ones are here; (3) there is none; (4) it is here in whole, as chunks or in one piece, and is
    /// planned as a delta against its request and the response before it.
    ///
    /// Also says what is kept of the request. Where the outcome decides that, the response is parsed here.
    fn plan_response(
        &mut self,
        command: &mut EndCommand,
        notes: &mut Notes,
        batch: &mut BatchBuilder,
    ) -> (Option<BodyFact>, Option<Response>, Keeping) {
        let protocol = notes
            .wire_protocol
            .take()
            .filter(|_| command.ending.parse_response != ParseResponse::No);
        let body = command.ending.response_body.take();
        if command.body_grant == BodyGrant::Shed {
            let (keeping, _) = self.keeping(command, None);
            return (Some(shed(command.response_length)), None, keeping);
        }
        let seq = batch.next_seq();
        // A body that the gateway passes in one piece replaces what was streamed before.
        if let (Some(streamed), None) = (notes.streamed.take(), &body) {
            let chunks = command.chunks.as_slice();
            let mut response = None;
            if let Some(mut parser) = notes.parser.take().filter(|_| protocol.is_some()) {
                match feed(&mut parser, chunks) {
                    Some(()) => response = Some(Response::Streamed(parser)),
                    None => notes.is_unreadable = true,
                }
            }
            let (keeping, response) = self.keeping(command, response);
            let (fact, payload) = streamed_body(*streamed, &command.chunks, keeping);
            batch.push_payload(seq, Part::Body, payload);
            return (Some(fact), response, keeping);
        }
        if body.is_none() && command.chunks.is_empty() {
            let (keeping, _) = self.keeping(command, None);
            return (None, None, keeping);
        }
        let body = body.unwrap_or_else(|| joined(&command.chunks));
        let response = protocol.map(|protocol| Response::Whole(protocol, body.clone()));
        let (keeping, response) = self.keeping(command, response);
        let request_id = payload_id(command.lifecycle.opened_seq(), Part::Body);
        let key = notes.conversation.take();
        let arena = &mut batch.group.arena;
        let (fact, mut payload) =
            self.body(&body, command.body_grant, keeping, |conversations, body| {
                let id = payload_id(seq, Part::Body);
                conversations.response(key.as_ref(), request_id, id, body, arena)
            });
        if keeping == Keeping::Alone {
            self.plan_media(payload.as_mut());
        }
        batch.push_payload(seq, Part::Body, payload);
        (Some(fact), response, keeping)
    }

    fn end_note(&self, command: &mut EndCommand, notes: &mut Notes, event_index: usize) -> EndNote {
        EndNote {
            event_index,
            span: std::mem::replace(&mut command.span, tracing::Span::none()),
            route: notes.route.take(),
            executed: notes.executed.take(),
            parse_response: command.ending.parse_response,
            prices: self.prices.stated(),
            started_at: notes.started_at,
        }
    }

    /// Decides what is kept of bodies and texts. Under deferred capture the outcome decides, so the response is parsed
    /// here already; the packer then gets it parsed.
    fn keeping(
        &self,
        command: &EndCommand,
        response: Option<Response>,
    ) -> (Keeping, Option<Response>) {
        match command.capture.unwrap_or(self.capture) {
            Capture::Full => return (Keeping::Planned, response),
            Capture::MetadataOnly => return (Keeping::Digest(Kept::Digest), response),
            Capture::Deferred => {}
        }
        let Ending {
            kind,
            parse_response,
            http_status,
            ..
        } = command.ending;
        let response = response.map(Response::read);
        let kind = match &response {
            Some(response) => outcome(kind, parse_response, http_status, response),
            None => kind,
        };
        let is_error_status = http_status.is_some_and(|status| status >= 400);
        let keeping = match kind == EndKind::Completed && !is_error_status {
            true => Keeping::Digest(Kept::Deferred),
            false => Keeping::Alone,
        };
        (keeping, response.map(|read| Response::Read(Box::new(read))))
    }

    /// The texts that the gateway passed with the end, in one document: with a deferred request's messages, if they
    /// fit.
    fn plan_content(
        &mut self,
        command: &mut EndCommand,
        messages: Option<Vec<Message>>,
        keeping: Keeping,
        batch: &mut BatchBuilder,
    ) -> Option<BodyFact> {
        let ending = &mut command.ending;
        let mut content = EndContent::new(
            ending.assistant_text.take(),
            &mut ending.tool_calls,
            self.payload_bytes_max,
            &mut command.adjustments,
        );
        let has_texts = content.is_some();
        if messages.is_some() {
            content.get_or_insert_default().messages = messages;
        }
        let mut json = json_of(content.as_ref())?;
        if json.len() > self.payload_bytes_max
            && has_texts
            && let Some(content) = &mut content
        {
            content.messages = None;
            json = json_of(Some(&*content))?;
        }
        let (fact, payload) = self.content(json, command.content_grant, keeping);
        batch.push_payload(batch.next_seq(), Part::Content, payload);
        Some(fact)
    }
}

fn tool_call_facts(calls: &mut [ToolCall]) -> Vec<ToolCallFact> {
    let facts = calls.iter_mut().map(|call| ToolCallFact {
        tool_call_id: std::mem::take(&mut call.tool_call_id),
        tool_name: std::mem::take(&mut call.tool_name),
        input_bytes: u64::try_from(call.input.len()).unwrap_or(u64::MAX),
    });
    facts.collect()
}

/// Latencies as the gateway reported them, else as the handle measured them; within their bounds.
fn timing(command: &EndCommand, adjustments: &mut Adjustments) -> Timing {
    let told = &command.ending.timing;
    let mut timing = Timing {
        latency_us: told.latency_us.or(command.latency_us),
        upstream_latency_us: told.upstream_latency_us.or(command.upstream_latency_us),
        time_to_first_chunk_us: told
            .time_to_first_chunk_us
            .or(command.time_to_first_chunk_us),
    };
    let mut normaliser = Normaliser::default();
    normaliser.timing(&mut timing);
    adjustments.add(normaliser.into_adjustments());
    timing
}

/// The event of an end: every field that the gateway reported. What it left empty is filled by the packer
/// from the response.
fn ended_event(
    mut command: EndCommand,
    tool_calls: Vec<ToolCallFact>,
    bodies: PlannedBodies,
) -> Ended {
    let mut adjustments = std::mem::take(&mut command.adjustments);
    let timing = timing(&command, &mut adjustments);
    let ending = command.ending;
    let late = command.late;
    let usage = ending.usage.unwrap_or_default();
    let has_usage = usage.input_tokens.or(usage.output_tokens).is_some();
    let has_cost = ending.cost_microdollars.is_some();
    Ended {
        kind: ending.kind,
        request_id: command.lifecycle.request_id.clone(),
        opened_seq: command.lifecycle.opened_seq(),
        store_opened_seq: None,
        response_model: ending.response_model,
        response_provider_name: command.response_provider_name,
        response_id: ending.response_id,
        http_status: ending.http_status,
        error_type: ending.error_type,
        error_message: ending.error_message,
        finish_reasons: ending.finish_reasons,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_input_tokens: usage.cache_read_input_tokens,
        cache_write_input_tokens: usage.cache_write_input_tokens,
        reasoning_output_tokens: usage.reasoning_output_tokens,
        // If the gateway does not know the cost, the packer computes it from usage and prices.
        cost_microdollars: ending.cost_microdollars,
        usage_source: usage.source.or(has_usage.then_some(UsageSource::Told)),
        cost_source: ending.cost_source.or(has_cost.then_some(CostSource::Told)),
        price_book_seq: None,
        usage_details: ending.usage_details,
        latency_us: timing.latency_us,
        upstream_latency_us: timing.upstream_latency_us,
        time_to_first_chunk_us: timing.time_to_first_chunk_us,
        tool_calls,
        response_body: bodies.response_body,
        content: bodies.content.map(Box::new),
        upstream_body: bodies.upstream_body.map(Box::new),
        adjusted_fields: adjustments.fields,
        body_flags: adjustments.body_flags,
        redaction_id: command.redaction_id,
        user_id: late.user_id,
        conversation_id: late.conversation_id,
        attributes: late.attributes,
        request_body: bodies.request_body.map(Box::new),
    }
}

/// A response above the cap, of which all but `chunks` is digested already.
fn streamed_body(
    mut streamed: StreamedBody,
    chunks: &[Bytes],
    keeping: Keeping,
) -> (BodyFact, Option<PayloadPlan>) {
    for chunk in chunks {
        streamed.push(chunk);
    }
    let (length, digest, excerpt) = streamed.finish();
    match keeping {
        Keeping::Digest(kept) => committed(length, digest, kept, Content::Digest, None),
        Keeping::Planned | Keeping::Alone => committed_excerpt(length, digest, excerpt),
    }
}

/// Chunks in one piece.
fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [only] => only.clone(),
        several => Bytes::from(several.concat()),
    }
}
