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
    let now = now.saturating_add(shift::SHIFT_MICROS.load(std::sync::atomic::Ordering::SeqCst));
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

/// Lets the crate's own tests set the clock.
#[cfg(test)]
pub(crate) mod shift {
    use std::sync::atomic::AtomicI64;

    /// How far the clock is off.
    pub(crate) static SHIFT_MICROS: AtomicI64 = AtomicI64::new(0);
}
