//! Preparation: commands become events and payloads, digested and planned.
//!
//! A batch is prepared once; retries of its commit write the same bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::{BatchBuilder, EndNote};
use super::bodies::{committed, committed_excerpt, count, shed};
use super::complete::Response;
use crate::config::{Capture, Config};
use crate::db::{Part, payload_id};
use crate::log::{BodyFact, Ended, EventKind, Kept, Opened, Served, ToolCallFact};
use crate::model::{
    Adjustments, Normaliser, REQUEST_UNPARSED, RESPONSE_UNPARSED, RequestContext, Timing,
    WireProtocol,
};
use crate::payload::{
    Content, DeltaPlanner, EndContent, PayloadPlan, Planned, RequestReading, StreamedBody,
    excerpt_of, sha256,
};
use crate::sync::channel::Receiver;
use crate::sync::{caught, trip};
use crate::wire::{RequestSummary, ResponseParser};
use crate::writer::admission::command::{
    ChunksCommand, Command, EndCommand, OpenCommand, ParseResponse, ServedCommand,
    UpstreamBodyCommand,
};
use crate::writer::admission::lifecycle::Stage;
use crate::writer::admission::queue::BodyGrant;
use crate::writer::admission::redactor::SecretRedactor;

/// Bytes of recent bodies that others are packed against.
const CONVERSATION_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Turns commands into batches; owns the working memory for it.
#[derive(Debug)]
pub(crate) struct Preparer {
    payload_bytes_max: usize,
    capture: Capture,
    reads_bodies: bool,
    conversations: DeltaPlanner,
    /// Buffer for the name of a conversation.
    name: String,
    /// Arenas that the packer has packed, for use in later groups.
    buffers: Receiver<Vec<u8>>,
}

impl Preparer {
    pub(crate) fn new(config: &Config, buffers: Receiver<Vec<u8>>) -> Self {
        Self {
            payload_bytes_max: config.payload_bytes_max,
            capture: config.capture,
            reads_bodies: config.read_bodies,
            conversations: DeltaPlanner::new(CONVERSATION_BYTES_MAX),
            name: String::new(),
            buffers,
        }
    }

    /// For the texts of a group.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.try_recv().unwrap_or_default()
    }

    /// Packs nothing that comes later against what came before.
    pub(crate) fn reset_delta_cache(&mut self) {
        self.conversations = DeltaPlanner::new(CONVERSATION_BYTES_MAX);
    }

    /// What a request thread has handed over. `redactor` goes over what is read from a request.
    pub(crate) fn command(
        &mut self,
        command: Command,
        redactor: Option<SecretRedactor<'_>>,
        batch: &mut BatchBuilder,
    ) {
        match command {
            Command::Open(command) => self.open(*command, redactor, batch),
            Command::Served(command) => Self::served(*command, batch),
            Command::UpstreamBody(command) => Self::upstream_body(*command, batch),
            Command::Chunks(command) => Self::chunks(*command, batch),
            Command::End(command) => self.end(*command, batch),
            Command::Piece(command) => batch.piece(*command),
            Command::Wake | Command::Flush(_) | Command::Maintenance(_) | Command::Close(_) => {}
        }
    }

    /// What a request's conversation is called: a user's, so that what two users' clients call alike is
    /// told apart. Identifiers hold no NUL.
    fn conversation_name(&mut self, context: &RequestContext) -> Option<Arc<str>> {
        let names = [
            &context.conversation_id,
            &context.context_id,
            &context.session_id,
        ];
        let name = names.into_iter().flatten().next()?;
        self.name.clear();
        self.name
            .push_str(context.user_id.as_deref().unwrap_or_default());
        self.name.push('\0');
        self.name.push_str(name);
        Some(Arc::from(self.name.as_str()))
    }

    fn open(
        &mut self,
        command: OpenCommand,
        mut redactor: Option<SecretRedactor<'_>>,
        batch: &mut BatchBuilder,
    ) {
        let OpenCommand {
            lifecycle,
            at,
            mut context,
            body,
            body_length,
            body_grant,
            mut adjustments,
            redaction_id,
            reservation,
        } = command;
        let path = context.url_path.take().unwrap_or_default();
        trip(
            "open",
            context.user_id.as_deref().unwrap_or_default().as_bytes(),
        );
        if self.reads_bodies && context.wire_protocol == WireProtocol::Unknown && !path.is_empty() {
            context.wire_protocol = WireProtocol::detect(&path, &body);
        }
        let protocol = context.wire_protocol.clone();
        // Who names the model has read the body already.
        let is_wanted = context.read_body.unwrap_or(context.request_model.is_none());
        let can_be_read = self.reads_bodies && protocol.is_supported();
        let is_read = can_be_read && is_wanted;
        let capture = context.capture.unwrap_or(self.capture);
        let seq = batch.next_seq();
        let body_bytes = body_grant.bytes(body_length);
        let conversation = self.conversation_name(&context);
        let mut key = None;
        let mut is_unparsed = None;
        let mut take = |summary: &RequestSummary| {
            is_unparsed = Some(!summary.is_complete);
            describe(&mut context, summary, redactor.as_mut(), &mut adjustments);
        };
        let (mut request_body, payload) =
            self.body(&body, body_grant, capture, |conversations, body| {
                let id = payload_id(seq, Part::Body);
                let reading = is_read.then_some(RequestReading {
                    protocol: &protocol,
                    path: &path,
                    take: &mut take,
                });
                let texts = &mut batch.group.arena;
                let planned;
                (planned, key) = conversations.request(conversation, id, body, reading, texts);
                planned
            });
        if is_unparsed.is_none() && is_read && body_grant == BodyGrant::Granted && !body.is_empty()
        {
            // Too short or too long to be held, or not kept at all.
            let summary = caught(|| RequestSummary::parse(&protocol, &path, &body));
            let summary = summary.unwrap_or_default();
            is_unparsed = Some(!summary.is_complete);
            describe(&mut context, &summary, redactor.as_mut(), &mut adjustments);
        }
        if let Some(redactor) = redactor {
            adjustments.add(redactor.into_failed());
        }
        if is_unparsed == Some(true) {
            adjustments.flag(REQUEST_UNPARSED);
            batch.unparsed = batch.unparsed.saturating_add(1);
        }
        request_body.length = body_length;
        let (content, content_payload) =
            self.content(context.messages.as_ref(), body_grant, capture);
        {
            let mut notes = lifecycle.notes();
            notes.provider_name.clone_from(&context.provider_name);
            notes.request_model.clone_from(&context.request_model);
            notes.client_model.clone_from(&context.client_model);
            notes.conversation = key;
            notes.wire_protocol = can_be_read.then_some(protocol);
            notes.request_sha256 = match &payload {
                Some(payload) => Some(payload.sha256),
                None => body.is_empty().then(|| sha256(&[])),
            };
        }
        let (actor_type, actor_id) = match context.actor {
            Some(actor) => (Some(actor.kind), Some(actor.id)),
            None => (None, None),
        };
        let opened = Opened {
            request_id: lifecycle.request_id.clone(),
            started_at: context.started_at,
            conversation_id: context.conversation_id,
            context_id: context.context_id,
            session_id: context.session_id,
            user_id: context.user_id,
            trace_id: context.trace_id,
            actor_type,
            actor_id,
            operation_name: context.operation_name,
            provider_name: context.provider_name,
            client_model: context.client_model,
            request_model: context.request_model,
            wire_protocol: context.wire_protocol,
            is_streaming: context.is_streaming,
            max_tokens: context.max_tokens,
            temperature: context.temperature,
            top_p: context.top_p,
            attributes: context.attributes,
            request_body,
            content,
            adjusted_fields: adjustments.fields,
            body_flags: adjustments.body_flags,
            redaction_id,
        };
        batch.push(at, EventKind::Opened(Box::new(opened)));
        batch.push_payload(seq, Part::Body, payload);
        batch.push_payload(seq, Part::Content, content_payload);
        batch.hold(reservation, body_bytes);
        lifecycle.set_opened_seq(seq);
        batch.reached.push((lifecycle, Stage::OpenedCommitted));
    }

    fn served(command: ServedCommand, batch: &mut BatchBuilder) {
        let served = Served {
            request_id: command.lifecycle.request_id.clone(),
            opened_seq: command.lifecycle.opened_seq(),
            response_model: command.response_model,
            response_provider_name: command.response_provider_name,
        };
        batch.push(command.at, EventKind::Served(served));
        batch.hold(command.reservation, 0);
    }

    fn upstream_body(command: UpstreamBodyCommand, batch: &mut BatchBuilder) {
        batch.hold(command.reservation, u64::MAX);
        let digest = sha256(&command.body);
        let mut notes = command.lifecycle.notes();
        // The last word counts, and the same bytes as the client's say nothing.
        notes.upstream_body = if notes.request_sha256 == Some(digest) {
            None
        } else {
            let length = count(command.body.len());
            committed(length, digest, Kept::Digest, Content::Digest, None).1
        };
    }

    fn chunks(command: ChunksCommand, batch: &mut BatchBuilder) {
        batch.hold(command.reservation, u64::MAX);
        let mut notes = command.lifecycle.notes();
        let notes = &mut *notes;
        if let Some(protocol) = &notes.wire_protocol {
            let parser = notes
                .parser
                .get_or_insert_with(|| ResponseParser::new(protocol).without_texts());
            if feed(parser, &command.chunks).is_none() {
                // The bytes are kept all the same.
                notes.parser = None;
                notes.wire_protocol = None;
                notes.is_unreadable = true;
            }
        }
        let streamed = notes.streamed.get_or_insert_default();
        command.chunks.iter().for_each(|chunk| streamed.push(chunk));
        if command.keeps_pieces {
            notes.pieces = notes.pieces.max(1);
            batch.ends(Arc::clone(&command.lifecycle), streamed.clone());
        }
    }

    fn end(&mut self, command: EndCommand, batch: &mut BatchBuilder) {
        let EndCommand {
            lifecycle,
            at,
            mut ending,
            chunks,
            response_length,
            body_grant,
            content_grant,
            latency_us,
            upstream_latency_us,
            time_to_first_chunk_us,
            response_provider_name,
            capture,
            mut adjustments,
            redaction_id,
            span,
            reservation,
        } = command;
        let capture = capture.unwrap_or(self.capture);
        let seq = batch.next_seq();
        trip(
            "end",
            ending.response_id.as_deref().unwrap_or_default().as_bytes(),
        );
        let mut notes = std::mem::take(&mut *lifecycle.notes());
        if notes.pieces > 0 {
            batch.ended_pieces.push(lifecycle.opened_seq());
        }
        let protocol = notes
            .wire_protocol
            .take()
            .filter(|_| ending.parse_response != ParseResponse::No);
        let mut response = None;
        let (response_body, payload) = match (ending.response_body.take(), body_grant) {
            (_, BodyGrant::Shed) => (Some(shed(response_length)), None),
            (body, BodyGrant::Granted) => match (notes.streamed.take(), body, chunks.as_slice()) {
                (Some(streamed), None, chunks) => {
                    if let Some(mut parser) = notes.parser.take().filter(|_| protocol.is_some()) {
                        match feed(&mut parser, chunks) {
                            Some(()) => response = Some(Response::Streamed(Box::new(parser))),
                            None => notes.is_unreadable = true,
                        }
                    }
                    self.streamed_body(streamed, chunks, capture)
                }
                (_, None, []) => (None, None),
                (_, body, chunks) => {
                    let body = body.unwrap_or_else(|| joined(chunks));
                    response = protocol.map(|protocol| Response::Whole(protocol, body.clone()));
                    let request_id = payload_id(lifecycle.opened_seq(), Part::Body);
                    let key = notes.conversation.take();
                    let (fact, payload) =
                        self.body(&body, body_grant, capture, |conversations, body| {
                            let id = payload_id(seq, Part::Body);
                            let texts = &mut batch.group.arena;
                            conversations.response(key.as_ref(), request_id, id, body, texts)
                        });
                    (Some(fact), payload)
                }
            },
        };
        batch.push_payload(seq, Part::Body, payload);
        if notes.is_unreadable {
            adjustments.flag(RESPONSE_UNPARSED);
            batch.unparsed = batch.unparsed.saturating_add(1);
        }
        let tool_calls = ending
            .tool_calls
            .iter_mut()
            .map(|call| ToolCallFact {
                tool_call_id: std::mem::take(&mut call.tool_call_id),
                tool_name: std::mem::take(&mut call.tool_name),
                input_bytes: u64::try_from(call.input.len()).unwrap_or(u64::MAX),
            })
            .collect();
        let content = EndContent::new(
            ending.assistant_text,
            &mut ending.tool_calls,
            self.payload_bytes_max,
            &mut adjustments,
        );
        let (content, payload) = self.content(content.as_ref(), content_grant, capture);
        batch.push_payload(seq, Part::Content, payload);
        let upstream_body = notes.upstream_body.as_ref().map(|payload| BodyFact {
            length: payload.length,
            commitment: Some(payload.commitment()),
            kept: Kept::Digest,
            ..BodyFact::default()
        });
        batch.push_payload(seq, Part::UpstreamBody, notes.upstream_body.take());
        let provider_name = response_provider_name
            .clone()
            .or_else(|| notes.provider_name.take());
        let usage = ending.usage.unwrap_or_default();
        let mut timing = Timing {
            latency_us: ending.timing.latency_us.or(latency_us),
            upstream_latency_us: ending.timing.upstream_latency_us.or(upstream_latency_us),
            time_to_first_chunk_us: ending
                .timing
                .time_to_first_chunk_us
                .or(time_to_first_chunk_us),
        };
        let mut normaliser = Normaliser::default();
        normaliser.timing(&mut timing);
        adjustments.add(normaliser.into_adjustments());
        let event_index = batch.events.len();
        batch.ends.push(EndNote {
            event_index,
            span,
            provider_name,
            request_model: notes.request_model.take(),
            client_model: notes.client_model.take(),
            parse_response: ending.parse_response,
        });
        if let Some(response) = response {
            batch.group.responses.push((event_index, response));
        }
        let ended = Ended {
            kind: ending.kind,
            request_id: lifecycle.request_id.clone(),
            opened_seq: lifecycle.opened_seq(),
            store_opened_seq: None,
            response_model: ending.response_model,
            response_provider_name,
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
            // If the gateway does not know it: once the response is read.
            cost_microdollars: ending.cost_microdollars,
            latency_us: timing.latency_us,
            upstream_latency_us: timing.upstream_latency_us,
            time_to_first_chunk_us: timing.time_to_first_chunk_us,
            tool_calls,
            response_body,
            content,
            upstream_body,
            adjusted_fields: adjustments.fields,
            body_flags: adjustments.body_flags,
            redaction_id,
        };
        batch.push(at, EventKind::Ended(Box::new(ended)));
        batch.hold(reservation, body_grant.bytes(response_length));
        batch.reached.push((lifecycle, Stage::EndedCommitted));
    }

    /// A body in one piece; `plan` digests and plans one that is kept whole.
    fn body(
        &mut self,
        body: &Bytes,
        body_grant: BodyGrant,
        capture: Capture,
        plan: impl FnOnce(&mut DeltaPlanner, &Bytes) -> Planned,
    ) -> (BodyFact, Option<PayloadPlan>) {
        if body_grant == BodyGrant::Shed {
            return (shed(count(body.len())), None);
        }
        if body.is_empty() {
            return (BodyFact::default(), None);
        }
        let length = count(body.len());
        if capture == Capture::MetadataOnly {
            return committed(length, sha256(body), Kept::Digest, Content::Digest, None);
        }
        if body.len() > self.payload_bytes_max {
            return committed_excerpt(length, sha256(body), excerpt_of(body));
        }
        let Planned { sha256, delta } = plan(&mut self.conversations, body);
        let content = match delta {
            Some(delta) => Content::Delta(delta),
            // The body may be a small part of a large buffer, but for no longer than this batch.
            None => Content::Alone(body.clone()),
        };
        committed(length, sha256, Kept::Whole, content, None)
    }

    /// A response above the cap, of which all but `chunks` is digested already.
    fn streamed_body(
        &self,
        mut streamed: StreamedBody,
        chunks: &[Bytes],
        capture: Capture,
    ) -> (Option<BodyFact>, Option<PayloadPlan>) {
        for chunk in chunks {
            streamed.push(chunk);
        }
        let (length, digest, excerpt) = streamed.finish();
        let (fact, payload) = if capture == Capture::MetadataOnly {
            committed(length, digest, Kept::Digest, Content::Digest, None)
        } else {
            committed_excerpt(length, digest, excerpt)
        };
        (Some(fact), payload)
    }

    /// Content as JSON. Above the cap only its digest is kept: half a document says nothing.
    fn content<T: serde::Serialize>(
        &mut self,
        content: Option<&T>,
        body_grant: BodyGrant,
        capture: Capture,
    ) -> (Option<BodyFact>, Option<PayloadPlan>) {
        let Some(json) = content.and_then(|content| serde_json::to_vec(content).ok()) else {
            return (None, None);
        };
        let capture = if json.len() > self.payload_bytes_max {
            Capture::MetadataOnly
        } else {
            capture
        };
        let (fact, payload) =
            self.body(&Bytes::from(json), body_grant, capture, |_, body| Planned {
                sha256: sha256(body),
                delta: None,
            });
        (Some(fact), payload)
    }
}

/// Has the parser read on. `None`: it panicked, and is not to be used any more.
fn feed(parser: &mut ResponseParser, chunks: &[Bytes]) -> Option<()> {
    caught(|| {
        for chunk in chunks {
            trip("chunk", chunk);
            parser.feed(chunk);
        }
    })
}

/// Adds what the gateway does not say, within its bounds.
fn describe(
    context: &mut RequestContext,
    summary: &RequestSummary,
    redactor: Option<&mut SecretRedactor<'_>>,
    adjustments: &mut Adjustments,
) {
    let mut found = RequestContext::default();
    if let Some(model) = summary.model.as_deref().filter(|model| !model.is_empty()) {
        if context.request_model.is_none() {
            found.request_model = Some(model.to_owned());
        } else if context.client_model.is_none() && context.request_model.as_deref() != Some(model)
        {
            found.client_model = Some(model.to_owned());
        }
    }
    found.max_tokens = summary.max_tokens.filter(|_| context.max_tokens.is_none());
    found.temperature = summary
        .temperature
        .filter(|_| context.temperature.is_none());
    found.top_p = summary.top_p.filter(|_| context.top_p.is_none());
    if let Some(redactor) = redactor {
        redactor.context(&mut found);
    }
    let mut normaliser = Normaliser::default();
    normaliser.context(&mut found);
    adjustments.add(normaliser.into_adjustments());
    context.request_model = context.request_model.take().or(found.request_model);
    context.client_model = context.client_model.take().or(found.client_model);
    context.max_tokens = context.max_tokens.or(found.max_tokens);
    context.temperature = context.temperature.or(found.temperature);
    context.top_p = context.top_p.or(found.top_p);
    context.is_streaming |= summary.is_streaming;
}

/// Chunks in one piece.
fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [only] => only.clone(),
        several => Bytes::from(several.concat()),
    }
}
