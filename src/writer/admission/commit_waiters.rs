//! Waiting for commits without making the writer or other request threads pay for it.
//!
//! Threads wait on a condition variable, tasks leave a waker beside it. The committer looks for either
//! after each commit, which costs one atomic load where nothing waits.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::lifecycle::{Lifecycle, Stage};
use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Instant, Mutex, MutexGuard, caught};

/// The threads and tasks that wait for a commit. Shared by them and the committer, for as long as the
/// store's state lives.
///
/// The lock protects the wakers, and makes a thread's check of its stage and its wait one step. The stages
/// themselves are atomics of each [`Lifecycle`], so `waiting` can tell the committer without the lock that
/// nothing waits. Wakers are cloned, woken and dropped outside of the lock: that is an executor's code, which
/// may call back.
#[derive(Debug, Default)]
pub(crate) struct CommitWaiters {
    /// Threads that wait, and tasks that left a waker.
    waiting: AtomicUsize,
    tasks: Mutex<Tasks>,
    committed: Condvar,
}

/// The place of a task's waker, kept by the receipt that the task polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

/// Tasks that wait. At most one for each receipt that is polled and not ready yet: those belong to events
/// on their way to the disk, whose number the capacity bounds. It goes when it is woken, and when its
/// receipt is dropped.
#[derive(Debug, Default)]
struct Tasks {
    last_ticket: u64,
    waiting: HashMap<Ticket, Task>,
}

/// Which stage of which lifecycle a task waits for.
#[derive(Debug)]
struct Task {
    waker: Waker,
    lifecycle: Arc<Lifecycle>,
    stage: Stage,
}

impl CommitWaiters {
    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called after a commit, and when the writer stops (`is_over`). Wakes all threads, and the tasks whose
    /// events are committed; all tasks where the writer stopped.
    pub(crate) fn announce(&self, is_over: bool) {
        // Pairs with the fences in `wait` and `leave_waker`: either we observe the waiter here, or the waiter
        // observes the stage that was reached before this call.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut tasks = self.lock();
        self.committed.notify_all();
        let woken: Vec<Task> = tasks
            .waiting
            .extract_if(|_, task| is_over || task.lifecycle.has_reached(task.stage))
            .map(|(_, task)| task)
            .collect();
        self.waiting.fetch_sub(woken.len(), Ordering::SeqCst);
        drop(tasks);
        // An executor's code runs here: a panic in it must not end recording.
        for task in woken {
            let _ = caught(|| task.waker.wake());
        }
    }

    /// Whether a thread or a task waits for a commit.
    pub(crate) fn are_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Waits until `reached`, at most for `timeout`. Blocks. `wake_writer` is called once the writer can see that
    /// a thread waits: what it gathers is then committed at once.
    pub(crate) fn wait(
        &self,
        timeout: Duration,
        reached: impl Fn() -> bool,
        wake_writer: impl FnOnce(),
    ) -> bool {
        if reached() {
            return true;
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut guard = self.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        wake_writer();
        let is_reached = loop {
            if reached() {
                break true;
            }
            let left = deadline.map_or(Duration::from_secs(3600), |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break false;
            }
            guard = match self.committed.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
        is_reached
    }

    /// Leaves a task's waker, in place of the one that its ticket stands for. The caller looks once more
    /// whether the stage was reached afterwards: a commit in between may not have seen the waker.
    pub(crate) fn leave_waker(
        &self,
        ticket: Option<Ticket>,
        waker: &Waker,
        lifecycle: &Arc<Lifecycle>,
        stage: Stage,
    ) -> Ticket {
        // Clones and drops of wakers are an executor's code too.
        let task = Task {
            waker: waker.clone(),
            lifecycle: Arc::clone(lifecycle),
            stage,
        };
        let mut tasks = self.lock();
        let ticket = ticket.unwrap_or_else(|| {
            tasks.last_ticket = tasks.last_ticket.wrapping_add(1);
            Ticket(tasks.last_ticket)
        });
        let before = tasks.waiting.insert(ticket, task);
        if before.is_none() {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        drop(tasks);
        drop(before);
        fence(Ordering::SeqCst);
        ticket
    }

    /// Removes the waker of a task that no longer waits.
    pub(crate) fn remove_waker(&self, ticket: Ticket) {
        let mut tasks = self.lock();
        let removed = tasks.waiting.remove(&ticket);
        if removed.is_some() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        drop(tasks);
        drop(removed);
    }
}
