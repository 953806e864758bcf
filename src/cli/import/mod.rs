//! `auditlite import`.

mod identity;
mod line;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditlite::{Overflow, Reader, Recorder, Store};

use super::database::DatabaseArgs;
use super::error::CliError;
use super::progress::Progress;
use super::record::{check_health, outcome};
use super::source::{self, Source};
use super::writing::{self, WritingArgs};
use super::{Outcome, format, output};
use identity::Identity;
use line::{Ending, Imported};

/// How long a full store may hold up the next request.
const ROOM_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the last commits may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes that may wait for the writer: room for the two longest bodies.
const CAPACITY_BYTES: usize = 40 * 1024 * 1024;
/// Requests that are taken in before those before them are looked up in the file.
const BATCH: usize = 1_000;

const AFTER_HELP: &str = "\
Examples:
  auditlite export --content full --zstd -o box-7.jsonl.zst      on the other box
  auditlite import box-7.jsonl.zst
  auditlite import --origin box-7 monday.jsonl tuesday.jsonl

Takes JSON Lines of `auditlite export`, best with --content full. A request that is there already
(the same id, arrival, user and bodies) is left alone, so that the same file may be imported twice, and
an incremental export on top. Another one with the same id is taken in beside it.
Exit status: 0 all lines were taken in or known, 1 some were not, 2 the import stopped.";

/// Take in requests that another store exported
///
/// Requests that are there already are left alone. Each gets the attributes imported_from and imported_seq: whose
/// it was, and its place in that log. Requests that had not ended are left out until an export has
/// their end. A line that is damaged is reported as FILE:LINE: REASON, and the rest goes on.
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
    /// No progress and no summary; lines that cannot be taken in are still reported
    #[arg(long)]
    quiet: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, database: &DatabaseArgs) -> Result<Outcome, CliError> {
    let database = database.resolve()?;
    for file in &args.files {
        source::check(file)?;
    }
    let builder = args.writing.builder(&database)?;
    database.create_default_folder()?;
    let builder = builder
        .overflow(Overflow::Wait(ROOM_TIMEOUT))
        .capacity_bytes(CAPACITY_BYTES)
        .close_timeout(CLOSE_TIMEOUT);
    let store = writing::open(builder)?;
    let mut import = Import {
        recorder: store.recorder(),
        reader: store.reader(),
        store,
        progress: Progress::new(args.quiet),
        new_ids: HashSet::new(),
        counts: Counts::default(),
    };
    let result = args.files.iter().try_for_each(|file| {
        let name = file.file_name().unwrap_or(file.as_os_str());
        let origin = args.origin.clone();
        import.file(
            file,
            &origin.unwrap_or_else(|| name.to_string_lossy().into_owned()),
        )
    });
    import.progress.finish();
    let counts = import.counts;
    let closed = outcome(&import.store.close(CLOSE_TIMEOUT));
    if !args.quiet {
        counts.say();
    }
    result?;
    match closed? {
        Outcome::Fine if counts.bad_lines > 0 => Ok(Outcome::Findings),
        outcome => Ok(outcome),
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    imported: u64,
    known: u64,
    pending: u64,
    bad_lines: u64,
    /// Bodies of which the export had not all bytes.
    missing_bodies: u64,
}

impl Counts {
    fn say(&self) {
        output::say(&format!(
            "imported {}, {} known already, {}",
            format::counted(self.imported, "request", "requests"),
            format::count(self.known),
            format::counted(self.bad_lines, "bad line", "bad lines"),
        ));
        if self.pending > 0 {
            let pending = format::counted(self.pending, "request", "requests");
            output::say(&format!(
                "{pending} had not ended and were left out; export again later"
            ));
        }
        if self.missing_bodies > 0 {
            let bodies = format::counted(self.missing_bodies, "body was", "bodies were");
            output::say(&format!(
                "{bodies} not in the export, or not whole; the digest is kept as an attribute"
            ));
        }
    }
}

/// An import under way.
struct Import {
    store: Store,
    recorder: Recorder,
    reader: Reader,
    progress: Progress,
    /// Ids that may not be in the file yet.
    new_ids: HashSet<String>,
    counts: Counts,
}

impl Import {
    /// Takes in the lines of a file. An error means that reading or recording cannot go on.
    fn file(&mut self, path: &Path, origin: &str) -> Result<(), CliError> {
        Source::open(path, &self.progress)?.each_line(|number, line| {
            match line.and_then(|line| Imported::parse(line, origin)) {
                Ok(imported) => self.request(imported),
                Err(problem) => {
                    self.bad_line(path, number, &problem);
                    Ok(())
                }
            }
        })
    }

    fn request(&mut self, imported: Imported) -> Result<(), CliError> {
        let Some(ending) = imported.ending else {
            self.counts.pending = self.counts.pending.saturating_add(1);
            return Ok(());
        };
        if self.is_known(&imported.identity)? {
            self.counts.known = self.counts.known.saturating_add(1);
            return Ok(());
        }
        let mut handle = self
            .recorder
            .open(imported.context, imported.request_body)?;
        if let Some(provider) = &imported.response_provider_name {
            handle.set_served_provider(provider);
        }
        match ending {
            Ending::Completed(completion) => drop(handle.complete(completion)?),
            Ending::Failed(failure) => drop(handle.fail(failure)?),
            Ending::Rejected(rejection) => drop(handle.reject(rejection)?),
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
                drop(handle);
            }
        }
        self.new_ids.insert(imported.identity.request_id);
        self.counts.imported = self.counts.imported.saturating_add(1);
        self.counts.missing_bodies = self
            .counts
            .missing_bodies
            .saturating_add(imported.missing_bodies);
        self.progress.recorded(self.counts.imported);
        Ok(())
    }

    /// Whether the file has it, or will have.
    fn is_known(&mut self, identity: &Identity) -> Result<bool, CliError> {
        // What has the same id and was taken in just now can only be compared once it is in the file.
        if self.new_ids.len() >= BATCH || self.new_ids.contains(&identity.request_id) {
            check_health(&self.store)?;
            self.store.flush(ROOM_TIMEOUT).map_err(|error| {
                CliError::Message(format!("what was taken in is not committed: {error}"))
            })?;
            self.new_ids.clear();
        }
        Ok(identity.is_in(&self.reader)?)
    }

    fn bad_line(&mut self, path: &Path, number: u64, problem: &str) {
        self.counts.bad_lines = self.counts.bad_lines.saturating_add(1);
        source::say_bad_line(&self.progress, path, number, problem);
    }
}
