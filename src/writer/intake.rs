//! The intake: takes what waits in the channel, prepares it, hands it to the committer.
//!
//! Runs ahead of the committer by one batch, so that hashing and packing the next batch and writing
//! this one keep two processors busy. On a machine with one processor both are the same thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::batch::Prepared;
use super::command::Command;
use super::committer::{Committer, Stop, Work};
use super::prepare::Preparer;
use super::shared::Shared;
use crate::clock::now_micros;
use crate::log::{Fact, Gap, StoreClosed};

/// Most events of one group commit.
const BATCH_EVENTS_MAX: usize = 8192;
/// Most bytes of bodies and metadata of one group commit, before compression.
const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long after its last work the intake looks for more on its own, and how often. A sender that
/// has to wake a sleeping thread pays for a system call, several times the cost of everything else
/// it does; during this time it need not. Whoever waits for a commit wakes the intake at once.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_STEP: Duration = Duration::from_micros(500);

/// Where prepared batches go.
pub(super) enum Downstream {
    Inline(Box<Committer>),
    Thread(Sender<Work>),
}

pub(super) struct Intake {
    pub(super) shared: Arc<Shared>,
    pub(super) receiver: Receiver<Command>,
    pub(super) preparer: Preparer,
    pub(super) downstream: Downstream,
    pub(super) next_seq: u64,
    pub(super) lifecycles_opened: u64,
    pub(super) accounts: Accounts,
}

/// What the session states of itself when it closes.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    lifecycles_lost: u64,
    payloads_lost: u64,
}

/// What a batch was collected for, beside its events.
#[derive(Default)]
struct Replies {
    flushes: Vec<Sender<()>>,
    close: Option<Sender<bool>>,
}

impl Intake {
    /// Works until the session is closed or cannot go on. `None`: the committer, on its own thread,
    /// knows why.
    pub(super) fn run(&mut self) -> Option<Stop> {
        loop {
            let mut replies = Replies::default();
            let prepared = self.collect(&mut replies)?;
            let close = replies.close.take();
            if let Err(stop) = self.pass_on(prepared, replies.flushes, None) {
                return stop;
            }
            if let Some(reply) = close {
                return self.close(reply);
            }
        }
    }

    /// Blocks for the first command, then takes what waits, up to the bounds of a batch. `None`:
    /// the channel has ended.
    fn collect(&mut self, replies: &mut Replies) -> Option<Prepared> {
        let mut next = Some(self.receive()?);
        let mut prepared = Prepared::new(self.next_seq);
        while let Some(command) = next {
            self.take(command, &mut prepared, replies);
            if prepared.has_group() {
                self.shared.capacity.release(prepared.pack_ahead());
            }
            if prepared.events.len() >= BATCH_EVENTS_MAX || prepared.bytes >= BATCH_BYTES_MAX {
                break;
            }
            next = self.receiver.try_recv().ok();
        }
        if let Some(gap) = self.shared.losses.take() {
            self.state_loss(gap, &mut prepared);
        }
        Some(prepared)
    }

    fn take(&mut self, command: Command, prepared: &mut Prepared, replies: &mut Replies) {
        match command {
            Command::Open(command) => {
                self.lifecycles_opened = self.lifecycles_opened.saturating_add(1);
                self.preparer.open(*command, prepared);
            }
            Command::Served(command) => self.preparer.served(*command, prepared),
            Command::Prepared(command) => self.preparer.prepared_body(*command, prepared),
            Command::Chunks(command) => self.preparer.chunks(*command, prepared),
            Command::End(command) => self.preparer.end(*command, prepared),
            Command::Wake => {}
            Command::Flush(reply) => replies.flushes.push(reply),
            Command::Close(reply) => replies.close = Some(reply),
        }
    }

    fn receive(&mut self) -> Option<Command> {
        let idle_since = Instant::now();
        while idle_since.elapsed() < LINGER {
            if let Ok(command) = self.receiver.try_recv() {
                return Some(command);
            }
            std::thread::park_timeout(LINGER_STEP);
        }
        match &mut self.downstream {
            Downstream::Inline(committer) => committer.next(&self.receiver),
            Downstream::Thread(_) => self.receiver.recv().ok(),
        }
    }

    fn state_loss(&mut self, gap: Gap, prepared: &mut Prepared) {
        tracing::warn!(
            target: "auditlite",
            lifecycles = gap.lifecycles,
            payloads = gap.payloads,
            "the audit store's capacity was used up; what was left out is stated in the log"
        );
        let accounts = &mut self.accounts;
        accounts.lifecycles_lost = accounts.lifecycles_lost.saturating_add(gap.lifecycles);
        accounts.payloads_lost = accounts.payloads_lost.saturating_add(gap.payloads);
        prepared.push(now_micros(), Fact::Gap(gap));
    }

    /// Packs a batch and hands it on. The error is why the writer ends, where it is known here.
    fn pass_on(
        &mut self,
        prepared: Prepared,
        flushes: Vec<Sender<()>>,
        close: Option<Sender<bool>>,
    ) -> Result<(), Option<Stop>> {
        let (ready, freed) = self
            .preparer
            .ready(prepared)
            .map_err(|error| Some(Stop::Failed(crate::error::chain(&*error))))?;
        self.shared.capacity.release(freed);
        self.next_seq = ready.end_seq();
        let work = Work {
            ready,
            flushes,
            close,
        };
        match &mut self.downstream {
            Downstream::Inline(committer) => committer.handle(work).map_err(Some),
            Downstream::Thread(works) => works.send(work).map_err(|_| None),
        }
    }

    /// Takes what still arrives, and states the session's accounts.
    fn close(&mut self, reply: Sender<bool>) -> Option<Stop> {
        let mut replies = Replies::default();
        while !self.receiver.is_empty() {
            let prepared = self.collect(&mut replies)?;
            if let Err(stop) = self.pass_on(prepared, std::mem::take(&mut replies.flushes), None) {
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
        self.pass_on(prepared, replies.flushes, Some(reply))
            .err()
            .flatten()
    }
}
