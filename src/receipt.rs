//! Receipts: acknowledgements that a recorded event is committed.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::ReceiptError;
use crate::writer::{Lifecycle, Shared, Stage, Ticket};

/// Tells when a recorded event is committed: ask it, wait on it, or await it. It is an acknowledgement of the
/// local commit, not a cryptographic proof; for that see
/// [`ReadOnlyStore::inclusion_proof`](crate::ReadOnlyStore::inclusion_proof).
///
/// A receipt is a [`Future`] that needs no runtime: the committing thread wakes the task. It is ready
/// with the errors of [`wait`](Self::wait), never with a timeout; to bound the wait, use the runtime's
/// timeout. Dropping it removes its waker; once ready it stays so, and can be awaited again, by
/// reference too. `examples/durable_first.rs` forwards no request before its opening is durable:
///
/// ```no_run
/// # use auditlite::{ReceiptError, RequestHandle};
/// # async fn forward(audit: RequestHandle) -> Result<(), ReceiptError> {
/// audit.opened_receipt().await?; // no thread waits meanwhile
/// // … the request goes upstream only now
/// # Ok(())
/// # }
/// ```
///
/// # Durability
///
/// With [`Durability::Full`](crate::Durability::Full) a durable receipt survives power loss; with
/// [`Durability::Buffered`](crate::Durability::Buffered) it survives the process, not the power.
pub struct Receipt {
    /// `None`: nothing was recorded.
    awaited: Option<(Arc<Shared>, Arc<Lifecycle>, Stage)>,
    /// The waker of the task that awaits this receipt, once it did.
    ticket: Option<Ticket>,
}

impl Receipt {
    pub(crate) fn new(awaited: Option<(Arc<Shared>, Arc<Lifecycle>, Stage)>) -> Self {
        Self {
            awaited,
            ticket: None,
        }
    }

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
    /// Blocks the calling thread, at most for `timeout`; asynchronous code awaits the receipt instead.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::Timeout`] when the time is over first, [`ReceiptError::Shed`] when the
    /// lifecycle was left out, [`ReceiptError::WriterStopped`] when it will not be committed.
    pub fn wait(&self, timeout: Duration) -> Result<(), ReceiptError> {
        let Some((shared, lifecycle, stage)) = &self.awaited else {
            return Err(ReceiptError::Shed);
        };
        if !lifecycle.has_reached(*stage) && shared.process.is_left() {
            return Err(ReceiptError::WriterStopped);
        }
        let is_decided = shared.commits.wait(
            timeout,
            || lifecycle.has_reached(*stage) || shared.state.is_over(),
            || shared.wake_writer(),
        );
        if lifecycle.has_reached(*stage) {
            Ok(())
        } else if is_decided {
            Err(ReceiptError::WriterStopped)
        } else {
            Err(ReceiptError::Timeout(timeout))
        }
    }
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let receipt = &mut *self;
        let Some((shared, lifecycle, stage)) = &receipt.awaited else {
            return Poll::Ready(Err(ReceiptError::Shed));
        };
        let decided = || {
            // Looked at first: what was committed before the writer stopped is there.
            let is_over = shared.process.is_left() || shared.state.is_over();
            match lifecycle.has_reached(*stage) {
                true => Some(Ok(())),
                false => is_over.then_some(Err(ReceiptError::WriterStopped)),
            }
        };
        if let Some(result) = decided() {
            return Poll::Ready(result);
        }
        let waker = context.waker();
        let ticket = shared
            .commits
            .leave_waker(receipt.ticket, waker, lifecycle, *stage);
        receipt.ticket = Some(ticket);
        if let Some(result) = decided() {
            return Poll::Ready(result);
        }
        shared.wake_writer();
        Poll::Pending
    }
}

impl Clone for Receipt {
    /// The clone is awaited on its own, with its own waker.
    fn clone(&self) -> Self {
        Self::new(self.awaited.clone())
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket
            && let Some((shared, ..)) = &self.awaited
            // In a fork the lock may be held by a thread that does not exist.
            && !shared.process.is_left()
        {
            shared.commits.remove_waker(ticket);
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
