//! `auditlite backup`.

use std::path::PathBuf;

use auditlite::VerifyOptions;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::text::escape;
use crate::cli::support::{format, output};

const AFTER_HELP: &str = "\
Examples:
  auditlite backup /mnt/backup/audit-2026-11-01.db
  auditlite --db /mnt/backup/audit-2026-11-01.db list

Exit status: 0 the copy is in order, 1 verifying it found something (the copy is there).";

/// Copy the database while it is written to, and verify the copy
///
/// The copy is as of one moment: one file without a write-ahead log, readable by its owner only. It
/// gets its name once it is whole. `auditlite verify` checks it with anchors and keys.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The copy; must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args, database: &DatabaseArgs) -> Result<Outcome, CliError> {
    let store = database.open()?;
    let report = store.backup(&args.file, &VerifyOptions::default())?;
    let verified = &report.verified;
    output::say(&format!(
        "copied {}, {}; verified: {}",
        format::counted(verified.events, "event", "events"),
        format::bytes(report.bytes),
        format::counted(verified.findings_total, "finding", "findings"),
    ));
    for finding in &verified.findings {
        output::say_raw(&format!("  {}: {}", finding.kind, escape(&finding.what)));
    }
    if verified.findings_total > 0 {
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Fine)
}
