//! The writer's thread: takes what waits, prepares it, commits it, tells who waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::command::Command;
use super::prepare::{EndNote, Prepared, Preparer};
use super::shared::Shared;
use crate::clock::now_micros;
use crate::config::{Capture, Config, Durability, Overflow};
use crate::db::{Appender, Batch, DatabasePath, DbError, DbErrorKind, WriterLock, sqlite_version};
use crate::error::{OpenError, chain};
use crate::log::{EndKind, Ended, Fact, Gap, StoreClosed, StoreOpened};
use crate::pricing::PriceBook;

/// Most events of one group commit.
const BATCH_EVENTS_MAX: usize = 8192;
/// Most bytes of bodies and metadata of one group commit, before compression.
const BATCH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// While busy, the write-ahead log is moved into the database at this many pages (16 MiB).
const CHECKPOINT_PAGES: u64 = 2048;
/// After so long without work, it is moved and its space given back.
const IDLE_CHECKPOINT: Duration = Duration::from_millis(500);
/// How long after its last work the writer looks for more on its own, and how often. A sender that
/// has to wake a sleeping thread pays for a system call, several times the cost of everything else
/// it does; during this time it need not. Whoever waits for a commit wakes the writer at once.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_STEP: Duration = Duration::from_micros(500);
/// First and longest pause between tries of a commit that fails.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(1);
const PAGE_BYTES: u64 = 8192;

/// The owner's end of the thread.
#[derive(Debug)]
pub(crate) struct WriterThread {
    thread: JoinHandle<()>,
    /// Set when the owner no longer waits: tries of a failing commit end.
    give_up: Arc<AtomicBool>,
}

impl WriterThread {
    /// Ends tries of a failing commit, and does not wait.
    pub(crate) fn give_up(&self) {
        self.give_up.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }

    /// Waits for the thread's end until the deadline. `false`: it is still busy. Blocks.
    pub(crate) fn join_until(self, deadline: Instant) -> bool {
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.thread.join().is_ok()
    }
}

/// Starts the thread. Returns once the file is open, crashed requests are marked and the store's
/// opening is committed, or with the reason why not.
pub(crate) fn spawn(
    config: Config,
    path: DatabasePath,
    lock: WriterLock,
    price_book: Option<Arc<PriceBook>>,
) -> Result<(Arc<Shared>, WriterThread), OpenError> {
    let (shared, receiver) = Shared::new(&config);
    let shared = Arc::new(shared);
    let give_up = Arc::new(AtomicBool::new(false));
    let (opened_sender, opened) = bounded(1);
    let thread = {
        let shared = Arc::clone(&shared);
        let give_up = Arc::clone(&give_up);
        std::thread::Builder::new()
            .name("auditlite-writer".to_owned())
            .spawn(move || {
                let bomb = Bomb(Arc::clone(&shared));
                shared.set_writer(std::thread::current());
                match Worker::open(&config, path, lock, price_book, shared, receiver, give_up) {
                    Err(error) => {
                        let _ = opened_sender.send(Err(error));
                    }
                    Ok(mut worker) => {
                        let _ = opened_sender.send(Ok(()));
                        worker.run();
                    }
                }
                drop(bomb);
            })
            .map_err(OpenError::Thread)?
    };
    match opened.recv() {
        Ok(Ok(())) => Ok((shared, WriterThread { thread, give_up })),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(OpenError::Thread(std::io::Error::other(
            "the writer's thread ended while it opened the file",
        ))),
    }
}

/// Latches the store as stopped if the thread ends in any other way than by a close.
struct Bomb(Arc<Shared>);

impl Drop for Bomb {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            "it panicked; this is a bug, please report it"
        } else {
            "it ended"
        };
        self.0.set_stopped(reason.to_owned());
    }
}

/// Why the thread ends.
enum Stop {
    Closed,
    /// The owner gave up on a disk that does not take commits.
    GivenUp,
    /// The file cannot be written any more.
    Failed(String),
}

struct Worker {
    shared: Arc<Shared>,
    receiver: Receiver<Command>,
    give_up: Arc<AtomicBool>,
    path: DatabasePath,
    durability: Durability,
    appender: Appender,
    preparer: Preparer,
    next_seq: u64,
    close_reply: Option<Sender<bool>>,
    flushes: Vec<Sender<()>>,
    lifecycles_stated_lost: u64,
    payloads_stated_lost: u64,
    lifecycles_stored: u64,
    is_wal_dirty: bool,
    /// Held for as long as the file may be written.
    _lock: WriterLock,
}

impl Worker {
    fn open(
        config: &Config,
        path: DatabasePath,
        lock: WriterLock,
        price_book: Option<Arc<PriceBook>>,
        shared: Arc<Shared>,
        receiver: Receiver<Command>,
        give_up: Arc<AtomicBool>,
    ) -> Result<Self, OpenError> {
        let failed = |path: &Path, source| OpenError::Database {
            path: path.to_owned(),
            source,
        };
        let appender = Appender::open(&path, config.durability)?;
        let next_seq = appender
            .next_seq()
            .map_err(|error| failed(path.as_path(), error.into()))?;
        let preparer =
            Preparer::new(config, price_book).map_err(|source| failed(path.as_path(), source))?;
        let mut worker = Self {
            shared,
            receiver,
            give_up,
            path,
            durability: config.durability,
            appender,
            preparer,
            next_seq,
            close_reply: None,
            flushes: Vec::new(),
            lifecycles_stated_lost: 0,
            payloads_stated_lost: 0,
            lifecycles_stored: 0,
            is_wal_dirty: true,
            _lock: lock,
        };
        worker
            .begin_session(config)
            .map_err(|source| failed(worker.path.as_path(), source))?;
        Ok(worker)
    }

    /// Commits the store's opening, and the interruption of every request that was left open.
    fn begin_session(&mut self, config: &Config) -> Result<(), crate::error::Cause> {
        let now = now_micros();
        let mut prepared = Prepared::new(self.next_seq);
        prepared.push(now, Fact::StoreOpened(session_facts(config)));
        loop {
            let left_open = self.appender.open_requests(BATCH_EVENTS_MAX)?;
            let is_last = left_open.len() < BATCH_EVENTS_MAX;
            for request in left_open {
                prepared.push(
                    now,
                    Fact::Ended(Box::new(Ended {
                        kind: EndKind::Interrupted,
                        request_id: request.request_id,
                        opened_seq: request.opened_seq,
                        session_seq: Some(request.session_seq),
                        ..Ended::default()
                    })),
                );
            }
            if let Some(batch) = self.preparer.batch(&mut prepared)? {
                self.appender.append(&batch)?;
                self.committed(&batch);
            }
            if is_last {
                return Ok(());
            }
            prepared = Prepared::new(self.next_seq);
        }
    }

    fn run(&mut self) {
        match self.work() {
            Stop::Closed => {}
            Stop::GivenUp => self.shared.set_stopped(
                "the store was closed before the disk took what was queued".to_owned(),
            ),
            Stop::Failed(reason) => {
                tracing::error!(target: "auditlite", path = ?self.path.as_path(), reason, "the writer has stopped");
                self.shared.set_stopped(reason);
            }
        }
    }

    fn work(&mut self) -> Stop {
        loop {
            let Some(prepared) = self.collect() else {
                // Nothing came for a while.
                self.checkpoint_idle();
                continue;
            };
            if let Err(stop) = self.commit(prepared) {
                return stop;
            }
            for reply in self.flushes.drain(..) {
                let _ = reply.send(());
            }
            if let Some(reply) = self.close_reply.take() {
                return self.close(reply);
            }
            self.checkpoint_busy();
        }
    }

    /// Blocks for the first command, then takes what waits, up to the bounds of a batch. `None`:
    /// nothing came for as long as it takes to call the writer idle.
    fn collect(&mut self) -> Option<Prepared> {
        let mut next = Some(self.receive()?);
        let mut prepared = Prepared::new(self.next_seq);
        while let Some(command) = next {
            match command {
                Command::Open(command) => self.preparer.open(*command, &mut prepared),
                Command::Served(command) => self.preparer.served(*command, &mut prepared),
                Command::Prepared(command) => {
                    self.preparer.prepared_body(*command, &mut prepared);
                }
                Command::Chunks(command) => self.preparer.chunks(*command, &mut prepared),
                Command::End(command) => self.preparer.end(*command, &mut prepared),
                Command::Wake => {}
                Command::Flush(reply) => self.flushes.push(reply),
                Command::Close(reply) => self.close_reply = Some(reply),
            }
            if prepared.events.len() >= BATCH_EVENTS_MAX
                || prepared.reservation.bytes >= BATCH_BYTES_MAX
            {
                break;
            }
            next = self.receiver.try_recv().ok();
        }
        if let Some(gap) = self.shared.losses.take() {
            self.state_loss(gap, &mut prepared);
        }
        Some(prepared)
    }

    /// The next command; `None` after an idle time.
    fn receive(&self) -> Option<Command> {
        let idle_since = Instant::now();
        while idle_since.elapsed() < LINGER {
            if let Ok(command) = self.receiver.try_recv() {
                return Some(command);
            }
            std::thread::park_timeout(LINGER_STEP);
        }
        if !self.is_wal_dirty {
            return self.receiver.recv().ok();
        }
        self.receiver.recv_timeout(IDLE_CHECKPOINT).ok()
    }

    fn state_loss(&mut self, gap: Gap, prepared: &mut Prepared) {
        tracing::warn!(
            target: "auditlite",
            lifecycles = gap.lifecycles,
            payloads = gap.payloads,
            "the audit store's capacity was used up; what was left out is stated in the log"
        );
        self.lifecycles_stated_lost = self.lifecycles_stated_lost.saturating_add(gap.lifecycles);
        self.payloads_stated_lost = self.payloads_stated_lost.saturating_add(gap.payloads);
        prepared.push(now_micros(), Fact::Gap(gap));
    }

    /// Commits, trying until it succeeds, and tells everybody.
    fn commit(&mut self, mut prepared: Prepared) -> Result<(), Stop> {
        let batch = match self.preparer.batch(&mut prepared) {
            Ok(batch) => batch,
            Err(error) => return Err(Stop::Failed(chain(&*error))),
        };
        if let Some(batch) = batch {
            self.append(&batch)?;
            self.committed(&batch);
            trace_ends(&batch, prepared.ends);
        }
        for (lifecycle, stage) in prepared.reached {
            lifecycle.reach(stage);
        }
        self.shared.capacity.release(prepared.reservation);
        self.shared.commits.announce();
        Ok(())
    }

    fn append(&mut self, batch: &Batch) -> Result<(), Stop> {
        let mut pause = RETRY_MIN;
        loop {
            let Err(error) = self.appender.append(batch) else {
                self.shared.vitals.recover();
                return Ok(());
            };
            if matches!(error.kind, DbErrorKind::Corrupt | DbErrorKind::NotADatabase) {
                return Err(Stop::Failed(format!(
                    "the database is damaged and was left as it is: {}",
                    chain(&error)
                )));
            }
            self.note_failure(&error);
            if self.give_up.load(Ordering::SeqCst) {
                return Err(Stop::GivenUp);
            }
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(RETRY_MAX);
            // A busy or full database keeps its connection. After anything else what SQLite holds
            // in memory may not be what is on the disk: open it anew and look.
            if !matches!(error.kind, DbErrorKind::Busy | DbErrorKind::Full) && self.reopen(batch)? {
                return Ok(());
            }
        }
    }

    /// Opens the file anew. `true`: the batch is there, the failed commit had succeeded after all.
    fn reopen(&mut self, batch: &Batch) -> Result<bool, Stop> {
        // While the file cannot be opened the old connection stays; the caller tries again.
        let Ok(appender) = Appender::open(&self.path, self.durability) else {
            return Ok(false);
        };
        self.appender = appender;
        match self.appender.next_seq() {
            Ok(seq) if seq == batch.end_seq() => {
                self.shared.vitals.recover();
                Ok(true)
            }
            Ok(seq) if seq == batch.segment.first_seq => Ok(false),
            Ok(seq) => Err(Stop::Failed(format!(
                "the log ends at seq {seq} where it should end at {}; another file is in its place",
                batch.segment.first_seq
            ))),
            Err(error) => {
                self.note_failure(&error);
                Ok(false)
            }
        }
    }

    fn note_failure(&self, error: &DbError) {
        let problem = chain(error);
        let vitals = &self.shared.vitals;
        if vitals.state() == super::HealthState::Healthy {
            // Once for each spell, not once for each try.
            tracing::warn!(
                target: "auditlite",
                path = ?self.path.as_path(),
                problem,
                "the database does not take commits; recording goes on in memory and is tried again"
            );
        }
        vitals.degrade(problem);
        vitals.commit_retries.fetch_add(1, Ordering::Relaxed);
    }

    fn committed(&mut self, batch: &Batch) {
        self.next_seq = batch.end_seq();
        self.is_wal_dirty = true;
        let opened = batch
            .events
            .iter()
            .filter(|event| matches!(event.fact, Fact::Opened(_)))
            .count();
        self.lifecycles_stored = self
            .lifecycles_stored
            .saturating_add(u64::try_from(opened).unwrap_or(u64::MAX));
        let vitals = &self.shared.vitals;
        vitals
            .committed_events
            .fetch_add(batch.segment.count, Ordering::Relaxed);
        self.note_wal();
    }

    fn note_wal(&self) {
        let bytes = self.appender.wal_pages().saturating_mul(PAGE_BYTES);
        self.shared.vitals.wal_bytes.store(bytes, Ordering::Relaxed);
    }

    fn checkpoint_busy(&mut self) {
        if self.appender.wal_pages() >= CHECKPOINT_PAGES {
            self.note_checkpoint(self.appender.checkpoint_passive());
        }
    }

    fn checkpoint_idle(&mut self) {
        let result = self.appender.checkpoint_truncate();
        // A reader that still needs the log is not waited for: the next idle time tries again,
        // after the next commit.
        self.is_wal_dirty = false;
        self.note_checkpoint(result.map(drop));
        self.note_wal();
    }

    /// A failed checkpoint loses nothing: the write-ahead log keeps what it has.
    fn note_checkpoint(&self, result: Result<(), DbError>) {
        if let Err(error) = result {
            tracing::warn!(target: "auditlite", problem = chain(&error), "a checkpoint failed");
        }
    }

    /// Takes what still arrives, states the session's accounts, checkpoints.
    fn close(&mut self, reply: Sender<bool>) -> Stop {
        while !self.receiver.is_empty() {
            let Some(prepared) = self.collect() else {
                break;
            };
            if let Err(stop) = self.commit(prepared) {
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
                lifecycles_stored: self.lifecycles_stored,
                lifecycles_lost: self.lifecycles_stated_lost,
                payloads_lost: self.payloads_stated_lost,
            }),
        );
        if let Err(stop) = self.commit(prepared) {
            return stop;
        }
        for reply in self.flushes.drain(..) {
            let _ = reply.send(());
        }
        let is_truncated = self.appender.checkpoint_truncate();
        self.note_wal();
        if let Err(error) = &is_truncated {
            tracing::warn!(target: "auditlite", problem = chain(error), "the last checkpoint failed");
        }
        self.shared.set_closed();
        let _ = reply.send(true);
        Stop::Closed
    }
}

fn session_facts(config: &Config) -> StoreOpened {
    StoreOpened {
        auditlite_version: env!("CARGO_PKG_VERSION").to_owned(),
        sqlite_version: sqlite_version().to_owned(),
        durability: match config.durability {
            Durability::Full => "full",
            Durability::Buffered => "buffered",
        }
        .to_owned(),
        overflow: match config.overflow {
            Overflow::Shed => "shed",
            Overflow::Wait(_) => "wait",
            Overflow::Strict => "strict",
        }
        .to_owned(),
        capture: match config.capture {
            Capture::Full => "full",
            Capture::MetadataOnly => "metadata_only",
        }
        .to_owned(),
        payload_cap_bytes: u64::try_from(config.payload_cap_bytes).unwrap_or(u64::MAX),
    }
}

/// One `tracing` event for each end that is committed: ids and figures, never content.
fn trace_ends(batch: &Batch, ends: Vec<EndNote>) {
    for note in ends {
        let Some(Fact::Ended(ended)) = batch.events.get(note.event_index).map(|event| &event.fact)
        else {
            continue;
        };
        macro_rules! trace_end {
            ($level:ident) => {
                tracing::$level!(
                    target: "auditlite",
                    parent: &note.span,
                    request_id = ended.request_id,
                    status = ended.kind.status().name(),
                    provider_name = note.provider_name,
                    model = note.model,
                    http_status = ended.http_status,
                    error_type = ended.error_type,
                    input_tokens = ended.input_tokens,
                    output_tokens = ended.output_tokens,
                    cost_microdollars = ended.cost_microdollars,
                    latency_us = ended.latency_us,
                    "request {}",
                    ended.kind.status().name()
                )
            };
        }
        match ended.kind {
            EndKind::Failed => trace_end!(warn),
            _ => trace_end!(info),
        }
    }
}
