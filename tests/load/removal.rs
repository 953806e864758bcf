//! Erasing and pruning under full recording load: request threads notice nothing of it, nothing of
//! what was erased is left, and the trail verifies.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use auditlite::{
    Completion, EraseSelector, ReadOnlyStore, RequestContext, Retention, Store, VerifyOptions,
};

use crate::random::Random;
use crate::{PATIENCE, lifecycle};

/// How long each half of a round takes.
const HALF: Duration = Duration::from_secs(4);
const ROUNDS: u64 = 3;
const BODY_BYTES: usize = 20_000;
/// What a busy machine adds to a call now and then.
const NOISE: Duration = Duration::from_millis(1);

/// Latencies of open + complete on two threads that never pause, sorted.
fn latencies(store: &Store) -> Vec<Duration> {
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
                        lifecycle(&recorder, number, BODY_BYTES);
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

/// Bytes that cannot be packed: where a file has them, a search finds them.
fn secret(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    (0..8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Records a conversation, erases it, and prunes an eighth of the file, over and over. Gives how many
/// conversations.
fn remove(store: &Store, is_over: &AtomicBool, first: u64) -> u64 {
    let mut number = first;
    while !is_over.load(Ordering::Relaxed) || number == first {
        let talk = format!("talk {number} that is to be erased");
        for _ in 0..4 {
            let context = RequestContext::new("").conversation_id(talk.clone());
            let audit = store.recorder().open(context, secret(number)).unwrap();
            let end = Completion::new().response_body(secret(number));
            // What is shed has nothing to be erased.
            let _ = audit.complete(end).unwrap();
        }
        let selector = EraseSelector::Conversation(talk);
        let report = store.erase(&selector, "a test of the load").unwrap();
        assert!(report.requests <= 4 && report.is_wiped, "{report:?}");
        let used = std::fs::metadata(store.path()).unwrap().len();
        let retention = Retention {
            max_size_bytes: Some(used / 8 * 7),
            ..Retention::default()
        };
        store.prune(&retention).unwrap();
        number += 1;
    }
    number - first
}

fn files(path: &Path) -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
    folder
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

/// Noise only ever adds: of three rounds the best one counts.
#[test]
fn removal_is_not_noticed_by_those_who_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    // What waits is little, so that a removal gets its turn often.
    let builder = Store::builder(&path).capacity_events(2048);
    let store = builder.open().unwrap();
    drop(latencies(&store)); // the first calls of a process are slower
    let (mut erased, mut is_unmoved) = (0, false);
    for round in 0..ROUNDS {
        let quiet = latencies(&store);
        let is_over = AtomicBool::new(false);
        let removing = std::thread::scope(|scope| {
            let (store, is_over, first) = (&store, &is_over, erased);
            let remover = scope.spawn(move || remove(store, is_over, first));
            let removing = latencies(store);
            is_over.store(true, Ordering::Relaxed);
            erased += remover.join().unwrap();
            removing
        });
        for (what, latencies) in [("alone", &quiet), ("while erasing and pruning", &removing)] {
            println!(
                "round {round}: open + complete {what}: {} calls, p50 {:?}, p99 {:?}, p99.9 {:?}",
                latencies.len(),
                at(latencies, 500),
                at(latencies, 990),
                at(latencies, 999)
            );
        }
        is_unmoved |= at(&removing, 990) <= at(&quiet, 990) * 2 + NOISE;
    }
    println!("{erased} conversations erased, the file pruned as often");
    assert!(is_unmoved, "p99 moved");
    assert!(store.close(PATIENCE).is_complete);
    let files = files(&path);
    for number in 0..erased {
        let talk = format!("talk {number} that is to be erased");
        for text in [
            talk.as_bytes(),
            &secret(number)[..16],
            &secret(number)[48..],
        ] {
            let is_there = |file: &Vec<u8>| memchr::memmem::find(file, text).is_some();
            assert!(!files.iter().any(is_there), "{talk} is still there");
        }
    }
    let store = ReadOnlyStore::open(&path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(store.doctor().unwrap().findings, [""; 0]);
}
