//! Threads, locks, atomics, channels and the monotonic clock that the writer is made of.
//!
//! One place to take them from, so that the schedules test (`src/tests/schedules`, built with
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

/// Runs a step whose panic must not end the thread. `None`: it panicked. The caller must not
/// continue to use anything that the step may have left half changed.
///
/// Under shuttle panics pass: it ends schedules by them.
pub(crate) fn caught<T>(step: impl FnOnce() -> T) -> Option<T> {
    if cfg!(shuttle) {
        return Some(step());
    }
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).ok()
}

/// Where tests have a step of preparation panic: at input that names its place. Nothing elsewhere.
#[cfg(test)]
#[allow(clippy::panic)]
pub(crate) fn trip(place: &str, input: &[u8]) {
    let wanted = format!("trip:{place};");
    if input
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
    {
        panic!("{wanted} is in the input");
    }
}

#[cfg(not(test))]
pub(crate) fn trip(_: &str, _: &[u8]) {}
