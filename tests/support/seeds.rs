//! Seeds of random tests: printed, so that a failing case can be run again.
#![allow(clippy::panic, clippy::print_stdout, dead_code)] // Each test takes what it needs.

/// A number from the environment, or its default. What cannot be read is an error, not a default.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a number")),
    }
}

/// The seed to start with: from the environment where one is given, else a new one. Printed either
/// way; a failing test shows it.
pub fn seed(name: &str) -> u64 {
    let seed = match std::env::var(name) {
        Ok(_) => number(name, 0),
        Err(_) => fastrand::u64(..),
    };
    println!("{name}={seed} repeats this run");
    seed
}
