//! Capacity: how many events and bytes may be on their way to the disk.
//!
//! An opening reserves its own event and that of its end, so that a lifecycle which was let in can
//! always be closed. Bytes are reserved when the gateway passes bodies. What does not fit is shed by `queue.rs`; the
//! bounds themselves are settings (`capacity_events`, `capacity_bytes`).

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, Instant, Mutex};

/// Events live in the upper bits of the counter, bytes in the lower ones.
const BYTES_BITS: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;

/// A share of the capacity. The committer releases it once what it stands for is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub(crate) struct Reservation {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Reservation {
    pub(crate) fn new(events: u64, bytes: usize) -> Self {
        Self {
            events,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.events = self.events.saturating_add(other.events);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Splits off bytes, as far as there are any.
    pub(crate) fn split_off_bytes(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        Self { events: 0, bytes }
    }

    /// Splits off `events` and all bytes.
    pub(crate) fn split_off(&mut self, events: u64) -> Self {
        let taken = Self {
            events: events.min(self.events),
            bytes: self.bytes,
        };
        self.events = self.events.saturating_sub(events);
        self.bytes = 0;
        taken
    }

    fn packed(self) -> u64 {
        (self.events << BYTES_BITS).saturating_add(self.bytes.min(BYTES_MASK))
    }
}

/// How much of the capacity a reservation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it: metadata.
    All,
    /// All but a part of the bytes, so that metadata finds its place where content has filled the rest.
    Content,
    /// All but an eighth, which stays for what cannot do without.
    Spare,
}

/// This part of the bytes is for metadata alone: with the default capacity that of a thousand requests.
const METADATA_PART: u64 = 16;

impl Share {
    fn events(self, max: u64) -> u64 {
        match self {
            Self::All | Self::Content => max,
            Self::Spare => max.saturating_sub(max / 8),
        }
    }

    fn bytes(self, max: u64) -> u64 {
        match self {
            Self::All => max,
            Self::Content => max.saturating_sub(max / METADATA_PART),
            Self::Spare => max.saturating_sub(max / 8),
        }
    }
}

/// Whether a body was granted queue space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyGrant {
    Granted,
    Shed,
}

impl BodyGrant {
    /// What is reserved for a body of this length.
    pub(crate) fn bytes(self, length: u64) -> u64 {
        match self {
            Self::Granted => length,
            Self::Shed => 0,
        }
    }
}

/// The bound of the queue. Lives in [`Shared`](super::queue::Shared): request threads reserve, the committer
/// releases.
///
/// Both bounds share one counter, so that a reservation is one compare-and-swap and never takes a lock. The
/// mutex protects no data: it only orders a waiting thread's last try against `notify`, so that no wake-up
/// is missed. `waiting` lets a release skip the mutex while nothing waits.
#[derive(Debug)]
pub(crate) struct Capacity {
    events_max: u64,
    bytes_max: u64,
    /// Reserved events and bytes in one word, see [`BYTES_BITS`].
    used: AtomicU64,
    waiting: AtomicUsize,
    mutex: Mutex<()>,
    freed: Condvar,
}

impl Capacity {
    pub(crate) fn new(events_max: usize, bytes_max: usize) -> Self {
        let bytes_max = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        Self {
            events_max: u64::try_from(events_max).unwrap_or(u64::MAX),
            // Half of what the counter holds: forced reservations may go above the bound.
            bytes_max: bytes_max.min(BYTES_MASK / 2),
            used: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            mutex: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    /// Reserves metadata from all of the capacity, or does nothing. Never waits.
    pub(crate) fn try_reserve(&self, wanted: Reservation) -> bool {
        self.try_reserve_from(Share::All, wanted)
    }

    /// Reserves from this share of the capacity, or does nothing. Never waits.
    pub(crate) fn try_reserve_from(&self, share: Share, wanted: Reservation) -> bool {
        let events_max = share.events(self.events_max);
        let bytes_max = share.bytes(self.bytes_max);
        let fits = |used: u64| {
            let events = (used >> BYTES_BITS).saturating_add(wanted.events);
            let bytes = (used & BYTES_MASK).saturating_add(wanted.bytes);
            (events <= events_max && bytes <= bytes_max)
                .then(|| used.saturating_add(wanted.packed()))
        };
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, fits)
            .is_ok()
    }

    /// Reserves even beyond the capacity: for the few bytes of an end's metadata.
    pub(crate) fn force_reserve(&self, bytes: usize) -> Reservation {
        let reservation = Reservation::new(0, bytes.min(1 << 24));
        self.used.fetch_add(reservation.packed(), Ordering::SeqCst);
        reservation
    }

    /// Reserves, waiting for capacity until the deadline or until `give_up` says so. Blocks.
    pub(crate) fn reserve_until(
        &self,
        share: Share,
        wanted: Reservation,
        deadline: Instant,
        give_up: impl Fn() -> bool,
    ) -> bool {
        // A reservation larger than the whole share can never succeed: fail at once.
        if wanted.events > share.events(self.events_max)
            || wanted.bytes > share.bytes(self.bytes_max)
        {
            return false;
        }
        let mut guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted before trying again: a thread that releases after that try sees it and notifies.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let reserved = loop {
            if self.try_reserve_from(share, wanted) {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || give_up() {
                break false;
            }
            // Bounded steps, so that `give_up` is asked again now and then.
            let step = left.min(Duration::from_millis(50));
            guard = match self.freed.wait_timeout(guard, step) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
        reserved
    }

    pub(crate) fn release(&self, reservation: Reservation) {
        if reservation == Reservation::default() {
            return;
        }
        self.used.fetch_sub(reservation.packed(), Ordering::SeqCst);
        self.notify();
    }

    /// Makes waiting threads check again for capacity, and for a reason to give up.
    pub(crate) fn notify(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
            self.freed.notify_all();
        }
    }

    /// Whether a commit that is put off may be what others wait for, or will soon be left out for.
    pub(crate) fn is_short(&self) -> bool {
        let (events, bytes) = self.used();
        self.waiting.load(Ordering::SeqCst) > 0
            || events > self.events_max / 2
            || bytes > self.bytes_max / 2
    }

    /// What is reserved now: events, bytes.
    pub(crate) fn used(&self) -> (u64, u64) {
        let used = self.used.load(Ordering::Relaxed);
        (used >> BYTES_BITS, used & BYTES_MASK)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn reserves_up_to_both_bounds_and_gives_back() {
        let capacity = Capacity::new(4, 100);
        assert!(capacity.try_reserve(Reservation::new(2, 60)));
        assert!(!capacity.try_reserve(Reservation::new(2, 41)));
        assert!(!capacity.try_reserve(Reservation::new(3, 0)));
        assert!(capacity.try_reserve(Reservation::new(2, 40)));
        assert_eq!(capacity.used(), (4, 100));
        let forced = capacity.force_reserve(7);
        assert_eq!(capacity.used(), (4, 107));
        capacity.release(forced);
        capacity.release(Reservation::new(4, 100));
        assert_eq!(capacity.used(), (0, 0));
    }

    #[test]
    fn content_leaves_bytes_for_metadata() {
        let capacity = Capacity::new(100, 1600);
        assert!(!capacity.try_reserve_from(Share::Content, Reservation::new(1, 1501)));
        assert!(capacity.try_reserve_from(Share::Content, Reservation::new(1, 1500)));
        assert!(!capacity.try_reserve_from(Share::Content, Reservation::new(0, 1)));
        assert!(capacity.try_reserve(Reservation::new(99, 100)));
        assert!(!capacity.try_reserve(Reservation::new(0, 1)));
    }

    #[test]
    fn a_waiting_thread_gets_the_capacity_that_is_released() {
        let capacity = Arc::new(Capacity::new(2, 100));
        assert!(capacity.try_reserve(Reservation::new(2, 0)));
        let waiter = {
            let capacity = Arc::clone(&capacity);
            std::thread::spawn(move || {
                let deadline = Instant::now() + Duration::from_secs(30);
                capacity.reserve_until(Share::All, Reservation::new(2, 0), deadline, || false)
            })
        };
        capacity.release(Reservation::new(2, 0));
        assert!(waiter.join().unwrap());
        let now = Instant::now();
        assert!(!capacity.reserve_until(Share::All, Reservation::new(1, 0), now, || false));
        // What never fits is refused at once, whatever the deadline.
        let later = now + Duration::from_secs(3600);
        assert!(!capacity.reserve_until(Share::All, Reservation::new(0, 101), later, || false));
        // Neither does what is within the capacity, but above its share.
        let above = Reservation::new(0, 95);
        assert!(!capacity.reserve_until(Share::Spare, above, later, || panic!("it waits")));
    }
}
