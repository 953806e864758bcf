//! The store: owner and guard of a file, from its opening to its close.

mod checks;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::closing::{Closer, Closing};
use crate::config::{Capture, Config, Durability, Overflow, PieceSettings};
use crate::db::{DatabasePath, FileLinks, WriterLock};
use crate::error::{FlushError, OpenError, RemovalError};
use crate::merkle::SigningKey;
use crate::pricing::PriceBook;
use crate::reader::{ReadOnlyStore, Reader};
use crate::recorder::Recorder;
use crate::redaction::Redaction;
use crate::removal::{
    EraseReport, EraseSelector, LOOK_EVERY, PruneReport, Remover, Retention, RetentionThread,
};
use crate::writer::{
    CheckpointNotice, CheckpointSettings, CloseReport, Command, Health, Shared, check_identity,
    spawn,
};

/// Opens a [`Store`]. Settings are checked by [`open`](Self::open); no setter fails.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is opened"]
pub struct StoreBuilder {
    config: Config,
    price_book: Option<Arc<PriceBook>>,
    checkpoints: CheckpointSettings,
    retention: Retention,
    /// Between two looks at it; what a test may set.
    retention_every: Duration,
}

impl StoreBuilder {
    /// When a recorded event is safe. Default: [`Durability::Full`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config.durability = durability;
        self
    }

    /// What happens to requests beyond the capacity. Default: [`Overflow::Shed`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.config.overflow = overflow;
        self
    }

    /// Whether bodies are kept. Default: [`Capture::Full`].
    /// [`RequestContext::capture`](crate::RequestContext::capture) overrides it for one request.
    pub fn capture(mut self, capture: Capture) -> Self {
        self.config.capture = capture;
        self
    }

    /// Longest body that is kept whole, in bytes. Of a longer one only the first and last 8 KiB are kept.
    /// Default: 16 MiB; between 16 KiB and 128 MiB.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.config.payload_bytes_max = bytes;
        self
    }

    /// Whether the writer may parse bodies at all. Default: `true`: it parses a request's body as its context
    /// says ([`RequestContext::read_body`](crate::RequestContext::read_body)), and a response's body if the
    /// request ends by [`finish`](crate::RequestHandle::finish), is dropped, or its end asks for it
    /// ([`Completion::read_body`](crate::Completion::read_body)). `false`: only what the gateway passes is
    /// recorded.
    pub fn read_bodies(mut self, read_bodies: bool) -> Self {
        self.config.read_bodies = read_bodies;
        self
    }

    /// Emits the `tracing` event of each request that ends at INFO, as an access log. Default: no: at DEBUG.
    /// Failed requests are at WARN in any case.
    pub fn log_ends_at_info(mut self, is_info: bool) -> Self {
        self.config.logs_ends_at_info = is_info;
        self
    }

    /// Removes secrets from everything that is recorded. Default: none. See [`Redaction`] for its cost on the
    /// request thread.
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.config.redaction = Some(redaction);
        self
    }

    /// How much of a long response a crash can lose. The chunks so far are written as a piece when this much
    /// time has passed since the last piece (or since the request arrived), or this many bytes have come; the
    /// next chunk triggers it. An `interrupted` request keeps its pieces. They are no part of the log, and are
    /// deleted when the request ends. Default: 10 s, 1 MiB; at least 4 KiB. `Duration::MAX` and `usize::MAX`:
    /// never.
    ///
    /// No pieces are written of records of the past ([`started_at`](crate::RequestContext::started_at)), where
    /// bodies are not kept, and under a [`Redaction`] with a function, since it is not known how much of a text
    /// the function must see. With any other redaction, the request thread redacts each piece.
    pub fn response_pieces(mut self, interval: Duration, bytes: usize) -> Self {
        self.config.pieces = PieceSettings { interval, bytes };
        self
    }

    /// How many events may be on their way to the disk, the ends of open requests included: twice
    /// the number of requests that can be open at once. Default: 65,536; between 16 and 4,194,304.
    pub fn capacity_events(mut self, events: usize) -> Self {
        self.config.capacity_events = events;
        self
    }

    /// Memory for bodies and metadata that are on their way to the disk, in bytes. Default: 64 MiB; at least
    /// 64 KiB. A third of it is reserved for the allocator's fragmentation, so a body longer than two thirds of
    /// it is never kept.
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.config.capacity_bytes = bytes;
        self
    }

    /// Memory by which conversations are followed, so that what a request repeats is stored once. Default:
    /// 64 MiB, taken only as far as there are conversations: some 5 KiB for one of 80 KB requests. A fifth of it is
    /// left to the allocator. The longest unused ones are let go first; one that goes on later is read back from the
    /// file where there is time for it.
    /// 0: every body is packed alone, and media stay in their bodies. At most 4 GiB.
    pub fn conversation_cache_bytes(mut self, bytes: usize) -> Self {
        self.config.conversation_cache_bytes = bytes;
        self
    }

    /// How long an event may wait for others to be committed with it. Fewer commits write less: at 200 requests a
    /// second a seventh. A receipt that is waited for or awaited, a flush and a full queue are not kept waiting.
    /// What waits is lost when the process is killed, and readers see it later. Default: 50 ms; at most 60 s.
    /// Zero: every event is committed as soon as the writer is free.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.config.commit_interval = interval;
        self
    }

    /// Settings for a device with little memory and a disk that wears out: a commit interval of a second, 4 MiB of
    /// conversation cache, 8 MiB of capacity. Later settings change them again.
    pub fn for_edge(self) -> Self {
        self.commit_interval(Duration::from_secs(1))
            .conversation_cache_bytes(4 * 1024 * 1024)
            .capacity_bytes(8 * 1024 * 1024)
    }

    /// Bytes of a page of a new file: 4,096, the default, or 8,192. An existing file keeps its own. Each commit writes
    /// a page or more of every table and index, so large pages write more where few requests come: half as much again
    /// at 50 a second. Where as many come as the store takes, they save up to 4 % of the file's size.
    pub fn page_bytes(mut self, bytes: u32) -> Self {
        self.config.page_bytes = bytes;
        self
    }

    /// How long dropping the store may take. Default: 10 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Most reading connections; they are opened when first needed, with up to 4 MiB of cache
    /// each. Default: 4; between 1 and 256.
    pub fn readers_max(mut self, readers: u32) -> Self {
        self.config.readers_max = readers;
        self
    }

    /// How long one read may take; it then ends with [`ReadError::Timeout`](crate::ReadError::Timeout).
    /// A read that never ends would keep the write-ahead log from being moved into the database.
    /// Default: 30 s.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.config.read_timeout = timeout;
        self
    }

    /// Size of the write-ahead log, in bytes, at which it is moved into the database while the
    /// store is busy. Default: 16 MiB; at least 64 KiB.
    pub fn wal_checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.config.checkpoint_bytes = bytes;
        self
    }

    /// Most bytes that the database and its write-ahead log may take. From 80 % of it on [`Health`] warns, from
    /// 90 % on bodies are left out, and at the bound new requests meet the [`Overflow`] policy as if the
    /// capacity were used up; the ends of open requests and the `gap` events still fit. Default: no bound; at
    /// least 1 MiB.
    pub fn size_bytes_max(mut self, bytes: u64) -> Self {
        self.config.space.size_bytes_max = Some(bytes);
        self
    }

    /// Free bytes on the disk below which [`Health`] warns. Default: 256 MiB, or a tenth of the
    /// disk where that is less.
    pub fn free_space_warn_bytes(mut self, bytes: u64) -> Self {
        self.config.space.warn_below_bytes = Some(bytes);
        self
    }

    /// Free bytes on the disk below which bodies are left out, so that metadata can still be recorded for long.
    /// Bodies that are left out are flagged and counted by `gap` events. Default: 32 MiB, or a twentieth of
    /// the disk where that is less.
    pub fn free_space_metadata_only_bytes(mut self, bytes: u64) -> Self {
        self.config.space.metadata_only_below_bytes = Some(bytes);
        self
    }

    /// Prices of models. Default: none, and requests are recorded without a cost. While the store is open,
    /// [`Store::set_price_book`] replaces them.
    pub fn price_book(mut self, price_book: PriceBook) -> Self {
        self.price_book = Some(Arc::new(price_book));
        self
    }

    /// Signs the checkpoints of the log. Default: none, and checkpoints are unsigned: they show
    /// that the log fits them, but anyone who can write to the file can make both again.
    pub fn signing_key(mut self, key: SigningKey) -> Self {
        self.checkpoints.key = Some(key);
        self
    }

    /// The longest time between an event and the checkpoint that covers it. 10,000 events or the close bring
    /// one earlier. Default: 60 s; at least 1 s.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoints.interval = interval;
        self
    }

    /// Makes a checkpoint after this much time even though nothing was recorded, so that an anchor
    /// shows when the log was still whole. Default: none; at least 1 s.
    pub fn checkpoint_heartbeat(mut self, pause: Duration) -> Self {
        self.checkpoints.heartbeat = Some(pause);
        self
    }

    /// Keeps a [search index](crate::Reader::search) of all messages, from the beginning of the log on. The
    /// writer builds it while it is idle. An index that exists is kept up to date in any case. It takes about as
    /// much space in the file as everything else. Default: no.
    pub fn search_index(mut self, is_kept: bool) -> Self {
        self.config.has_search_index = is_kept;
        self
    }

    /// Opens the log of this id only ([`ReadOnlyStore::log_id`](crate::ReadOnlyStore::log_id)), with or without
    /// the `auditlite/` before it. Any other log at the path, a new one too, is refused with
    /// [`OpenError::OtherLog`] and left as it is: so a deleted or exchanged database is noticed. Default: the
    /// log that is at the path, else a new one.
    pub fn expect_log(mut self, log_id: impl Into<String>) -> Self {
        let id = log_id.into();
        let id = id.strip_prefix("auditlite/").unwrap_or(&id).to_owned();
        self.config.expected_log = Some(id);
        self
    }

    /// Opens a file that has several names (hard links), as some backup tools make them. Default: no,
    /// [`OpenError::Linked`]. SQLite keeps the write-ahead log beside the name by which the database was
    /// opened. A process that opens it by another name does not see that log, and damages the database if it
    /// writes. Allow it only if the other names are never opened.
    pub fn allow_links(mut self, are_allowed: bool) -> Self {
        self.config.are_links_allowed = are_allowed;
        self
    }

    /// Refuses a log with signed checkpoints, by [`OpenError::KeyMissing`], if there is no
    /// [`signing_key`](Self::signing_key) to continue signing it: verification reports what is written without
    /// one as a finding. Default: no, so that a gateway starts without its key.
    pub fn refuse_unsigned(mut self, is_refused: bool) -> Self {
        self.config.is_unsigned_refused = is_refused;
        self
    }

    /// Appends every checkpoint to this file, and syncs it. It must lie outside of the database's directory,
    /// best on another machine or on append-only storage: a database alone cannot prove that its end was not
    /// cut off, or that it is not an older copy. Created with permissions for its owner alone. Default: none.
    ///
    /// A failure is counted in [`Health::checkpoint_failures`] and does not stop recording. The
    /// writer waits for the file's disk once for each checkpoint.
    ///
    /// The opening reads the file's last notes. A log with fewer or other events than they state is refused:
    /// [`OpenError::BehindAnchor`]. With [`Durability::Buffered`], where a power loss alone can take the end of
    /// a log, the store opens, and raises [`Alarm::BehindAnchor`](crate::Alarm::BehindAnchor).
    pub fn anchor_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkpoints.anchor = Some(path.into());
        self
    }

    /// Called with every checkpoint once it is in the file, to keep it elsewhere. Default: none.
    ///
    /// Runs on the writer's thread, which waits for it: pass the checkpoint on and return. An error or a panic
    /// is counted in [`Health::checkpoint_failures`] and does not stop recording.
    pub fn on_checkpoint<F>(mut self, callback: F) -> Self
    where
        F: Fn(&CheckpointNotice) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
    {
        self.checkpoints.callback = Some(Arc::new(callback));
        self
    }

    /// How long requests and bodies are kept. Applied at the opening and once a minute, in short steps, by a
    /// thread of its own that works like [`Store::prune`]. Default: everything, for ever.
    ///
    /// Its `size_bytes_max` should be well below [`size_bytes_max`](Self::size_bytes_max), so that space is freed
    /// before anything has to be left out.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Applies the retention policy more often than once a minute.
    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn retention_every(mut self, every: Duration) -> Self {
        self.retention_every = every;
        self
    }

    /// Opens the file, creating it (for its owner alone) if there is none, marks requests that a crash left
    /// open as interrupted, and starts the writer.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong and what to do; a file that is not a store is not changed.
    pub fn open(self) -> Result<Store, OpenError> {
        if let Some(problem) = self.config.problem() {
            return Err(OpenError::Config(problem));
        }
        let path = DatabasePath::new(&self.config.path)?;
        let mut checkpoints = self.checkpoints;
        checkpoints
            .settle(path.as_path())
            .map_err(OpenError::Config)?;
        if let Some(expected) = self.config.expected_log.as_deref() {
            // Checked before the lock file or the database is created: a wrong path must leave no trace.
            let found = match path.exists() {
                true => ReadOnlyStore::open(path.as_path())?.log_id()?,
                false => None,
            };
            check_identity(path.as_path(), Some(expected), found.as_deref())?;
        }
        let links = match self.config.are_links_allowed {
            true => FileLinks::Allowed,
            false => FileLinks::Refused,
        };
        // From here on no other process writes; the writer takes the lock over, and keeps it to its end.
        let lock = WriterLock::acquire(&path, links)?;
        let reader = Reader::new(
            path.as_path(),
            self.config.readers_max,
            self.config.read_timeout,
        );
        let read_only = ReadOnlyStore::of_store(path.as_path(), reader);
        let absolute = path.as_path().to_owned();
        let close_timeout = self.config.close_timeout;
        let (shared, thread) = spawn(self.config, path, lock, self.price_book, checkpoints)?;
        let remover = Remover::new(Arc::clone(&shared), &absolute);
        let retention = self
            .retention
            .is_any()
            .then(|| RetentionThread::start(remover.clone(), self.retention, self.retention_every))
            .transpose()
            .map_err(OpenError::Thread)?;
        let closer = Closer::new(Arc::clone(&shared), thread, retention);
        Ok(Store {
            remover,
            path: absolute,
            recorder: Recorder { shared },
            read_only,
            close_timeout,
            closer,
        })
    }
}

/// Owns a store's file: until it is closed, no other store can write to that file.
///
/// Dropping it closes the file as [`close`](Self::close) does, within the builder's
/// [`close_timeout`](StoreBuilder::close_timeout).
///
/// # Forks
///
/// Open a store after forking workers or becoming a daemon: threads and SQLite's locks do not come along.
/// In a process that was forked later, recording and reading return errors
/// ([`RecordError::Forked`](crate::RecordError::Forked), after 10 ms at the latest), [`health`](Self::health)
/// is failed, and dropping the store does nothing. It holds the file's lock until it ends or executes.
///
/// ```
/// use std::time::Duration;
/// use auditlite::{Completion, RequestContext, Store, Usage};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("audit.db");
/// let store = Store::builder(path).open()?;
/// let recorder = store.recorder(); // cheap to clone, for the gateway's state
///
/// let context = RequestContext::new("openai.chat").user_id("u-17").request_model("gpt-4o");
/// let audit = recorder.open(context, r#"{"model":"gpt-4o","messages":[]}"#)?;
/// let receipt = audit.complete(
///     Completion::new()
///         .response_body(r#"{"choices":[]}"#)
///         .usage(Usage::new(9, 12)),
/// )?;
/// receipt.wait(Duration::from_secs(5))?;
///
/// let report = store.close(Duration::from_secs(5));
/// assert!(report.is_complete);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Store {
    path: PathBuf,
    recorder: Recorder,
    /// The file, as others read it.
    read_only: ReadOnlyStore,
    close_timeout: Duration,
    remover: Remover,
    closer: Arc<Closer>,
}

impl Store {
    /// A builder for the store in the file at this path.
    pub fn builder(path: impl Into<PathBuf>) -> StoreBuilder {
        StoreBuilder {
            config: Config::new(path.into()),
            price_book: None,
            checkpoints: CheckpointSettings::default(),
            retention: Retention::default(),
            retention_every: LOOK_EVERY,
        }
    }

    /// The file's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A recorder, for the gateway's state.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// A reader on the same file.
    pub fn reader(&self) -> Reader {
        self.read_only.reader()
    }

    fn shared(&self) -> &Shared {
        &self.recorder.shared
    }

    /// The writer's state, counters and alarms. The same as [`Recorder::health`].
    pub fn health(&self) -> Health {
        self.shared().health()
    }

    /// Replaces the [price book](StoreBuilder::price_book); `None`: nothing is priced any more. Every later end
    /// is priced with the new book, and ends that are on their way to the disk may be. Committed requests keep
    /// their cost. Recording continues meanwhile, and no request thread waits.
    pub fn set_price_book(&self, price_book: impl Into<Option<PriceBook>>) {
        self.shared()
            .set_price_book(price_book.into().map(Arc::new));
    }

    /// Waits until everything recorded before this call is committed.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`FlushError::Timeout`] when the time is over first, [`FlushError::WriterStopped`] when it
    /// will not be committed.
    pub fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        self.shared().ask(Command::Flush, timeout)
    }

    /// Erases content, salts and personal metadata of requests, with the reason in the log.
    ///
    /// What remains of a request: its id, time, provider, models and usage. Its two lines in the log are
    /// replaced by their hashes, so that the log still verifies. Nothing else remains in the file, its free
    /// pages, the unused space of pages or the write-ahead log ([`EraseReport::is_fully_erased`]); to make sure,
    /// the whole file is read once. The reason is kept: it must not repeat what is to be erased.
    ///
    /// Works in steps of up to 256 requests; each is erased whole or not at all. After a failure, call it again
    /// for the rest. Recording continues meanwhile.
    ///
    /// ```
    /// # use auditlite::{EraseSelector, Store};
    /// # let folder = tempfile::tempdir()?;
    /// # let store = Store::builder(folder.path().join("audit.db")).open()?;
    /// let report = store.erase(&EraseSelector::User("u-17".to_owned()), "request of 2026-11-20")?;
    /// assert_eq!(report.requests, 0); // there was none
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Blocks until the removal, and everything recorded before this call, is committed.
    ///
    /// # Errors
    ///
    /// [`RemovalError::Pending`] if one of the requests has not ended. Damaged requests do not stop the others:
    /// the report counts them.
    pub fn erase(
        &self,
        selector: &EraseSelector,
        reason: &str,
    ) -> Result<EraseReport, RemovalError> {
        self.remover.erase(selector, reason)
    }

    /// Removes content and requests that are too old or too large for `retention`, and returns their space to the
    /// disk. The log records each step. Requests that have not ended, and everything recorded after the first of
    /// them, stay. Recording continues meanwhile.
    ///
    /// # Blocking
    ///
    /// Blocks until all of it is committed.
    ///
    /// # Errors
    ///
    /// As [`erase`](Self::erase). What was removed before the error is recorded, and stays removed.
    pub fn prune(&self, retention: &Retention) -> Result<PruneReport, RemovalError> {
        self.remover.prune(retention, false, &|| true)
    }

    /// Ends admission, commits what is queued, records the accounts of this opening in the log, moves the
    /// write-ahead log into the database, and reports.
    ///
    /// Requests that are still open stay open, and are marked interrupted by the next opening. A second call
    /// returns the report of the first, and waits for it if that is still running. Readers can read until they
    /// are dropped.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread, at most for `timeout`. After that the report says what is lost.
    pub fn close(&self, timeout: Duration) -> CloseReport {
        self.closer.close(timeout)
    }

    /// As [`close`](Self::close), on a thread of its own: for asynchronous code, on any runtime. Starts at
    /// once, awaited or not.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn stop(store: auditlite::Store) {
    /// let report = store.close_async(Duration::from_secs(10)).await;
    /// assert!(report.is_complete);
    /// # }
    /// ```
    ///
    /// # Blocking
    ///
    /// Does not block, unless no thread can be started: then it closes like `close`.
    pub fn close_async(&self, timeout: Duration) -> Closing {
        self.closer.close_async(timeout)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(report) = self.closer.close_dropped(self.close_timeout)
            && !report.is_complete
        {
            tracing::error!(
                target: "auditlite",
                path = ?self.path,
                lost_events = report.lost_events,
                "the audit store was dropped before everything was committed"
            );
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .field("health", &self.health().state)
            .finish_non_exhaustive()
    }
}
