//! The gateway around the subjects: two request threads, each with conversations of its own.
//!
//! Each thread keeps several conversations going and takes one request of each in turn; within a
//! conversation the order is that of the traffic. When a thread is through, it starts over with
//! other conversation ids.
//!
//! Bodies are in memory before the clock starts, and handed over as they are: what a gateway pays to
//! have them is its own. For memory there is a run in which every lifecycle brings a copy of its own,
//! as from a socket, so that all that is queued takes the memory that it would in a gateway.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use auditlite::{Completion, ParsedResponse, RequestContext, Timing, Usage};
use bytes::Bytes;

use super::common::traffic::Exchange;
use super::rounds::{Plan, Rounds};

pub(crate) const PRODUCERS: usize = 2;
/// Users among whom the conversations are spread.
const USERS: usize = 50;
/// One request as the gateway has it in hands: everything that is recorded, bodies of its own.
pub(crate) struct Lifecycle {
    /// For the subjects that do not make ids themselves.
    pub(crate) request_id: String,
    pub(crate) context: RequestContext,
    pub(crate) request: Bytes,
    pub(crate) completion: Completion,
    /// What the response says, for the subject that is told everything.
    pub(crate) said: Arc<ParsedResponse>,
    /// Whether the bodies are JSON on one line.
    pub(crate) request_is_json: bool,
    pub(crate) response_is_json: bool,
}

impl Lifecycle {
    pub(crate) fn response(&self) -> &Bytes {
        self.completion.response_body.as_ref().unwrap()
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.request.len() + self.response().len()
    }

    pub(crate) fn usage(&self) -> Usage {
        self.completion.usage.unwrap()
    }

    pub(crate) fn latency_us(&self) -> u64 {
        self.completion
            .timing
            .and_then(|timing| timing.latency_us)
            .unwrap()
    }
}

/// What the producers hand over, and for how long.
pub(crate) struct Traffic<'t> {
    pub(crate) conversations: Vec<Conversation<'t>>,
    /// Many different conversations in place of the recorded ones.
    pub(crate) rounds: Option<Plan>,
    /// Conversations that a producer has going at once.
    pub(crate) in_flight: usize,
    pub(crate) bodies: Bodies,
    pub(crate) duration: Duration,
}

/// Whose bodies are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// The traffic's own.
    Shared,
    /// A copy for each lifecycle.
    Own,
}

pub(crate) struct Conversation<'t> {
    pub(crate) id: &'t str,
    pub(crate) user_id: String,
    pub(crate) turns: Vec<&'t Exchange>,
}

/// What a request thread's traffic is.
pub(crate) enum Source<'t> {
    Recorded(Producer<'t>),
    Rounds(Rounds<'t>),
}

impl<'t> Source<'t> {
    pub(crate) fn new(traffic: &'t Traffic<'t>, index: usize) -> Self {
        match traffic.rounds {
            Some(plan) => Self::Rounds(Rounds::new(&traffic.conversations, plan, index)),
            None => Self::Recorded(Producer::new(traffic, index)),
        }
    }

    /// Whether a run may end here.
    pub(crate) fn may_end(&self) -> bool {
        match self {
            Self::Recorded(_) => true,
            Self::Rounds(rounds) => rounds.is_between(),
        }
    }
}

impl Iterator for Source<'_> {
    type Item = Lifecycle;

    fn next(&mut self) -> Option<Lifecycle> {
        match self {
            Self::Recorded(producer) => producer.next(),
            Self::Rounds(rounds) => rounds.next(),
        }
    }
}

/// What differs between two times that the same exchange is handed over.
pub(crate) struct Facts {
    pub(crate) conversation_id: String,
    pub(crate) user_id: String,
    pub(crate) request: Bytes,
    pub(crate) response: Bytes,
}

/// The exchange as the gateway has it in hands, with times and usage made up.
pub(crate) fn lifecycle(exchange: &Exchange, facts: Facts, noise: &mut u64) -> Lifecycle {
    *noise ^= *noise << 13;
    *noise ^= *noise >> 7;
    *noise ^= *noise << 17;
    let upstream_us = exchange.response.len() as u64 * 2_000 + *noise % 400_000;
    let timing = Timing::default()
        .latency_us(upstream_us + 300 + *noise % 700)
        .upstream_latency_us(upstream_us);
    let input_tokens = exchange.request.len() as u64 / 4;
    let usage = Usage::new(input_tokens, exchange.response.len() as u64 / 4)
        .cache_read_input_tokens(input_tokens * 9 / 10);
    Lifecycle {
        request_id: uuid::Uuid::now_v7().to_string(),
        context: RequestContext::new(exchange.wire.as_str())
            .user_id(facts.user_id)
            .conversation_id(facts.conversation_id)
            .provider_name("openai")
            .request_model(exchange.model.as_str()),
        request: facts.request,
        completion: Completion::new()
            .response_body(facts.response)
            .usage(usage)
            .finish_reason("stop")
            .http_status(200)
            .timing(timing),
        said: Arc::clone(&exchange.said),
        request_is_json: exchange.request_is_json,
        response_is_json: exchange.response_is_json,
    }
}

/// The traffic's conversations, in order of their first request.
pub(crate) fn conversations(exchanges: &[Exchange]) -> Vec<Conversation<'_>> {
    let mut places = HashMap::new();
    let mut conversations: Vec<Conversation<'_>> = Vec::new();
    for exchange in exchanges {
        let place = match places.entry(exchange.conversation.as_str()) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                conversations.push(Conversation {
                    id: &exchange.conversation,
                    user_id: format!("user-{}", conversations.len() % USERS),
                    turns: Vec::new(),
                });
                *place.insert(conversations.len() - 1)
            }
        };
        conversations[place].turns.push(exchange);
    }
    conversations
}

/// One request thread's endless traffic.
pub(crate) struct Producer<'t> {
    conversations: Vec<&'t Conversation<'t>>,
    /// The conversation that is begun next, and how often all were through.
    next: usize,
    pass: usize,
    in_flight: Vec<Place>,
    bodies: Bodies,
    turn: usize,
    noise: u64,
}

/// How far a conversation is.
#[derive(Clone, Copy)]
struct Place {
    conversation: usize,
    pass: usize,
    turn: usize,
}

impl<'t> Producer<'t> {
    /// Conversations are dealt out in turn, whole.
    pub(crate) fn new(traffic: &'t Traffic<'t>, index: usize) -> Self {
        let own = traffic.conversations.iter().skip(index).step_by(PRODUCERS);
        let mut producer = Self {
            conversations: own.collect(),
            next: 0,
            pass: 0,
            in_flight: Vec::new(),
            bodies: traffic.bodies,
            turn: 0,
            noise: 0x9E37_79B9_7F4A_7C15 + index as u64,
        };
        let slots = traffic.in_flight.min(producer.conversations.len());
        for slot in 0..slots {
            let mut place = producer.begin();
            // The first ones are met under way, each further on than the one before: at the start
            // of a conversation requests are short, and a slow subject would see no others.
            place.turn = producer.conversations[place.conversation].turns.len() * slot / slots;
            producer.in_flight.push(place);
        }
        producer
    }

    fn begin(&mut self) -> Place {
        if self.next == self.conversations.len() {
            self.next = 0;
            self.pass += 1;
        }
        self.next += 1;
        Place {
            conversation: self.next - 1,
            pass: self.pass,
            turn: 0,
        }
    }

    fn lifecycle(&mut self, place: Place) -> Lifecycle {
        let conversation = self.conversations[place.conversation];
        let exchange = conversation.turns[place.turn];
        let (pass, id) = (place.pass, conversation.id);
        let body = |bytes: &Bytes| match self.bodies {
            Bodies::Shared => bytes.clone(),
            Bodies::Own => Bytes::copy_from_slice(bytes),
        };
        let facts = Facts {
            conversation_id: if pass == 0 {
                id.to_owned()
            } else {
                format!("{id}#{pass}")
            },
            user_id: conversation.user_id.clone(),
            request: body(&exchange.request),
            response: body(&exchange.response),
        };
        lifecycle(exchange, facts, &mut self.noise)
    }
}

impl Iterator for Producer<'_> {
    type Item = Lifecycle;

    fn next(&mut self) -> Option<Lifecycle> {
        let slots = self.in_flight.len();
        let slot = self.turn.checked_rem(slots)?;
        self.turn += 1;
        let place = self.in_flight[slot];
        let lifecycle = self.lifecycle(place);
        let is_last = place.turn + 1 == self.conversations[place.conversation].turns.len();
        self.in_flight[slot] = if is_last {
            self.begin()
        } else {
            Place {
                turn: place.turn + 1,
                ..place
            }
        };
        Some(lifecycle)
    }
}
