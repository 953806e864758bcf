//! The intake: takes what waits in the channel, numbers and digests it, hands it to the packer.
//!
//! Runs ahead of the packer by some groups of payloads, and the packer ahead of the committer by a
//! batch.

use std::sync::Arc;
use std::time::Duration;

use super::batch::{Prepared, Replies};
use super::pack::{PackStage, Step};
use super::prepare::Preparer;
use crate::clock::now_micros;
use crate::log::{Fact, Gap, StoreClosed};
use crate::sync::channel::{Receiver, Sender};
use crate::sync::{Instant, thread};
use crate::writer::admission::command::Command;
use crate::writer::admission::queue::Shared;
use crate::writer::commit::committer::Stop;
use crate::writer::commit::disk_space::Room;
use crate::writer::commit::maintenance::Upkeep;

/// Most events of one group commit.
const BATCH_EVENTS_MAX: usize = 8192;
/// Most bytes of one group commit before compression: metadata, and what is new in bodies.
const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long after its last work the intake looks for more on its own, and how often. A sender that
/// has to wake a sleeping thread pays for a system call, several times the cost of everything else
/// it does; during this time it need not. Whoever waits for a commit wakes the intake at once.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_STEP: Duration = Duration::from_micros(500);

/// Where payloads and batches go.
pub(crate) enum Downstream {
    Here(Box<PackStage>),
    Thread(Sender<Step>),
}

pub(crate) struct Intake {
    pub(crate) shared: Arc<Shared>,
    pub(crate) receiver: Receiver<Command>,
    pub(crate) preparer: Preparer,
    pub(crate) downstream: Downstream,
    pub(crate) next_seq: u64,
    pub(crate) lifecycles_opened: u64,
    pub(crate) accounts: Accounts,
}

/// What the session states of itself when it closes.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    lifecycles_lost: u64,
    payloads_lost: u64,
}

impl Intake {
    /// Works until the session is closed or cannot go on. `None`: the committer, on its own thread,
    /// knows why.
    pub(crate) fn run(&mut self) -> Option<Stop> {
        loop {
            let mut replies = Replies::default();
            let is_passed_on = self.collect(&mut replies).and_then(|prepared| {
                let close = replies.close.take();
                self.pass_on(prepared, replies).map(|()| close)
            });
            match is_passed_on {
                Ok(None) => {}
                Ok(Some(reply)) => return self.close(reply),
                Err(stop) => return stop,
            }
        }
    }

    /// Blocks for the first command, then takes what waits, up to the bounds of a batch. The error
    /// is why the writer ends; `None` where the channel has ended, or another thread knows why.
    fn collect(&mut self, replies: &mut Replies) -> Result<Prepared, Option<Stop>> {
        let mut next = Some(self.receive()?.ok_or(None)?);
        let mut prepared = Prepared::new(self.next_seq);
        prepared.group.texts = self.preparer.room();
        while let Some(command) = next {
            self.take(command, &mut prepared, replies);
            if let Some(group) = prepared.take_group() {
                self.downstream.step(Step::Group(group))?;
                prepared.group.texts = self.preparer.room();
            }
            // A removal is the last event of its batch: it is about what was committed before.
            if replies.upkeep.is_some() || prepared.is_full(BATCH_EVENTS_MAX, BATCH_BYTES_MAX) {
                break;
            }
            next = self.receiver.try_recv().ok();
        }
        let is_used_up = self.shared.vitals.room() == Room::UsedUp;
        if replies.upkeep.is_none()
            && let Some(gap) = self.shared.losses.take_due(is_used_up)
        {
            self.state_loss(gap, &mut prepared);
        }
        Ok(prepared)
    }

    fn take(&mut self, command: Command, prepared: &mut Prepared, replies: &mut Replies) {
        match command {
            Command::Open(_) => {
                self.lifecycles_opened = self.lifecycles_opened.saturating_add(1);
                self.prepare(command, prepared);
            }
            Command::Served(_)
            | Command::Prepared(_)
            | Command::Chunks(_)
            | Command::Piece(_)
            | Command::End(_) => {
                self.prepare(command, prepared);
            }
            Command::Wake => self.shared.free_control_slot(),
            Command::Flush(reply) => {
                self.shared.free_control_slot();
                replies.flushes.push(reply);
            }
            Command::Upkeep(command) => {
                self.shared.free_control_slot();
                let (command, reply) = *command;
                if command.is_forgetting {
                    self.preparer.forget();
                }
                let is_stated = command.fact.is_some();
                if let Some(fact) = command.fact {
                    prepared.push(now_micros(), fact);
                }
                replies.upkeep = Some(Upkeep {
                    is_stated,
                    removal: command.removal,
                    is_truncating: command.is_truncating,
                    wiped_pages: command.wiped_pages,
                    is_dropping_index: command.is_dropping_index,
                    reply,
                });
            }
            Command::Close(reply) => replies.close = Some(reply),
        }
    }

    fn receive(&mut self) -> Result<Option<Command>, Stop> {
        let idle_since = Instant::now();
        while idle_since.elapsed() < LINGER {
            if let Ok(command) = self.receiver.try_recv() {
                return Ok(Some(command));
            }
            thread::park_timeout(LINGER_STEP);
        }
        match &mut self.downstream {
            Downstream::Here(stage) => stage.next(&self.receiver),
            Downstream::Thread(_) => Ok(self.receiver.recv().ok()),
        }
    }

    fn state_loss(&mut self, gap: Gap, prepared: &mut Prepared) {
        if self.shared.losses.should_warn() {
            tracing::warn!(
                target: "auditlite",
                lifecycles = gap.lifecycles,
                payloads = gap.payloads,
                "the audit store's capacity or room was used up; what is left out is stated in the log"
            );
        }
        let accounts = &mut self.accounts;
        accounts.lifecycles_lost = accounts.lifecycles_lost.saturating_add(gap.lifecycles);
        accounts.payloads_lost = accounts.payloads_lost.saturating_add(gap.payloads);
        prepared.push(now_micros(), Fact::Gap(gap));
    }

    /// Hands a whole batch on.
    fn pass_on(&mut self, prepared: Prepared, replies: Replies) -> Result<(), Option<Stop>> {
        self.next_seq = prepared.next_seq();
        let (group, sealed) = prepared.seal(replies);
        self.downstream.step(Step::Group(group))?;
        self.downstream.step(Step::Seal(Box::new(sealed)))
    }

    /// Takes what still arrives, and states the session's accounts.
    fn close(&mut self, reply: Sender<bool>) -> Option<Stop> {
        self.shared.seal();
        let mut replies = Replies::default();
        while !self.receiver.is_empty() {
            let is_passed_on = self.collect(&mut replies).and_then(|prepared| {
                // Whoever asks for a close again is told by the state.
                replies.close = None;
                self.pass_on(prepared, std::mem::take(&mut replies))
            });
            if let Err(stop) = is_passed_on {
                return stop;
            }
        }
        let mut prepared = Prepared::new(self.next_seq);
        if let Some(gap) = self.shared.losses.take() {
            self.state_loss(gap, &mut prepared);
        }
        prepared.push(
            now_micros(),
            Fact::StoreClosed(StoreClosed {
                lifecycles_submitted: self.shared.lifecycles_submitted(),
                lifecycles_stored: self.lifecycles_opened,
                lifecycles_lost: self.accounts.lifecycles_lost,
                payloads_lost: self.accounts.payloads_lost,
            }),
        );
        replies.close = Some(reply);
        self.pass_on(prepared, replies).err().flatten()
    }
}

impl Downstream {
    fn step(&mut self, step: Step) -> Result<(), Option<Stop>> {
        match self {
            Self::Here(stage) => stage.step(step),
            Self::Thread(steps) => steps.send(step).map_err(|_| None),
        }
    }
}
