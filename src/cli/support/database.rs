//! Which database a command uses, and which log it must hold.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use auditlite::{OpenError, ReadOnlyStore};

use super::error::CliError;
use super::{format, output};

/// `--db` and `--log`, shared by all commands.
#[derive(Debug, clap::Args)]
pub(crate) struct DatabaseArgs {
    /// The database file
    ///
    /// Default: $XDG_DATA_HOME/auditlite/audit.db, else ~/.local/share/auditlite/audit.db.
    #[arg(
        long,
        global = true,
        env = "AUDITLITE_DB",
        hide_env_values = true,
        value_name = "PATH"
    )]
    db: Option<OsString>,

    /// The id of the log that the database must hold; any other one, and a new one, is refused
    ///
    /// `auditlite verify` prints it. Without it, only an anchor file reveals that another log has taken the
    /// database's place.
    #[arg(long, global = true, value_name = "ID")]
    log: Option<String>,
}

/// The path of a database, and where it comes from.
#[derive(Debug)]
pub(crate) struct Database {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Neither `--db` nor `AUDITLITE_DB` names it.
    pub(crate) is_default: bool,
    /// The log that it must hold, if one was given.
    pub(crate) log: Option<String>,
}

impl DatabaseArgs {
    /// The path of the database.
    ///
    /// # Errors
    ///
    /// There is no home directory to look in.
    pub(crate) fn resolve(&self) -> Result<Database, CliError> {
        // An empty AUDITLITE_DB counts as none.
        let given = self.db.as_ref().filter(|path| !path.is_empty());
        let log = self.log.clone();
        let (path, is_default) = match given {
            Some(path) => (PathBuf::from(path), false),
            None => (default_path()?, true),
        };
        if path.to_string_lossy().starts_with("file:") {
            // Not checked here: the library says what is wrong with it.
            return Ok(Database {
                path,
                is_default,
                log,
            });
        }
        let path = std::path::absolute(&path).map_err(|source| CliError::File {
            path,
            what: "made absolute",
            source,
        })?;
        Ok(Database {
            path,
            is_default,
            log,
        })
    }
}

impl DatabaseArgs {
    /// The database, for reading.
    ///
    /// # Errors
    ///
    /// It does not open, or holds another log than the given one.
    pub(crate) fn open(&self) -> Result<ReadOnlyStore, CliError> {
        let database = self.resolve()?;
        let store = open_to_read(&database.path)?;
        database.check_log(&store)?;
        Ok(store)
    }

    /// The bare id of the given log.
    pub(crate) fn log(&self) -> Option<&str> {
        self.log.as_deref().map(bare_id)
    }
}

/// The store at this path, for reading. If a copy has to be read, a message says so.
///
/// # Errors
///
/// It does not open.
pub(crate) fn open_to_read(path: &Path) -> Result<ReadOnlyStore, CliError> {
    let store = ReadOnlyStore::open(path).map_err(|error| match error {
        OpenError::NotFound { path } | OpenError::NoDirectory { path } => CliError::Message(format!(
            "there is no database at {path:?} yet: `auditlite record` or a gateway makes one there; another \
             one is given with --db PATH or AUDITLITE_DB"
        )),
        error => error.into(),
    })?;
    if let Some(bytes) = store.copied_bytes() {
        output::say(&format!(
            "{path:?} has a write-ahead log of a killed writer, and nothing can be written beside it: \
             read from a copy ({}) in {:?}",
            format::bytes(bytes),
            std::env::temp_dir(),
        ));
    }
    Ok(store)
}

/// A log's id without the prefix that it has in checkpoints.
fn bare_id(log: &str) -> &str {
    log.strip_prefix("auditlite/").unwrap_or(log)
}

fn default_path() -> Result<PathBuf, CliError> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    // The XDG base directory specification says to ignore relative paths.
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local").join("share")))
        .map(|data| data.join("auditlite").join("audit.db"))
        .ok_or_else(|| {
            CliError::Message(
                "there is no home directory to look for a database in; \
                 give its path with --db or AUDITLITE_DB"
                    .to_owned(),
            )
        })
}

impl Database {
    /// Checks that the store holds the given log.
    ///
    /// # Errors
    ///
    /// It holds another one.
    pub(crate) fn check_log(&self, store: &ReadOnlyStore) -> Result<(), CliError> {
        let Some(expected) = self.log.as_deref().map(bare_id) else {
            return Ok(());
        };
        let found = store.log_id()?;
        if found.as_deref() == Some(expected) {
            return Ok(());
        }
        Err(OpenError::OtherLog {
            path: store.path().to_owned(),
            expected: expected.to_owned(),
            found,
        }
        .into())
    }

    /// Creates the folder of the default path, for its owner only. A given path's folder is the
    /// caller's to create: a typing error must not leave a tree of folders behind.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub(crate) fn create_default_folder(&self) -> Result<(), CliError> {
        let Some(folder) = self.path.parent().filter(|_| self.is_default) else {
            return Ok(());
        };
        create_private(folder).map_err(|source| CliError::File {
            path: folder.to_owned(),
            what: "created",
            source,
        })
    }
}

fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
