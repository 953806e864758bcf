//! What a store says of its own file while it writes to it: as any other process would, with read-only
//! connections.

use std::path::Path;

use super::Store;
use crate::bundle::{BundleOptions, BundleSummary};
use crate::doctor::DoctorReport;
use crate::error::{BundleError, ExportError, OpenError, ReadError, VerifyError};
use crate::export::BackupReport;
use crate::removal::{EraseReport, EraseSelector, PruneReport, Retention};
use crate::verify::{VerifyOptions, VerifyProgress, VerifyReport};

/// What was recorded before the call may still be on its way to the disk: [`flush`](Store::flush) first to have
/// it checked, copied or counted too. Recording goes on meanwhile.
impl Store {
    /// As [`ReadOnlyStore::log_id`](crate::ReadOnlyStore::log_id).
    ///
    /// # Errors
    ///
    /// [`OpenError::Damaged`], or what the database reported.
    pub fn log_id(&self) -> Result<Option<String>, OpenError> {
        self.read_only.log_id()
    }

    /// As [`ReadOnlyStore::doctor`](crate::ReadOnlyStore::doctor).
    ///
    /// # Errors
    ///
    /// What the database reported, if the file cannot even be checked.
    pub fn doctor(&self) -> Result<DoctorReport, ReadError> {
        self.read_only.doctor()
    }

    /// As [`ReadOnlyStore::verify`](crate::ReadOnlyStore::verify).
    ///
    /// # Blocking
    ///
    /// Reads the whole file, in one read transaction: the write-ahead log grows until this ends.
    ///
    /// # Errors
    ///
    /// [`VerifyError`], if the file or the anchor file cannot be read at all.
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport, VerifyError> {
        self.read_only.verify(options)
    }

    /// As [`verify`](Self::verify), and reports its progress.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_with_progress(
        &self,
        options: &VerifyOptions,
        progress: impl FnMut(VerifyProgress),
    ) -> Result<VerifyReport, VerifyError> {
        self.read_only.verify_with_progress(options, progress)
    }

    /// As [`ReadOnlyStore::backup`](crate::ReadOnlyStore::backup).
    ///
    /// ```
    /// # use auditlite::{Store, VerifyOptions};
    /// # let folder = tempfile::tempdir()?;
    /// # let store = Store::builder(folder.path().join("audit.db")).open()?;
    /// let report = store.backup(folder.path().join("copy.db"), &VerifyOptions::new())?;
    /// assert!(report.verified.findings.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Reads the whole file in one read transaction, and the copy once more.
    ///
    /// # Errors
    ///
    /// [`ExportError`], after which there is no copy.
    pub fn backup(
        &self,
        path: impl AsRef<Path>,
        options: &VerifyOptions,
    ) -> Result<BackupReport, ExportError> {
        self.read_only.backup(path, options)
    }

    /// As [`ReadOnlyStore::write_bundle`](crate::ReadOnlyStore::write_bundle).
    ///
    /// # Errors
    ///
    /// [`BundleError::NoCheckpoint`], or what the database or the output reported.
    pub fn write_bundle(
        &self,
        options: &BundleOptions,
        out: &mut dyn std::io::Write,
    ) -> Result<BundleSummary, BundleError> {
        self.read_only.write_bundle(options, out)
    }

    /// As [`ReadOnlyStore::inclusion_proof`](crate::ReadOnlyStore::inclusion_proof).
    ///
    /// # Errors
    ///
    /// [`BundleError::NoCheckpoint`], or what the database reported.
    pub fn inclusion_proof(&self, seq: u64) -> Result<String, BundleError> {
        self.read_only.inclusion_proof(seq)
    }

    /// As [`ReadOnlyStore::consistency_proof`](crate::ReadOnlyStore::consistency_proof).
    ///
    /// # Errors
    ///
    /// [`BundleError::NoCheckpoint`], or what the database reported.
    pub fn consistency_proof(&self, old_size: u64) -> Result<String, BundleError> {
        self.read_only.consistency_proof(old_size)
    }

    /// What [`erase`](Self::erase) would erase. Changes nothing.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn preview_erase(&self, selector: &EraseSelector) -> Result<EraseReport, ReadError> {
        self.read_only.preview_erase(selector)
    }

    /// What [`prune`](Self::prune) would remove: roughly where `size_bytes_max` decides, and content only.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn preview_prune(&self, retention: &Retention) -> Result<PruneReport, ReadError> {
        self.read_only.preview_prune(retention)
    }
}
