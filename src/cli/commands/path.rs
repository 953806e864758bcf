//! `auditlite path`.

use std::io::Write;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::output;

const AFTER_HELP: &str = "\
The path comes from --db, else from AUDITLITE_DB, else it is
$XDG_DATA_HOME/auditlite/audit.db or ~/.local/share/auditlite/audit.db.

Examples:
  auditlite path
  ls -l \"$(auditlite path)\"

Exit status: 0 the file exists, 1 it does not.";

/// Print the path of the database that is used
///
/// Prints the absolute path on standard output, and on standard error whether the file exists.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(
    Args {}: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let path = database.resolve()?.path;
    // Exactly the bytes of the path, so that a shell can use them.
    out.write_all(path.as_os_str().as_encoded_bytes())?;
    out.write_all(b"\n")?;
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {
            output::say("the file exists");
            Ok(Outcome::Fine)
        }
        Ok(_) => {
            output::say("this is not a file");
            Ok(Outcome::Findings)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            output::say("the file does not exist; `auditlite record` or a gateway creates it");
            Ok(Outcome::Findings)
        }
        Err(source) => Err(CliError::File {
            path,
            what: "looked at",
            source,
        }),
    }
}
