//! `auditlite doctor`.

use std::io::Write;

use auditlite::{DoctorReport, OpenError, ReadOnlyStore};

use crate::cli::Outcome;
use crate::cli::support::database::{DatabaseArgs, open_to_read};
use crate::cli::support::error::CliError;
use crate::cli::support::format;
use crate::cli::support::json::DoctorJson;
use crate::cli::support::text::escape;
use crate::cli::support::{output, time};

const AFTER_HELP: &str = "\
Examples:
  auditlite doctor
  auditlite doctor --json | jq '.findings[]'

Without --rebuild the file is only read, and may be in use by a gateway meanwhile.
Exit status: 0 nothing is wrong, 1 something is, 2 the file cannot be checked at all.";

/// Check the database file and say what is wrong with it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// One JSON object; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,

    /// First rebuild every table that is derived from the log; no store may have the file open
    ///
    /// The log and the bodies are not changed. Repairs findings about tables that differ from the log.
    /// A search index is dropped and rebuilt too.
    #[arg(long)]
    rebuild: bool,
}

/// Runs the command. With `--rebuild` the tables are rewritten first, so that the report is about the result.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let resolved = database.resolve()?;
    let path = &resolved.path;
    if args.rebuild {
        if resolved.log.is_some() {
            resolved.check_log(&ReadOnlyStore::open(path)?)?;
        }
        let events = auditlite::rebuild(path)?;
        let events = format::counted(events, "event", "events");
        output::say(&format!("rebuilt from {events}"));
    }
    let store = match open_to_read(path) {
        Ok(store) => store,
        // The error advises to run `doctor`, which is running.
        Err(CliError::Open(OpenError::Damaged { path, what })) => {
            return Err(CliError::Message(format!(
                "{path:?} is too damaged to be checked further: {what}; keep a copy of the file, \
                 then go back to a backup"
            )));
        }
        Err(error) => return Err(error),
    };
    resolved.check_log(&store)?;
    let report = store.doctor()?;
    if args.json {
        let path = store.path();
        output::json_line(
            out,
            &DoctorJson {
                path,
                report: &report,
            },
        )?;
    } else {
        write_report(&store, &report, out)?;
    }
    Ok(if report.findings.is_empty() {
        Outcome::Fine
    } else {
        Outcome::Findings
    })
}

/// Writes what the file holds, then what is wrong with it, and last what was not checked: a reader must not take "no
/// findings" for more than it is.
fn write_report(
    store: &ReadOnlyStore,
    report: &DoctorReport,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let path = store.path().to_string_lossy();
    writeln!(out, "database   {}", escape(&path))?;
    writeln!(
        out,
        "size       {}, and {} in the write-ahead log",
        format::bytes(report.file_bytes),
        format::bytes(report.wal_bytes)
    )?;
    writeln!(
        out,
        "format     version {}, read with SQLite {}",
        report.file_version,
        escape(&report.sqlite_version)
    )?;
    writeln!(
        out,
        "in use     {}",
        if report.is_being_written {
            "yes, a store is writing to it"
        } else {
            "no store is writing to it"
        }
    )?;
    writeln!(
        out,
        "contents   {} in the log, {} ({} {}), {}",
        format::counted(report.events, "event", "events"),
        format::counted(report.requests, "request", "requests"),
        format::count(report.pending),
        match report.pending > 0 && !report.is_being_written {
            true => "pending, left open by a crash",
            false => "pending",
        },
        format::counted(report.payloads, "body", "bodies"),
    )?;
    writeln!(
        out,
        "openings   opened for writing {}, {} of these ended without a close",
        format::counted(report.openings, "time", "times"),
        format::count(report.crashed_openings),
    )?;
    if report.gaps > 0 {
        write_losses(report, out)?;
    }
    writeln!(out)?;
    write_findings(report, out)?;
    write_not_checked(report, out)
}

/// Writes what was left out of the log, and when.
fn write_losses(report: &DoctorReport, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "left out   {} and {}, because the disk was full or did not keep up; the log states it",
        format::counted(report.shed_lifecycles, "whole request", "whole requests"),
        format::counted(report.shed_payloads, "body", "bodies"),
    )?;
    writeln!(
        out,
        "           in {}, the losses lie between {} and {}{}",
        format::counted(report.gaps, "gap event", "gap events"),
        format::or_absent(report.lost_first_at, time::seconds),
        format::or_absent(report.lost_last_at, time::seconds),
        time::heading(" (UTC)", ""),
    )
}

fn write_findings(report: &DoctorReport, out: &mut dyn Write) -> std::io::Result<()> {
    if report.findings.is_empty() {
        return writeln!(
            out,
            "nothing is wrong with the file, its tables and the log's sums"
        );
    }
    writeln!(
        out,
        "{}:",
        format::counted(
            u64::try_from(report.findings.len()).unwrap_or(u64::MAX),
            "finding",
            "findings"
        )
    )?;
    for finding in &report.findings {
        writeln!(out, "  {}", escape(finding))?;
    }
    Ok(())
}

fn write_not_checked(report: &DoctorReport, out: &mut dyn Write) -> std::io::Result<()> {
    for what in &report.not_checked {
        writeln!(out, "not checked: {}", escape(what))?;
    }
    Ok(())
}
