//! The retention policy of a store: pruned now and then, by a thread that leaves the writer alone
//! half of the time.

use std::time::Duration;

use super::{Remover, Retention};
use crate::error::RemovalError;
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::sync::thread::{Builder, JoinHandle};

/// Between two looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The thread; ends when told to, at the latest after the step that it is at.
#[derive(Debug)]
pub(crate) struct RetentionThread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RetentionThread {
    pub(crate) fn start(remover: Remover, retention: Retention) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let thread = Builder::new()
            .name("auditlite-retention".to_owned())
            .spawn(move || work(&remover, &retention, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Ends it, and waits for the step that it is at.
    pub(crate) fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(remover: &Remover, retention: &Retention, stopped: &Receiver<()>) {
    let mut wait = Duration::ZERO;
    while matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
        wait = LOOK_EVERY;
        let go_on = || {
            matches!(
                stopped.recv_timeout(Duration::ZERO),
                Err(RecvTimeoutError::Timeout)
            )
        };
        match remover.prune(retention, true, &go_on) {
            Ok(report) if report.payloads > 0 || report.requests > 0 => tracing::info!(
                target: "auditlite",
                payloads = report.payloads,
                requests = report.requests,
                bytes = report.freed_bytes,
                "pruned what the retention policy does not keep"
            ),
            Ok(_) => {}
            Err(RemovalError::WriterStopped) => return,
            Err(error) => tracing::warn!(
                target: "auditlite",
                problem = crate::error::chain(&error),
                "the retention policy could not be applied; it is tried again"
            ),
        }
    }
}
