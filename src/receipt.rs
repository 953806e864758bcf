//! Receipts: proof that what was recorded is committed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ReceiptError;
use crate::writer::{Lifecycle, Shared, Stage};

/// What recording returns: can be asked, or waited on, for proof of the commit.
///
/// # Durability
///
/// With [`Durability::Full`](crate::Durability::Full) a durable receipt survives power loss; with
/// [`Durability::Buffered`](crate::Durability::Buffered) it survives the process, not the power.
#[derive(Clone)]
pub struct Receipt {
    /// `None`: nothing was recorded.
    pub(crate) awaited: Option<(Arc<Shared>, Arc<Lifecycle>, Stage)>,
}

impl Receipt {
    /// Whether the event is committed. Never waits.
    pub fn is_durable(&self) -> bool {
        self.awaited
            .as_ref()
            .is_some_and(|(_, lifecycle, stage)| lifecycle.has_reached(*stage))
    }

    /// Waits until the event is committed.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread, at most for `timeout`; in asynchronous code call it from a
    /// blocking task.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::Timeout`] when the time is over first, [`ReceiptError::Shed`] when the
    /// lifecycle was left out, [`ReceiptError::WriterStopped`] when it will not be committed.
    pub fn wait(&self, timeout: Duration) -> Result<(), ReceiptError> {
        let Some((shared, lifecycle, stage)) = &self.awaited else {
            return Err(ReceiptError::Shed);
        };
        if !lifecycle.has_reached(*stage) {
            if shared.process.is_left() {
                return Err(ReceiptError::WriterStopped);
            }
            shared.wake_writer();
        }
        let is_decided = shared.commits.wait(timeout, || {
            lifecycle.has_reached(*stage) || shared.is_over()
        });
        if lifecycle.has_reached(*stage) {
            Ok(())
        } else if is_decided {
            Err(ReceiptError::WriterStopped)
        } else {
            Err(ReceiptError::Timeout(timeout))
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("is_durable", &self.is_durable())
            .finish_non_exhaustive()
    }
}
