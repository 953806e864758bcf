//! A server that can be stopped, and the signals that stop it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that accepts connections until it is stopped; one that is dropped goes on as long as
/// the runtime.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Listens on this address and serves the routes.
    pub(crate) async fn start(listen: &str, routes: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        // Each chunk of a stream goes out at once.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
        });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(
            axum::serve(listener, routes)
                .with_graceful_shutdown(async {
                    if stopped.await.is_err() {
                        std::future::pending().await
                    }
                })
                .into_future(),
        );
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Stops accepting and waits until all that is in flight has ended, at most this long and
    /// not beyond the next signal.
    pub(crate) async fn stop(self, grace: Duration, signals: &mut Signals) -> io::Result<()> {
        // The receiver is gone only where the server has ended already.
        let _ = self.stop.send(());
        tokio::select! {
            ended = self.task => ended.map_err(io::Error::other)?,
            () = tokio::time::sleep(grace) => Ok(()),
            () = signals.next() => Ok(()),
        }
    }
}

/// The signals that ask a program to end: Ctrl-C, and SIGTERM where there is one.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// From here on the signals are kept for [`next`](Self::next) and no longer end the process.
    #[cfg(unix)]
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of them.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without the signal there is only the hard way to end.
            std::future::pending().await
        }
    }
}
