//! Going on with a conversation that is no longer followed, or was recorded before the store was opened: its
//! last bodies are read back from the file, so that the next one need not be stored once more.

use std::time::Duration;

use super::request_note::RequestNote;
use crate::db::{Connection, stop_after};
use crate::error::ReadError;
use crate::payload::{DeltaPlanner, Domain};
use crate::read::last_turn::last_turn;
use crate::read::payloads::PayloadCache;
use crate::sync::{Instant, caught};

/// A shorter body costs less to store once more than to look for.
const BODY_BYTES_MIN: usize = 4 * 1024;
/// Of the time since the store was opened, at most this part is spent on reading.
const TIME_PART: u32 = 10;
/// So much of it is there from the start: after a restart many conversations go on at the same time.
const TIME_AT_ONCE: Duration = Duration::from_secs(2);

/// The longest that one read may take, of a file that was made to be slow.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// Reads conversations back. Belongs to the intake's thread.
#[derive(Debug)]
pub(crate) struct Resumer {
    connection: Connection,
    payloads: PayloadCache,
    /// Whether the file had requests when it was opened.
    has_past: bool,
    allowance: Allowance,
}

/// How a conversation is called in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConversationName<'n> {
    pub(crate) user_id: Option<&'n str>,
    pub(crate) id: &'n str,
}

impl Resumer {
    pub(crate) fn new(connection: Connection, has_past: bool) -> Self {
        Self {
            connection,
            payloads: PayloadCache::default(),
            has_past,
            allowance: Allowance::new(Instant::now()),
        }
    }

    /// For other reads of the intake.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Has the planner follow the conversation that a body probably continues, if it does not, and if there is
    /// time to look for it.
    pub(crate) fn resume(
        &mut self,
        planner: &mut DeltaPlanner<RequestNote>,
        domain: Domain,
        key: &str,
        name: ConversationName<'_>,
        body: &[u8],
    ) {
        let is_wanted = body.len() >= BODY_BYTES_MIN
            && (self.has_past || planner.has_let_go())
            && !planner.is_followed(domain, key);
        if !is_wanted {
            return;
        }
        let begun = Instant::now();
        if !self.allowance.is_left(begun) {
            return;
        }
        let found = caught(|| {
            stop_after(&self.connection, READ_TIMEOUT)
                .map_err(ReadError::from)
                .and_then(|()| {
                    let (user_id, id) = (name.user_id, name.id);
                    last_turn(&self.connection, &mut self.payloads, user_id, id)
                })
        });
        self.allowance.spend(begun.elapsed());
        match found {
            Some(Ok(Some(resumed))) => planner.resume(domain, key, resumed),
            Some(Ok(None)) => {}
            // It is stored once more, which loses nothing.
            Some(Err(error)) => {
                tracing::debug!(target: "auditlite", %error, "the last bodies of a conversation cannot be read; the next is stored on its own");
            }
            None => self.payloads = PayloadCache::default(),
        }
    }
}

/// How much time may be spent: a part of the time that passes, and not more at once than at the start.
#[derive(Debug)]
struct Allowance {
    /// Below zero: the last read took longer than what was left.
    left_us: i64,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left_us: micros(TIME_AT_ONCE),
            since: now,
        }
    }

    fn is_left(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since) / TIME_PART;
        self.since = now;
        let left = self.left_us.saturating_add(micros(earned));
        self.left_us = left.min(micros(TIME_AT_ONCE));
        self.left_us > 0
    }

    fn spend(&mut self, time: Duration) {
        self.left_us = self.left_us.saturating_sub(micros(time));
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_time_is_spent_on_reading() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(now);
        let mut spent = Duration::ZERO;
        let read = Duration::from_millis(5);
        for _ in 0..100_000 {
            now += Duration::from_millis(1);
            if allowance.is_left(now) {
                allowance.spend(read);
                spent += read;
            }
        }
        let passed = Duration::from_secs(100);
        assert!(spent <= TIME_AT_ONCE + passed / TIME_PART + read);
        assert!(spent >= passed / TIME_PART);
    }
}
