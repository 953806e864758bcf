//! `auditlite restore`.

use std::path::PathBuf;

use auditlite::{Replaced, RestoreOptions, RestoreReport};

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::text::escape;
use crate::cli::support::{format, output};

const AFTER_HELP: &str = "\
Examples:
  auditlite restore /mnt/backup/audit-2026-11-01.db
  auditlite restore /mnt/backup/audit-2026-11-01.db --to /tmp/look.db
  auditlite --db /mnt/backup/audit-2026-11-01.db verify --anchor /elsewhere/audit.anchor

Stop the gateway first. Exit status: 0 it is in place, 1 verifying the copy found something and nothing
was changed.";

/// Put a backup in place of the database, and keep the old file beside it
///
/// The backup is copied, with its write-ahead log if it has one; the copy is verified, and takes the
/// database's name in one step. The old file is kept under another name, with its write-ahead log, which
/// SQLite would otherwise replay into the restored database and damage it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The backup; is only read
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    /// The database to restore, instead of that of --db; need not exist
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,

    /// Put it in place although verification reports findings, if there is no better one
    #[arg(long)]
    accept_findings: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, database: &DatabaseArgs) -> Result<Outcome, CliError> {
    let mut options = RestoreOptions::default();
    options.verify.log_id = database.log().map(str::to_owned);
    options.accept_findings = args.accept_findings;
    let target = match &args.to {
        Some(path) => path.clone(),
        None => {
            let resolved = database.resolve()?;
            resolved.create_default_folder()?;
            resolved.path
        }
    };
    let report = auditlite::restore(&args.backup, target, &options)?;
    for finding in &report.verified.findings {
        output::say_raw(&format!("  {}: {}", finding.kind, escape(&finding.what)));
    }
    let findings = format::counted(report.verified.findings_total, "finding", "findings");
    if !report.is_restored {
        output::say(&format!(
            "verifying the copy of {:?}: {findings}; nothing was changed (--accept-findings puts it in \
             place all the same)",
            args.backup
        ));
        return Ok(Outcome::Findings);
    }
    output::say(&format!(
        "{:?} is in place: {}, {}; verified: {findings}",
        report.path,
        format::counted(report.verified.events, "event", "events"),
        format::bytes(report.bytes),
    ));
    if let Some(replaced) = &report.replaced {
        say_replaced(&report, replaced);
    }
    Ok(Outcome::Fine)
}

fn say_replaced(report: &RestoreReport, replaced: &Replaced) {
    let what = match replaced.events {
        None => "what was there, which cannot be read as a log,".to_owned(),
        Some(events) => {
            let events = format::counted(events, "event", "events");
            let log = match replaced.log_id == report.log_id {
                true => "of the same log",
                false => "of another log",
            };
            format!("what was there, {events} {log},")
        }
    };
    output::say(&format!("{what} is kept as {:?}", replaced.kept));
    if replaced.undone_erasures > 0 {
        let erasures = format::counted(replaced.undone_erasures, "erasure", "erasures");
        output::say(&format!(
            "the backup is older than {erasures}: what was erased is in the database again; erase it once more"
        ));
    }
}
