//! What was packed while many conversations were going comes back, in whatever order it is read.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use auditlite::{ListOptions, PayloadSide, ReadOnlyStore, Reader, RequestFilter, RequestRecord};

use crate::conversations::{
    CODING, Conversations, PATIENCE, SWE_BENCH, builder, close, request_id,
};
use crate::files::is_full;
use crate::{LONG_BYTES, LONG_READ_MAX, READ_MAX};

/// A run: its traffic, conversations, turns, and the memory to follow them.
struct Run {
    traffic: &'static str,
    conversations: usize,
    turns: usize,
    cache_bytes: usize,
}

fn runs() -> Vec<Run> {
    let run = |traffic, conversations, turns, cache_bytes| Run {
        traffic,
        conversations,
        turns,
        cache_bytes,
    };
    let default_bytes = 64 << 20;
    if is_full() {
        vec![
            run(SWE_BENCH, 16, 8, default_bytes),
            run(SWE_BENCH, 1000, 8, default_bytes),
            run(SWE_BENCH, 10_000, 8, default_bytes),
            // Most are let go, and read back or stored once more.
            run(SWE_BENCH, 1000, 8, 1 << 20),
            run(CODING, 4, 10, default_bytes),
            run(CODING, 48, 10, default_bytes),
            run(CODING, 48, 10, 200_000),
            // Long chains.
            run(SWE_BENCH, 50, 60, default_bytes),
            run(CODING, 2, 400, default_bytes),
        ]
    } else {
        vec![
            run(SWE_BENCH, 30, 8, default_bytes),
            run(SWE_BENCH, 30, 8, 60_000),
            run(CODING, 3, 10, default_bytes),
        ]
    }
}

#[test]
fn many_conversations_come_back_in_any_order() {
    for run in runs() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = Conversations::load(run.traffic, run.turns, folder.path());
        let Some(conversations) = loaded else { return };
        let begun = Instant::now();
        record(&run, &conversations, folder.path());
        eprintln!(
            "{}: {} conversations of {} turns within {} B recorded in {:?}",
            run.traffic,
            run.conversations,
            run.turns,
            run.cache_bytes,
            begun.elapsed()
        );
        let store = ReadOnlyStore::open(folder.path().join("audit.db")).unwrap();
        let reader = store.reader();
        let requests = requests(&reader);
        let mut bodies: Vec<_> = (0..run.turns)
            .flat_map(|turn| (0..run.conversations).map(move |number| (number, turn)))
            .flat_map(|(number, turn)| {
                [PayloadSide::Request, PayloadSide::Response].map(|side| (number, turn, side))
            })
            .collect();
        assert_eq!(requests.len() * 2, bodies.len());
        for order in ["forward", "backward", "random"] {
            match order {
                "backward" => bodies.reverse(),
                "random" => fastrand::Rng::with_seed(11).shuffle(&mut bodies),
                _ => {}
            }
            let (mut slowest, mut slowest_long) = (Duration::ZERO, Duration::ZERO);
            for (number, turn, side) in &bodies {
                let request = &requests[&request_id(*number, *turn)];
                let expected = match side {
                    PayloadSide::Request => conversations.request(*number, *turn),
                    _ => conversations.response(*number, *turn).to_vec(),
                };
                let taken = compare(&reader, request, *side, &expected);
                if expected.len() < LONG_BYTES {
                    slowest = slowest.max(taken);
                } else {
                    slowest_long = slowest_long.max(taken);
                }
            }
            eprintln!(
                "  {order}: {} bodies; the slowest in {slowest:?}, of {LONG_BYTES} B and more in {slowest_long:?}",
                bodies.len()
            );
            // What a debug build takes says nothing.
            if !cfg!(debug_assertions) {
                assert!(slowest <= READ_MAX && slowest_long <= LONG_READ_MAX);
            }
        }
    }
}

fn record(run: &Run, conversations: &Conversations, folder: &Path) {
    let store = builder(folder)
        .conversation_cache_bytes(run.cache_bytes)
        .open()
        .unwrap();
    for turn in 0..run.turns {
        for number in 0..run.conversations {
            conversations.record(&store, number, turn);
        }
    }
    store.flush(PATIENCE).unwrap();
    let health = store.health();
    eprintln!(
        "  {} bodies against their conversation, {} against a head, {} alone, {} conversations read back",
        health.bodies_continued,
        health.bodies_of_shared_head,
        health.bodies_alone,
        health.conversations_resumed
    );
    close(&store);
}

fn requests(reader: &Reader) -> HashMap<String, RequestRecord> {
    let mut requests = HashMap::new();
    let mut before = None;
    loop {
        let options = ListOptions::new().cursor(before).limit(1000);
        let page = reader.list(&RequestFilter::default(), &options).unwrap();
        let page_requests = page.requests.into_iter();
        requests.extend(page_requests.map(|request| (request.request_id.clone(), request)));
        before = page.next;
        if before.is_none() {
            return requests;
        }
    }
}

/// Compares one body, and returns how long its reading took, at its best of five if it was slow.
fn compare(
    reader: &Reader,
    request: &RequestRecord,
    side: PayloadSide,
    expected: &[u8],
) -> Duration {
    const SLOW: Duration = Duration::from_millis(2);
    let read = || {
        let begun = Instant::now();
        (reader.payload(request, side).unwrap(), begun.elapsed())
    };
    let (payload, first) = read();
    assert!(payload.bytes == expected, "{} {side}", request.request_id);
    if first <= SLOW {
        return first;
    }
    (0..4).map(|_| read().1).fold(first, Duration::min)
}
