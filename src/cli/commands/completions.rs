//! `auditlite completions`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::support::error::CliError;
use crate::cli::{Cli, Outcome};

const AFTER_HELP: &str = "\
Examples:
  auditlite completions bash > ~/.local/share/bash-completion/completions/auditlite
  auditlite completions zsh > ~/.zfunc/_auditlite
  auditlite completions fish > ~/.config/fish/completions/auditlite.fish";

/// Print the script with which a shell completes commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, CliError> {
    // Generating into memory: clap's generator would panic on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "auditlite", &mut script);
    out.write_all(&script)?;
    Ok(Outcome::Fine)
}
