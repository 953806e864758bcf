//! Making anew what is derived from the log, in a file that no store has open.

use std::path::PathBuf;

use crate::db::{DatabasePath, FileLinks, WriterLock, rebuild_projections};
use crate::error::OpenError;
use crate::read::search;

/// Writes every projection anew from the log, in one transaction, and returns the number of events
/// read. For a file whose [doctor](crate::ReadOnlyStore::doctor) finds that a table is not as the
/// log says, or not as this version makes it: such tables and indexes are made anew first. The log and
/// the bodies are not touched. Where there is a search index, it is dropped and
/// built anew as well.
///
/// # Blocking
///
/// Reads the whole log, and for a search index all bodies; nobody else can write to the file meanwhile.
///
/// # Errors
///
/// [`OpenError`] as for [`StoreBuilder::open`](crate::StoreBuilder::open); [`OpenError::Damaged`] where the log itself is, in
/// which case nothing is changed, or where what the search index lies on is.
pub fn rebuild(path: impl Into<PathBuf>) -> Result<u64, OpenError> {
    let path = DatabasePath::new(&path.into())?;
    if !path.exists() {
        return Err(OpenError::NotFound {
            path: path.as_path().to_owned(),
        });
    }
    let _lock = WriterLock::acquire(&path, FileLinks::Refused)?;
    let events = rebuild_projections(&path)?;
    search::rebuild(&path)?;
    Ok(events)
}
