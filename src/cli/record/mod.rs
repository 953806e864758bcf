//! `auditlite record`.

#[cfg(test)]
#[path = "../../../tests/fuzz/record_input.rs"]
mod fuzz;
mod line;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use auditlite::{
    CloseReport, Durability, HealthState, Overflow, PriceBook, RecordError, Recorder, Store,
};
use clap::ValueEnum;

use super::database::DatabaseArgs;
use super::error::CliError;
use super::progress::Progress;
use super::source::{self, Source};
use super::writing::{self, WritingArgs};
use super::{Outcome, format, output};
use line::Exchange;

/// How long a full store may hold up the next request. The writer empties a full queue within
/// seconds; so long a wait means that the disk takes nothing any more.
const ROOM_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the last commits may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes that may wait for the writer: room for the longest line twice, so that any line fits.
const CAPACITY_BYTES: usize = 2 * source::LINE_BYTES_MAX;
/// Requests between two looks at the writer's health.
const HEALTH_INTERVAL: u64 = 256;

const AFTER_HELP: &str = "\
Each line is one finished exchange, for example:
  {\"request\":{\"model\":\"gpt-4o\",\"messages\":[]},\"response\":{},\"status\":200,
   \"user_id\":\"u-17\",\"started_at\":\"2026-11-01T12:00:00Z\",\"latency_us\":830000,
   \"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3}}
(in one line). Only `request` or `request_body` is needed; docs/cli.md lists all fields.

Examples:
  auditlite record exchanges.jsonl
  auditlite --db test.db record monday.jsonl.zst tuesday.jsonl.zst --prices prices.toml
  my-proxy-log | auditlite record -

A line that cannot be recorded is reported as FILE:LINE: REASON, and the rest goes on.
Exit status: 0 all lines were recorded, 1 some were not, 2 recording stopped.";

/// Record finished exchanges from JSON Lines
///
/// Each line goes through the whole lifecycle, as if a gateway had just handled it, and into the
/// same writer. The database is created where there is none. Files compressed with zstd are
/// recognised by their content.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Files of JSON Lines; -: standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Price book (TOML or JSON) from which costs are computed
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// What survives a loss of power
    #[arg(long, value_enum, value_name = "HOW", default_value = "full")]
    durability: DurabilityArg,
    #[command(flatten)]
    writing: WritingArgs,
    /// No progress and no summary; lines that cannot be recorded are still reported
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DurabilityArg {
    /// Everything that was committed
    Full,
    /// Everything up to the last checkpoint
    Buffered,
}

impl From<DurabilityArg> for Durability {
    fn from(durability: DurabilityArg) -> Self {
        match durability {
            DurabilityArg::Full => Self::Full,
            DurabilityArg::Buffered => Self::Buffered,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, database: &DatabaseArgs) -> Result<Outcome, CliError> {
    let database = database.resolve()?;
    // Before the database is created: a mistyped file name must not leave an empty one behind.
    for file in &args.files {
        source::check(file)?;
    }
    let prices = args.prices.as_deref().map(load_prices).transpose()?;
    let builder = args.writing.builder(&database)?;
    database.create_default_folder()?;
    let mut builder = builder
        .durability(args.durability.into())
        .overflow(Overflow::Wait(ROOM_TIMEOUT))
        .capacity_bytes(CAPACITY_BYTES)
        .close_timeout(CLOSE_TIMEOUT);
    if let Some(prices) = prices {
        builder = builder.price_book(prices);
    }
    let store = writing::open(builder)?;
    let mut recording = Recording {
        recorder: store.recorder(),
        store,
        progress: Progress::new(args.quiet),
        recorded: 0,
        bad_lines: 0,
        body_bytes: 0,
    };
    let started = Instant::now();
    let result = args.files.iter().try_for_each(|file| recording.file(file));
    let summary = recording.close(started);
    if !args.quiet {
        output::say(&summary.words);
    }
    result.and(summary.outcome)
}

fn load_prices(path: &Path) -> Result<PriceBook, CliError> {
    PriceBook::load(path).map_err(|source| CliError::Prices {
        path: path.to_owned(),
        source,
    })
}

/// A recording under way.
struct Recording {
    store: Store,
    recorder: Recorder,
    progress: Progress,
    recorded: u64,
    bad_lines: u64,
    body_bytes: u64,
}

struct Summary {
    words: String,
    outcome: Result<Outcome, CliError>,
}

/// Waiting for a writer that will not come back would take the whole timeout.
pub(super) fn check_health(store: &Store) -> Result<(), CliError> {
    let health = store.health();
    if health.state == HealthState::Failed {
        let problem = health.problem.unwrap_or_default();
        return Err(RecordError::WriterStopped(problem).into());
    }
    Ok(())
}

impl Recording {
    /// Records the lines of a file. An error means that reading or recording cannot go on.
    fn file(&mut self, path: &Path) -> Result<(), CliError> {
        Source::open(path, &self.progress)?.each_line(|number, line| {
            match line.and_then(Exchange::parse) {
                Ok(exchange) => self.exchange(exchange),
                Err(problem) => {
                    self.bad_line(path, number, &problem);
                    Ok(())
                }
            }
        })
    }

    fn exchange(&mut self, exchange: Exchange) -> Result<(), CliError> {
        if self.recorded.is_multiple_of(HEALTH_INTERVAL) {
            check_health(&self.store)?;
        }
        let bytes = exchange.body_bytes();
        let handle = self
            .recorder
            .open(exchange.context, exchange.request_body)?;
        match exchange.end {
            line::End::Completed(completion) => handle.complete(completion)?,
            line::End::Failed(failure) => handle.fail(failure)?,
        };
        self.recorded = self.recorded.saturating_add(1);
        self.body_bytes = self.body_bytes.saturating_add(bytes);
        self.progress.recorded(self.recorded);
        Ok(())
    }

    fn bad_line(&mut self, path: &Path, number: u64, problem: &str) {
        self.bad_lines = self.bad_lines.saturating_add(1);
        source::say_bad_line(&self.progress, path, number, problem);
    }

    fn close(self, started: Instant) -> Summary {
        self.progress.finish();
        let report = self.store.close(CLOSE_TIMEOUT);
        let words = format!(
            "{}, {}, {} in {}",
            recorded_words(self.recorded),
            format::counted(self.bad_lines, "bad line", "bad lines"),
            format::bytes(self.body_bytes),
            rates(self.recorded, self.body_bytes, started.elapsed()),
        );
        let outcome = match outcome(&report) {
            Ok(Outcome::Fine) if self.bad_lines > 0 => Ok(Outcome::Findings),
            outcome => outcome,
        };
        Summary { words, outcome }
    }
}

fn recorded_words(recorded: u64) -> String {
    format!(
        "recorded {}",
        format::counted(recorded, "request", "requests")
    )
}

/// `1.25 s (800 requests/s, 12.3 MB/s)`
fn rates(requests: u64, bytes: u64, elapsed: Duration) -> String {
    let micros = elapsed.as_micros().max(1);
    let per_second = |count: u64| u128::from(count).saturating_mul(1_000_000) / micros;
    // Bytes per microsecond are megabytes per second.
    let megabyte_tenths = u128::from(bytes).saturating_mul(10) / micros;
    format!(
        "{:.2} s ({} requests/s, {}.{} MB/s)",
        elapsed.as_secs_f64(),
        per_second(requests),
        megabyte_tenths / 10,
        megabyte_tenths % 10
    )
}

/// What the store itself says of how it went.
pub(super) fn outcome(report: &CloseReport) -> Result<Outcome, CliError> {
    if report.lost_events > 0 || !report.is_complete {
        return Err(CliError::Message(format!(
            "the store did not close in order: {} could not be committed; \
             check the disk, then `auditlite doctor`",
            format::counted(report.lost_events, "event", "events")
        )));
    }
    if report.shed_lifecycles > 0 || report.shed_payloads > 0 {
        output::say(&format!(
            "warning: {} and {} were left out for want of capacity; the disk is too slow or full",
            format::counted(report.shed_lifecycles, "request", "requests"),
            format::counted(report.shed_payloads, "body", "bodies"),
        ));
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Fine)
}
