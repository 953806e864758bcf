//! `auditlite prune`.

use std::io::Write;
use std::time::Duration;

use auditlite::{PruneReport, RemovalError, Retention};

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::removing::{self, ConfirmingArgs, Removed};
use crate::cli::support::writing::WritingArgs;
use crate::cli::support::{format, output};

const AFTER_HELP: &str = "\
Examples:
  auditlite prune --content-older-than 7d --metadata-older-than 365d --dry-run
  auditlite prune --content-older-than 7d
  auditlite prune --max-size 10GiB --yes                             in a script

Nobody may be recording to the file; a gateway that is, sets a retention policy instead. Where the
clock is more than a week beyond what the log knows of the time, nothing goes by its age.
Exit status: 0 pruned, or nothing was due; 1 what others need was lost with it, lines in a part of the
log that cannot be read stay, or it could not be anchored; 2 error, not confirmed, or a reader kept
what went from being overwritten (prune again).";

/// Delete old content and requests, and return the space to the disk
///
/// Content is deleted before metadata, the oldest first. The log keeps the hashes of what is deleted, and
/// records the deletion. It cannot be undone.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    retention: RetentionArgs,

    /// Trust the clock though it is more than a week ahead of the times in the log
    #[arg(long)]
    clock_is_right: bool,

    #[command(flatten)]
    writing: WritingArgs,

    #[command(flatten)]
    confirming: ConfirmingArgs,

    /// One JSON object; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct RetentionArgs {
    /// Bodies and other content of requests that arrived longer ago: 7d, 36h, 90m, 30s
    #[arg(long, value_name = "AGE", value_parser = age)]
    content_older_than: Option<Duration>,

    /// Requests that arrived longer ago, with all their metadata
    #[arg(long, value_name = "AGE", value_parser = age)]
    metadata_older_than: Option<Duration>,

    /// Most bytes that the file may take: 10GiB, 500MiB, 1000000
    #[arg(long, value_name = "BYTES", value_parser = crate::cli::support::size::parse)]
    max_size: Option<u64>,
}

fn age(text: &str) -> Result<Duration, String> {
    const HINT: &str = "give a number and s, m, h or d, such as 7d";
    crate::cli::support::size::number_with_unit(
        text,
        &[("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)],
    )
    .map(Duration::from_secs)
    .ok_or_else(|| HINT.to_owned())
}

/// Runs the command. Exits like `erase`: with findings if something stays, with an error if removed content is still
/// in the bytes of the file.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let mut retention = Retention::new().clock_is_right(args.clock_is_right);
    retention.content_older_than = args.retention.content_older_than;
    retention.metadata_older_than = args.retention.metadata_older_than;
    retention.size_bytes_max = args.retention.max_size;

    let is_dry_run = args.confirming.is_dry_run();
    let Removed {
        report,
        is_anchored,
    } = removing::report(
        database,
        &args.writing,
        &args.confirming,
        |reading| reading.preview_prune(&retention),
        |report| format!("prune {}", words(report)),
        |store| store.prune(&retention),
    )
    .map_err(|error| match error {
        CliError::Removal(error @ RemovalError::ClockAhead { .. }) => {
            CliError::Message(format!("{error}; if it is right, give --clock-is-right"))
        }
        error => error,
    })?;
    if args.json {
        output::json_line(
            out,
            &Json {
                dry_run: is_dry_run,
                report,
            },
        )?;
    } else {
        let verb = if is_dry_run { "would prune" } else { "pruned" };
        writeln!(out, "{verb} {}", words(&report))?;
    }
    if let Some(ahead) = report.clock_ahead {
        output::say(&format!(
            "{}; without --clock-is-right, pruning is refused",
            RemovalError::ClockAhead { ahead }
        ));
    }
    removing::say_lost(report.not_repacked);
    if report.unreadable > 0 {
        output::say(&format!(
            "the lines of {} lie in a part of the log that cannot be read, and stay there; everything else \
             of them is gone; `auditlite verify` names the part",
            format::counted(report.unreadable, "request", "requests")
        ));
    }
    let is_left = !is_dry_run && !report.is_overwritten;
    if is_left {
        return Err(removing::still_there("pruned", "prune"));
    }
    let is_short = report.not_repacked > 0 || report.unreadable > 0 || !is_anchored;
    Ok(match is_short {
        false => Outcome::Fine,
        true => Outcome::Findings,
    })
}

fn words(report: &PruneReport) -> String {
    format!(
        "{} ({}) and {}",
        format::counted(report.payloads, "body", "bodies"),
        format::bytes(report.payload_bytes),
        format::counted(report.requests, "request", "requests"),
    )
}

#[derive(serde::Serialize)]
struct Json {
    dry_run: bool,
    #[serde(flatten)]
    report: PruneReport,
}
