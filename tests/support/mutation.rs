//! Seeded mutation of byte strings, for fuzzing in ordinary test binaries.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// Bytes that mean something to one format or another.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551615",
    b"9223372036854775808",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\x28\xb5\x2f\xfd",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\"event\":\"opened\"",
    b"\"length\":",
    b"\"seq\":",
    b"\0",
];

/// A case that takes longer is printed.
const SLOW: Duration = Duration::from_secs(2);

/// Seconds that each fuzz test takes: `AUDITLITE_FUZZ_SECONDS`, 3 where it is not set.
pub(crate) fn fuzz_until() -> Instant {
    let seconds = super::seeds::number("AUDITLITE_FUZZ_SECONDS", 3);
    Instant::now() + Duration::from_secs(seconds)
}

/// Inputs that are kept, by the start of their file names.
pub(crate) fn corpus(start: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_corpus");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(start)
        })
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// One of the inputs, changed in one to eight places; now and then one as it is.
pub(crate) fn mutated(rng: &mut Rng, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[rng.usize(..inputs.len())].clone();
    for _ in 0..rng.usize(..8) {
        let at = rng.usize(..=bytes.len());
        let length = 1 + rng.usize(..16.min(bytes.len() - at + 1));
        let end = (at + length).min(bytes.len());
        match rng.u8(..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            1 if at < bytes.len() => bytes[at] = rng.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => bytes.truncate(at),
            5 => {
                let token = TOKENS[rng.usize(..TOKENS.len())];
                bytes.splice(at..end, token.iter().copied());
            }
            6 => {
                let token = TOKENS[rng.usize(..TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            7 => {
                let other = &inputs[rng.usize(..inputs.len())];
                let from = rng.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.extend((0..length).map(|_| rng.u8(..))),
        }
    }
    bytes.truncate(1 << 16);
    bytes
}

/// Runs `case` on seeded inputs until the time is over. A panic names the seed of its case;
/// `variable` set to it runs that case alone.
pub(crate) fn fuzz(variable: &str, mut case: impl FnMut(&mut Rng)) {
    let first = super::seeds::seed(variable);
    let until = fuzz_until();
    let is_replay = std::env::var_os(variable).is_some();
    let mut count = 0_u64;
    while count == 0 || (Instant::now() < until && !is_replay) {
        let seed = first.wrapping_add(count);
        let named = Named(variable, seed);
        let begun = Instant::now();
        case(&mut Rng::with_seed(seed));
        if begun.elapsed() > SLOW {
            println!("{variable}={seed} took {:?}", begun.elapsed());
        }
        std::mem::forget(named);
        count += 1;
    }
    println!("{variable}: {count} cases");
}

/// Names the case when it is dropped, which only a panic does.
struct Named<'v>(&'v str, u64);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        println!("{}={} repeats the case that failed", self.0, self.1);
    }
}
