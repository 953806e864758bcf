//! `auditlite`: the command-line program over an audit store. See `docs/cli.md`.

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
