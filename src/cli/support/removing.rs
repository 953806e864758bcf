//! Shared by `erase` and `prune`: the preview opens the file for reading, the removal for writing.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use auditlite::{ReadError, ReadOnlyStore, RemovalError, Store};

use super::database::DatabaseArgs;
use super::error::CliError;
use super::writing::{self, WritingArgs};
use super::{format, output};

/// How long closing the file may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct ConfirmingArgs {
    /// Do not ask; needed if standard input is not a terminal
    #[arg(long)]
    yes: bool,

    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl ConfirmingArgs {
    /// Whether the removal runs without a question, as `--yes` says.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.yes && !self.dry_run
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Asks, unless `--yes` was given.
    ///
    /// # Errors
    ///
    /// The answer is not yes, or there is no terminal to ask on.
    fn confirm(&self, what: impl FnOnce() -> Result<String, CliError>) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Err(CliError::Message(
                "it cannot be undone, and there is no terminal to ask on: say --yes, or --dry-run to see \
                 what would go"
                    .to_owned(),
            ));
        }
        let mut stderr = io::stderr().lock();
        let _ = write!(
            stderr,
            "auditlite: {}? It cannot be undone. [y/N] ",
            what()?
        );
        let _ = stderr.flush();
        let mut answer = String::new();
        stdin
            .lock()
            .read_line(&mut answer)
            .map_err(|error| CliError::Message(format!("the answer cannot be read: {error}")))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::Message(
                "not confirmed; nothing was changed".to_owned(),
            )),
        }
    }
}

/// What was removed, or would be.
pub(crate) struct Removed<R> {
    pub(crate) report: R,
    /// `false`: its checkpoint could not be anchored; a warning was printed.
    pub(crate) is_anchored: bool,
}

/// Removes, or reports what would be removed.
///
/// # Errors
///
/// There is no store at this path, or another process writes to it; it was not confirmed; what reading or removing
/// reports.
pub(crate) fn report<R>(
    database: &DatabaseArgs,
    writing: &WritingArgs,
    confirming: &ConfirmingArgs,
    preview: impl FnOnce(&ReadOnlyStore) -> Result<R, ReadError>,
    words: impl FnOnce(&R) -> String,
    remove: impl FnOnce(&Store) -> Result<R, RemovalError>,
) -> Result<Removed<R>, CliError> {
    // A mistyped path must not create an empty store.
    let reading = database.open()?;
    if confirming.dry_run {
        return Ok(Removed {
            report: preview(&reading)?,
            is_anchored: true,
        });
    }
    let builder = writing.builder(&database.resolve()?)?;
    confirming.confirm(|| Ok(words(&preview(&reading)?)))?;
    drop(reading);
    let store = writing::open(builder)?;
    let report = remove(&store);
    let closed = store.close(CLOSE_TIMEOUT);
    let report = report?;
    Ok(Removed {
        report,
        is_anchored: !writing::say_unanchored(&closed),
    })
}

/// Removed content can still be found in the file. An error although everything possible was done: so no program
/// mistakes it for "nothing matched".
pub(crate) fn still_there(gone: &str, command: &str) -> CliError {
    CliError::Message(format!(
        "a reader is in the way: what was {gone} can still be found in the bytes of the files; {command} \
         again once that reader has ended"
    ))
}

/// Reports bodies that stay, but cannot be read without those that were removed.
pub(crate) fn say_lost(bodies: u64) {
    if bodies > 0 {
        output::say(&format!(
            "{} packed against what went and could not be read any more: damaged before, lost now; \
             `auditlite verify` names them",
            format::counted(bodies, "body that stays was", "bodies that stay were")
        ));
    }
}
