//! Rewrites what is derived from the log, in a file that no store has open.

use std::path::PathBuf;

use crate::db::{DatabasePath, FileLinks, WriterLock, rebuild_projections};
use crate::error::OpenError;
use crate::read::search;

/// Rewrites every projection from the log, in one transaction, and returns the number of events read. For
/// a file whose [doctor](crate::ReadOnlyStore::doctor) finds a table that does not match the log, or is not
/// as this version makes it: such tables and indexes are recreated first. The log and the bodies do not
/// change. A search index is dropped and built again.
///
/// # Blocking
///
/// Reads the whole log, and for a search index all bodies; no store can write to the file meanwhile.
///
/// # Errors
///
/// [`OpenError`] as for [`StoreBuilder::open`](crate::StoreBuilder::open). [`OpenError::Damaged`] if the log itself
/// is damaged, in which case nothing is changed, or if the search index cannot be dropped.
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
