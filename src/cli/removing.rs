//! What `erase` and `prune` share: a preview reads, the removal itself writes.

use std::time::Duration;

use auditlite::{ReadError, ReadOnlyStore, RemovalError, Store};

use super::database::DatabaseArgs;
use super::error::CliError;
use super::writing::{self, WritingArgs};
use super::{format, output};

/// How long closing the file may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The report of what was removed, or would be.
///
/// # Errors
///
/// There is no store at this path, or somebody writes to it; what reading or removing reports.
pub(crate) fn report<R>(
    database: &DatabaseArgs,
    writing: &WritingArgs,
    is_dry_run: bool,
    preview: impl FnOnce(&ReadOnlyStore) -> Result<R, ReadError>,
    remove: impl FnOnce(&Store) -> Result<R, RemovalError>,
) -> Result<R, CliError> {
    // A path that names nothing must not become an empty store.
    let reading = database.open()?;
    if is_dry_run {
        return Ok(preview(&reading)?);
    }
    drop(reading);
    let store = writing::open(writing.builder(&database.resolve()?)?)?;
    let report = remove(&store);
    store.close(CLOSE_TIMEOUT);
    Ok(report?)
}

/// Says what was lost with what was taken out, though it stays.
pub(crate) fn say_lost(bodies: u64) {
    if bodies > 0 {
        output::say(&format!(
            "{} packed against what went and could not be read any more: damaged before, lost now; \
             `auditlite verify` names them",
            format::counted(bodies, "body that stays was", "bodies that stay were")
        ));
    }
}
