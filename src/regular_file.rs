//! Opens files that are read as a whole, such as keys, prices and anchors: only regular ones, because opening a
//! FIFO waits for a writer, and a device may never end.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a regular file for reading, and nothing else.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    check(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    // Checked again on the open file: the path may have been exchanged in between.
    check(&file.metadata()?)?;
    Ok(file)
}

/// Whether this is a regular file.
pub(crate) fn check(metadata: &std::fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is not a regular file; copy what it gives into one",
    ))
}
