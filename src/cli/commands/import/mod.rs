//! `auditlite import`.

mod as_written;
mod line;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use auditlite::{Receipt, RecordError, RequestHandle};

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::fields::Fields;
use crate::cli::support::recording::{self, Feed, Recorded, RecordingArgs, Taken};
use crate::cli::support::source;
use crate::cli::support::writing::WritingArgs;
use crate::cli::support::{format, output};
use line::{Ending, Imported};

/// Bytes that may wait for the writer: enough for the two longest bodies.
const CAPACITY_BYTES: usize = 40 * 1024 * 1024;
/// Memory for conversations. An export has them in the order of their openings: few go on for long. What does not fit is
/// read back from the file.
const CONVERSATION_CACHE_BYTES: usize = 16 * 1024 * 1024;

const AFTER_HELP: &str = "\
Examples:
  auditlite export --content full --zstd -o box-7.jsonl.zst      on the other box
  auditlite import box-7.jsonl.zst
  auditlite import --origin box-7 monday.jsonl tuesday.jsonl

Takes JSON Lines of `auditlite export`, best with --content full. A request that is there already
(the same id, arrival, user and bodies) is left alone, so that the same file may be imported twice, and
an incremental export on top. Another one with the same id is taken in beside it.
Exit status: 0 all lines were taken in or known, 1 some were not, 2 the import stopped, 130 or 143 a signal
ended it, in order.";

/// Import requests that another store exported
///
/// Requests that the database already has are skipped. Each gets the attributes imported_from and
/// imported_seq: the log it came from, and its place there. Requests that had not ended are left out until
/// an export has their end. A damaged line is reported as FILE:LINE: REASON, and the others are imported.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Files of JSON Lines, also compressed with zstd; -: standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Whose requests these are. Default: the file's name
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    #[command(flatten)]
    writing: WritingArgs,
    #[command(flatten)]
    recording: RecordingArgs,
}

/// Runs the command.
pub(crate) fn run(args: Args, database: &DatabaseArgs) -> Result<Outcome, CliError> {
    let database = database.resolve()?;
    for file in &args.files {
        source::check(file)?;
    }
    let builder = args.writing.builder(&database)?;
    database.create_default_folder()?;
    let capacity = &args.recording.capacity;
    let builder = args
        .writing
        .with_capacity(builder, capacity, CAPACITY_BYTES);
    let builder = args
        .writing
        .with_conversation_cache(builder, CONVERSATION_CACHE_BYTES);
    let left_out = Arc::new(LeftOut::default());
    let its_left_out = Arc::clone(&left_out);
    let (files, origin) = (args.files, args.origin);
    let recorded = recording::run(builder, &args.recording, move |feed| {
        files.iter().try_for_each(|file| {
            let name = file.file_name().unwrap_or(file.as_os_str());
            let name = name.to_string_lossy();
            read(
                feed,
                file,
                origin.as_deref().unwrap_or(&name),
                &its_left_out,
            )
        })
    })?;
    if !args.recording.quiet {
        say(&recorded, &left_out);
    }
    recorded.outcome()
}

/// What the export did not have. The reading thread counts, the command's own thread reports at the end; each
/// count stands for itself, so they are relaxed.
#[derive(Debug, Default)]
struct LeftOut {
    /// Requests that had not ended.
    pending: AtomicU64,
    /// Bodies that it did not have in full.
    bodies: AtomicU64,
}

fn say(recorded: &Recorded, left_out: &LeftOut) {
    output::say(&format!(
        "imported {}, {} known already, {}{}",
        format::counted(recorded.counts.recorded, "request", "requests"),
        format::count(recorded.counts.already_recorded),
        format::counted(recorded.counts.bad_lines, "bad line", "bad lines"),
        recorded.tail(),
    ));
    let pending = left_out.pending.load(Ordering::Relaxed);
    if pending > 0 {
        let pending = format::counted(pending, "request", "requests");
        output::say(&format!(
            "{pending} had not ended and were left out; export again later"
        ));
    }
    let bodies = left_out.bodies.load(Ordering::Relaxed);
    if bodies > 0 {
        let bodies = format::counted(bodies, "body was", "bodies were");
        output::say(&format!(
            "{bodies} not in the export, or not whole; the digest is kept as an attribute"
        ));
    }
}

/// What kind of file begins with this line, if it is one that cannot be imported: reported once, instead of an
/// error for each line.
fn foreign(line: &[u8]) -> Option<&'static str> {
    if line.starts_with(b"SQLite format 3\0") {
        return Some("an SQLite database");
    }
    if line.starts_with(b"opened_seq,") {
        return Some("an export as CSV, which lacks fields that an import needs");
    }
    let spans = Fields::of_line(line, &["resourceSpans"]).ok()?;
    spans
        .raw("resourceSpans")
        .map(|_| "an export of spans (OTLP), which lacks fields that an import needs")
}

/// Imports the lines of a file. An error means that reading or recording cannot continue.
fn read(feed: &Feed, path: &Path, origin: &str, left_out: &LeftOut) -> Result<(), CliError> {
    let mut is_first = true;
    feed.each_line(path, |line| {
        if std::mem::take(&mut is_first)
            && let Some(what) = foreign(line)
        {
            let path = path.to_string_lossy();
            return Err(CliError::Message(format!(
                "{path:?} is {what}: `import` takes the JSON Lines of `auditlite export`, best with --content \
                 full"
            )));
        }
        let imported = match Imported::parse(line, origin) {
            Ok(imported) => imported,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(ending) = imported.ending else {
            left_out.pending.fetch_add(1, Ordering::Relaxed);
            return Ok(Ok(()));
        };
        let [sent, received] = &imported.identity.bodies;
        let bytes = sent.length.saturating_add(received.length);
        let (context, body) = (imported.context, imported.request_body);
        let provider = imported.response_provider_name;
        let taken = feed.take(Some(&imported.identity), line.len(), bytes, |recorder| {
            let mut handle = recorder.open(context, body)?;
            if let Some(provider) = &provider {
                handle.set_served_provider(provider);
            }
            end(handle, ending)
        })?;
        if taken == Taken::New {
            left_out
                .bodies
                .fetch_add(imported.missing_bodies, Ordering::Relaxed);
        }
        Ok(Ok(()))
    })
}

fn end(mut handle: RequestHandle, ending: Ending) -> Result<Receipt, RecordError> {
    match ending {
        Ending::Completed(completion) => handle.complete(completion),
        Ending::Failed(failure) => handle.fail(failure),
        Ending::Rejected(rejection) => handle.reject(rejection),
        Ending::Abandoned {
            usage,
            http_status,
            response_model,
            response_body,
        } => {
            handle.set_usage(usage);
            if let Some(status) = http_status {
                handle.set_http_status(status);
            }
            if let Some(model) = response_model {
                handle.set_served_model(&model);
            }
            if let Some(body) = response_body {
                handle.chunk(body);
            }
            handle.abandon()
        }
    }
}
