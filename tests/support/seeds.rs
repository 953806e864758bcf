//! Seeds of random tests, printed so that a failing case can be repeated.
#![allow(clippy::panic, clippy::print_stdout, dead_code, unreachable_pub)] // Each test takes what it needs.

/// A number from the environment, or its default. What cannot be read is an error, not a default.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a number")),
    }
}

/// The seed to start with: `name` from the environment, else `AUDITLITE_SEED` (what CI derives from
/// the commit, so that a run that failed fails again), else a new one. Printed either way; a failing
/// test shows it.
pub fn seed(name: &str) -> u64 {
    let seed = ["AUDITLITE_SEED", name]
        .iter()
        .fold(fastrand::u64(..), |seed, name| number(name, seed));
    println!("{name}={seed} repeats this run");
    seed
}
