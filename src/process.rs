//! The process that opened something: one that is forked from it has the memory, and none of the threads,
//! file locks and connections that go with it.

// It orders no threads, and the schedules test knows no forks.
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Asking which process this is takes a system call, a seventh of what recording a request takes: it is
/// asked again after so many microseconds.
const ASK_AGAIN_US: i64 = 10_000;

/// What is said where it is another one.
pub(crate) const FORKED: &str = "this process was forked from the one that opened the audit store, and \
     has no writer; open a store after the fork, in one process for each file";

/// The process that this was made in.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    /// When it was asked last, in microseconds since the Unix epoch.
    asked_at: AtomicI64,
    is_left: AtomicBool,
}

impl Process {
    /// This one.
    pub(crate) fn current() -> Self {
        Self {
            id: std::process::id(),
            asked_at: AtomicI64::new(i64::MIN),
            is_left: AtomicBool::new(false),
        }
    }

    /// Whether this is another one, forked from it.
    pub(crate) fn is_left(&self) -> bool {
        if std::process::id() != self.id {
            self.is_left.store(true, Ordering::Relaxed);
        }
        self.is_left.load(Ordering::Relaxed)
    }

    /// The same, for who asks often and knows the time. A fork less than 10 ms after the other process
    /// asked is not seen before these are over; until then what is recorded here goes nowhere, and a lock
    /// that a thread of the other process held at the fork would be waited for in vain.
    pub(crate) fn is_left_at(&self, now: i64) -> bool {
        let since = now.wrapping_sub(self.asked_at.load(Ordering::Relaxed));
        if (0..ASK_AGAIN_US).contains(&since) {
            return self.is_left.load(Ordering::Relaxed);
        }
        self.asked_at.store(now, Ordering::Relaxed);
        self.is_left()
    }
}
