//! The process that opened something. A fork of it inherits the memory, but not the threads, and must not
//! use its file locks and connections.

// Not `crate::sync`: these atomics order no threads, and the schedules test knows no forks.
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Asking for the process id takes a system call, a seventh of the time that recording a request takes. The
/// answer is used again for so many microseconds.
const ASK_AGAIN_US: i64 = 10_000;

/// The message of errors in a fork.
pub(crate) const FORKED: &str = "this process was forked from the one that opened the audit store, and \
     has no writer; open a store after the fork, in one process for each file";

/// The process in which this was made. Any thread may ask; a lost update costs another system call, so
/// everything is relaxed.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    /// When the process id was last asked for, in microseconds since the Unix epoch.
    asked_at: AtomicI64,
    is_left: AtomicBool,
}

impl Process {
    /// The current process.
    pub(crate) fn current() -> Self {
        Self {
            id: std::process::id(),
            asked_at: AtomicI64::new(i64::MIN),
            is_left: AtomicBool::new(false),
        }
    }

    /// Whether the current process is a fork of the one that made this.
    pub(crate) fn is_left(&self) -> bool {
        if std::process::id() != self.id {
            self.is_left.store(true, Ordering::Relaxed);
        }
        self.is_left.load(Ordering::Relaxed)
    }

    /// The same for callers that ask often and know the time: the answer may be 10 ms old. In these first
    /// 10 ms a fork may record into a queue that nothing reads, or wait for a lock that a thread of its
    /// parent held at the fork.
    pub(crate) fn is_left_at(&self, now: i64) -> bool {
        let since = now.wrapping_sub(self.asked_at.load(Ordering::Relaxed));
        if (0..ASK_AGAIN_US).contains(&since) {
            return self.is_left.load(Ordering::Relaxed);
        }
        self.asked_at.store(now, Ordering::Relaxed);
        self.is_left()
    }
}
