//! `auditlite export`.

use std::io::Write;
use std::path::PathBuf;

use auditlite::{
    ExportContent, ExportFormat, ExportOptions, ExportReader, ExportSummary, export_schema,
};
use clap::builder::PossibleValuesParser;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::FilterArgs;
use crate::cli::support::{format, output};

const AFTER_HELP: &str = "\
Examples:
  auditlite export > requests.jsonl
  auditlite export --content full --zstd -o november.jsonl.zst --since 2026-11-01 --until 2026-12-01
  auditlite export --format csv -o costs.csv --model 'gpt-*'
  auditlite export --content full -o new.jsonl --after 0199f0a2-6c1e
  auditlite export --content full -o ends-1.jsonl --since-ended 0     later with the number that it ends with
  auditlite export --schema duckdb -o requests.jsonl | duckdb audit.duckdb   reads it right
  auditlite export --format otlp --content full -o spans.jsonl       for a collector
  auditlite export --format sqlite --content full -o audit-plain.db  for Datasette or pandas

Goes from the oldest request to the newest that is there when it begins. With --output there is a
manifest beside the file, <FILE>.manifest.json: counts, range, SHA-256, and `next_after_id`, which
the next export takes as its --after. docs/export.md describes the forms.
Exit status: 0 requests were exported, 1 there are none, or a request or a
body is damaged or could not be compared with the log.";

/// Write requests as JSON Lines, CSV, OpenTelemetry spans or a plain SQLite database
///
/// A file is written under a temporary name and renamed when it is complete, so that an interrupted
/// export leaves no partial file. If nothing matches, an existing file is not changed.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The form
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "jsonl",
        value_parser = PossibleValuesParser::new(ExportFormat::ALL.map(ExportFormat::as_str))
    )]
    format: String,
    /// How much of the bodies to export: nothing, their first 1,000 characters, all of them
    #[arg(
        long,
        value_name = "CONTENT",
        default_value = "none",
        value_parser = PossibleValuesParser::new(ExportContent::ALL.map(ExportContent::as_str))
    )]
    content: String,
    /// Write to this file, and its manifest beside it; replaces both
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compress with zstd
    #[arg(long)]
    zstd: bool,
    /// Digests of bodies in an export without content too. They confirm a guess at a short prompt
    #[arg(long)]
    digests: bool,
    /// Print code with which this program reads such an export, and export nothing
    #[arg(
        long,
        value_name = "PROGRAM",
        value_parser = PossibleValuesParser::new(ExportReader::ALL.map(ExportReader::as_str))
    )]
    schema: Option<String>,
    /// Each request that ended at this event of the log or later, once and final, in the order of the ends. 0: from the
    /// beginning. Where the next export goes on is said at the end, and is `next_since_ended` of the manifest
    #[arg(long, value_name = "SEQ")]
    since_ended: Option<u64>,
    /// At most this many requests, the oldest ones; 0: all
    #[arg(short = 'n', long = "limit", value_name = "COUNT", default_value_t = 0)]
    limit: u64,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs the command.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    if let Some(program) = &args.schema {
        return print_schema(args, program, out);
    }
    let reader = database.open()?.reader();
    if args.output.is_none() && args.zstd && output::is_terminal() {
        return Err(CliError::Message(
            "compressed data is not for a terminal; give --output, or redirect standard output"
                .to_owned(),
        ));
    }
    if args.output.is_none() && args.format == ExportFormat::Sqlite.as_str() {
        return Err(CliError::Message(
            "a SQLite database is written to a file; give --output".to_owned(),
        ));
    }
    let mut options = ExportOptions::new()
        .format(args.format.parse().unwrap_or_default())
        .content(args.content.parse().unwrap_or_default())
        .filter(args.filter.filter(&reader)?)
        .is_compressed(args.zstd)
        .has_digests(args.digests);
    options.limit = (args.limit > 0).then_some(args.limit);
    options.since_ended = args.since_ended;

    let summary = match &args.output {
        Some(path) => reader.export_to_file(&options, path)?,
        None => reader.export(&options, out)?,
    };
    say_summary(&summary);
    let is_short = output::say_unreadable(&summary.unreadable);
    let is_unchecked = output::say_unchecked(summary.unchecked);
    if summary.requests == 0 || summary.damaged > 0 || is_short || is_unchecked {
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Fine)
}

/// Needs no database: an export's types are those of its format.
fn print_schema(args: &Args, program: &str, out: &mut dyn Write) -> Result<Outcome, CliError> {
    let format: ExportFormat = args.format.parse().unwrap_or_default();
    let file = match (&args.output, format) {
        (Some(file), _) => file.to_string_lossy().into_owned(),
        (None, ExportFormat::Csv) => "requests.csv".to_owned(),
        (None, _) => "requests.jsonl".to_owned(),
    };
    let content = args.content.parse().unwrap_or_default();
    let code = program
        .parse()
        .ok()
        .and_then(|program: ExportReader| export_schema(program, format, content, &file));
    let Some(code) = code else {
        return Err(CliError::Message(format!(
            "an export as {format} has its types itself; a schema is for jsonl and csv"
        )));
    };
    out.write_all(code.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Fine)
}

fn say_summary(summary: &ExportSummary) {
    let pending = match summary.pending {
        0 => String::new(),
        pending => format!(", {} of them not ended", format::count(pending)),
    };
    output::say(&format!(
        "exported {}{pending}; {}",
        format::counted(summary.requests, "request", "requests"),
        format::bytes(summary.bytes)
    ));
    if let Some(next) = summary.next_since_ended {
        output::say(&format!("the next one: --since-ended {next}"));
    }
    if summary.damaged > 0 {
        output::say(&format!(
            "{} left out, for what the database holds of them is damaged; `auditlite verify` says more",
            format::counted(summary.damaged, "body is", "bodies are")
        ));
    }
}
