//! What `erase` and `prune` share: a preview reads, the removal itself writes.

use std::path::PathBuf;
use std::time::Duration;

use auditlite::{ReadError, ReadOnlyStore, RemovalError, Store};

use super::error::CliError;

/// How long closing the file may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The report of what was removed, or would be.
///
/// # Errors
///
/// There is no store at this path, or somebody writes to it; what reading or removing reports.
pub(crate) fn report<R>(
    path: PathBuf,
    is_dry_run: bool,
    preview: impl FnOnce(&ReadOnlyStore) -> Result<R, ReadError>,
    remove: impl FnOnce(&Store) -> Result<R, RemovalError>,
) -> Result<R, CliError> {
    // A path that names nothing must not become an empty store.
    let reading = ReadOnlyStore::open(&path)?;
    if is_dry_run {
        return Ok(preview(&reading)?);
    }
    drop(reading);
    let store = Store::builder(path).open()?;
    let report = remove(&store);
    store.close(CLOSE_TIMEOUT);
    Ok(report?)
}
