//! SIGTERM and Ctrl-C: the first one asks, a second one ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit status of a program that a signal ended: this, and the signal's number.
const EXIT_SIGNAL: i32 = 128;
const PROCESS_ONE: u32 = 1;

/// A signal that asks to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit status that shells report.
    pub(crate) fn exit_status(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Receives signals for a command that closes in order. The signal handler stores the number, and the command's
/// thread polls it: a handler may do nothing that takes a lock.
#[derive(Debug)]
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// From now on the first signal is only stored.
    ///
    /// # Errors
    ///
    /// What the operating system reported.
    pub(crate) fn take() -> io::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let is_asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the handler that ends the program runs first, and must find only what an
            // earlier signal has set.
            let asked = Arc::clone(&is_asked);
            flag::register_conditional_shutdown(signal, EXIT_SIGNAL + signal, asked)?;
            flag::register(signal, Arc::clone(&is_asked))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&received), number)?;
        }
        Ok(Self { received })
    }

    pub(crate) fn received(&self) -> Option<Signal> {
        let is = |signal: i32, received| usize::try_from(signal).ok() == Some(received);
        match self.received.load(Ordering::Relaxed) {
            received if is(SIGINT, received) => Some(Signal::Interrupt),
            received if is(SIGTERM, received) => Some(Signal::Terminate),
            _ => None,
        }
    }
}

/// Makes signals end a command that has nothing to close. They do by default, except for process 1 of a container,
/// to which the kernel delivers only signals that it handles.
pub(crate) fn end_at_once() {
    if std::process::id() != PROCESS_ONE {
        return;
    }
    for signal in [SIGINT, SIGTERM] {
        let always = Arc::new(AtomicBool::new(true));
        // Without it the command can still be killed.
        let _ = flag::register_conditional_shutdown(signal, EXIT_SIGNAL + signal, always);
    }
}
