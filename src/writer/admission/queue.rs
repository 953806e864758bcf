//! The queue between request threads and the writer: admission, submission and control messages. Nothing here waits
//! for the disk.

use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use super::capacity::{BodyGrant, Capacity, Reservation, Share};
use super::command::Command;
use super::commit_waiters::CommitWaiters;
use super::losses::{Loss, Losses};
use super::media_ids::MediaIds;
use super::state::StoreState;
use crate::clock::now_micros;
use crate::config::{Capture, Config, Overflow, PieceSettings};
use crate::error::{FlushError, RecordError};
use crate::log::{EndKind, Event, EventKind};
use crate::pricing::PriceBook;
use crate::process::{FORKED, Process};
use crate::redaction::Redaction;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use crate::sync::thread::{self, Thread};
use crate::sync::{Instant, Mutex};
use crate::writer::disk_space::DiskSpace;
use crate::writer::health::{Health, HealthCounters, HealthState};

/// Channel slots in addition to the capacity's events, for flushes and wakes; the close has one of its own.
pub(crate) const CONTROL_SLOTS: usize = if cfg!(shuttle) { 4 } else { 256 };
/// How often a thread that waits for such a slot checks.
const CONTROL_STEP: Duration = Duration::from_millis(1);
/// How often a thread that waits for an answer checks whether the writer is still there.
const ANSWER_STEP: Duration = Duration::from_millis(50);
/// This part of the byte capacity is left to the allocator: bodies of all sizes that one thread
/// takes and another frees leave holes. Measured with glibc's allocator and recorded traffic.
const FRAGMENTATION: usize = 3;

/// The result of an admission.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Its own event, its end's event and its bytes are reserved.
    Admitted(Reservation, BodyGrant),
    /// There is no space even for its metadata. Counted as lost.
    Shed,
}

/// State shared by request threads, the owner of the store and the writer; it lives until the last of their
/// handles is dropped.
///
/// Request threads call `admit`, the `reserve` family, `submit` and `count_loss`. None of these waits for the
/// disk; `reserve` waits for capacity under [`Overflow::Wait`] only. The owner calls `begin_closing`,
/// `submit_close` and `ask`, which block. The writer calls `note_committed`, `free_control_slot`,
/// `set_closed` and `set_stopped`. For the close protocol see [`StoreState`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) payload_bytes_max: usize,
    pub(crate) process: Process,
    pub(crate) redaction: Option<Redaction>,
    pub(crate) capture: Capture,
    pub(crate) pieces: PieceSettings,
    overflow: Overflow,
    pub(crate) capacity: Capacity,
    pub(crate) losses: Losses,
    pub(crate) counters: HealthCounters,
    pub(crate) commits: CommitWaiters,
    pub(crate) media_ids: MediaIds,
    /// Read by the packer once a batch, replaced by the owner; request threads do not touch it.
    prices: Mutex<Option<Arc<PriceBook>>>,
    prices_times_set: AtomicU64,
    sender: Sender<Command>,
    pub(crate) state: StoreState,
    writer: OnceLock<Thread>,
    /// Events that request threads submitted, and how many of them are committed.
    events_submitted: AtomicU64,
    submitted_committed: AtomicU64,
    ends_submitted: AtomicU64,
    /// Flushes and wakes in the channel: never more than their slots, so that every other command finds the place
    /// that it reserved.
    controls: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(config: &Config) -> (Self, Receiver<Command>) {
        let (sender, receiver) = bounded(config.capacity_events.saturating_add(CONTROL_SLOTS + 1));
        let shared = Self {
            payload_bytes_max: config.payload_bytes_max,
            process: Process::current(),
            redaction: config.redaction.clone(),
            capture: config.capture,
            pieces: config.pieces,
            overflow: config.overflow,
            capacity: Capacity::new(
                config.capacity_events,
                config.capacity_bytes - config.capacity_bytes / FRAGMENTATION,
            ),
            losses: Losses::default(),
            counters: HealthCounters::default(),
            commits: CommitWaiters::default(),
            media_ids: MediaIds::default(),
            prices: Mutex::default(),
            prices_times_set: AtomicU64::new(0),
            sender,
            state: StoreState::default(),
            writer: OnceLock::new(),
            events_submitted: AtomicU64::new(0),
            submitted_committed: AtomicU64::new(0),
            ends_submitted: AtomicU64::new(0),
            controls: AtomicUsize::new(0),
        };
        (shared, receiver)
    }

    /// Lifecycles that were submitted: stored, to be stored, or counted as lost.
    pub(crate) fn lifecycles_submitted(&self) -> u64 {
        self.state.openings()
    }

    /// Reserves what an opening needs, its end's event included: an admitted lifecycle can always be closed.
    ///
    /// Short of space, it gives up the body first (the request is recorded without it, and the loss is
    /// counted), and the whole lifecycle last. [`Overflow::Strict`] refuses instead of shedding.
    /// `share` is what of the capacity this may take: [`Share::Content`] where there is a body, [`Share::Spare`] for
    /// content that is held until the end, of which there is some (messages are metadata here).
    pub(crate) fn admit(
        &self,
        metadata_bytes: usize,
        body_bytes: usize,
        share: Share,
        at: i64,
    ) -> Result<Admission, RecordError> {
        let space = self.counters.disk_space();
        let wanted = Reservation::new(2, metadata_bytes.saturating_add(body_bytes));
        if space < DiskSpace::MetadataOnly && self.reserve_from(share, wanted) {
            return Ok(Admission::Admitted(wanted, BodyGrant::Granted));
        }
        if self.overflow == Overflow::Strict && space != DiskSpace::MetadataOnly {
            return Err(RecordError::Full);
        }
        if let Some(refusal) = self.state.refusal() {
            return Err(refusal); // closed while it waited for capacity
        }
        let wanted = Reservation::new(2, metadata_bytes);
        if space < DiskSpace::Exhausted && self.capacity.try_reserve(wanted) {
            let has_content = body_bytes > 0 || share == Share::Spare;
            if !has_content && space < DiskSpace::MetadataOnly {
                return Ok(Admission::Admitted(wanted, BodyGrant::Granted)); // freed in between
            }
            if has_content {
                self.count_loss(Loss::Payload, at);
            }
            return Ok(Admission::Admitted(wanted, BodyGrant::Shed));
        }
        self.count_loss(Loss::Lifecycle, at);
        Ok(Admission::Shed)
    }

    /// Reserves for content, as long as the disk has space for content.
    pub(crate) fn reserve_content(&self, wanted: Reservation) -> bool {
        // Content without bytes needs no space.
        (wanted.bytes == 0 || self.counters.disk_space() < DiskSpace::MetadataOnly)
            && self.reserve_from(Share::Content, wanted)
    }

    /// Reserves for a piece of a response, which is only of use after a crash. Never waits.
    pub(crate) fn reserve_piece(&self, bytes: usize) -> Option<Reservation> {
        let wanted = Reservation::new(1, bytes);
        let has_space = self.counters.disk_space() < DiskSpace::MetadataOnly;
        (has_space && self.capacity.try_reserve_from(Share::Spare, wanted)).then_some(wanted)
    }

    /// Reserves; waits under [`Overflow::Wait`].
    fn reserve_from(&self, share: Share, wanted: Reservation) -> bool {
        if self.capacity.try_reserve_from(share, wanted) {
            return true;
        }
        match self.overflow {
            Overflow::Shed | Overflow::Strict => false,
            Overflow::Wait(timeout) => {
                let now = Instant::now();
                let deadline = now.checked_add(timeout).unwrap_or_else(|| {
                    // Beyond the range of the clock: wait a year.
                    now + Duration::from_secs(365 * 24 * 3600)
                });
                self.capacity
                    .reserve_until(share, wanted, deadline, || !self.state.is_running())
            }
        }
    }

    pub(crate) fn count_loss(&self, loss: Loss, at: i64) {
        // In a fork the lock may be held by a thread that does not exist.
        if self.process.is_left() {
            return;
        }
        // Wakes the intake, which may be asleep. Where no slot or no place in the channel is free it is not:
        // it finds the loss after the commands that wait for it.
        if self.losses.count(loss, at)
            && self.take_control_slot()
            && self.sender.try_send(Command::Wake).is_err()
        {
            self.free_control_slot();
        }
    }

    fn take_control_slot(&self) -> bool {
        let one_more = |used| (used < CONTROL_SLOTS).then_some(used + 1);
        self.controls
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    /// A flush or wake has left the channel.
    pub(crate) fn free_control_slot(&self) {
        self.controls.fetch_sub(1, Ordering::SeqCst);
    }

    /// Sends a command to the writer. Never waits: its place was reserved.
    ///
    /// `Ok` is a promise: a close that completes has committed it.
    pub(crate) fn submit(&self, command: Command) -> Result<(), RecordError> {
        // Openings are not affected by the seal: the writer waits for those that have begun.
        let is_awaited = matches!(command, Command::Open(_));
        // Counted before the writer can have committed it.
        let (events, ends) = match &command {
            Command::Open(_) | Command::Served(_) => (1, 0),
            Command::End(_) => (1, 1),
            _ => (0, 0),
        };
        self.events_submitted.fetch_add(events, Ordering::Relaxed);
        let (command, refusal) = match self.sender.try_send(command) {
            Ok(()) => {
                // Pairs with the fence in `seal`: either this thread observes the seal, or the writer observes the command.
                fence(Ordering::SeqCst);
                if !is_awaited && self.state.is_sealed() {
                    return Err(self.state.refusal().unwrap_or(RecordError::Closed));
                }
                if ends > 0 {
                    self.ends_submitted.fetch_add(ends, Ordering::Relaxed);
                }
                return Ok(());
            }
            Err(TrySendError::Disconnected(command)) => {
                (command, self.state.refusal().unwrap_or(RecordError::Closed))
            }
            Err(TrySendError::Full(command)) => {
                tracing::error!(target: "auditlite", "the channel to the writer is full though its place was reserved");
                self.count_loss(Loss::Update, now_micros());
                (command, RecordError::Full)
            }
        };
        self.events_submitted.fetch_sub(events, Ordering::Relaxed);
        self.capacity.release(command.reservation());
        Err(refusal)
    }

    /// Asks the writer, and waits for its answer until the timeout. Blocks.
    pub(crate) fn ask<T>(
        &self,
        command: impl FnOnce(Sender<T>) -> Command,
        timeout: Duration,
    ) -> Result<T, FlushError> {
        if self.state.is_over() {
            return Err(FlushError::WriterStopped);
        }
        let begun = Instant::now();
        let (answer, answered) = bounded(1);
        self.submit_control(command(answer), timeout)?;
        let left = timeout.saturating_sub(begun.elapsed());
        self.await_answer(&answered, left)
            .map_err(|error| match error {
                FlushError::Timeout(_) => FlushError::Timeout(timeout),
                other => other,
            })
    }

    /// Waits for an answer of the writer, and checks now and then that the writer still exists. A bounded channel
    /// keeps its content when its receiver is dropped: a command that a stop has left there keeps the sending end of
    /// `answer` alive, so that a plain wait would end with its timeout only.
    pub(crate) fn await_answer<T>(
        &self,
        answered: &Receiver<T>,
        timeout: Duration,
    ) -> Result<T, FlushError> {
        let begun = Instant::now();
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            // Read before the answer: an answer that was sent before the end is then found.
            let is_over = self.state.is_over();
            match answered.recv_timeout(left.min(ANSWER_STEP)) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(FlushError::WriterStopped),
                Err(RecvTimeoutError::Timeout) if is_over => return Err(FlushError::WriterStopped),
                Err(RecvTimeoutError::Timeout) if left <= ANSWER_STEP => {
                    return Err(FlushError::Timeout(timeout));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Sends a command that needs a control slot; waits for one until the timeout.
    fn submit_control(&self, command: Command, timeout: Duration) -> Result<(), FlushError> {
        let begun = Instant::now();
        if self.process.is_left() {
            return Err(FlushError::WriterStopped);
        }
        while !self.take_control_slot() {
            let left = timeout.saturating_sub(begun.elapsed());
            if self.state.is_over() {
                return Err(FlushError::WriterStopped);
            }
            if left.is_zero() {
                return Err(FlushError::Timeout(timeout));
            }
            thread::sleep(left.min(CONTROL_STEP));
        }
        if self.sender.try_send(command).is_err() {
            self.free_control_slot();
            return Err(FlushError::WriterStopped);
        }
        self.wake_writer();
        Ok(())
    }

    /// Asks the writer to end. Only the owner does, once: the command has a slot of its own.
    pub(crate) fn submit_close(&self, reply: Sender<bool>) -> bool {
        let is_sent = self.sender.try_send(Command::Close(reply)).is_ok();
        self.wake_writer();
        is_sent
    }

    /// The price book of ends that are completed now.
    pub(crate) fn price_book(&self) -> Option<Arc<PriceBook>> {
        let prices = self.prices.lock();
        prices.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the price book was set. A reader that finds it changed takes the book.
    pub(crate) fn price_book_times_set(&self) -> u64 {
        self.prices_times_set.load(Ordering::Acquire)
    }

    pub(crate) fn set_price_book(&self, book: Option<Arc<PriceBook>>) {
        let prices = self.prices.lock();
        let before = std::mem::replace(&mut *prices.unwrap_or_else(PoisonError::into_inner), book);
        self.prices_times_set.fetch_add(1, Ordering::Release);
        drop(before); // large, and not under the lock
    }

    pub(crate) fn set_writer(&self, thread: Thread) {
        let _ = self.writer.set(thread);
    }

    /// Wakes the writer: a thread waits for a commit.
    pub(crate) fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Counts the committed events among those that request threads submitted.
    pub(crate) fn note_committed(&self, events: &[Event]) {
        let is_submitted = |event: &&Event| match &event.kind {
            EventKind::Opened(_) | EventKind::Served(_) => true,
            EventKind::Ended(ended) => ended.kind != EndKind::Interrupted,
            _ => false,
        };
        let count = u64::try_from(events.iter().filter(is_submitted).count()).unwrap_or(u64::MAX);
        self.submitted_committed.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts all committed events as not committed, because their file is destroyed. Returns how many events of
    /// request threads these were.
    pub(crate) fn disown_commits(&self) -> u64 {
        self.counters.is_file_lost.store(true, Ordering::SeqCst);
        self.counters.committed_events.store(0, Ordering::Relaxed);
        self.submitted_committed.swap(0, Ordering::SeqCst)
    }

    /// Events that request threads submitted and that are not committed.
    pub(crate) fn uncommitted_events(&self) -> u64 {
        // In this order: a commit in between makes the number smaller, never larger.
        let submitted = self.events_submitted.load(Ordering::SeqCst);
        submitted.saturating_sub(self.submitted_committed.load(Ordering::SeqCst))
    }

    /// Requests that are recorded and have not ended.
    pub(crate) fn open_requests(&self) -> u64 {
        self.lifecycles_submitted()
            .saturating_sub(self.losses.lifecycles())
            .saturating_sub(self.ends_submitted.load(Ordering::SeqCst))
    }

    /// Refuses in a fork of the process that has the writer: nothing would receive its commands.
    pub(crate) fn check_process(&self, now: i64) -> Result<(), RecordError> {
        match self.process.is_left_at(now) {
            false => Ok(()),
            true => Err(RecordError::Forked),
        }
    }

    /// Ends admission, and waits until the deadline for openings that have begun. `false`: it had
    /// ended before.
    pub(crate) fn begin_closing(&self, deadline: Instant) -> bool {
        let is_first = self.state.begin_closing();
        self.capacity.notify();
        self.state
            .await_openings(deadline.saturating_duration_since(Instant::now()));
        is_first
    }

    pub(crate) fn set_closed(&self) {
        self.state.close();
        self.counters.fail("the store was closed".to_owned());
        self.commits.announce(true);
    }

    /// Latches: later calls return an error at once.
    pub(crate) fn set_stopped(&self, reason: String) {
        if self.state.stop(&reason) {
            self.counters.fail(reason);
        }
        self.capacity.notify();
        self.commits.announce(true);
    }

    pub(crate) fn health(&self) -> Health {
        let (queued_events, queued_bytes) = self.capacity.used();
        let counters = &self.counters;
        let state = counters.state();
        let space_problem = counters.disk_space().problem();
        let (state, problem) = match (state, space_problem) {
            // In a fork, locks may be held by threads that do not exist.
            _ if self.process.is_left() => (HealthState::Failed, Some(FORKED.to_owned())),
            (HealthState::Healthy, None) => (state, None),
            (HealthState::Healthy, Some(problem)) => {
                (HealthState::Degraded, Some(problem.to_owned()))
            }
            _ => (state, counters.problem()),
        };
        Health {
            state,
            problem,
            committed_events: counters.committed_events.load(Ordering::Relaxed),
            shed_lifecycles: self.losses.lifecycles(),
            shed_payloads: self.losses.payloads(),
            queued_events,
            queued_bytes,
            commit_retries: counters.commit_retries.load(Ordering::Relaxed),
            reopens: counters.reopens.load(Ordering::Relaxed),
            wal_checkpoint_failures: counters.wal_checkpoint_failures(),
            alarms: counters.alarms(),
            wal_bytes: counters.wal_bytes(),
            checkpoint_failures: counters.checkpoint_failures.load(Ordering::Relaxed),
            search_index_drops: counters.search_index_drops.load(Ordering::Relaxed),
            unparsed_bodies: counters.unparsed_bodies.load(Ordering::Relaxed),
            bodies_continued: counters.bodies_continued.load(Ordering::Relaxed),
            bodies_of_shared_head: counters.bodies_of_shared_head.load(Ordering::Relaxed),
            bodies_alone: counters.bodies_alone.load(Ordering::Relaxed),
            conversations_resumed: counters.conversations_resumed.load(Ordering::Relaxed),
            media_stored: counters.media_stored.load(Ordering::Relaxed),
            media_shared: counters.media_shared.load(Ordering::Relaxed),
            redaction_failures: counters.redaction_failures.load(Ordering::Relaxed),
            unprepared_events: counters.unprepared_events.load(Ordering::Relaxed),
            refused_rows: counters.refused_rows.load(Ordering::Relaxed),
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_a_stop_left_in_the_channel_is_not_waited_for() {
        let (shared, commands) = Shared::new(&Config::new("unused".into()));
        let ask = || shared.ask(Command::Flush, Duration::from_secs(60));
        std::thread::scope(|scope| {
            let asking = scope.spawn(ask);
            while commands.is_empty() {
                std::thread::yield_now();
            }
            // As by a writer that ends: its end of the channel goes with it, the question does not.
            drop(commands);
            let begun = std::time::Instant::now();
            shared.set_stopped("test".to_owned());
            assert!(matches!(
                asking.join().unwrap(),
                Err(FlushError::WriterStopped)
            ));
            assert!(begun.elapsed() < Duration::from_secs(30));
        });
        assert!(matches!(ask(), Err(FlushError::WriterStopped)));
    }
}
