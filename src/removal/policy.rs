//! The retention policy of a store: a thread prunes regularly, and leaves the writer alone half of the
//! time.

use std::time::Duration;

use super::{Remover, Retention};
use crate::clock::carried_over;
use crate::error::RemovalError;
use crate::sync::Instant;
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::sync::thread::{Builder, JoinHandle, sleep};

/// The interval at which the policy is applied.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The interval between two checks whether the thread has ended.
const JOIN_STEP: Duration = Duration::from_micros(200);

/// The thread that prunes by the store's retention. Owned by [`Closer`](crate::closing::Closer), from the opening to
/// the close; dropping `stop` tells it to end, which it does after its current step.
#[derive(Debug)]
pub(crate) struct RetentionThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl RetentionThread {
    /// Applies the policy at once, and then every `look_every`.
    pub(crate) fn start(
        remover: Remover,
        retention: Retention,
        look_every: Duration,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let thread = Builder::new()
            .name("auditlite-retention".to_owned())
            .spawn(carried_over(move || {
                work(&remover, &retention, look_every, &stopped);
            }))?;
        Ok(Self { stop, thread })
    }

    /// Tells the thread to end, without waiting.
    pub(crate) fn stop(self) -> StoppedRetention {
        drop(self.stop);
        StoppedRetention(self.thread)
    }
}

/// A thread that is about to end.
#[derive(Debug)]
pub(crate) struct StoppedRetention(JoinHandle<()>);

impl StoppedRetention {
    /// Waits for it until the deadline. If it takes longer it ends on its own, and writes nothing any more.
    /// Blocks.
    pub(crate) fn join_until(self, deadline: Instant) {
        while !self.0.is_finished() {
            if Instant::now() >= deadline {
                return;
            }
            sleep(JOIN_STEP);
        }
        let _ = self.0.join();
    }
}

fn work(remover: &Remover, retention: &Retention, look_every: Duration, stopped: &Receiver<()>) {
    let mut wait = Duration::ZERO;
    while matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
        wait = look_every;
        let go_on = || {
            matches!(
                stopped.recv_timeout(Duration::ZERO),
                Err(RecvTimeoutError::Timeout)
            )
        };
        match remover.apply(retention, &go_on) {
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
                "the retention policy could not be applied; retrying later"
            ),
        }
    }
}
