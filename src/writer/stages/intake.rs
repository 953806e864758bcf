//! The intake: drains the channel, numbers events, digests bodies, and sends payloads and batches to the packer.
//!
//! Runs up to four groups of payloads ahead of the packer, and the packer one batch ahead of the committer.

use std::sync::Arc;
use std::time::Duration;

use super::batch::BatchBuilder;
use super::pack::{PackStage, PackTask};
use super::prepare::Preparer;
use crate::clock::now_micros;
use crate::config::Config;
use crate::log::{EventKind, Gap, StoreClosed};
use crate::sync::channel::{Receiver, Sender};
use crate::sync::{Instant, thread};
use crate::writer::admission::command::Command;
use crate::writer::admission::queue::Shared;
use crate::writer::commit::committer::Stop;
use crate::writer::commit::maintenance::Maintenance;
use crate::writer::commit::request::Replies;
use crate::writer::disk_space::DiskSpace;

/// Most events of one group commit.
const BATCH_EVENTS_MAX: usize = 8192;
/// Most bytes of one group commit before compression: metadata, and what is new in bodies.
const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long after its last work the intake polls the channel, and how often. A sender that must wake a sleeping
/// thread pays for a system call, several times the cost of everything else it does; during this time it need not.
/// A thread that waits for a commit wakes the intake at once.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_STEP: Duration = Duration::from_micros(500);
/// The same where the last batch ended because its time was over: where little comes, looking takes more than the
/// work itself. A command may have waited for so long; the interval is shorter by that.
const LINGER_STEP_UNHURRIED: Duration = Duration::from_millis(2);
/// Such a step is at most this part of the interval.
const LINGER_STEP_PART: u32 = 10;
/// How often the intake looks for more while it gathers a batch: seldom where little comes, but often enough
/// that a burst does not fill the capacity in between.
const GATHER_STEP_MAX: Duration = Duration::from_millis(5);
/// More commands than this at one look are a burst.
const BURST_COMMANDS: usize = 16;
/// A batch with this part of the capacity is not put off.
const GATHER_PART: usize = 8;

/// The next stage: on this thread, or behind a channel.
pub(crate) enum Downstream {
    Here(Box<PackStage>),
    Thread(Sender<PackTask>),
}

/// The first stage. Runs on the thread `auditlite-intake` from the opening of the store to its close, and owns
/// the receiving end of the channel: since one thread takes all commands, their order there is the order of
/// the log, and nothing in here is locked but `shared`.
pub(crate) struct Intake {
    pub(crate) shared: Arc<Shared>,
    pub(crate) receiver: Receiver<Command>,
    pub(crate) preparer: Preparer,
    pub(crate) downstream: Downstream,
    pub(crate) pace: Pace,
    pub(crate) next_seq: u64,
    pub(crate) lifecycles_opened: u64,
    pub(crate) accounts: Accounts,
    /// The last batch ended because its time was over.
    pub(crate) is_unhurried: bool,
}

/// How long a commit is put off for others that may join it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    interval: Duration,
    events_max: usize,
    bytes_max: u64,
}

impl Pace {
    pub(crate) fn new(config: &Config) -> Self {
        let bytes = config.capacity_bytes / GATHER_PART;
        Self {
            interval: config.commit_interval,
            events_max: BATCH_EVENTS_MAX.min(config.capacity_events / GATHER_PART),
            bytes_max: BATCH_BYTES_MAX.min(u64::try_from(bytes).unwrap_or(u64::MAX)),
        }
    }
}

/// What the opening of the store records about itself when it closes.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    lifecycles_lost: u64,
    payloads_lost: u64,
}

impl Intake {
    /// Works until the store is closed or the writer must stop. `None`: the thread of a later stage has
    /// latched the reason.
    pub(crate) fn run(&mut self) -> Option<Stop> {
        loop {
            let mut replies = Replies::default();
            let is_passed_on = self.collect(&mut replies).and_then(|batch| {
                let close = replies.close.take();
                self.pass_on(batch, replies).map(|()| close)
            });
            match is_passed_on {
                Ok(None) => {}
                Ok(Some(reply)) => return self.close(reply),
                Err(stop) => return stop,
            }
        }
    }

    /// Blocks for the first command, then takes all that wait, up to the bounds of a batch: under load a batch
    /// is large, when idle it has one command and no delay. The error is why the writer ends; `None` where
    /// the channel has ended, or a later stage has latched the reason.
    fn collect(&mut self, replies: &mut Replies) -> Result<BatchBuilder, Option<Stop>> {
        let (first, waited) = self.receive()?.ok_or(None)?;
        let mut next = Some(first);
        let interval = self.pace.interval.saturating_sub(waited);
        let mut batch = BatchBuilder::new(self.next_seq);
        batch.group.arena = self.preparer.take_buffer();
        let begun = Instant::now();
        let (mut step, mut in_a_row) = (LINGER_STEP, 0);
        while let Some(command) = next {
            self.take(command, &mut batch, replies);
            if let Some(group) = batch.take_group() {
                self.downstream.step(PackTask::Group(group))?;
                batch.group.arena = self.preparer.take_buffer();
            }
            // A removal is the last event of its batch: it applies to what was committed before.
            if replies.maintenance.is_some() || batch.is_full(BATCH_EVENTS_MAX, BATCH_BYTES_MAX) {
                break;
            }
            next = self.receiver.try_recv().ok();
            in_a_row += 1;
            if next.is_none() {
                if in_a_row > BURST_COMMANDS {
                    step = LINGER_STEP;
                }
                in_a_row = 0;
                next = self.gather(begun, interval, &mut step, &batch, replies);
            }
        }
        let is_used_up = self.shared.counters.disk_space() == DiskSpace::Exhausted;
        if replies.maintenance.is_none()
            && let Some(gap) = self.shared.losses.take_due(is_used_up)
        {
            self.state_loss(gap, &mut batch);
        }
        Ok(batch)
    }

    /// Waits for what may join the batch, unless something waits for its commit.
    fn gather(
        &mut self,
        begun: Instant,
        interval: Duration,
        step: &mut Duration,
        batch: &BatchBuilder,
        replies: &Replies,
    ) -> Option<Command> {
        loop {
            let left = interval.saturating_sub(begun.elapsed());
            let is_urgent = replies.close.is_some()
                || !replies.flushes.is_empty()
                || batch.is_empty()
                || batch.is_full(self.pace.events_max, self.pace.bytes_max)
                || self.shared.commits.are_waiting()
                || self.shared.capacity.is_short();
            if left.is_zero() || is_urgent {
                self.is_unhurried = !is_urgent;
                return None;
            }
            thread::park_timeout((*step).min(left));
            *step = (*step * 2).min(GATHER_STEP_MAX);
            if let Ok(command) = self.receiver.try_recv() {
                return Some(command);
            }
        }
    }

    fn take(&mut self, command: Command, batch: &mut BatchBuilder, replies: &mut Replies) {
        match command {
            Command::Open(_) => {
                self.lifecycles_opened = self.lifecycles_opened.saturating_add(1);
                self.prepare(command, batch);
            }
            Command::Served(_)
            | Command::UpstreamBody(_)
            | Command::Chunks(_)
            | Command::Piece(_) => self.prepare(command, batch),
            Command::End(_) => {
                self.preparer.prices.update(&self.shared, batch);
                self.prepare(command, batch);
            }
            Command::Wake => self.shared.free_control_slot(),
            Command::Flush(reply) => {
                self.shared.free_control_slot();
                replies.flushes.push(reply);
            }
            Command::Maintenance(command) => {
                self.shared.free_control_slot();
                let (command, reply) = *command;
                if !command.forgets.is_empty() {
                    self.preparer.forget_payloads(command.forgets);
                }
                let is_stated = command.kind.is_some();
                if let Some(kind) = command.kind {
                    batch.push(now_micros(), kind);
                }
                replies.maintenance = Some(Maintenance {
                    is_stated,
                    removal: command.removal,
                    truncates_wal: command.truncates_wal,
                    slack_pages: command.slack_pages,
                    drops_search_index: command.drops_search_index,
                    reply,
                });
            }
            Command::Close(reply) => replies.close = Some(reply),
        }
    }

    /// The next command, and how long it may have waited.
    fn receive(&mut self) -> Result<Option<(Command, Duration)>, Stop> {
        let step = match std::mem::take(&mut self.is_unhurried) {
            true => LINGER_STEP_UNHURRIED.min(self.pace.interval / LINGER_STEP_PART),
            false => LINGER_STEP,
        };
        let step = step.max(LINGER_STEP);
        let idle_since = Instant::now();
        while idle_since.elapsed() < LINGER {
            if let Ok(command) = self.receiver.try_recv() {
                return Ok(Some((command, step)));
            }
            thread::park_timeout(step);
        }
        let command = match &mut self.downstream {
            Downstream::Here(stage) => stage.next(&self.receiver)?,
            Downstream::Thread(_) => self.receiver.recv().ok(),
        };
        Ok(command.map(|command| (command, Duration::ZERO)))
    }

    fn state_loss(&mut self, gap: Gap, batch: &mut BatchBuilder) {
        if self.shared.losses.should_warn() {
            tracing::warn!(
                target: "auditlite",
                lifecycles = gap.lifecycles,
                payloads = gap.payloads,
                "the audit store's capacity or the disk was used up; what is left out is stated in the log"
            );
        }
        let accounts = &mut self.accounts;
        accounts.lifecycles_lost = accounts.lifecycles_lost.saturating_add(gap.lifecycles);
        accounts.payloads_lost = accounts.payloads_lost.saturating_add(gap.payloads);
        batch.push(now_micros(), EventKind::Gap(gap));
    }

    /// Sends a complete batch to the packer.
    fn pass_on(&mut self, batch: BatchBuilder, replies: Replies) -> Result<(), Option<Stop>> {
        self.next_seq = batch.next_seq();
        self.preparer.state_counts(&self.shared.counters);
        let (group, sealed) = batch.seal(replies);
        self.downstream.step(PackTask::Group(group))?;
        self.downstream.step(PackTask::Seal(Box::new(sealed)))
    }

    /// Takes the last commands, and records the accounts of the opening.
    fn close(&mut self, reply: Sender<bool>) -> Option<Stop> {
        self.shared.state.seal();
        let mut replies = Replies::default();
        while !self.receiver.is_empty() {
            let is_passed_on = self.collect(&mut replies).and_then(|batch| {
                // A second close is answered from the state.
                replies.close = None;
                self.pass_on(batch, std::mem::take(&mut replies))
            });
            if let Err(stop) = is_passed_on {
                return stop;
            }
        }
        let mut batch = BatchBuilder::new(self.next_seq);
        if let Some(gap) = self.shared.losses.take() {
            self.state_loss(gap, &mut batch);
        }
        batch.push(
            now_micros(),
            EventKind::StoreClosed(StoreClosed {
                lifecycles_submitted: self.shared.lifecycles_submitted(),
                lifecycles_stored: self.lifecycles_opened,
                lifecycles_lost: self.accounts.lifecycles_lost,
                payloads_lost: self.accounts.payloads_lost,
            }),
        );
        replies.close = Some(reply);
        self.pass_on(batch, replies).err().flatten()
    }
}

impl Downstream {
    fn step(&mut self, step: PackTask) -> Result<(), Option<Stop>> {
        match self {
            Self::Here(stage) => stage.step(step),
            Self::Thread(steps) => steps.send(step).map_err(|_| None),
        }
    }
}
