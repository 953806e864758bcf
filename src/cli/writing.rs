//! What commands that write to a log share: with which key they go on signing it, and where they
//! anchor it.

use std::path::PathBuf;

use auditlite::{OpenError, Store, StoreBuilder};

use super::database::Database;
use super::error::CliError;
use super::keys;

#[derive(Debug, clap::Args)]
pub(crate) struct WritingArgs {
    /// Secret key that signs the checkpoints, as `auditlite keygen` writes it
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Write without a key to a log whose checkpoints are signed: `verify --key` reports it from then on
    #[arg(long, conflicts_with = "signing_key")]
    unsigned: bool,
    /// File outside of the database's folder to which checkpoints are appended
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// Write to a file that has several names (hard links): only where the others are never opened
    #[arg(long)]
    allow_links: bool,
}

impl WritingArgs {
    /// A builder for the database's store.
    ///
    /// # Errors
    ///
    /// The key cannot be read.
    pub(crate) fn builder(&self, database: &Database) -> Result<StoreBuilder, CliError> {
        let key = self.signing_key.as_deref().map(keys::secret).transpose()?;
        let mut builder = Store::builder(&database.path)
            .refuse_unsigned(!self.unsigned)
            .allow_links(self.allow_links);
        if let Some(key) = key {
            builder = builder.signing_key(key);
        }
        if let Some(anchor) = &self.anchor {
            builder = builder.anchor_file(anchor);
        }
        if let Some(log) = &database.log {
            builder = builder.expect_log(log);
        }
        Ok(builder)
    }
}

/// Opens the store for writing.
///
/// # Errors
///
/// It does not open; what to do is said in the command line's own words.
pub(crate) fn open(builder: StoreBuilder) -> Result<Store, CliError> {
    builder.open().map_err(|error| match error {
        OpenError::KeyMissing { path } => CliError::Message(format!(
            "the checkpoints of {path:?} are signed: give the key with --signing-key FILE, or say \
             --unsigned, which `auditlite verify --key` reports from then on"
        )),
        error => error.into(),
    })
}
