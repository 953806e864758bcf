//! Shared by commands that write to a log: the key that signs it, and the file that anchors it.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use auditlite::{CloseReport, OpenError, Store, StoreBuilder};

use super::capacity::CapacityArgs;
use super::database::Database;
use super::error::CliError;
use super::keys;
use super::output;

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
    /// Write to a file that has several names (hard links): only if the others are never opened
    #[arg(long)]
    allow_links: bool,
    /// Spare memory and the disk: one commit a second, 8 MiB for bodies that wait, 4 MiB for conversations.
    /// A kill takes up to a second
    #[arg(long)]
    edge: bool,
}

impl WritingArgs {
    /// A builder for the database's store.
    ///
    /// # Errors
    ///
    /// The key cannot be read, or the anchor file not be appended to.
    pub(crate) fn builder(&self, database: &Database) -> Result<StoreBuilder, CliError> {
        let key = self.signing_key.as_deref().map(keys::secret).transpose()?;
        let mut builder = Store::builder(&database.path)
            .refuse_unsigned(!self.unsigned)
            .allow_links(self.allow_links);
        if self.edge {
            builder = builder.for_edge();
        }
        if let Some(key) = key {
            builder = builder.signing_key(key);
        }
        if let Some(anchor) = &self.anchor {
            check_anchor(anchor)?;
            builder = builder.anchor_file(anchor);
        }
        if let Some(log) = &database.log {
            builder = builder.expect_log(log);
        }
        Ok(builder)
    }

    /// With the capacity that is asked for, else that of the profile, else `default` as far as the machine lets it.
    pub(crate) fn with_capacity(
        &self,
        builder: StoreBuilder,
        capacity: &CapacityArgs,
        default: usize,
    ) -> StoreBuilder {
        match self.edge && !capacity.is_given() {
            true => builder,
            false => builder.capacity_bytes(capacity.bytes(default)),
        }
    }

    /// With at most so much memory for conversations, unless the profile gives less.
    pub(crate) fn with_conversation_cache(
        &self,
        builder: StoreBuilder,
        bytes: usize,
    ) -> StoreBuilder {
        match self.edge {
            true => builder,
            false => builder.conversation_cache_bytes(bytes),
        }
    }
}

/// Checks that checkpoints can be appended to this file, as far as possible without appending: a user who asks
/// for an anchor wants to know beforehand.
fn check_anchor(anchor: &Path) -> Result<(), CliError> {
    let refused = |source| CliError::File {
        path: anchor.to_owned(),
        what: "appended to",
        source,
    };
    match std::fs::metadata(anchor) {
        Ok(metadata) if !metadata.is_file() => Err(refused(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file, and no anchor would be kept in it",
        ))),
        Ok(_) => OpenOptions::new()
            .append(true)
            .open(anchor)
            .map(drop)
            .map_err(refused),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = anchor.parent().unwrap_or(Path::new(""));
            if folder.as_os_str().is_empty() || folder.is_dir() {
                return Ok(()); // it is created
            }
            let what = format!("its folder {folder:?} does not exist; create it first");
            Err(refused(io::Error::new(io::ErrorKind::NotFound, what)))
        }
        Err(error) => Err(refused(error)),
    }
}

/// Warns if an anchor was asked for and the last checkpoint was not anchored. `true`: it was.
pub(crate) fn say_unanchored(report: &CloseReport) -> bool {
    let Some(problem) = &report.checkpoint_problem else {
        return false;
    };
    output::say(&format!(
        "warning: what was written is committed, and its last checkpoint was not anchored: {problem}. Fix \
         that; the next command with --anchor, or the gateway, makes up for it"
    ));
    true
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
