//! Latencies of request threads that never pause, alone and while something else goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use auditlite::Store;

use crate::lifecycle;

/// How long each half of a round takes.
const HALF: Duration = Duration::from_secs(4);
const ROUNDS: u64 = 3;
/// What a busy machine adds to a call now and then.
const NOISE: Duration = Duration::from_millis(1);

/// Latencies of open + complete on two threads that never pause, sorted.
fn latencies(store: &Store, body_bytes: usize) -> Vec<Duration> {
    let is_over = AtomicBool::new(false);
    let mut all = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let (recorder, is_over) = (store.recorder(), &is_over);
                scope.spawn(move || {
                    let mut latencies = Vec::new();
                    let mut number = producer;
                    while !is_over.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        lifecycle(&recorder, number, body_bytes);
                        latencies.push(begun.elapsed());
                        number += 2;
                    }
                    latencies
                })
            })
            .collect();
        std::thread::sleep(HALF);
        is_over.store(true, Ordering::Relaxed);
        let all = producers.into_iter().map(|thread| thread.join().unwrap());
        all.flatten().collect::<Vec<_>>()
    });
    all.sort();
    all
}

fn at(latencies: &[Duration], permille: usize) -> Duration {
    latencies[(latencies.len() - 1) * permille / 1000]
}

/// Records at full load alone, then while `meanwhile` goes on until it is told to end; whether
/// request threads notice nothing of it. Noise only ever adds: one good round of several will do.
pub fn is_unmoved(
    store: &Store,
    body_bytes: usize,
    what: &str,
    meanwhile: impl Fn(&AtomicBool) + Sync,
) -> bool {
    drop(latencies(store, body_bytes)); // the first calls of a process are slower
    for round in 0..ROUNDS {
        let alone = latencies(store, body_bytes);
        let is_over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            let going_on = scope.spawn(|| meanwhile(&is_over));
            let beside = latencies(store, body_bytes);
            is_over.store(true, Ordering::Relaxed);
            going_on.join().unwrap();
            beside
        });
        for (what, latencies) in [("alone", &alone), (what, &beside)] {
            println!(
                "round {round}: open + complete {what}: {} calls, p50 {:?}, p99 {:?}, p99.9 {:?}",
                latencies.len(),
                at(latencies, 500),
                at(latencies, 990),
                at(latencies, 999)
            );
        }
        let is_unmoved = at(&beside, 990) <= at(&alone, 990) * 2 + NOISE
            && at(&beside, 500) <= at(&alone, 500) * 3;
        if is_unmoved {
            return true;
        }
    }
    false
}
