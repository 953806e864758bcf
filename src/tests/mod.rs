//! Tests of what the public API does not reach: decoders, clocks, the cache of payloads, planted failures, and the
//! interleavings of the writer's threads.

#[cfg(not(shuttle))]
mod clock;
#[cfg(not(shuttle))]
mod fuzz;
#[cfg(not(shuttle))]
mod payload_cache;
#[cfg(not(shuttle))]
mod poison;
#[cfg(shuttle)]
mod schedules;
#[path = "../../tests/support/seeds.rs"]
pub(crate) mod seeds;
