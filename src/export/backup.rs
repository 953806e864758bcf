//! A verified copy of the whole file.

use std::path::Path;

use super::file::Temporary;
use crate::db::copy_into;
use crate::error::{ExportError, ReadError};
use crate::verify::{self, VerifyOptions, VerifyReport};

/// The result of a backup, see [`ReadOnlyStore::backup`](crate::ReadOnlyStore::backup).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Size of the copy in bytes.
    pub bytes: u64,
    /// What verifying the copy found.
    pub verified: VerifyReport,
}

/// Copies the file, verifies the copy, and gives it its name.
pub(crate) fn backup(
    source: &Path,
    target: &Path,
    options: &VerifyOptions,
) -> Result<BackupReport, ExportError> {
    if target.try_exists().unwrap_or(true) {
        return Err(ExportError::File {
            path: target.to_owned(),
            what: "created",
            source: std::io::ErrorKind::AlreadyExists.into(),
        });
    }
    let temporary = Temporary::create(target)?;
    copy_into(source, temporary.path()).map_err(ReadError::from)?;
    let verified = verify::verify(temporary.path(), options, &mut |_| {})?;
    let bytes = temporary.bytes();
    temporary.put(target)?;
    Ok(BackupReport { bytes, verified })
}
