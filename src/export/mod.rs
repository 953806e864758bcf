//! Exports requests as JSON Lines, CSV, OTLP or SQLite, with or without their bodies, as a stream.
//!
//! An export should be as trustworthy as the file that it comes from: its manifest says how many requests
//! it has, of which part of the log, and its own digest.

mod backup;
mod csv;
mod ended;
mod file;
mod item;
mod json;
mod jsonl;
mod line;
mod otlp;
mod parts;
mod readable;
mod restore;
mod schema;
mod sqlite;

use std::io::{BufWriter, Write};

use serde::Serialize;

use crate::db::{ReadConnection, seq_to_sql};
use crate::error::{ExportError, ReadError, named};
use crate::model::{
    Digest, RequestFilter, RequestRecord, Status, Timestamp, UnreadableRequest, setters,
};
use crate::payload::Hasher;
use crate::read::content::ContentReader;
use crate::read::requests;
use item::{Body, Item, ItemReader};
use line::Line;

pub use backup::BackupReport;
pub(crate) use backup::backup;
pub(crate) use file::export_to_file;
pub use restore::{Replaced, RestoreError, RestoreOptions, RestoreReport, restore};
pub use schema::{ExportReader, export_schema};

/// Requests that are read at a time.
const PAGE_REQUESTS: usize = 500;
/// Groups of requests that wait to be written, beside the one that is written and the one that is read.
const GROUPS_AHEAD: usize = 1;
/// Bytes that are digested and passed on at a time.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;
/// Characters of a body in an excerpt.
pub(crate) const EXCERPT_CHARACTERS: usize = 1_000;
/// Version of the manifest, and of the objects in JSON Lines.
const FORMAT_VERSION: u32 = 1;
/// Compression level of a compressed export.
const ZSTD_LEVEL: i32 = 3;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ExportFormat {
    /// JSON Lines: one object for each request.
    #[default]
    JsonLines,
    /// CSV as in RFC 4180: a heading, and one record for each request. An apostrophe precedes what a
    /// spreadsheet would take for a formula, with any separator.
    Csv,
    /// OTLP/JSON: one span for each request by OpenTelemetry's GenAI conventions, one `TracesData` in
    /// each line, as the collector's `otlpjsonfile` receiver reads them.
    Otlp,
    /// A plain, uncompressed SQLite database. Only to a file.
    Sqlite,
}

named! {
    ExportFormat;
    JsonLines => "jsonl",
    Csv => "csv",
    Otlp => "otlp",
    Sqlite => "sqlite",
}

/// How much of the content of a request is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ExportContent {
    /// Nothing: metadata and lengths only, and digests with [`ExportOptions::has_digests`].
    #[default]
    None,
    /// The first 1,000 characters of either body.
    Excerpt,
    /// Both bodies, as far as they were kept, and the inputs of tool calls.
    Full,
}

named! {
    ExportContent;
    None => "none",
    Excerpt => "excerpt",
    Full => "full",
}

/// What to export, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The form. Default: JSON Lines.
    pub format: ExportFormat,
    /// How much content is exported. Default: none.
    pub content: ExportContent,
    /// Which requests. Default: all.
    pub filter: RequestFilter,
    /// At most this many, from the oldest. Default: all.
    pub limit: Option<u64>,
    /// Compress with zstd. Default: no.
    pub is_compressed: bool,
    /// Instead of all requests, each one that ended at this event of the log or later, in the order of the ends: once
    /// and final. Requests that were erased since come again, as what remains of them, whatever the filter. Where the
    /// next one goes on is [`ExportSummary::next_since_ended`]. A limit may be exceeded by the requests of one erasure.
    /// Default: all requests, in the order of their openings.
    pub since_ended: Option<u64>,
    /// Digests of bodies also in an export without content. Default: no, since the digest of a short prompt confirms
    /// a guess at it.
    pub has_digests: bool,
}

impl ExportOptions {
    /// Metadata of all requests, as JSON Lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether digests of bodies are written.
    fn shows_digests(&self) -> bool {
        self.has_digests || self.content != ExportContent::None
    }

    setters! {
        value: limit: u64, since_ended: u64;
        plain: format: ExportFormat, content: ExportContent, filter: RequestFilter, is_compressed: bool,
            has_digests: bool;
    }
}

/// What an export contains: its manifest.
///
/// [`to_json`](Self::to_json) returns it as written beside an exported file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExportSummary {
    /// Version of the form of manifest and export: 1.
    pub format_version: u32,
    /// `jsonl`, `csv`, `otlp` or `sqlite`.
    pub format: &'static str,
    /// `none`, `excerpt` or `full`.
    pub content: &'static str,
    /// Whether the output is compressed with zstd.
    pub is_compressed: bool,
    /// Whether it has digests of bodies.
    pub has_digests: bool,
    /// The program and its version.
    pub tool: &'static str,
    /// When the export was made.
    pub created_at: Timestamp,
    /// The number of requests.
    pub requests: u64,
    /// How many of them had not ended when they were read. A later export has their ends.
    pub pending: u64,
    /// `opened_seq` of the first request in it.
    pub first_seq: Option<u64>,
    /// `opened_seq` of the last request in it.
    pub last_seq: Option<u64>,
    /// Where an incremental export continues, for [`RequestFilter::after_seq`]: the last request before the
    /// first pending one, so that no end is missed. Absent if the first request is pending.
    pub next_after: Option<u64>,
    /// The id of that request.
    pub next_after_id: Option<String>,
    /// Where the next export of what ended goes on, for [`ExportOptions::since_ended`]. Absent in other exports.
    pub next_since_ended: Option<u64>,
    /// Requests opened by events from the first number on and below the second were removed since; only in an
    /// export of what ended.
    pub pruned: Vec<(u64, u64)>,
    /// The number of bodies, full or partial.
    pub bodies: u64,
    /// Bodies that are damaged in the database and were left out.
    pub damaged: u64,
    /// Requests whose lines in the log cannot be read. Their bodies and digests could not be compared with
    /// what was recorded, are flagged, and may be anything.
    pub unchecked: u64,
    /// Requests whose rows cannot be read, and which were left out. The manifest has their number.
    #[serde(serialize_with = "number")]
    pub unreadable: Vec<UnreadableRequest>,
    /// Bytes of the output, after compression.
    pub bytes: u64,
    /// SHA-256 of the output, in hex.
    pub sha256: String,
}

impl ExportSummary {
    /// The manifest as JSON on several lines, with a final newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn number<S: serde::Serializer, T>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(list.len()).unwrap_or(u64::MAX))
}

/// The part of an export that depends on the format.
trait Sink {
    fn write(&mut self, item: &Item, out: &mut dyn Write) -> Result<(), ExportError>;

    /// Writes what precedes the first request.
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), ExportError>;

    /// Whether it has a place for messages.
    fn wants_messages(&self) -> bool {
        false
    }
}

/// Connects for one read.
type Connect<'c> = dyn Fn() -> Result<ReadConnection, ReadError> + Sync + 'c;

/// Writes the matching requests, oldest first, up to the newest one at the start of the export.
pub(crate) fn export(
    connect: &Connect<'_>,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<ExportSummary, ExportError> {
    let mut sink: Box<dyn Sink> = match options.format {
        ExportFormat::JsonLines => Box::new(jsonl::JsonLines::new(options.content)),
        ExportFormat::Csv => Box::new(csv::Csv::new(options.content)),
        ExportFormat::Otlp => Box::new(otlp::Otlp::new(options.content)),
        ExportFormat::Sqlite => {
            return Err(ReadError::InvalidArgument(
                "a SQLite database is written to a file, not as a stream".to_owned(),
            )
            .into());
        }
    };
    let counted = Counted::new(out);
    let mut counted = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, counted);
    let counts = if options.is_compressed {
        let mut encoder =
            zstd::stream::Encoder::new(&mut counted, ZSTD_LEVEL).map_err(ExportError::Output)?;
        let counts = write_all(connect, options, sink.as_mut(), &mut encoder)?;
        encoder.finish().map_err(ExportError::Output)?;
        counts
    } else {
        write_all(connect, options, sink.as_mut(), &mut counted)?
    };
    counted.flush().map_err(ExportError::Output)?;
    let counted = counted
        .into_inner()
        .map_err(|error| ExportError::Output(error.into_error()))?;
    let (bytes, digest) = (counted.bytes, counted.hasher.finish());
    Ok(counts.summary(options, bytes, digest))
}

/// Writes while another thread reads what comes next.
fn write_all(
    connect: &Connect<'_>,
    options: &ExportOptions,
    sink: &mut dyn Sink,
    out: &mut dyn Write,
) -> Result<Counts, ExportError> {
    sink.begin(out)?;
    let wants_messages = sink.wants_messages();
    let (sender, receiver) = crossbeam_channel::bounded::<Vec<Item>>(GROUPS_AHEAD);
    std::thread::scope(|scope| {
        let read = move || {
            // Where nobody takes it, writing has failed, and says why.
            let gone = |_| ExportError::Output(std::io::ErrorKind::BrokenPipe.into());
            let mut hand_over = |items| sender.send(items).map_err(gone);
            let mut reader = ItemReader {
                connect,
                options,
                wants_messages,
                content: ContentReader::default(),
                counts: Counts::default(),
                hand_over: &mut hand_over,
            };
            match options.since_ended {
                Some(from) => ended::read_ended(&mut reader, from)?,
                None => read_opened(&mut reader)?,
            }
            Ok(reader.counts)
        };
        let reading = std::thread::Builder::new()
            .name("auditlite-export".to_owned())
            .spawn_scoped(scope, read)
            .map_err(ExportError::Output)?;
        let mut groups = receiver.iter();
        let written = groups.try_for_each(|group| {
            let mut items = group.iter();
            items.try_for_each(|item| sink.write(item, out))
        });
        drop(receiver);
        let read = reading.join();
        written?;
        read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Reads page by page, up to the newest request at the start.
fn read_opened(reader: &mut ItemReader<'_>) -> Result<(), ExportError> {
    let (connect, options) = (reader.connect, reader.options);
    // A store that continues to record must not make the export endless.
    let newest = requests::list(
        &*connect()?,
        &RequestFilter::default(),
        crate::db::Walk::Before(None),
        1,
    )?;
    let Some(end) = newest.newest() else {
        return Ok(());
    };
    let mut after = options.filter.after_seq;
    loop {
        let limit = usize::try_from(reader.left())
            .unwrap_or(usize::MAX)
            .min(PAGE_REQUESTS);
        if limit == 0 {
            return Ok(());
        }
        // A connection for each page: a long export leaves the others to other readers, and its read
        // transactions stay short.
        let walk = crate::db::Walk::After(after);
        let mut page = requests::list(&*connect()?, &options.filter, walk, limit)?;
        for request in page.unreadable {
            if request.opened_seq <= seq_to_sql(end) {
                reader.counts.unreadable.push(request);
            }
        }
        let is_new = |record: &RequestRecord| record.opened_seq > end;
        let count = page.requests.iter().position(is_new);
        page.requests.truncate(count.unwrap_or(usize::MAX));
        reader.read(page.requests)?;
        match page.next {
            Some(next) if count.is_none() => after = Some(next),
            _ => return Ok(()),
        }
    }
}

#[derive(Default)]
struct Counts {
    requests: u64,
    pending: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    next_after: Option<(u64, String)>,
    next_since_ended: Option<u64>,
    pruned: Vec<(u64, u64)>,
    bodies: u64,
    damaged: u64,
    unchecked: u64,
    unreadable: Vec<UnreadableRequest>,
}

impl Counts {
    fn summary(self, options: &ExportOptions, bytes: u64, digest: Digest) -> ExportSummary {
        let next_after = self.next_after.filter(|_| options.since_ended.is_none());
        let (next_after, next_after_id) = next_after.unzip();
        ExportSummary {
            format_version: FORMAT_VERSION,
            format: options.format.as_str(),
            content: options.content.as_str(),
            is_compressed: options.is_compressed,
            has_digests: options.shows_digests(),
            tool: concat!("auditlite ", env!("CARGO_PKG_VERSION")),
            created_at: Timestamp::now(),
            requests: self.requests,
            pending: self.pending,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            next_after,
            next_after_id,
            next_since_ended: self.next_since_ended,
            pruned: self.pruned,
            bodies: self.bodies,
            damaged: self.damaged,
            unchecked: self.unchecked,
            unreadable: self.unreadable,
            bytes,
            sha256: digest.to_string(),
        }
    }

    fn count(&mut self, record: &RequestRecord) {
        self.requests = self.requests.saturating_add(1);
        self.first_seq = self.first_seq.or(Some(record.opened_seq));
        self.last_seq = Some(record.opened_seq);
        self.pending = self
            .pending
            .saturating_add(u64::from(record.status == Status::Pending));
        if self.pending == 0 {
            self.next_after = Some((record.opened_seq, record.request_id.clone()));
        }
    }
}

/// Counts and hashes the bytes that pass.
struct Counted<'w> {
    inner: &'w mut dyn Write,
    bytes: u64,
    hasher: Hasher,
}

impl<'w> Counted<'w> {
    fn new(inner: &'w mut dyn Write) -> Self {
        Self {
            inner,
            bytes: 0,
            hasher: Hasher::default(),
        }
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        let done = bytes.get(..written).unwrap_or(bytes);
        self.hasher.update(done);
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// The first characters of a text.
fn excerpt(text: &str) -> &str {
    match text.char_indices().nth(EXCERPT_CHARACTERS) {
        None => text,
        Some((at, _)) => text.split_at(at).0,
    }
}
