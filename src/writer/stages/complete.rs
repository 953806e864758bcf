//! Completes ends: adds what the bytes of a response say, and the cost.
//!
//! Runs in the packer, not in the intake: parsing a response takes longer than everything that the intake does with
//! it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::log::{EndKind, Ended, Event, EventKind, ToolCallFact};
use crate::model::{
    CostSource, Failure, MessagePart, MessageToolCall, Normaliser, RESPONSE_GENERIC,
    RESPONSE_UNPARSED, Timestamp, ToolCall, Usage, UsageSource, WireProtocol,
};
use crate::pricing::{Cost, CostQuery, PriceBook};
use crate::sync::{caught, trip};
use crate::wire::{ParsedResponse, ResponseError, ResponseParser};
use crate::writer::admission::ending::ParseResponse;
use crate::writer::admission::queue::Shared;
use crate::writer::admission::redactor::SecretRedactor;
use crate::writer::commit::request::EndNote;
use crate::writer::stages::other_models;

/// Models without a price are warned of once each, up to this many.
const UNPRICED_MODELS_MAX: usize = 1024;

/// A response to parse.
#[derive(Debug)]
pub(crate) enum Response {
    Whole(WireProtocol, Bytes),
    /// Above the payload cap: parsed as it came.
    Streamed(Box<ResponseParser>),
    /// By the intake already: how the request ended decides what it keeps.
    Read(Box<ParsedResponse>),
}

impl Response {
    /// Parses it. After a panic, nothing is known of its content.
    pub(crate) fn read(self) -> ParsedResponse {
        let read = caught(|| match self {
            Self::Whole(protocol, body) => {
                trip("response", &body);
                let parser = ResponseParser::new(&protocol).without_texts();
                parsed(protocol.is_supported(), parser.parse_whole(&body))
            }
            Self::Streamed(parser) => parsed(parser.is_known(), parser.finish()),
            Self::Read(response) => *response,
        });
        read.unwrap_or_else(|| ParsedResponse {
            unparsed: 1,
            ..ParsedResponse::default()
        })
    }
}

/// What a protocol that is not known does not say is no fault of the body.
fn parsed(is_known: bool, mut response: ParsedResponse) -> ParsedResponse {
    if !is_known && !response.is_generic {
        response.unparsed = 0;
    }
    response
}

/// Completes the events of ends with what their responses say, and prices them. Belongs to the packer.
#[derive(Debug, Default)]
pub(crate) struct EndCompleter {
    /// The price book of the last end.
    price_book: Option<Arc<PriceBook>>,
    /// Models without a price that were warned of already.
    unpriced_models: HashSet<String>,
}

impl EndCompleter {
    /// Completes and prices the ends of one batch. `responses` are those that were parsed, in the order of
    /// their events. Returns how many of them could not be parsed in full.
    ///
    /// Parsing handles foreign bytes: a panic in it costs one event its details, never the batch.
    pub(crate) fn complete(
        &mut self,
        events: &mut [Event],
        ends: &[EndNote],
        responses: Vec<(usize, ParsedResponse)>,
        shared: &Shared,
    ) -> u64 {
        let mut unparsed = 0_u64;
        let mut responses = responses.into_iter().peekable();
        for note in ends {
            let is_its = |(index, _): &(usize, _)| *index == note.event_index;
            // Not every end has a response: the next one may belong to a later end.
            let response = responses.next_if(is_its).map(|(_, response)| response);
            let event = events.get_mut(note.event_index);
            let Some(Event {
                at,
                kind: EventKind::Ended(ended),
                ..
            }) = event
            else {
                continue;
            };
            let at = *at;
            if let Some(call) = &note.executed {
                let _ = caught(|| add_executed(ended, call, SecretRedactor::of(shared)));
            }
            let is_unparsed = match response {
                None => false,
                Some(response) => {
                    let is_unparsed = response.unparsed > 0;
                    let added = caught(|| {
                        let id = response.response_id.as_deref().unwrap_or_default();
                        trip("completer", id.as_bytes());
                        add_response(
                            ended,
                            note.parse_response,
                            response,
                            SecretRedactor::of(shared),
                        );
                    });
                    if added.is_none() {
                        ended.flag(RESPONSE_UNPARSED);
                    }
                    is_unparsed || added.is_none()
                }
            };
            unparsed = unparsed.saturating_add(u64::from(is_unparsed));
            if note.parse_response == ParseResponse::Yes
                && ended.kind == EndKind::Failed
                && ended.error_type.is_none()
            {
                let status = ended.http_status.filter(|status| *status >= 400);
                let status = status.map(|status| status.to_string());
                ended.error_type = Some(status.unwrap_or_else(|| "_OTHER".to_owned()));
            }
            other_models::state(ended, None);
            // Priced last, when usage and model are known. A panic leaves the cost empty.
            let _ = caught(|| self.price(ended, note, at));
            state_unknown(ended);
        }
        unparsed
    }

    /// A new book has other gaps, so warnings start again.
    fn take_prices(&mut self, book: &Arc<PriceBook>) {
        if self.price_book.as_ref().map(Arc::as_ptr) != Some(Arc::as_ptr(book)) {
            self.unpriced_models.clear();
            self.price_book = Some(Arc::clone(book));
        }
    }

    /// Decides the cost: the gateway's, else the one that the response states, else the one that the price book gives.
    fn price(&mut self, ended: &mut Ended, note: &EndNote, ended_at: i64) {
        if ended.cost_microdollars.is_some() {
            return;
        }
        let mut normaliser = Normaliser::default();
        let details = ended.usage_details.as_ref();
        let mut stated = details.and_then(|details| details.stated_cost_microdollars);
        normaliser.cost(&mut stated);
        let (mut computed, of_others) = self.compute(ended, note, ended_at).unzip();
        let unpriced = computed
            .as_mut()
            .map(|cost| std::mem::take(&mut cost.unpriced));
        let unpriced = unpriced.unwrap_or_default();
        let is_incomplete = !unpriced.is_empty();
        let mut computed = computed.map(|cost| cost.microdollars);
        normaliser.cost(&mut computed);
        if is_incomplete {
            ended.usage_details.get_or_insert_default().unpriced = unpriced;
        }
        if computed.is_some() {
            ended.price_book_seq = note.prices.as_ref().map(|stated| stated.seq);
        }
        if stated.is_some() {
            ended.cost_source = Some(CostSource::Stated);
            if let Some(details) = &mut ended.usage_details {
                details.computed_cost_microdollars = computed;
            }
        } else if computed.is_some() {
            other_models::state(ended, of_others.as_deref());
            ended.cost_source = Some(match ended.usage_source {
                Some(UsageSource::Partial) => CostSource::Partial,
                _ if is_incomplete => CostSource::Incomplete,
                _ => CostSource::Computed,
            });
        }
        ended.adjust(normaliser.into_adjustments());
        ended.cost_microdollars = stated.or(computed);
    }

    /// What the price book gives, and what of it is for the tokens of each other model.
    fn compute(
        &mut self,
        ended: &Ended,
        note: &EndNote,
        ended_at: i64,
    ) -> Option<(Cost, Vec<Option<u64>>)> {
        let stated = note.prices.as_ref()?;
        let details = ended.usage_details.as_deref();
        if !ended.has_usage() && details.is_none_or(|details| details.billed_units.is_empty()) {
            return None;
        }
        self.take_prices(&stated.book);
        let usage = Usage {
            input_tokens: ended.input_tokens,
            output_tokens: ended.output_tokens,
            cache_read_input_tokens: ended.cache_read_input_tokens,
            cache_write_input_tokens: ended.cache_write_input_tokens,
            reasoning_output_tokens: ended.reasoning_output_tokens,
            ..Usage::default()
        };
        let models = note.priced_models(ended, &stated.book);
        let provider_name = note.provider_name(ended);
        // A request that was recorded later ended when its beginning and its latency say.
        let at = match note.started_at {
            Some(started_at) => {
                started_at + Duration::from_micros(ended.latency_us.unwrap_or_default())
            }
            None => Timestamp::from_micros(ended_at),
        };
        let mut query = CostQuery::new(provider_name, &models, &usage).at(at);
        if let Some(details) = details {
            query = query.details(details);
        }
        let cost = stated.book.cost(&query);
        if cost.is_none() {
            let model = models.first().copied().unwrap_or_default();
            warn_unpriced(&mut self.unpriced_models, provider_name, model);
        }
        Some((cost?, other_models::costs(&stated.book, &query)))
    }
}

/// States what is not known, where something may be.
fn state_unknown(ended: &mut Ended) {
    if ended.lacks_usage() {
        ended.usage_source = Some(UsageSource::Absent);
    }
    if ended.cost_microdollars.is_none() && (ended.has_usage() || ended.lacks_usage()) {
        ended.cost_source = Some(CostSource::Unknown);
    }
}

/// How a request ended, by what is told and what its response says.
pub(crate) fn outcome(
    told: EndKind,
    parse_response: ParseResponse,
    http_status: Option<u16>,
    response: &ParsedResponse,
) -> EndKind {
    let is_whole = !response.is_broken_off && response.error.is_none();
    let is_error_status = http_status.is_some_and(|status| status >= 400);
    let has_signalled_end = is_whole && response.is_streamed && !response.is_foreign;
    match told {
        _ if parse_response != ParseResponse::Yes => told,
        EndKind::Completed if !is_whole => EndKind::Failed,
        // Clients hang up once a stream has signalled its end, often before its last bytes.
        EndKind::Abandoned if has_signalled_end && !is_error_status => EndKind::Completed,
        _ => told,
    }
}

/// Adds from the response what the end does not say. What the gateway said always wins.
///
/// First the outcome is decided, where the end leaves that to the response. Then the fields are collected in
/// `found`, which passes through redaction and bounds like any failure that a gateway reports, and last they
/// fill what is still empty.
fn add_response(
    ended: &mut Ended,
    parse_response: ParseResponse,
    response: ParsedResponse,
    redactor: Option<SecretRedactor<'_>>,
) {
    if response.unparsed > 0 {
        ended.flag(RESPONSE_UNPARSED);
    }
    if response.is_generic {
        ended.flag(RESPONSE_GENERIC);
    }
    ended.kind = outcome(ended.kind, parse_response, ended.http_status, &response);
    let is_error_status = ended.http_status.is_some_and(|status| status >= 400);
    let is_partial = response.is_usage_partial;
    let mut found = Failure::new("");
    let mut input_bytes = Vec::new();
    for part in response
        .messages
        .into_iter()
        .flat_map(|message| message.parts)
    {
        if let MessagePart::ToolCall(call) = part {
            input_bytes.push(u64::try_from(call.input.len()).unwrap_or(u64::MAX));
            // The input itself stays in the body.
            let call = ToolCall::new(call.tool_call_id, call.tool_name, "");
            found.tool_calls.push(call);
        }
    }
    if ended.kind == EndKind::Failed {
        (found.error_type, found.error_message) = match response.error {
            Some(error) => error_of(error),
            None if response.is_broken_off && !is_error_status && ended.error_type.is_none() => {
                let message = "the response ended before its own end".to_owned();
                ("incomplete_stream".to_owned(), Some(message))
            }
            None => (String::new(), None),
        };
        // Only what will be used is checked below.
        found.error_message = found
            .error_message
            .filter(|_| ended.error_message.is_none());
    }
    found.usage_details = response.usage_details;
    if ended.has_usage() {
        // The gateway's counts are the ones that count: parts of the response's would be parts of something else.
        let told = (ended.input_tokens, ended.output_tokens);
        let read = response
            .usage
            .map(|usage| (usage.input_tokens, usage.output_tokens));
        if read != Some(told) {
            found.usage_details = found
                .usage_details
                .and_then(|details| details.without_counts());
        }
    } else {
        found.usage = response.usage;
    }
    found.finish_reasons = response.finish_reasons;
    found.response_id = response.response_id;
    found.response_model = response.response_model;
    // The body was redacted as bytes; parsing may decode a secret that an escape had hidden there.
    if let Some(mut redactor) = redactor {
        redactor.failure(&mut found);
        ended.adjust(redactor.into_failed());
    }
    let mut normaliser = Normaliser::default();
    let is_named = !found.error_type.is_empty();
    normaliser.failure(&mut found);
    ended.adjust(normaliser.into_adjustments());

    if is_named && ended.error_type.is_none() {
        ended.error_type = Some(found.error_type);
    }
    ended.error_message = ended.error_message.take().or(found.error_message);
    if let Some(usage) = found.usage {
        ended.usage_source = Some(match is_partial {
            true => UsageSource::Partial,
            false => UsageSource::Reported,
        });
        ended.input_tokens = usage.input_tokens;
        ended.output_tokens = usage.output_tokens;
        ended.cache_read_input_tokens = usage.cache_read_input_tokens;
        ended.cache_write_input_tokens = usage.cache_write_input_tokens;
        ended.reasoning_output_tokens = usage.reasoning_output_tokens;
    }
    ended.usage_details = ended.usage_details.take().or(found.usage_details);
    if ended.finish_reasons.is_empty() {
        ended.finish_reasons = found.finish_reasons;
    }
    if ended.tool_calls.is_empty() {
        ended.tool_calls = found
            .tool_calls
            .into_iter()
            .zip(input_bytes)
            .map(|(call, input_bytes)| ToolCallFact {
                input_bytes,
                tool_call_id: call.tool_call_id,
                tool_name: call.tool_name,
            })
            .collect();
    }
    ended.response_id = ended.response_id.take().or(found.response_id);
    ended.response_model = ended.response_model.take().or(found.response_model);
}

/// Adds the call that the request asked to execute. Its input stays in the request's body.
fn add_executed(ended: &mut Ended, call: &MessageToolCall, redactor: Option<SecretRedactor<'_>>) {
    if !ended.tool_calls.is_empty() {
        return;
    }
    let mut found = Failure::new("");
    let named = ToolCall::new(&call.tool_call_id, &call.tool_name, "");
    found.tool_calls.push(named);
    if let Some(mut redactor) = redactor {
        redactor.failure(&mut found);
        ended.adjust(redactor.into_failed());
    }
    let mut normaliser = Normaliser::default();
    normaliser.failure(&mut found);
    ended.adjust(normaliser.into_adjustments());
    let input_bytes = u64::try_from(call.input.len()).unwrap_or(u64::MAX);
    let facts = found.tool_calls.into_iter().map(|call| ToolCallFact {
        input_bytes,
        tool_call_id: call.tool_call_id,
        tool_name: call.tool_name,
    });
    ended.tool_calls = facts.collect();
}

/// A name of low cardinality, and the message. A code says more than a type, unless it is a number.
fn error_of(error: ResponseError) -> (String, Option<String>) {
    let is_name = |code: &String| code.parse::<f64>().is_err();
    let named = error.code.clone().filter(is_name);
    let kind = named.or(error.error_type).or(error.code);
    (kind.unwrap_or_default(), error.message)
}

fn warn_unpriced(known: &mut HashSet<String>, provider_name: Option<&str>, model: &str) {
    if known.len() < UNPRICED_MODELS_MAX && !known.contains(model) {
        known.insert(model.to_owned());
        tracing::warn!(
            target: "auditlite",
            provider_name,
            model,
            "the price book has no price for this model; its requests are recorded without a cost"
        );
    }
}
