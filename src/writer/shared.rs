//! What request threads, the owner and the writer share: admission, and nothing that waits for
//! the disk.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::capacity::{Capacity, Reservation};
use super::command::Command;
use super::commits::Commits;
use super::health::{Health, HealthState, Vitals};
use super::losses::{Loss, Losses};
use crate::clock::now_micros;
use crate::config::{Config, Overflow};
use crate::error::RecordError;

/// Channel slots beyond the capacity's events, for flushes, wakes and the close.
const CONTROL_SLOTS: usize = 256;

const RUNNING: u8 = 0;
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;
const STOPPED: u8 = 3;

/// Whether there was room for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyRoom {
    Kept,
    Shed,
}

/// What an opening was given.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Its own event, its end's event and its bytes are reserved.
    Admitted(Reservation, BodyRoom),
    /// There is no room even for its metadata. Counted as lost.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) payload_cap_bytes: usize,
    overflow: Overflow,
    pub(crate) capacity: Capacity,
    pub(crate) losses: Losses,
    pub(crate) vitals: Vitals,
    pub(crate) commits: Commits,
    sender: Sender<Command>,
    state: AtomicU8,
    stop_reason: OnceLock<String>,
    writer: OnceLock<Thread>,
    /// Openings that began and that were through; equal when none is on its way.
    openings_begun: AtomicU64,
    openings_done: AtomicU64,
}

impl Shared {
    pub(crate) fn new(config: &Config) -> (Self, Receiver<Command>) {
        let (sender, receiver) = bounded(config.capacity_events.saturating_add(CONTROL_SLOTS));
        let shared = Self {
            payload_cap_bytes: config.payload_cap_bytes,
            overflow: config.overflow,
            capacity: Capacity::new(config.capacity_events, config.capacity_bytes),
            losses: Losses::default(),
            vitals: Vitals::default(),
            commits: Commits::default(),
            sender,
            state: AtomicU8::new(RUNNING),
            stop_reason: OnceLock::new(),
            writer: OnceLock::new(),
            openings_begun: AtomicU64::new(0),
            openings_done: AtomicU64::new(0),
        };
        (shared, receiver)
    }

    /// Runs one opening, so that a close can wait for those that are on their way.
    pub(crate) fn open<T>(
        &self,
        opening: impl FnOnce() -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        self.openings_begun.fetch_add(1, Ordering::SeqCst);
        let result = match self.refusal() {
            Some(refusal) => Err(refusal),
            None => opening(),
        };
        if result.is_err() {
            // Not submitted: the gateway was told.
            self.openings_begun.fetch_sub(1, Ordering::SeqCst);
        } else {
            self.openings_done.fetch_add(1, Ordering::SeqCst);
        }
        result
    }

    /// Lifecycles that were submitted: stored, to be stored, or counted as lost.
    pub(crate) fn lifecycles_submitted(&self) -> u64 {
        self.openings_done.load(Ordering::SeqCst)
    }

    /// Reserves what an opening needs, for its end too.
    pub(crate) fn admit(
        &self,
        metadata_bytes: usize,
        body_bytes: usize,
        at: i64,
    ) -> Result<Admission, RecordError> {
        let wanted = Reservation::new(2, metadata_bytes.saturating_add(body_bytes));
        if self.reserve(wanted) {
            return Ok(Admission::Admitted(wanted, BodyRoom::Kept));
        }
        if self.overflow == Overflow::Strict {
            return Err(RecordError::Full);
        }
        if let Some(refusal) = self.refusal() {
            return Err(refusal); // closed while it waited for room
        }
        let wanted = Reservation::new(2, metadata_bytes);
        if self.capacity.try_reserve(wanted) {
            if body_bytes > 0 {
                self.count_loss(Loss::Payload, at);
            }
            return Ok(Admission::Admitted(wanted, BodyRoom::Shed));
        }
        self.count_loss(Loss::Lifecycle, at);
        Ok(Admission::Lost)
    }

    /// Reserves, waiting where the store is set to.
    pub(crate) fn reserve(&self, wanted: Reservation) -> bool {
        if self.capacity.try_reserve(wanted) {
            return true;
        }
        match self.overflow {
            Overflow::Shed | Overflow::Strict => false,
            Overflow::Wait(timeout) => {
                let now = Instant::now();
                let deadline = now.checked_add(timeout).unwrap_or_else(|| {
                    // Longer than the clock can count: a year stands for it.
                    now + Duration::from_secs(365 * 24 * 3600)
                });
                self.capacity
                    .reserve_until(wanted, deadline, || !self.is_running())
            }
        }
    }

    pub(crate) fn count_loss(&self, loss: Loss, at: i64) {
        if self.losses.count(loss, at) {
            // The writer may be asleep. Where the channel is full it is not.
            let _ = self.sender.try_send(Command::Wake);
        }
    }

    /// Hands a command to the writer. Never waits: its place was reserved.
    pub(crate) fn submit(&self, command: Command) -> Result<(), RecordError> {
        match self.sender.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => {
                Err(self.refusal().unwrap_or(RecordError::Closed))
            }
            Err(TrySendError::Full(_)) => {
                tracing::error!("the channel to the writer is full though its place was reserved");
                self.count_loss(Loss::Notice, now_micros());
                Err(RecordError::Full)
            }
        }
    }

    /// Hands a control command to the writer, waiting for a slot until the timeout.
    pub(crate) fn submit_control(&self, command: Command, timeout: Duration) -> bool {
        let is_sent = self.sender.send_timeout(command, timeout).is_ok();
        self.hurry();
        is_sent
    }

    pub(crate) fn set_writer(&self, thread: Thread) {
        let _ = self.writer.set(thread);
    }

    /// Somebody waits for a commit: the writer is to look for work now.
    pub(crate) fn hurry(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Events on their way to the disk; ends that open requests have reserved are not among them.
    pub(crate) fn queued_events(&self) -> u64 {
        u64::try_from(self.sender.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state.load(Ordering::SeqCst) == RUNNING
    }

    /// Why nothing is taken in any more, where that is so.
    pub(crate) fn refusal(&self) -> Option<RecordError> {
        match self.state.load(Ordering::SeqCst) {
            RUNNING => None,
            CLOSING | CLOSED => Some(RecordError::Closed),
            _ => Some(RecordError::WriterStopped(
                self.stop_reason.get().cloned().unwrap_or_default(),
            )),
        }
    }

    /// Whether the writer is gone: what waits for a commit waits in vain.
    pub(crate) fn is_over(&self) -> bool {
        self.state.load(Ordering::SeqCst) >= CLOSED
    }

    /// Ends admission, and waits for openings that are on their way. `false`: it had ended before.
    pub(crate) fn begin_closing(&self, deadline: Instant) -> bool {
        let is_first = self
            .state
            .compare_exchange(RUNNING, CLOSING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        while self.openings_begun.load(Ordering::SeqCst)
            != self.openings_done.load(Ordering::SeqCst)
            && Instant::now() < deadline
        {
            // An opening takes microseconds, or its share of a wait that has just been called off.
            std::thread::sleep(Duration::from_micros(50));
        }
        is_first
    }

    pub(crate) fn set_closed(&self) {
        self.state.store(CLOSED, Ordering::SeqCst);
        self.vitals.fail("the store was closed".to_owned());
        self.commits.announce();
    }

    /// Latches: later calls return an error at once.
    pub(crate) fn set_stopped(&self, reason: String) {
        if !self.is_over() {
            let _ = self.stop_reason.set(reason.clone());
            self.state.store(STOPPED, Ordering::SeqCst);
            self.vitals.fail(reason);
        }
        self.commits.announce();
    }

    pub(crate) fn health(&self) -> Health {
        let (queued_events, queued_bytes) = self.capacity.used();
        let vitals = &self.vitals;
        let state = vitals.state();
        Health {
            state,
            problem: match state {
                HealthState::Healthy => None,
                _ => vitals.problem(),
            },
            committed_events: vitals.committed_events.load(Ordering::Relaxed),
            shed_lifecycles: self.losses.lifecycles(),
            shed_payloads: self.losses.payloads(),
            queued_events,
            queued_bytes,
            commit_retries: vitals.commit_retries.load(Ordering::Relaxed),
            wal_bytes: vitals.wal_bytes.load(Ordering::Relaxed),
            checkpoint_failures: vitals.checkpoint_failures.load(Ordering::Relaxed),
        }
    }
}
