//! The clock: wall time for what is recorded, monotonic time for what is measured.
//!
//! Wall time may jump; latencies are therefore never differences of wall times.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC. A clock set before 1970 reads as negative.
pub(crate) fn now_micros() -> i64 {
    let now = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => duration_micros(since),
        Err(before) => duration_micros(before.duration()).saturating_neg(),
    };
    #[cfg(test)]
    let now = now.saturating_add(test_shift::get());
    now
}

/// Microseconds since `start`, saturating.
pub(crate) fn elapsed_micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A duration in whole microseconds, saturating.
pub(crate) fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Writes a duration, or `null`, as whole microseconds: the unit is in the field's name.
#[cfg(feature = "serde")]
pub(crate) fn serialize_micros<S: serde::Serializer>(
    duration: &(impl Into<Option<Duration>> + Copy),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let duration: Option<Duration> = (*duration).into();
    serde::Serialize::serialize(&duration.map(duration_micros), serializer)
}

/// Passes this thread's clock to a thread that it starts: in tests it may be an artificial one.
pub(crate) fn carried_over<T>(work: impl FnOnce() -> T + Send + 'static) -> impl FnOnce() -> T {
    #[cfg(test)]
    let shift = test_shift::get();
    move || {
        #[cfg(test)]
        test_shift::set(shift);
        work()
    }
}

/// Lets a test move this thread's clock.
#[cfg(test)]
pub(crate) mod test_shift {
    use std::cell::Cell;

    thread_local! {
        static SHIFT_US: Cell<i64> = const { Cell::new(0) };
    }

    pub(super) fn get() -> i64 {
        SHIFT_US.get()
    }

    pub(crate) fn set(shift_us: i64) {
        SHIFT_US.set(shift_us);
    }
}
