//! Turns an opening into an `opened` event, and the plan of its body.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::BatchBuilder;
use super::bodies::deferred;
use super::prepare::{Keeping, Preparer, json_of};
use super::request_note::RequestNote;
use super::resume::ConversationName;
use crate::config::Capture;
use crate::db::{Part, payload_id};
use crate::log::{BodyFact, EventKind, Kept, Opened};
use crate::model::{
    Adjustments, Normaliser, REQUEST_UNPARSED, RequestContext, Timestamp, WireProtocol,
    stored_identifier,
};
use crate::payload::{Annotate, Domain, Key, Overlap, PayloadPlan, sha256};
use crate::sync::{caught, trip};
use crate::wire::{RequestSummary, executed_call};
use crate::writer::admission::capacity::BodyGrant;
use crate::writer::admission::command::OpenCommand;
use crate::writer::admission::lifecycle::{HeldRequest, Stage};
use crate::writer::admission::redactor::SecretRedactor;

/// A request's body, digested and planned.
struct PlannedRequest {
    body: BodyFact,
    payload: Option<PayloadPlan>,
    /// Its place among the conversations, for the response.
    key: Option<Key>,
}

impl Preparer {
    /// Parses what the gateway does not say, plans the body, notes what the end will need, and pushes the
    /// event: in this order, since parsing completes the event's fields and planning digests the body.
    pub(crate) fn open(
        &mut self,
        mut command: OpenCommand,
        redactor: Option<SecretRedactor<'_>>,
        batch: &mut BatchBuilder,
    ) {
        let user_id = command.context.user_id.as_deref().unwrap_or_default();
        trip("open", user_id.as_bytes());
        let path = command.context.url_path.take().unwrap_or_default();
        self.detect_protocol(&mut command, &path);
        let seq = batch.next_seq();
        let capture = command.context.capture.unwrap_or(self.capture);
        let mut request = self.plan_request(&mut command, &path, redactor, batch);
        command.context.url_path = recorded_path(path, &mut command.adjustments);
        let keeping = match capture {
            Capture::Full => Keeping::Alone,
            Capture::MetadataOnly => Keeping::Digest(Kept::Digest),
            Capture::Deferred => Keeping::Digest(Kept::Deferred),
        };
        let messages = json_of(command.context.messages.as_ref());
        let (content, content_payload) = messages
            .map(|json| self.content(json, command.body_grant, keeping))
            .unzip();
        let content_payload = content_payload.flatten();
        self.note_request(&command, &mut request);
        let user_id = command.context.user_id.as_deref().unwrap_or_default();
        trip("planned", user_id.as_bytes());
        let mut body_bytes = command.body_grant.bytes(command.body_length);
        if capture == Capture::Deferred {
            hold_request(&mut command, &mut request);
            // They are reserved until the end.
            body_bytes = 0;
        }
        let (at, reservation) = (command.at, command.reservation);
        let lifecycle = Arc::clone(&command.lifecycle);
        let opened = opened_event(command, request.body, content);
        batch.push(at, EventKind::Opened(Box::new(opened)));
        batch.push_payload(seq, Part::Body, request.payload);
        batch.push_payload(seq, Part::Content, content_payload);
        batch.hold(reservation, body_bytes);
        lifecycle.set_opened_seq(seq);
        batch.reached.push((lifecycle, Stage::OpenedCommitted));
    }

    /// Detects the protocol if the gateway does not name it.
    fn detect_protocol(&self, command: &mut OpenCommand, path: &str) {
        let protocol = &mut command.context.wire_protocol;
        if self.reads_bodies && *protocol == WireProtocol::Unknown && !path.is_empty() {
            *protocol = WireProtocol::detect(path, &command.body);
        }
    }

    /// Digests and plans the body, and parses it at most once for the parameters of the request.
    ///
    /// Usually the planner asks for that (`annotate`), because it knows how much of the body equals the one
    /// before in its conversation: the summary of that one is then reused, and only the new part is parsed. A
    /// body that the planner does not keep is parsed here afterwards.
    fn plan_request(
        &mut self,
        command: &mut OpenCommand,
        path: &str,
        mut redactor: Option<SecretRedactor<'_>>,
        batch: &mut BatchBuilder,
    ) -> PlannedRequest {
        let id = payload_id(batch.next_seq(), Part::Body);
        let capture = command.context.capture.unwrap_or(self.capture);
        let keeping = match capture {
            Capture::Full => Keeping::Planned,
            Capture::MetadataOnly => Keeping::Digest(Kept::Digest),
            // A base that the end may take away would be none.
            Capture::Deferred => Keeping::Alone,
        };
        let mut key_buffer = std::mem::take(&mut self.name);
        let name = conversation_name(&command.context);
        let conversation = name.map(|name| {
            Self::conversation_key(name, &mut key_buffer);
            key_buffer.as_str()
        });
        let domain = Domain::default();
        if keeping == Keeping::Planned
            && let (Some(name), Some(key), Some(resumer)) = (name, conversation, &mut self.resumer)
        {
            resumer.resume(&mut self.conversations, domain, key, name, &command.body);
        }
        let OpenCommand {
            context,
            body,
            body_length,
            body_grant,
            adjustments,
            ..
        } = command;
        let protocol = context.wire_protocol.clone();
        // A gateway that names the model has parsed the body already.
        let is_wanted = context.read_body.unwrap_or(context.request_model.is_none());
        let is_parsed = self.reads_bodies && protocol.is_supported() && is_wanted;
        let mut key = None;
        let mut is_unparsed = None;
        let body: &Bytes = body;
        let mut annotate = |before: Option<RequestNote>, overlap: Overlap| {
            let note = RequestNote::of(before, overlap, &protocol, path, body);
            let nothing = RequestSummary::default();
            let summary = note.as_ref().map_or(&nothing, RequestNote::summary);
            is_unparsed = Some(!summary.is_complete);
            describe(context, summary, redactor.as_mut(), adjustments);
            note
        };
        let arena = &mut batch.group.arena;
        let (mut fact, payload) = self.body(body, *body_grant, keeping, |conversations, body| {
            let annotate: Option<Annotate<'_, RequestNote>> =
                if is_parsed { Some(&mut annotate) } else { None };
            let planned;
            (planned, key) =
                conversations.request(Domain::default(), conversation, id, body, annotate, arena);
            planned
        });
        self.name = key_buffer;
        if is_unparsed.is_none()
            && is_parsed
            && *body_grant == BodyGrant::Granted
            && !body.is_empty()
        {
            // Not annotated: too short or too long for the planner's cache, or not captured.
            let summary = caught(|| RequestSummary::parse(&protocol, path, body));
            let summary = summary.unwrap_or_default();
            is_unparsed = Some(!summary.is_complete);
            describe(context, &summary, redactor.as_mut(), adjustments);
        }
        if let Some(redactor) = redactor {
            adjustments.add(redactor.into_failed());
        }
        if is_unparsed == Some(true) {
            adjustments.flag(REQUEST_UNPARSED);
            batch.unparsed = batch.unparsed.saturating_add(1);
        }
        // The length as it arrived, also of a body that was shed.
        fact.length = *body_length;
        PlannedRequest {
            body: fact,
            payload,
            key,
        }
    }

    /// Stores what the end will need in the lifecycle.
    fn note_request(&mut self, command: &OpenCommand, request: &mut PlannedRequest) {
        let OpenCommand { context, body, .. } = command;
        let protocol = &context.wire_protocol;
        let executed = match self.reads_bodies && command.body_grant == BodyGrant::Granted {
            true => caught(|| executed_call(protocol, body)).flatten(),
            false => None,
        };
        let mut notes = command.lifecycle.notes();
        notes.route = Some(self.routes.of(context));
        notes.conversation = request.key.take();
        notes.wire_protocol = self.reads_bodies.then(|| protocol.clone());
        notes.executed = executed.map(Box::new);
        notes.started_at = context.started_at;
        notes.request_sha256 = match &request.payload {
            Some(payload) => Some(payload.sha256),
            None => body.is_empty().then(|| sha256(&[])),
        };
    }

    /// The name of a request's conversation in the planner. The user is part of it, so that conversations of two
    /// users with one id stay apart. Identifiers hold no NUL.
    fn conversation_key(conversation: ConversationName<'_>, key: &mut String) {
        key.clear();
        key.push_str(conversation.user_id.unwrap_or_default());
        key.push('\0');
        key.push_str(conversation.id);
    }
}

/// What a request's conversation is called, if it has a name.
fn conversation_name(context: &RequestContext) -> Option<ConversationName<'_>> {
    let names = [
        &context.conversation_id,
        &context.context_id,
        &context.session_id,
    ];
    let id = names.into_iter().flatten().next()?;
    Some(ConversationName {
        user_id: context.user_id.as_deref(),
        id,
    })
}

/// Holds body and messages in memory until the end, which decides whether they are kept. The event and the file get
/// the digest only.
fn hold_request(command: &mut OpenCommand, request: &mut PlannedRequest) {
    let body = request.payload.take().map(|mut held| {
        let (stated, payload) = deferred(&request.body, &mut held);
        request.payload = Some(payload);
        (std::mem::replace(&mut request.body, stated), held)
    });
    let messages = command.context.messages.take();
    let messages = messages.filter(|_| command.body_grant == BodyGrant::Granted);
    if body.is_some() || messages.is_some() {
        command.lifecycle.notes().held = Some(Box::new(HeldRequest { body, messages }));
    }
}

/// The recorded form of a path: without its query, and a long one as its beginning and a digest.
fn recorded_path(mut path: String, adjustments: &mut Adjustments) -> Option<String> {
    path.truncate(path.find(['?', '#']).unwrap_or(path.len()));
    let bounded = match stored_identifier(&path) {
        Cow::Borrowed(_) => None,
        Cow::Owned(bounded) => Some(bounded),
    };
    if let Some(bounded) = bounded {
        adjustments.adjust("url_path");
        path = bounded;
    }
    (!path.is_empty()).then_some(path)
}

fn opened_event(command: OpenCommand, request_body: BodyFact, content: Option<BodyFact>) -> Opened {
    let OpenCommand {
        lifecycle,
        context,
        adjustments,
        redaction_id,
        ..
    } = command;
    let (actor_type, actor_id) = match context.actor {
        Some(actor) => (Some(actor.kind), Some(actor.id)),
        None => (None, None),
    };
    Opened {
        request_id: lifecycle.request_id.clone(),
        started_at: context.started_at.map(Timestamp::as_micros),
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
        content: content.map(Box::new),
        adjusted_fields: adjustments.fields,
        body_flags: adjustments.body_flags,
        redaction_id,
        url_path: context.url_path,
    }
}

/// Adds the parsed fields that the gateway did not set, within their bounds.
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
