//! Writes an export as a file: under a temporary name, then renamed into place, with a manifest.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::parts;
use super::sqlite::SqliteSink;
use super::{Connect, Counted, ExportFormat, ExportOptions, ExportSummary, export, write_all};
use crate::error::{ExportError, ReadError};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes the export and `<path>.manifest.json`. Neither exists before it is complete. If nothing matches,
/// existing files stay.
pub(crate) fn export_to_file(
    connect: &Connect<'_>,
    options: &ExportOptions,
    path: &Path,
) -> Result<ExportSummary, ExportError> {
    let mut temporary = Temporary::create(path)?;
    let summary = if options.format == ExportFormat::Sqlite {
        database(connect, options, temporary.path())?
    } else {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &mut temporary.file);
        let summary = export(connect, options, &mut out)?;
        out.flush().map_err(ExportError::Output)?;
        summary
    };
    if summary.requests == 0 {
        return Ok(summary);
    }
    let manifest_path = with_ending(path, ".manifest.json");
    let mut manifest = Temporary::create(&manifest_path)?;
    manifest
        .file
        .write_all(summary.to_json().as_bytes())
        .map_err(ExportError::Output)?;
    temporary.put(path)?;
    manifest.put(&manifest_path)?;
    Ok(summary)
}

/// Writes a database into the empty file at this path.
fn database(
    connect: &Connect<'_>,
    options: &ExportOptions,
    path: &Path,
) -> Result<ExportSummary, ExportError> {
    if options.is_compressed {
        return Err(ReadError::InvalidArgument(
            "a SQLite database is not compressed: other programs are to open it".to_owned(),
        )
        .into());
    }
    let mut sink = SqliteSink::create(path, options.content)?;
    let counts = write_all(connect, options, &mut sink, &mut std::io::sink())?;
    sink.finish()?;
    let failed = |source| ExportError::File {
        path: path.to_owned(),
        what: "read",
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut sink = std::io::sink();
    let digested = Counted::new(&mut sink);
    // Copying reads in pieces of the writer's buffer.
    let mut digested = BufWriter::with_capacity(BUFFER_BYTES, digested);
    std::io::copy(&mut file, &mut digested).map_err(failed)?;
    let digested = digested
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    let (bytes, digest) = (digested.bytes, digested.hasher.finish());
    Ok(counts.summary(options, bytes, digest))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A file that is being written; removed unless it is put in place.
pub(super) struct Temporary {
    file: File,
    path: PathBuf,
    is_put: bool,
}

impl Temporary {
    pub(super) fn create(target: &Path) -> Result<Self, ExportError> {
        parts::remove_stale(target);
        let path = with_ending(target, &parts::ending(std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Content is for the user who exported it.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options
            .open(&path)
            .and_then(|file| parts::hold(file, &path))
        {
            Ok(file) => Ok(Self {
                file,
                path,
                is_put: false,
            }),
            Err(source) => Err(ExportError::File {
                path: target.to_owned(),
                what: "created",
                source,
            }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Makes the file durable and gives it its name.
    pub(super) fn put(mut self, target: &Path) -> Result<(), ExportError> {
        let failed = |what| {
            move |source| ExportError::File {
                path: target.to_owned(),
                what,
                source,
            }
        };
        self.file.sync_all().map_err(failed("written"))?;
        std::fs::rename(&self.path, target).map_err(failed("put in its place"))?;
        self.is_put = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_put {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
