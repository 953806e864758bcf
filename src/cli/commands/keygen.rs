//! `auditlite keygen`.

use std::io::Write;
use std::path::{Path, PathBuf};

use auditlite::SigningKey;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::{output, private_file};

const AFTER_HELP: &str = "\
The secret key goes into FILE, for its owner alone; an existing file is never overwritten. The public
key goes to standard output: give it to those who verify the trail.

Examples:
  auditlite keygen ~/.config/gateway/audit.key --name audit.example.com/gateway-1 > audit.vkey
  auditlite verify --key audit.vkey

Exit status: 0 the key was made, 2 it was not.";

/// Make a key that signs the checkpoints of a store
///
/// A gateway uses it with StoreBuilder::signing_key, `auditlite record` with --signing-key.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// File for the secret key
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Whose key it is; a URL without scheme avoids mistaking one for another
    #[arg(long, value_name = "NAME", default_value = "auditlite")]
    name: String,

    /// Write the key even into the folder of the database
    ///
    /// A person who can change a database there can then sign the changed log.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let database = database.resolve()?.path;
    if !args.force && lie_together(&args.file, &database) {
        return Err(CliError::Message(format!(
            "{:?} lies in the folder of the database {database:?}: a person who can change one could sign \
             with the other; give another place, or --force",
            args.file
        )));
    }
    let key = SigningKey::generate(&args.name)
        .map_err(|error| CliError::Message(format!("--name cannot be used: {error}")))?;
    write_secret(&args.file, &key).map_err(|source| CliError::File {
        path: args.file.clone(),
        what: "created",
        source,
    })?;
    writeln!(out, "{}", key.verifying_key())?;
    output::say(&format!(
        "the secret key is in {:?}; the public key is on standard output",
        args.file
    ));
    Ok(Outcome::Fine)
}

/// Whether both paths name files of one folder, however they are written.
fn lie_together(file: &Path, database: &Path) -> bool {
    let folder = |path: &Path| {
        let absolute = std::path::absolute(path).ok()?;
        let folder = absolute.parent()?.to_owned();
        Some(std::fs::canonicalize(&folder).unwrap_or(folder))
    };
    folder(file).is_some_and(|own| folder(database) == Some(own))
}

fn write_secret(path: &Path, key: &SigningKey) -> std::io::Result<()> {
    let mut file = private_file::create_new(path)?;
    file.write_all(format!("{}\n", key.to_secret_text()).as_bytes())?;
    file.sync_all()
}
