//! The command line: one file per command, over the library's public API only.
//!
//! Data goes to standard output, everything else to standard error. Exit status: 0 fine, 1 findings
//! or nothing found, 2 error. A reader that closes the pipe early is no error.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use support::database::DatabaseArgs;
use support::error::CliError;
use support::pager::Paged;
use support::signals::Signal;

/// How a command ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well. Exit status 0.
    Fine,
    /// There are findings, or nothing was found. Exit status 1.
    Findings,
    /// A signal asked the command to end, and it ended in order. Exit status 128 plus its number.
    Signalled(Signal),
}

/// Exit status of errors; clap uses the same for its usage errors.
const EXIT_ERROR: u8 = 2;

/// Read and fill the audit database of an AI gateway.
///
/// An auditlite database is one SQLite file that holds what happened to every AI request: when, by
/// whom, to which model, at what cost, and the exact bytes of both bodies.
#[derive(Debug, Parser)]
#[command(
    name = "auditlite",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = AFTER_HELP
)]
struct Cli {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Read and print times in the time zone of this machine instead of UTC
    #[arg(long, global = true)]
    local: bool,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  auditlite list                          the 20 newest requests
  auditlite list --status failed --since 2h
  auditlite show 0199f0a2-6c1e            one request, by a unique prefix of its id
  auditlite conversation c-42             all that was said, each message once
  auditlite search timeout refund*        messages by what they say
  auditlite payload 0199f0a2-6c1e request > body.json
  auditlite stats --by day,model
  auditlite export --format csv -o costs.csv
  auditlite doctor                        is the file in order?
  auditlite verify                        is the trail what was recorded?

Exit status: 0 fine, 1 findings or nothing found, 2 error.
Data goes to standard output, messages to standard error. `auditlite COMMAND --help` explains more.";

#[derive(Debug, Subcommand)]
enum Command {
    /// List requests, newest first
    List(commands::list::Args),
    /// Print requests as they end
    Tail(commands::tail::Args),
    /// Show everything known about one request
    Show(commands::show::Args),
    /// Show a conversation, each message once
    Conversation(commands::conversation::Args),
    /// Search messages by their words
    Search(commands::search::Args),
    /// Write the exact bytes of a request's or response's body to standard output
    Payload(commands::payload::Args),
    /// Count requests, tokens, cost and latency
    Stats(commands::stats::Args),
    /// Count the tools that models asked to have called
    Tools(commands::tools::Args),
    /// Write requests as JSON Lines, CSV, OTLP or SQLite
    Export(commands::export::Args),
    /// Import requests that another store exported
    Import(commands::import::Args),
    /// Record finished exchanges from JSON Lines
    Record(commands::record::Args),
    /// Copy the database while it is written to, and verify the copy
    Backup(commands::backup::Args),
    /// Put a backup in place of the database, and keep the old file
    Restore(commands::restore::Args),
    /// Check the database file and say what is wrong with it
    Doctor(commands::doctor::Args),
    /// Verify that the trail is what was recorded, and that nothing is missing
    Verify(commands::verify::Args),
    /// Write part of the log with its proof, for readers without the database, or check one
    Bundle(commands::bundle::Args),
    /// Erase content and personal metadata of requests
    Erase(commands::erase::Args),
    /// Delete old content and requests, and return the space to the disk
    Prune(commands::prune::Args),
    /// Make a key that signs the checkpoints of a store
    Keygen(commands::keygen::Args),
    /// Print the script with which a shell completes commands and options
    Completions(commands::completions::Args),
    /// Print the path of the database that is used
    Path(commands::path::Args),
}

impl Command {
    /// Whether the output is a text that people read, however long it gets.
    fn is_read(&self) -> bool {
        matches!(
            self,
            Self::List(_)
                | Self::Show(_)
                | Self::Conversation(_)
                | Self::Search(_)
                | Self::Stats(_)
                | Self::Tools(_)
        )
    }

    /// Whether it reads the whole file, beside a gateway that records.
    fn is_long(&self) -> bool {
        matches!(
            self,
            Self::Export(_) | Self::Backup(_) | Self::Verify(_) | Self::Bundle(_)
        )
    }
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    support::file_limit::take_signal();
    let cli = Cli::parse();
    let is_read = cli.command.is_read();
    let mut out = Paged::new(BufWriter::new(io::stdout().lock()), is_read);
    let result = run(cli, &mut out);
    // Output that was already written comes before an error message.
    let flushed = out.finish().map_err(CliError::Output);
    match result.and_then(|outcome| flushed.map(|()| outcome)) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::FAILURE,
        Ok(Outcome::Signalled(signal)) => ExitCode::from(signal.exit_status()),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            support::output::say(&format!("error: {}", error.chain()));
            ExitCode::from(EXIT_ERROR)
        }
    }
}

fn run(cli: Cli, out: &mut dyn Write) -> Result<Outcome, CliError> {
    let database = &cli.database;
    if cli.local {
        support::time::use_local().map_err(CliError::Message)?;
    }
    if !matches!(cli.command, Command::Record(_) | Command::Import(_)) {
        support::signals::end_at_once();
    }
    if cli.command.is_long() {
        support::priority::give_way();
    }
    match cli.command {
        Command::List(args) => commands::list::run(&args, database, out),
        Command::Tail(args) => commands::tail::run(&args, database, out),
        Command::Show(args) => commands::show::run(&args, database, out),
        Command::Conversation(args) => commands::conversation::run(&args, database, out),
        Command::Search(args) => commands::search::run(&args, database, out),
        Command::Payload(args) => commands::payload::run(&args, database, out),
        Command::Stats(args) => commands::stats::run(&args, database, out),
        Command::Tools(args) => commands::tools::run(&args, database, out),
        Command::Export(args) => commands::export::run(&args, database, out),
        Command::Completions(args) => commands::completions::run(&args, out),
        Command::Import(args) => commands::import::run(args, database),
        Command::Record(args) => commands::record::run(args, database, out),
        Command::Backup(args) => commands::backup::run(&args, database),
        Command::Restore(args) => commands::restore::run(&args, database),
        Command::Doctor(args) => commands::doctor::run(&args, database, out),
        Command::Verify(args) => commands::verify::run(&args, database, out),
        Command::Bundle(args) => commands::bundle::run(&args, database, out),
        Command::Erase(args) => commands::erase::run(&args, database, out),
        Command::Prune(args) => commands::prune::run(&args, database, out),
        Command::Keygen(args) => commands::keygen::run(&args, database, out),
        Command::Path(args) => commands::path::run(&args, database, out),
    }
}
mod commands;
mod support;
