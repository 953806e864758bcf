//! `auditlite record`.

#[cfg(test)]
mod fuzz;
mod line;
mod results;
mod unread;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditlite::{Durability, PriceBook, Receipt, RecordError, Recorder};
use clap::ValueEnum;
use serde::Serialize;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::identity::Identity;
use crate::cli::support::line_id::LineIds;
use crate::cli::support::recording::{self, Counts, Feed, Recorded, RecordingArgs};
use crate::cli::support::source;
use crate::cli::support::writing::WritingArgs;
use crate::cli::support::{format, output};
use line::Exchange;
use unread::Unread;

/// Bytes that may wait for the writer: twice the longest line, so that any line fits.
const CAPACITY_BYTES: usize = 2 * source::LINE_BYTES_MAX;

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

A line that is recorded already is passed over: the same file can be recorded again, after it grew or after
a recording stopped. A line that cannot be recorded is reported as FILE:LINE: REASON, and the rest goes on.
Ctrl-C and SIGTERM commit what was taken in and close in order; the second one ends at once.
Exit status: 0 all lines are recorded, 1 some are not, 2 recording stopped, 130 or 143 a signal ended it.";

/// Record finished exchanges from JSON Lines
///
/// Each line passes through the whole lifecycle, as if a gateway had just handled it. The database is
/// created if it does not exist. Files compressed with zstd are recognised by their content.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Files of JSON Lines; -: standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Price book (TOML or JSON) from which costs are computed, before the built-in prices
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Compute no costs from the built-in prices
    #[arg(long)]
    no_built_in_prices: bool,
    /// What survives a loss of power
    #[arg(long, value_enum, value_name = "HOW", default_value = "full")]
    durability: DurabilityArg,
    /// Record lines again that are already recorded
    #[arg(long)]
    again: bool,
    /// Print the summary as one JSON object on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    writing: WritingArgs,
    #[command(flatten)]
    recording: RecordingArgs,
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
pub(crate) fn run(
    args: Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let database = database.resolve()?;
    // Before the database is created: a mistyped file name must not leave an empty one behind.
    for file in &args.files {
        source::check(file)?;
    }
    let prices = args.prices.as_deref().map(load_prices).transpose()?;
    let builder = args.writing.builder(&database)?;
    database.create_default_folder()?;
    let capacity = &args.recording.capacity;
    let builder = args
        .writing
        .with_capacity(builder, capacity, CAPACITY_BYTES);
    let mut builder = builder.durability(args.durability.into());
    let has_built_in = !args.no_built_in_prices;
    let book = match has_built_in {
        true => PriceBook::built_in().merge(prices.unwrap_or_default()),
        false => prices.unwrap_or_default(),
    };
    if !book.is_empty() {
        builder = builder.price_book(book);
    }
    let (files, again) = (args.files, args.again);
    let unread = Unread::default();
    let noted = unread.clone();
    let recorded = recording::run(builder, &args.recording, move |feed| {
        files
            .iter()
            .try_for_each(|file| read(feed, file, again, &noted))
    })?;
    let unread = unread.counts();
    if !args.recording.quiet {
        unread.words().iter().for_each(|words| output::say(words));
    }
    if args.json {
        output::json_line(out, &Summary::of(&recorded, unread))?;
    } else if !args.recording.quiet {
        output::say(&words(&recorded));
        if has_built_in && recorded.counts.recorded > 0 {
            output::say(&built_in_words(args.prices.is_some()));
        }
    }
    recorded.outcome()
}

fn load_prices(path: &Path) -> Result<PriceBook, CliError> {
    PriceBook::load(path).map_err(|source| CliError::Prices {
        path: path.to_owned(),
        source,
    })
}

/// Records the lines of a file. An error means that reading or recording cannot continue.
fn read(feed: &Feed, path: &Path, again: bool, unread: &Unread) -> Result<(), CliError> {
    let mut ids = LineIds::default();
    feed.each_line(path, |line| {
        let mut exchange = match Exchange::parse(line) {
            Ok(exchange) => exchange,
            Err(problem) => return Ok(Err(problem)),
        };
        let unknown_protocol =
            (!exchange.is_known()).then(|| exchange.context.wire_protocol.as_str());
        unread.add(unknown_protocol, &exchange.unknown_fields);
        let mut identity = None;
        if !again {
            let context = &mut exchange.context;
            if let Some(id) = ids.id(line, context.request_id.is_some(), exchange.arrived_at) {
                context.request_id = Some(id);
            }
            identity = exchange.identity();
        }
        let results = results::of(&exchange);
        take(feed, identity, line.len(), exchange)?;
        for result in results {
            let identity = result.identity().filter(|_| !again);
            let bytes = result.response_body().len();
            take(feed, identity, bytes, result)?;
        }
        Ok(Ok(()))
    })
}

fn take(
    feed: &Feed,
    identity: Option<Identity>,
    line_bytes: usize,
    exchange: Exchange,
) -> Result<(), CliError> {
    let body_bytes = exchange.body_bytes();
    feed.take(identity.as_ref(), line_bytes, body_bytes, |recorder| {
        record(recorder, exchange)
    })?;
    Ok(())
}

fn record(recorder: &Recorder, exchange: Exchange) -> Result<Receipt, RecordError> {
    let handle = recorder.open(exchange.context, exchange.request_body)?;
    match exchange.end {
        line::End::Completed(completion) => handle.complete(completion),
        line::End::Failed(failure) => handle.fail(failure),
    }
}

/// `--json`.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    counts: Counts,
    elapsed_us: u64,
    signal: Option<&'static str>,
    #[serde(flatten)]
    unread: unread::Counts,
}

impl Summary {
    fn of(recorded: &Recorded, unread: unread::Counts) -> Self {
        Self {
            counts: recorded.counts,
            elapsed_us: u64::try_from(recorded.elapsed.as_micros()).unwrap_or(u64::MAX),
            signal: recorded.signal.map(|signal| signal.name()),
            unread,
        }
    }
}

fn words(recorded: &Recorded) -> String {
    let counts = &recorded.counts;
    let known = match counts.already_recorded {
        0 => String::new(),
        known => format!("{} recorded already, ", format::count(known)),
    };
    format!(
        "recorded {}, {known}{}, {} in {}{}",
        format::counted(counts.recorded, "request", "requests"),
        format::counted(counts.bad_lines, "bad line", "bad lines"),
        format::bytes(counts.body_bytes),
        rates(counts.recorded, counts.body_bytes, recorded.elapsed),
        recorded.tail(),
    )
}

/// From what the costs are, for those who gave no prices, or not all.
fn built_in_words(has_own: bool) -> String {
    let date = PriceBook::BUILT_IN_DATE;
    match has_own {
        true => format!("models without a price in --prices: built-in prices of {date}"),
        false => format!("costs: built-in prices of {date}; others with --prices FILE"),
    }
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
