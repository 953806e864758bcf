//! Many conversations at the same time: `--conversations N --turns T`.
//!
//! N different conversations are going, and take one turn each in turn, T turns; then N others begin. A
//! recorded conversation serves several times, each time with another beginning, so that no two share what
//! they begin with, and T turns from its end. The run ends after whole conversations, however short its
//! time is: the first turn of a conversation costs more than those that follow.
//!
//! A body with another beginning has to be made. How long that takes is measured before, without a
//! subject, and taken off the processor time. Bodies are kept for a while there as in a subject's queue: memory
//! that was free for long is no longer in the processor's caches.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::common::processor;
use super::gateway::{Conversation, Facts, Lifecycle, PRODUCERS, lifecycle};

/// The number of the first conversation that the file holds before a measurement.
const PAST_NUMBER: usize = 1 << 40;
/// Making bodies is measured for so long: processor time has steps of 10 ms.
const MAKING: Duration = Duration::from_millis(500);
/// Bytes of made bodies that are kept, by each thread.
const MADE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many conversations are going, and how many turns each has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) conversations: usize,
    pub(crate) turns: usize,
}

/// One request thread's endless traffic.
pub(crate) struct Rounds<'t> {
    recorded: Vec<&'t Conversation<'t>>,
    plan: Plan,
    producer: usize,
    /// Conversations that this thread has going.
    slots: usize,
    first_number: usize,
    generation: usize,
    turn: usize,
    slot: usize,
    noise: u64,
}

impl<'t> Rounds<'t> {
    pub(crate) fn new(conversations: &'t [Conversation<'t>], plan: Plan, producer: usize) -> Self {
        let recorded: Vec<_> = conversations
            .iter()
            .filter(|conversation| conversation.turns.len() >= plan.turns)
            .collect();
        assert!(
            !recorded.is_empty(),
            "no conversation of the traffic has {} turns",
            plan.turns
        );
        Self {
            recorded,
            plan,
            producer,
            slots: (plan.conversations + PRODUCERS - 1 - producer) / PRODUCERS,
            first_number: 0,
            generation: 0,
            turn: 0,
            slot: 0,
            noise: 0x9E37_79B9_7F4A_7C15 + producer as u64,
        }
    }

    /// One turn of each of so many conversations that are none of those.
    pub(crate) fn past(
        conversations: &'t [Conversation<'t>],
        count: usize,
        producer: usize,
    ) -> impl Iterator<Item = Lifecycle> + 't {
        let plan = Plan {
            conversations: count,
            turns: 1,
        };
        let mut rounds = Self::new(conversations, plan, producer);
        rounds.first_number = PAST_NUMBER;
        let slots = rounds.slots;
        rounds.take(slots)
    }

    /// Whether all conversations have ended that have begun.
    pub(crate) fn is_between(&self) -> bool {
        self.turn == 0 && self.slot == 0
    }
}

impl Iterator for Rounds<'_> {
    type Item = Lifecycle;

    fn next(&mut self) -> Option<Lifecycle> {
        if self.slots == 0 {
            return None;
        }
        let number = self.first_number
            + self.generation * self.plan.conversations
            + self.slot * PRODUCERS
            + self.producer;
        let conversation = self.recorded[number % self.recorded.len()];
        let first = conversation.turns.len() - self.plan.turns;
        let exchange = conversation.turns[first + self.turn];
        let facts = Facts {
            conversation_id: format!("{}#{number}", conversation.id),
            user_id: conversation.user_id.clone(),
            request: exchange.request_of(number),
            response: Bytes::copy_from_slice(&exchange.response),
        };
        let lifecycle = lifecycle(exchange, facts, &mut self.noise);
        self.slot += 1;
        if self.slot == self.slots {
            self.slot = 0;
            self.turn += 1;
        }
        if self.turn == self.plan.turns {
            self.turn = 0;
            self.generation += 1;
        }
        Some(lifecycle)
    }
}

/// Seconds of processor time that making one lifecycle takes.
pub(crate) fn making_seconds(conversations: &[Conversation<'_>], plan: Plan) -> Option<f64> {
    let before = processor::seconds()?;
    let begun = Instant::now();
    let made: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                scope.spawn(move || {
                    let rounds = Rounds::new(conversations, plan, producer);
                    let mut kept = VecDeque::new();
                    let (mut kept_bytes, mut count) = (0, 0);
                    for made in rounds.take_while(|_| begun.elapsed() < MAKING) {
                        count += 1;
                        kept_bytes += made.body_bytes();
                        kept.push_back(std::hint::black_box(made));
                        while kept_bytes > MADE_BYTES_MAX
                            && let Some(oldest) = kept.pop_front()
                        {
                            kept_bytes -= oldest.body_bytes();
                        }
                    }
                    count
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    Some((processor::seconds()? - before) / f64::from(made))
}
