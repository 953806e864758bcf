//! Replacements for the schedules test, built on shuttle's primitives.
//!
//! Shuttle explores interleavings of sequentially consistent memory and has no time. What is added
//! here: a clock that moves when a thread sleeps or a wait times out; waits that may time out, in
//! schedules that permit it (in the others a wake-up that gets lost is a deadlock, which shuttle
//! reports); a channel, because crossbeam's own cannot run on shuttle; and the writer's death.

// Test code: it runs with `--cfg shuttle` only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Add;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LockResult, PoisonError};
use std::time::Duration;

use shuttle::rand::Rng;
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};

/// The settings of a schedule. All its threads are coroutines of one thread of the system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    /// Waits may time out. Without it they never do, and a wake-up that gets lost is a deadlock.
    pub(crate) is_hasty: bool,
    /// How the committer dies, at a random batch.
    pub(crate) fault: Option<Fault>,
}

thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan { is_hasty: false, fault: None }) };
    /// The clock, in nanoseconds.
    static NOW_NANOS: Cell<u64> = const { Cell::new(0) };
}

/// Begins a schedule.
#[cfg(test)]
pub(crate) fn begin(plan: Plan) {
    PLAN.set(plan);
    NOW_NANOS.set(0);
}

fn advance(by: Duration) {
    let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    NOW_NANOS.set(NOW_NANOS.get().saturating_add(nanos));
}

/// Whether a wait times out now. Time passes then.
fn times_out(after: Duration) -> bool {
    let is_over =
        after.is_zero() || PLAN.get().is_hasty && shuttle::rand::thread_rng().gen_ratio(1, 6);
    if is_over {
        advance(after);
        shuttle::thread::yield_now();
    }
    is_over
}

/// How the committer's thread dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It finds that the file can no longer be written.
    Fails,
    /// It is gone, as after a panic, and only its `StopOnUnwind` is left to tell.
    Vanishes,
}

/// Whether the committer dies instead of committing this batch.
pub(crate) fn fault() -> Option<Fault> {
    let fault = PLAN.get().fault?;
    shuttle::rand::thread_rng().gen_ratio(1, 4).then_some(fault)
}

/// A point of the clock above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(Duration::from_nanos(NOW_NANOS.get()))
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn checked_add(self, by: Duration) -> Option<Self> {
        self.0.checked_add(by).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// The flag says whether it timed out.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        if PLAN.get().is_hasty && shuttle::rand::thread_rng().gen_ratio(1, 6) {
            // A spurious wake-up: the caller checks its deadline and waits again.
            advance(timeout);
            return Ok((guard, true));
        }
        Ok((self.wait(guard), false))
    }
}

pub(crate) mod thread {
    use super::*;

    pub(crate) use shuttle::thread::{Thread, current};

    pub(crate) fn sleep(duration: Duration) {
        advance(duration);
        shuttle::thread::yield_now();
    }

    /// May take much longer than requested: otherwise a schedule would consist of waiting.
    pub(crate) fn park_timeout(duration: Duration) {
        advance(duration * 100);
        shuttle::thread::yield_now();
    }

    /// One thread or two: both happen.
    pub(crate) fn processors() -> usize {
        1 + usize::from(shuttle::rand::thread_rng().gen_ratio(2, 3))
    }

    #[derive(Debug)]
    pub(crate) struct JoinHandle<T> {
        thread: shuttle::thread::JoinHandle<T>,
        is_finished: Arc<super::atomic::AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub(crate) fn is_finished(&self) -> bool {
            self.is_finished.load(Ordering::SeqCst)
        }

        pub(crate) fn join(self) -> std::thread::Result<T> {
            self.thread.join()
        }
    }

    #[derive(Debug)]
    pub(crate) struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(shuttle::thread::Builder::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn<T: Send + 'static>(
            self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> std::io::Result<JoinHandle<T>> {
            let is_finished = Arc::new(super::atomic::AtomicBool::new(false));
            let flag = Arc::clone(&is_finished);
            let thread = self.0.spawn(move || {
                let result = work();
                flag.store(true, Ordering::SeqCst);
                result
            })?;
            Ok(JoinHandle {
                thread,
                is_finished,
            })
        }
    }
}

/// A bounded channel like crossbeam's; with capacity 0, a send waits for its receiver.
pub(crate) mod channel {
    use super::*;

    pub(crate) use crossbeam_channel::{
        RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError,
    };

    #[derive(Debug)]
    struct Queue<T> {
        items: VecDeque<T>,
        capacity: usize,
        senders: usize,
        receivers: usize,
        /// Items ever taken: tells a sender of capacity 0 that its own was.
        taken: u64,
        sent: u64,
    }

    #[derive(Debug)]
    struct Channel<T> {
        queue: Mutex<Queue<T>>,
        changed: Condvar,
    }

    impl<T> Channel<T> {
        fn lock(&self) -> MutexGuard<'_, Queue<T>> {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let channel = Arc::new(Channel {
            queue: Mutex::new(Queue {
                items: VecDeque::new(),
                capacity,
                senders: 1,
                receivers: 1,
                taken: 0,
                sent: 0,
            }),
            changed: Condvar::new(),
        });
        (Sender(Arc::clone(&channel)), Receiver(channel))
    }

    #[derive(Debug)]
    pub(crate) struct Sender<T>(Arc<Channel<T>>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(Arc<Channel<T>>);

    impl<T> Sender<T> {
        pub(crate) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
            let mut queue = self.0.lock();
            if queue.receivers == 0 {
                return Err(TrySendError::Disconnected(item));
            }
            if queue.items.len() >= queue.capacity {
                return Err(TrySendError::Full(item));
            }
            queue.items.push_back(item);
            queue.sent += 1;
            self.0.changed.notify_all();
            Ok(())
        }

        pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
            let mut queue = self.0.lock();
            while queue.receivers > 0 && queue.items.len() >= queue.capacity.max(1) {
                queue = self.0.changed.wait(queue);
            }
            if queue.receivers == 0 {
                return Err(SendError(item));
            }
            queue.items.push_back(item);
            queue.sent += 1;
            let own = queue.sent;
            self.0.changed.notify_all();
            while queue.capacity == 0 && queue.taken < own {
                if queue.receivers == 0 {
                    let item = queue.items.pop_back().unwrap();
                    queue.sent -= 1;
                    return Err(SendError(item));
                }
                queue = self.0.changed.wait(queue);
            }
            Ok(())
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            self.0.lock().senders += 1;
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.lock().senders -= 1;
            self.0.changed.notify_all();
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            let mut queue = self.0.lock();
            let Some(item) = queue.items.pop_front() else {
                return Err(match queue.senders {
                    0 => TryRecvError::Disconnected,
                    _ => TryRecvError::Empty,
                });
            };
            queue.taken += 1;
            self.0.changed.notify_all();
            Ok(item)
        }

        pub(crate) fn recv(&self) -> Result<T, RecvError> {
            self.recv_until(None).map_err(|_| RecvError)
        }

        pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
            self.recv_until(Some(timeout))
        }

        fn recv_until(&self, timeout: Option<Duration>) -> Result<T, RecvTimeoutError> {
            let mut queue = self.0.lock();
            loop {
                if let Some(item) = queue.items.pop_front() {
                    queue.taken += 1;
                    self.0.changed.notify_all();
                    return Ok(item);
                }
                if queue.senders == 0 {
                    return Err(RecvTimeoutError::Disconnected);
                }
                if let Some(timeout) = timeout
                    && times_out(timeout)
                {
                    return Err(RecvTimeoutError::Timeout);
                }
                queue = self.0.changed.wait(queue);
            }
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().items.is_empty()
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let mut queue = self.0.lock();
            queue.receivers -= 1;
            // As crossbeam: what nobody can receive any more is dropped now, outside of the lock;
            // of a hand-over that is not complete, the sender takes it back.
            let dropped = match queue.capacity {
                0 => VecDeque::new(),
                _ => std::mem::take(&mut queue.items),
            };
            drop(queue);
            self.0.changed.notify_all();
            drop(dropped);
        }
    }
}
