//! `auditlite verify`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditlite::{
    Finding, NotKept, OpenError, Timestamp, VerifyOptions, VerifyProgress, VerifyReport,
    VerifyStage, VerifyingKey,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Outcome;
use crate::cli::support::database::{DatabaseArgs, open_to_read};
use crate::cli::support::error::CliError;
use crate::cli::support::json::VerifyJson;
use crate::cli::support::text::escape;
use crate::cli::support::{format, keys, output, time};

const AFTER_HELP: &str = "\
Examples:
  auditlite verify
  auditlite verify --anchor /mnt/elsewhere/anchors --key gateway.vkey
  auditlite verify --json | jq '.findings[]'

The file is only read, and may be in use by a gateway meanwhile.
Exit status: 0 nothing is wrong, 1 something is, 2 the file cannot be verified at all.";

/// Verify that the trail is what was recorded, and that nothing is missing
///
/// Compares the log with its Merkle tree, the tree with every checkpoint and anchor, every body with its
/// commitment in the log, and every table with the log, and checks the accounts of every opening.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A file to which the store appended its checkpoints, from another place
    ///
    /// Without it nothing shows that the end of the log was cut off, or that an older copy was put
    /// back.
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,

    /// Public key that checkpoints are to be signed with: NAME+KEYID+BASE64, or a file with it
    ///
    /// May be given several times, for a store whose key was changed.
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,

    /// Do not unpack and hash every body, most of the work where bodies are long
    #[arg(long)]
    skip_bodies: bool,

    /// Also compare the search index with the bodies, which takes as long as building it
    ///
    /// Without it only its settings, and that its tables fit together, are checked: what a search finds
    /// or does not find is no evidence then.
    #[arg(long)]
    search: bool,

    /// One JSON object; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
}

/// Runs the command. Keys and anchor become options of the library, which does the work. Findings are a
/// report and exit status 1; a file that cannot be opened at all is an error.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let keys: Result<Vec<VerifyingKey>, CliError> =
        args.key.iter().map(|key| keys::public(key)).collect();
    let mut options = VerifyOptions::new()
        .keys(keys?)
        .skip_bodies(args.skip_bodies)
        .compare_search(args.search);
    options.anchor = args.anchor.clone();
    options.log_id = database.log().map(str::to_owned);

    let store = open_to_read(&database.resolve()?.path).map_err(|error| match error {
        // The error advises to run `doctor`, which cannot read such a file either.
        CliError::Open(OpenError::Damaged { path, what }) => CliError::Message(format!(
            "{path:?} is too damaged to be verified, cut off perhaps: {what}; keep the file, and go back to a \
             backup (`auditlite restore`)"
        )),
        error => error,
    })?;
    let progress = Progress::new();
    let report = store.verify_with_progress(&options, |at| progress.show(at));
    progress.bar.finish_and_clear();
    let report = report?;
    if args.json {
        let path = store.path();
        output::json_line(
            out,
            &VerifyJson {
                path,
                report: &report,
            },
        )?;
    } else {
        write_report(store.path(), &options, &report, out)?;
    }
    Ok(if report.findings.is_empty() {
        Outcome::Fine
    } else {
        Outcome::Findings
    })
}

/// Writes the report line by line: the log, what checkpoints cover, what the file has and lacks, and the findings.
fn write_report(
    path: &Path,
    options: &VerifyOptions,
    report: &VerifyReport,
    out: &mut dyn Write,
) -> io::Result<()> {
    let events = |count| format::counted(count, "event", "events");
    writeln!(out, "database     {}", escape(&path.to_string_lossy()))?;
    let origin = report.origin.as_deref().unwrap_or("-");
    writeln!(
        out,
        "log          {}, {}",
        escape(origin),
        events(report.events)
    )?;
    let root = report.root.map(|root| root.to_string());
    writeln!(out, "root         {}", root.as_deref().unwrap_or("-"))?;
    write_checkpoints(options, report, out)?;
    writeln!(
        out,
        "bodies       {}, {} unpacked and hashed",
        format::count(report.payloads),
        format::bytes(report.body_bytes),
    )?;
    write_not_kept(report.not_kept, out)?;
    for note in &report.notes {
        writeln!(out, "note         {}", escape(note))?;
    }
    writeln!(out)?;
    write_findings(report, out)
}

/// Writes what the checkpoints in the file and in the anchor file cover, and what no signature covers.
fn write_checkpoints(
    options: &VerifyOptions,
    report: &VerifyReport,
    out: &mut dyn Write,
) -> io::Result<()> {
    let events = |count| format::counted(count, "event", "events");
    let at = |at: Option<Timestamp>| format::or_absent(at, time::seconds);
    write!(
        out,
        "checkpoints  {}, the last of {} at {}",
        format::count(report.checkpoints),
        events(report.covered_events),
        at(report.covered_at),
    )?;
    if options.keys.is_empty() {
        writeln!(out, "; signatures were not checked")?;
    } else {
        writeln!(out, "; {} signed", format::count(report.signed_checkpoints))?;
    }
    let unsigned = format::count(report.unsigned_events);
    if options.keys.is_empty() {
        writeln!(
            out,
            "unsigned     {unsigned} of these events, all: no key was given"
        )?;
    } else {
        writeln!(
            out,
            "unsigned     {unsigned} of these events, after the last signed checkpoint"
        )?;
    }
    if options.anchor.is_some() {
        writeln!(
            out,
            "anchors      {}, the last of {} at {}",
            format::count(report.anchors),
            events(report.anchored_events),
            at(report.anchored_at),
        )?;
    }
    for log in &report.other_logs {
        writeln!(
            out,
            "other log    {}: {} in the anchor file, from {} to {}, the most of {}",
            escape(&log.origin),
            format::counted(log.notes, "note", "notes"),
            at(log.first_at),
            at(log.last_at),
            events(log.events),
        )?;
    }
    Ok(())
}

/// Writes how much content is not in the file, by the reason that the log gives.
fn write_not_kept(not_kept: NotKept, out: &mut dyn Write) -> io::Result<()> {
    for (count, reason) in [
        (
            not_kept.digest_only,
            "bodies: only the digest was to be kept",
        ),
        (
            not_kept.excerpts,
            "bodies: too long, beginning and end are kept",
        ),
        (not_kept.shed, "bodies: left out for want of capacity"),
        (
            not_kept.lifecycles,
            "requests: left out for want of capacity",
        ),
        (not_kept.pruned, "bodies: pruned"),
        (
            not_kept.lines,
            "events: erased or pruned, with their bodies",
        ),
    ] {
        if count > 0 {
            writeln!(out, "not kept     {} {reason}", format::count(count))?;
        }
    }
    Ok(())
}

fn write_findings(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    if report.findings.is_empty() {
        return writeln!(out, "nothing is wrong");
    }
    let found = format::counted(report.findings_total, "finding", "findings");
    writeln!(out, "{found}:")?;
    for finding in &report.findings {
        let place = place(finding);
        writeln!(out, "  {place}{}: {}", finding.kind, escape(&finding.what))?;
    }
    let listed = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
    let more = report.findings_total.saturating_sub(listed);
    if more > 0 {
        writeln!(out, "  and {} more", format::count(more))?;
    }
    Ok(())
}

fn place(finding: &Finding) -> String {
    match (finding.seq, finding.last_seq) {
        (Some(seq), Some(last)) => format!("seq {seq} to {last}: "),
        (Some(seq), None) => format!("seq {seq}: "),
        (None, _) => String::new(),
    }
}

/// The progress bar: on standard error, and only where that is a terminal.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::no_length();
        let template = "{msg} {wide_bar} {human_pos}/{human_len} events {per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    fn show(&self, at: VerifyProgress) {
        self.bar.set_message(match at.stage {
            VerifyStage::Structure => "structure of the file",
            VerifyStage::Projections => "tables",
            _ => "log",
        });
        if at.total > 0 {
            self.bar.set_length(at.total);
            self.bar.set_position(at.done);
        }
    }
}
