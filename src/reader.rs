//! Readers: what was recorded, from this process or another.

pub(super) mod body_infos;
pub(super) mod messages;
mod price_books;
pub(super) mod unfinished;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{
    BundleOptions, BundleSummary, consistency_proof, inclusion_proof, write_bundle,
};
use crate::config::READ_TIMEOUT;
use crate::db::{
    self, Aside, DatabasePath, ReadConnection, Readable, ReaderPool, WriterLock, log_id,
    open_error, open_reader, stats, stats_of, tools,
};
use crate::doctor::{self, DoctorReport};
use crate::error::{BundleError, ExportError, OpenError, ReadError, VerifyError};
use crate::export::{self, BackupReport, ExportOptions, ExportSummary};
use crate::model::{
    BodyInfo, ListOptions, Message, Page, Payload, PayloadSide, RecordedToolCall, RequestFilter,
    RequestRecord, StatsFilter, StatsKey, StatsRow, ToolStats,
};
use crate::read::commitments::Commitments;
use crate::read::content::{self, ContentReader};
use crate::read::search::{self, SearchLag, SearchOptions, SearchResult};
use crate::read::{lookup, requests};
use crate::removal::{
    EraseReport, EraseSelector, PruneReport, Retention, preview_erase, preview_prune,
};
use crate::verify::{self, VerifyOptions, VerifyProgress, VerifyReport};
use crate::wire::{OfferedTool, ParsedResponse};

/// Most connections of a [`ReadOnlyStore`].
const READERS_MAX: u32 = 4;

/// Reads a store. Cheap to clone; connections are opened when first needed and shared.
///
/// Readers never block the writer. A read sees what was committed before it began, so that a
/// request shows up as soon as its group commit is through.
///
/// # Blocking
///
/// Every method reads from the disk, for at most the store's
/// [`read_timeout`](crate::StoreBuilder::read_timeout) (30 s where none is set). In asynchronous
/// code call it from a blocking task.
#[derive(Clone)]
pub struct Reader {
    pool: Arc<ReaderPool>,
    /// The copy that the connections read, if it is one. Declared after them, so that it is dropped after them.
    _copy: Option<Arc<Aside>>,
}

impl Reader {
    pub(crate) fn new(path: &Path, readers_max: u32, read_timeout: Duration) -> Self {
        Self {
            pool: Arc::new(ReaderPool::new(path, readers_max, read_timeout)),
            _copy: None,
        }
    }

    pub(crate) fn connection(&self) -> Result<ReadConnection, ReadError> {
        self.pool.get()
    }

    /// The request with this id, with this unique prefix of an id, or of this trace; or `#` and a
    /// request's `opened_seq`, which names it even where it shares its id
    /// ([`RequestRecord::reference`]).
    ///
    /// # Errors
    ///
    /// [`ReadError::NotFound`], [`ReadError::Ambiguous`], [`ReadError::DamagedRow`], or what the database reported.
    pub fn get(&self, id: &str) -> Result<RequestRecord, ReadError> {
        lookup::get(&*self.connection()?, id)
    }

    /// The request of a number as in [`get`](Self::get); all requests with this id, else with this prefix
    /// of one, else of this trace, else of this session, else with this anywhere in their id; newest
    /// first, at most `limit` (1 to 10,000). What is only part of ids is looked for in all of them.
    ///
    /// # Errors
    ///
    /// [`ReadError::InvalidArgument`], [`ReadError::DamagedRow`], or what the database reported.
    pub fn find(&self, id: &str, limit: usize) -> Result<Vec<RequestRecord>, ReadError> {
        lookup::find(&*self.connection()?, id, limit)
    }

    /// Whether a request has exactly this id: cheaper than [`list`](Self::list) where most ids are new.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn has_request_id(&self, id: &str) -> Result<bool, ReadError> {
        Ok(db::has_request_id(&*self.connection()?, id)?)
    }

    /// One page of the requests that match. Never touches bodies. To follow a store, or to read what is
    /// new, list the oldest first, keep the last `opened_seq` and pass it as the cursor.
    ///
    /// ```
    /// # use auditlite::{ListOptions, Reader, ReadError, RequestFilter, Status};
    /// # fn failed(reader: &Reader) -> Result<(), ReadError> {
    /// let filter = RequestFilter::new().statuses([Status::Failed]);
    /// let mut options = ListOptions::new();
    /// loop {
    ///     let page = reader.list(&filter, &options)?;
    ///     for request in &page.requests {
    ///         println!("{} {:?}", request.request_id, request.error_type);
    ///     }
    ///     match page.next {
    ///         Some(next) => options.cursor = Some(next),
    ///         None => return Ok(()),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadError::InvalidArgument`], or what the database reported.
    pub fn list(&self, filter: &RequestFilter, options: &ListOptions) -> Result<Page, ReadError> {
        requests::page(&*self.connection()?, filter, options)
    }

    /// A body, exactly as sent, or the excerpt that was kept of one above the payload cap. What is
    /// read is checked against the recorded SHA-256.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoBody`], [`ReadError::NotKept`], [`ReadError::Damaged`], or what the database
    /// reported.
    pub fn payload(
        &self,
        request: &RequestRecord,
        side: PayloadSide,
    ) -> Result<Payload, ReadError> {
        let mut reader = ContentReader::default();
        let body = content::body(&*self.connection()?, &mut reader, request, side)?;
        // The cache must not hold the bytes any more, or they would be copied.
        drop(reader);
        Ok(body.into())
    }

    /// Length and digest of a body, without reading it; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], or what the database reported.
    pub fn body_info(
        &self,
        request: &RequestRecord,
        side: PayloadSide,
    ) -> Result<Option<BodyInfo>, ReadError> {
        content::body_info(
            &*self.connection()?,
            &mut Commitments::default(),
            request,
            side,
        )
    }

    /// Length and digest of the body that was forwarded upstream; `None` where it was the client's.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], or what the database reported.
    pub fn upstream_body(&self, request: &RequestRecord) -> Result<Option<BodyInfo>, ReadError> {
        content::upstream_body(&*self.connection()?, &mut Commitments::default(), request)
    }

    /// Tools that the model asked to have called, in order, with their inputs as far as kept.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], [`ReadError::Unchecked`], or what the database reported.
    pub fn tool_calls(&self, request: &RequestRecord) -> Result<Vec<RecordedToolCall>, ReadError> {
        let connection = self.connection()?;
        content::checked(|reader| content::tool_calls(&connection, reader, request))
    }

    /// The request's canonical messages, if the gateway passed them; empty otherwise.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], [`ReadError::Unchecked`], or what the database reported.
    pub fn messages(&self, request: &RequestRecord) -> Result<Vec<Message>, ReadError> {
        let connection = self.connection()?;
        content::checked(|reader| content::messages(&connection, reader, request))
    }

    /// The tools that the request offers to the model, read from the body; the file holds a catalogue
    /// that requests repeat once. Empty where the body cannot be read.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], [`ReadError::Unchecked`], or what the database reported.
    pub fn offered_tools(&self, request: &RequestRecord) -> Result<Vec<OfferedTool>, ReadError> {
        let connection = self.connection()?;
        content::checked(|reader| content::offered_tools(&connection, reader, request))
    }

    /// What the response says, read from its body: text, thinking, tool calls, usage, errors. `None`
    /// where the body was not kept whole, or its wire protocol is not supported.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], [`ReadError::Unchecked`], or what the database reported.
    pub fn response(&self, request: &RequestRecord) -> Result<Option<ParsedResponse>, ReadError> {
        let connection = self.connection()?;
        content::checked(|reader| content::response(&connection, reader, request))
    }

    /// Searches messages: each once, where it first appeared. All words must occur;
    /// `"a phrase"`, `begin*`, `-without`, and `OR` between groups. Case and accents do not matter.
    /// Of a message the first 256 KiB are searched.
    ///
    /// ```no_run
    /// # use auditlite::{ReadOnlyStore, SearchOptions};
    /// let reader = ReadOnlyStore::open("audit.db")?.reader();
    /// let result = reader.search("\"credit card\" refund*", &SearchOptions::default())?;
    /// for hit in &result.hits {
    ///     let text: String = hit.snippet.iter().map(|part| part.text.as_str()).collect();
    ///     println!("{} {}: {text}", hit.request.request_id, hit.role);
    /// }
    /// if !result.lag.is_none() {
    ///     println!("{} events are not searched yet", result.lag.events);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadError::InvalidArgument`] where there is nothing to search for; [`ReadError::Timeout`]
    /// where a word is in so many messages that ranking them takes too long;
    /// [`ReadError::DerivedDamaged`]; what the database reported.
    pub fn search(&self, query: &str, options: &SearchOptions) -> Result<SearchResult, ReadError> {
        derived(search::search(&*self.connection()?, query, options))
    }

    /// How far the search index is behind the log.
    ///
    /// # Errors
    ///
    /// [`ReadError::DerivedDamaged`], or what the database reported.
    pub fn search_lag(&self) -> Result<SearchLag, ReadError> {
        derived(search::lag(&*self.connection()?))
    }

    /// Tools that models asked to have called, by name, most called first. Reads every request that
    /// matches; without a filter only the calls.
    ///
    /// # Errors
    ///
    /// [`ReadError::DerivedDamaged`], or what the database reported.
    pub fn tools(&self, filter: &RequestFilter) -> Result<Vec<ToolStats>, ReadError> {
        derived(tools(&*self.connection()?, filter).map_err(ReadError::from))
    }

    /// The assistant's text, if the gateway passed it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], [`ReadError::Unchecked`], or what the database reported.
    pub fn assistant_text(&self, request: &RequestRecord) -> Result<Option<String>, ReadError> {
        let connection = self.connection()?;
        content::checked(|reader| content::assistant_text(&connection, reader, request))
    }

    /// Writes the requests that match, oldest first, as JSON Lines or CSV; `docs/export.md` describes
    /// both. Requests that are opened after the export began are left out. Streams: memory is bounded
    /// by 500 records and one request's bodies.
    ///
    /// ```no_run
    /// use auditlite::{ExportContent, ExportOptions, ReadOnlyStore};
    ///
    /// let reader = ReadOnlyStore::open("audit.db")?.reader();
    /// let mut options = ExportOptions::new().content(ExportContent::Full);
    /// let summary = reader.export(&options, &mut std::io::stdout().lock())?;
    /// options.filter.after_seq = summary.next_after; // what is new, the next time
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ExportError`]. A damaged body is no error: it is left out and counted.
    pub fn export(
        &self,
        options: &ExportOptions,
        out: &mut dyn std::io::Write,
    ) -> Result<ExportSummary, ExportError> {
        export::export(&|| self.connection(), options, out)
    }

    /// As [`export`](Self::export), to a file with a manifest (`<path>.manifest.json`) beside it.
    /// Both replace what had their names, and only once they are whole and durable; an export that
    /// fails leaves nothing.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    pub fn export_to_file(
        &self,
        options: &ExportOptions,
        path: &Path,
    ) -> Result<ExportSummary, ExportError> {
        export::export_to_file(&|| self.connection(), options, path)
    }

    /// Sums over ended requests, grouped as asked, from the hourly rollup.
    ///
    /// # Errors
    ///
    /// [`ReadError::DerivedDamaged`], or what the database reported.
    pub fn stats(&self, filter: &StatsFilter) -> Result<Vec<StatsRow>, ReadError> {
        derived(stats(&*self.connection()?, filter).map_err(ReadError::from))
    }

    /// The same sums over exactly the ended requests that match, from the requests themselves. Reads
    /// all that match (about a million in a second); where [`stats`](Self::stats) can answer, it is
    /// much quicker.
    ///
    /// # Errors
    ///
    /// [`ReadError::DerivedDamaged`], or what the database reported.
    pub fn stats_of(
        &self,
        filter: &RequestFilter,
        group_by: &[StatsKey],
    ) -> Result<Vec<StatsRow>, ReadError> {
        derived(stats_of(&*self.connection()?, filter, group_by).map_err(ReadError::from))
    }
}

/// Turns damage into [`ReadError::DerivedDamaged`], for reads of derived tables only.
fn derived<T>(result: Result<T, ReadError>) -> Result<T, ReadError> {
    result.map_err(|error| match error {
        ReadError::Damaged(what) => ReadError::DerivedDamaged(what),
        other => other,
    })
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// A store opened for reading only, also while another process writes to it.
///
/// ```no_run
/// use auditlite::{ListOptions, ReadOnlyStore, RequestFilter};
///
/// let store = ReadOnlyStore::open("audit.db")?;
/// let newest = ListOptions::new().limit(20);
/// for request in store.reader().list(&RequestFilter::new(), &newest)?.requests {
///     println!("{} {}", request.request_id, request.status);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReadOnlyStore {
    path: PathBuf,
    reader: Reader,
    /// The file itself, or a copy of it.
    readable: Readable,
}

impl ReadOnlyStore {
    /// Opens the file at this path. It must exist and be a store of this version.
    ///
    /// Where a killed writer left a write-ahead log and nothing can be written beside it (a read-only mount,
    /// a folder without rights), both are copied to a private folder below that for temporary files and
    /// read there, up to 1 GiB and half of what is free: [`copied_bytes`](Self::copied_bytes). The copy is
    /// removed with the last reader.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what stands in the way and what to do.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = DatabasePath::new(&path.into())?;
        let readable = Readable::open(&path)?;
        Ok(Self {
            path: path.as_path().to_owned(),
            reader: Reader {
                _copy: readable.copy().cloned(),
                ..Reader::new(readable.path(), READERS_MAX, READ_TIMEOUT)
            },
            readable,
        })
    }

    /// The file of a store that this process writes to, through that store's connections.
    pub(crate) fn of_store(path: &Path, reader: Reader) -> Self {
        Self {
            path: path.to_owned(),
            reader,
            readable: Readable::in_place(path),
        }
    }

    /// Size of the copy that is read, if the file itself could not be read; `None`: there is no copy.
    pub fn copied_bytes(&self) -> Option<u64> {
        self.readable.copy().map(|copy| copy.bytes())
    }

    /// The file's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A reader.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The log's id, chosen with its first event; `None` if the file has no event yet. Keep it apart from the
    /// file, to check later that this is still the same log
    /// ([`StoreBuilder::expect_log`](crate::StoreBuilder::expect_log), `auditlite --log`).
    ///
    /// # Errors
    ///
    /// [`OpenError::Damaged`] if the first event cannot be read, or what the database reported.
    pub fn log_id(&self) -> Result<Option<String>, OpenError> {
        let failed = |error| open_error(&self.path, error);
        let connection = open_reader(self.readable.path()).map_err(failed)?;
        log_id(&connection).map_err(failed)
    }

    /// Checks the file: its tables and indexes, SQLite's own integrity check, the log from end to end,
    /// every projection against the log, and every opening's accounts (submitted = stored + recorded as lost).
    /// Findings are data, not errors.
    ///
    /// # Errors
    ///
    /// What the database reported, if the file cannot even be checked.
    pub fn doctor(&self) -> Result<DoctorReport, ReadError> {
        doctor::examine(self.readable.path())
    }

    /// Copies the file as of one moment, also while a store writes to it, verifies the copy, and gives it its name,
    /// which must not exist yet. The copy is one file without a write-ahead log, and only its owner can read it.
    /// The report has the findings of the verification; the copy is kept in any case.
    ///
    /// # Blocking
    ///
    /// Reads the whole file in one read transaction, and the copy once more.
    ///
    /// # Errors
    ///
    /// [`ExportError`], after which there is no copy.
    pub fn backup(
        &self,
        path: impl AsRef<Path>,
        options: &VerifyOptions,
    ) -> Result<BackupReport, ExportError> {
        export::backup(self.readable.path(), path.as_ref(), options)
    }

    /// Verifies the trail as of one moment: compares the log with its tree, the tree with every checkpoint in the
    /// file and in an anchor file, every payload with its commitment in the log, and the derived tables with the
    /// log; checks signatures, and every opening's accounts. Anything missing is a finding, unless the log
    /// records why. Findings are data, not errors.
    ///
    /// ```no_run
    /// use auditlite::{ReadOnlyStore, VerifyOptions};
    ///
    /// let report = ReadOnlyStore::open("audit.db")?.verify(
    ///     &VerifyOptions::new()
    ///         .anchor("/mnt/elsewhere/anchors")
    ///         .keys(["gateway+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse()?]),
    /// )?;
    /// for finding in &report.findings {
    ///     println!("{} at {:?}: {}", finding.kind, finding.seq, finding.what);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Reads the whole file, in one read transaction: a store that writes to it meanwhile is not delayed, but its
    /// write-ahead log grows until this ends. Memory stays bounded.
    ///
    /// # Errors
    ///
    /// [`VerifyError`], where the file or the anchor file cannot be read at all.
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport, VerifyError> {
        self.verify_with_progress(options, |_| {})
    }

    /// Writes part of the log with its proof and the last checkpoint, for a reader without access to
    /// the database: [`verify_bundle`](crate::verify_bundle) checks it.
    ///
    /// # Errors
    ///
    /// [`BundleError::NoCheckpoint`], or what the database or the output reported.
    pub fn write_bundle(
        &self,
        options: &BundleOptions,
        out: &mut dyn std::io::Write,
    ) -> Result<BundleSummary, BundleError> {
        write_bundle(self.readable.path(), options, out)
    }

    /// A proof that the event of this seq is in the log that the last checkpoint states, as text of
    /// the form C2SP `tlog-proof`. [`verify_inclusion_proof`](crate::verify_inclusion_proof) checks
    /// it. Reads the log up to that checkpoint.
    ///
    /// # Errors
    ///
    /// [`BundleError::NoCheckpoint`] where no checkpoint covers the event yet, or what the database
    /// reported.
    pub fn inclusion_proof(&self, seq: u64) -> Result<String, BundleError> {
        inclusion_proof(self.readable.path(), seq)
    }

    /// A proof that the log in the last checkpoint begins with the log as it was with `old_size` events, for a
    /// witness that saw an earlier checkpoint: `old <size>`, the hashes in base64, one in a line, an empty line,
    /// the checkpoint.
    /// [`verify_consistency_proof`](crate::verify_consistency_proof) checks it.
    ///
    /// # Errors
    ///
    /// [`BundleError::NoCheckpoint`] where the last checkpoint covers fewer events or `old_size` is
    /// 0, or what the database reported.
    pub fn consistency_proof(&self, old_size: u64) -> Result<String, BundleError> {
        consistency_proof(self.readable.path(), old_size)
    }

    /// What [`Store::erase`](crate::Store::erase) would erase. Changes nothing.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn preview_erase(&self, selector: &EraseSelector) -> Result<EraseReport, ReadError> {
        preview_erase(&*self.reader.connection()?, selector)
    }

    /// Whether a store has the file open for writing now. If none has, pending requests were left open by a crash,
    /// and become interrupted at the next opening.
    pub fn is_being_written(&self) -> bool {
        WriterLock::is_held(self.path())
    }

    /// What [`Store::prune`](crate::Store::prune) would remove. If `size_bytes_max` decides, this is an estimate, and
    /// for content only. Changes nothing.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn preview_prune(&self, retention: &Retention) -> Result<PruneReport, ReadError> {
        preview_prune(&*self.reader.connection()?, retention)
    }

    /// As [`verify`](Self::verify), with a callback for the progress.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_with_progress(
        &self,
        options: &VerifyOptions,
        mut progress: impl FnMut(VerifyProgress),
    ) -> Result<VerifyReport, VerifyError> {
        verify::verify(self.readable.path(), options, &mut progress)
    }
}
