//! Threads, locks, atomics, channels and the monotonic clock that the writer is made of.
//!
//! One place to take them from, so that the schedules test (`tests/schedules.rs`, built with
//! `--cfg shuttle`) can run the same code on stand-ins that explore interleavings. Everything that
//! orders threads goes through here; `Arc`, and cells that are set once, do not need to.

#[cfg(shuttle)]
mod shuttled;

#[cfg(shuttle)]
pub(crate) use shuttled::{
    Condvar, Fault, Instant, Mutex, MutexGuard, atomic, channel, fault, thread,
};
#[cfg(all(test, shuttle))]
pub(crate) use shuttled::{Plan, begin};

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::time::Instant;

#[cfg(not(shuttle))]
pub(crate) mod channel {
    pub(crate) use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
}

#[cfg(not(shuttle))]
pub(crate) mod thread {
    pub(crate) use std::thread::{Builder, JoinHandle, Thread, current, park_timeout, sleep};

    /// How many threads can run at once.
    pub(crate) fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
