//! What tells one file from another at the same path.

use std::fs;

/// Device and inode of a file. `None` where the operating system does not tell; there, open files cannot be
/// removed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(Option<(u64, u64)>);

#[cfg(unix)]
pub(crate) fn identity(metadata: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
pub(crate) fn identity(_: &fs::Metadata) -> Identity {
    Identity(None)
}
