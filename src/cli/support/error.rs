//! Errors of the command line, and how a chain of causes is printed.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use auditlite::{
    BundleError, ExportError, OpenError, PriceBookError, ReadError, RecordError, RemovalError,
    RestoreError, VerifyError,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Standard output could not be written.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
    /// A file other than the database.
    #[error("{path:?} cannot be {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read`, `created` or `written`.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The price book of `--prices`.
    #[error("the price book {path:?} cannot be used")]
    Prices {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PriceBookError,
    },
    /// The database does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database does not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A bundle cannot be written or read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// An export cannot be made.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A backup cannot be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The database cannot be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A removal failed.
    #[error(transparent)]
    Removal(#[from] RemovalError),
    /// A request cannot be recorded, and the next one could not either.
    #[error("recording stopped")]
    Record(#[from] RecordError),
    /// The recording has ended, so the thread that reads its input ends too. Never printed.
    #[error("recording is over")]
    Stopped,
    /// Any other error, complete in its message.
    #[error("{0}")]
    Message(String),
}

impl CliError {
    /// Whether the reader of standard output is gone, which is not an error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(
            self,
            Self::Output(error)
                | Self::Bundle(BundleError::Output(error))
                | Self::Export(ExportError::Output(error))
                if error.kind() == io::ErrorKind::BrokenPipe
        )
    }

    /// The error and its causes, from the outside in: `error: cause: cause`.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

/// Every plain `io::Error` of a command comes from writing its output; others are wrapped by hand.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_printed_from_the_outside_in() {
        let error = CliError::File {
            path: PathBuf::from("calls.jsonl"),
            what: "read",
            source: io::Error::other("the disk is on fire"),
        };
        assert_eq!(
            error.chain(),
            r#""calls.jsonl" cannot be read: the disk is on fire"#
        );
    }

    #[test]
    fn only_our_own_output_can_be_a_broken_pipe() {
        assert!(CliError::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
        let file = CliError::File {
            path: PathBuf::from("fifo"),
            what: "read",
            source: io::Error::from(io::ErrorKind::BrokenPipe),
        };
        assert!(!file.is_broken_pipe());
    }
}
