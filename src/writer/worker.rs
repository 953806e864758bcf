//! The writer's threads: how they start, and what is left when they end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::admission::command::Command;
use super::admission::queue::Shared;
use super::commit::committer::{Committer, Stop};
use super::commit::indexing::Indexing;
use super::commit::request::Replies;
use super::commit::tree_head::{CheckpointSettings, Checkpointer};
use super::commit::wal::WalCheckpointer;
use super::disk_space::DiskSpaceWatch;
use super::opening::interruption::interrupt;
use super::opening::prior_log::Past;
use super::stages::batch::BatchBuilder;
use super::stages::intake::{Accounts, Downstream, Intake, Pace};
use super::stages::media::MediaTable;
use super::stages::pack::{Commit, PackStage, Packing};
use super::stages::prepare::Preparer;
use super::stages::prices::Prices;
use super::stages::resume::Resumer;
use crate::clock::now_micros;
use crate::config::Config;
use crate::db::{
    Appender, DatabasePath, FileWatch, WriterLock, media_end, media_key, open_error, open_reader,
    sqlite_version,
};
use crate::error::{Cause, OpenError};
use crate::log::{EventKind, StoreOpened};
use crate::payload::MediaKey;
use crate::pricing::PriceBook;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{Receiver, bounded};
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{Instant, thread};

/// Most requests that are marked interrupted in one transaction.
const INTERRUPTED_MAX: usize = 8192;
/// Most bytes of their responses, beyond those of the last one.
const INTERRUPTED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Groups of payloads that wait for the packer, and batches that wait for the committer.
const GROUPS_AHEAD: usize = 4;
const BATCHES_AHEAD: usize = 1;
/// Arenas on their way back to the intake: memory that the intake allocates for each group costs
/// more than what it writes there.
const BUFFERS_MAX: usize = GROUPS_AHEAD + 2;

/// The owner's handle on the writer: held by [`Closer`](crate::closing::Closer) from the opening to the close.
/// The intake's thread joins the other two before it ends, so one handle is enough.
#[derive(Debug)]
pub(crate) struct WriterThread {
    thread: JoinHandle<()>,
    /// Set by the owner when it no longer waits, read by the committer: a failing commit is not retried.
    give_up: Arc<AtomicBool>,
}

impl WriterThread {
    /// Makes the committer stop retrying a failing commit. Does not wait.
    pub(crate) fn give_up(&self) {
        self.give_up.store(true, Ordering::SeqCst);
    }

    /// Waits for the thread's end until the deadline. `false`: it is still busy. Blocks.
    pub(crate) fn join_until(self, deadline: Instant) -> bool {
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_micros(200));
        }
        self.thread.join().is_ok()
    }
}

/// Starts the threads. Returns once the file is open, crashed requests are marked and the store's
/// opening is committed, or with the reason why not.
pub(crate) fn spawn(
    config: Config,
    path: DatabasePath,
    lock: WriterLock,
    price_book: Option<Arc<PriceBook>>,
    checkpoints: CheckpointSettings,
) -> Result<(Arc<Shared>, WriterThread), OpenError> {
    // The file is opened on the thread that will use it, which reports back once: so that an error of the
    // opening is returned here, and no connection moves between threads before it is in use.
    let (shared, receiver) = Shared::new(&config);
    let shared = Arc::new(shared);
    shared.set_price_book(price_book);
    let give_up = Arc::new(AtomicBool::new(false));
    let (opened_sender, opened) = bounded(1);
    let thread = {
        let shared = Arc::clone(&shared);
        let give_up = Arc::clone(&give_up);
        Builder::new()
            .name("auditlite-intake".to_owned())
            .spawn(move || {
                let _bomb = StopOnUnwind::new(&shared, true);
                shared.set_writer(thread::current());
                let pace = Pace::new(&config);
                let opening = Opening {
                    config: &config,
                    path,
                    lock,
                    give_up,
                };
                match opening.open(checkpoints, &shared) {
                    Err(error) => {
                        let _ = opened_sender.send(Err(error));
                    }
                    Ok((stages, preparer, next_seq)) => {
                        let _ = opened_sender.send(Ok(()));
                        work(shared, receiver, stages, preparer, pace, next_seq);
                    }
                }
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

/// Runs the stages until they end: on three threads, or on this one where there is one processor.
fn work(
    shared: Arc<Shared>,
    receiver: Receiver<Command>,
    stages: Stages,
    preparer: Preparer,
    pace: Pace,
    next_seq: u64,
) {
    let path = stages.committer.path.clone();
    let (downstream, threads) = start(stages, thread::processors() > 1, &shared);
    let mut intake = Intake {
        shared: Arc::clone(&shared),
        receiver,
        preparer,
        downstream,
        pace,
        next_seq,
        lifecycles_opened: 0,
        accounts: Accounts::default(),
        is_unhurried: false,
    };
    if let Some(stop) = intake.run() {
        Committer::latch(&shared, &path, stop);
    }
    // Closes the packer's channel: the packer ends when it is drained, and then the committer likewise.
    drop(intake);
    for thread in threads {
        let _ = thread.join();
    }
}

/// The stages after the intake, opened and not started yet.
struct Stages {
    packing: Packing,
    committer: Committer,
}

/// Starts the committer, then the packer in front of it. A thread that cannot be started is no error: its stage
/// stays with the one before, and at worst all of them run on the intake's thread. The packer gets a thread
/// only if the committer got one, since one thread behind the intake gains nothing by being split.
fn start(
    stages: Stages,
    on_threads: bool,
    shared: &Arc<Shared>,
) -> (Downstream, Vec<JoinHandle<()>>) {
    let Stages { packing, committer } = stages;
    let mut threads = Vec::new();
    let commit = if on_threads {
        let (batches, incoming) = bounded(BATCHES_AHEAD);
        let run = move |mut committer: Committer, shared: &Shared| {
            let stop = committer.run(&incoming);
            Committer::latch(shared, &committer.path, stop);
        };
        match start_stage("auditlite-commit", true, committer, run, shared) {
            Ok(thread) => {
                threads.push(thread);
                Commit::Thread(batches)
            }
            Err(committer) => Commit::Here(Box::new(committer)),
        }
    } else {
        Commit::Here(Box::new(committer))
    };
    let stage = PackStage { packing, commit };
    if threads.is_empty() {
        return (Downstream::Here(Box::new(stage)), threads);
    }
    let (steps, incoming) = bounded(GROUPS_AHEAD);
    let run = move |mut stage: PackStage, shared: &Shared| {
        if let Err(Some(Stop::Failed(reason))) = stage.run(&incoming) {
            shared.set_stopped(reason);
        }
    };
    match start_stage("auditlite-pack", false, stage, run, shared) {
        Ok(thread) => {
            threads.push(thread);
            (Downstream::Thread(steps), threads)
        }
        Err(stage) => (Downstream::Here(Box::new(stage)), threads),
    }
}

/// Runs a stage on a thread of its own; `is_last`: the writer ends with it. Returns the stage where no thread can
/// be started.
fn start_stage<S: Send + 'static>(
    name: &str,
    is_last: bool,
    stage: S,
    run: impl FnOnce(S, &Shared) + Send + 'static,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>, S> {
    // Handed over once the thread runs, so that a thread that does not start loses nothing.
    let (hand_over, handed_over) = bounded::<S>(1);
    let thread = {
        let shared = Arc::clone(shared);
        Builder::new().name(name.to_owned()).spawn(move || {
            let _bomb = StopOnUnwind::new(&shared, is_last);
            if let Ok(stage) = handed_over.recv() {
                run(stage, &shared);
            }
        })
    };
    match thread {
        Err(error) => {
            tracing::warn!(target: "auditlite", %error, name, "no thread could be started; recording continues with fewer");
            Err(stage)
        }
        Ok(thread) => {
            let _ = hand_over.send(stage);
            Ok(thread)
        }
    }
}

/// Latches the store as stopped if its thread ends in any other way than by a close, so that later calls fail
/// instead of waiting for a writer that is gone. One lives on the stack of each of the writer's threads.
struct StopOnUnwind {
    shared: Arc<Shared>,
    /// Whether the writer has ended when this thread has. The packer may end in good order while the committer
    /// still has a batch of it: only a panic of such a thread stops the store.
    is_last: bool,
}

impl StopOnUnwind {
    fn new(shared: &Arc<Shared>, is_last: bool) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, is_last }
    }
}

impl Drop for StopOnUnwind {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            "it panicked; this is a bug, please report it"
        } else if self.is_last {
            "it ended"
        } else {
            return;
        };
        self.shared.set_stopped(reason.to_owned());
    }
}

/// What opening a store needs. Built by [`spawn`], consumed on the intake's thread.
struct Opening<'c> {
    config: &'c Config,
    path: DatabasePath,
    lock: WriterLock,
    give_up: Arc<AtomicBool>,
}

impl Opening<'_> {
    /// Opens the file and records the opening in it; the seq is that of the next event.
    ///
    /// In this order: foreign or recreated tables are reported; the log is compared with its anchor before
    /// anything is written to it; then the stages are built, and the store's opening is committed together
    /// with the ends of requests that a crash interrupted. If a step fails, the log is as it was.
    fn open(
        self,
        checkpoints: CheckpointSettings,
        shared: &Arc<Shared>,
    ) -> Result<(Stages, Preparer, u64), OpenError> {
        let failed = |path: &Path, source| OpenError::Database {
            path: path.to_owned(),
            source,
        };
        let path = self.path.as_path().to_owned();
        let appender = Appender::open(&self.path, self.config.durability, self.config.page_bytes)?;
        note_foreign(&path, appender.schema().foreign(), shared);
        note_remade(&path, appender.schema().remade(), shared);
        // SQLite creates the file lazily: read once, so that it is complete before it is compared with the anchor.
        let mut head = appender
            .tree_head()
            .map_err(|error| open_error(&path, error))?;
        let past = Past {
            config: self.config,
            path: &path,
            checkpoints: &checkpoints,
            appender: &appender,
            head: &head,
        };
        let unsigned_removals = past.check(shared)?;
        let media = media_key_of(self.config, &path, &appender, shared);
        let has_past = head.log_id.is_some();
        let log_id = head
            .log_id
            .take()
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let watch = FileWatch::new(&path, &log_id).map_err(|error| failed(&path, error.into()))?;
        let (buffers_back, buffers) = bounded(BUFFERS_MAX);
        let mut packing = Packing::new(Arc::clone(shared), head.range.clone(), buffers_back)
            .map_err(|source| failed(&path, source))?;
        let page_bytes = appender.page_bytes();
        let mut committer = Committer {
            shared: Arc::clone(shared),
            give_up: self.give_up,
            path: self.path,
            durability: self.config.durability,
            logs_ends_at_info: self.config.logs_ends_at_info,
            appender,
            watch,
            file_bytes: 0,
            end_seq: 0,
            is_suspect: false,
            checkpoints: WalCheckpointer::new(self.config.checkpoint_bytes, page_bytes),
            checkpointer: Checkpointer::new(checkpoints, &log_id, head),
            space: DiskSpaceWatch::new(self.config.space),
            indexing: Indexing::default(),
            _lock: self.lock,
        };
        let mut facts = opening_facts(self.config, log_id);
        facts.unsigned_removals = unsigned_removals;
        let mut prices = Prices::default();
        let opening = record_opening(
            self.config,
            facts,
            &mut committer,
            &mut packing,
            &mut prices,
        );
        let next_seq = opening.map_err(|source| failed(&path, source))?;
        committer.begin_indexing(self.config.has_search_index);
        // What is read back is kept there until the body that asked for it is planned.
        let has_cache = self.config.conversation_cache_bytes > 0;
        let resumer = match has_cache.then(|| open_reader(&path)) {
            None => None,
            Some(Ok(connection)) => Some(Resumer::new(connection, has_past)),
            Some(Err(error)) => {
                tracing::warn!(target: "auditlite", ?path, problem = crate::error::chain(&error), "conversations that were recorded before cannot be read; what goes on with them is stored once more");
                None
            }
        };
        let media = media.map(|key| {
            let bytes_max = MediaTable::bytes_max(self.config.conversation_cache_bytes);
            MediaTable::new(key, Arc::clone(shared), bytes_max)
        });
        let preparer = Preparer::new(self.config, buffers, resumer, media, prices);
        Ok((Stages { packing, committer }, preparer, next_seq))
    }
}

/// The key of the file's media; `None`: they stay in their bodies.
fn media_key_of(
    config: &Config,
    path: &Path,
    appender: &Appender,
    shared: &Shared,
) -> Option<MediaKey> {
    if config.conversation_cache_bytes == 0 {
        return None;
    }
    let connection = appender.connection();
    let found = media_end(connection).and_then(|end| Ok((end, media_key(connection)?)));
    let problem = match found {
        Ok((end, Some(key))) => {
            shared.media_ids.begin(end);
            return Some(key);
        }
        Ok((_, None)) => "their key is not one".to_owned(),
        Err(error) => crate::error::chain(&error),
    };
    tracing::warn!(target: "auditlite", ?path, problem, "the media in the file cannot be read; bodies are stored with their media");
    None
}

/// Warns of objects in the schema that are not ours.
fn note_foreign(path: &Path, foreign: &[String], shared: &Shared) {
    let objects = u64::try_from(foreign.len()).unwrap_or(u64::MAX);
    shared.counters.set_foreign_objects(objects);
    if let Some(first) = foreign.first() {
        tracing::warn!(target: "auditlite", ?path, objects, first, "another program changed the schema of the audit database; recording continues, and what was added does not run");
    }
}

/// Warns of tables that were recreated: all that they held is elsewhere too.
fn note_remade(path: &Path, (remade, is_search): (&[String], bool), shared: &Shared) {
    if is_search {
        shared.counters.note_index_drop();
    }
    if let Some(first) = remade.first() {
        let tables = remade.len();
        tracing::warn!(target: "auditlite", ?path, tables, first, "another program changed what the audit database keeps for searching or removing; it was recreated, and recording is not affected");
    }
}

/// Commits the store's opening, and the interruption of every request that was left open.
fn record_opening(
    config: &Config,
    facts: StoreOpened,
    committer: &mut Committer,
    packing: &mut Packing,
    prices: &mut Prices,
) -> Result<u64, Cause> {
    let now = now_micros();
    let mut prepared = BatchBuilder::new(committer.appender.next_seq()?);
    prepared.push(now, EventKind::StoreOpened(Box::new(facts)));
    loop {
        let left_open = committer.appender.open_requests(INTERRUPTED_MAX)?;
        let mut is_last = left_open.len() < INTERRUPTED_MAX;
        if !left_open.is_empty() {
            prices.update(&committer.shared, &mut prepared);
        }
        for request in left_open {
            if prepared.is_full(INTERRUPTED_MAX * 2, INTERRUPTED_BYTES_MAX) {
                is_last = false;
                break;
            }
            interrupt(
                request,
                now,
                config,
                &committer.appender,
                prices,
                &mut prepared,
            )?;
        }
        let next_seq = prepared.next_seq();
        let (group, sealed) = prepared.seal(Replies::default());
        packing.pack(group);
        if let Some(mut batch) = packing.seal(sealed)?.batch {
            batch.checkpoint = committer.checkpointer.with_batch(&batch, false);
            let refusals = committer.appender.append(&batch)?;
            committer.note_refusals(&refusals);
            committer.note_committed(&batch);
        }
        if is_last {
            committer.take_all_pieces_away();
            return Ok(next_seq);
        }
        prepared = BatchBuilder::new(next_seq);
    }
}

fn opening_facts(config: &Config, log_id: String) -> StoreOpened {
    StoreOpened {
        log_id,
        auditlite_version: env!("CARGO_PKG_VERSION").to_owned(),
        sqlite_version: sqlite_version().to_owned(),
        durability: config.durability.as_str().to_owned(),
        overflow: config.overflow.as_str().to_owned(),
        capture: config.capture.as_str().to_owned(),
        payload_bytes_max: u64::try_from(config.payload_bytes_max).unwrap_or(u64::MAX),
        unsigned_removals: None,
    }
}
