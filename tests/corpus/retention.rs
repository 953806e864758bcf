//! What a retention removes while conversations go on costs them nothing.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auditlite::{Retention, Timestamp};

use crate::conversations::{Conversations, PATIENCE, SWE_BENCH, builder, bytes, close, is_within};
use crate::files::is_full;

const TURNS: usize = 8;
/// Bytes of bodies with a retention at work, in hundredths of those without.
const PERCENT_MAX: u64 = 102;

fn count() -> usize {
    if is_full() { 1000 } else { 25 }
}

/// What arrived a day before; each a second after the one before it.
fn long_ago(number: usize) -> Timestamp {
    let seconds = i64::try_from(number).unwrap() - 86_400;
    Timestamp::from_micros(now_micros() + seconds * 1_000_000)
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

fn older_than(at: Timestamp) -> Retention {
    let age = u64::try_from(now_micros() - at.as_micros()).unwrap();
    let mut retention = Retention::new().content_older_than(Duration::from_micros(age));
    // The log is younger than its times say.
    retention.clock_is_right = true;
    retention
}

/// Bytes of the bodies that are recorded after older ones, which are removed meanwhile or not.
fn record(folder: &Path, conversations: &Conversations, is_pruned: bool) -> (u64, u64) {
    let count = count();
    let older: Vec<Timestamp> = (0..=count * TURNS).map(long_ago).collect();
    let store = builder(folder).open().unwrap();
    for turn in 0..TURNS {
        for number in 0..count {
            let arrived = older[turn * count + number];
            conversations.record_at(&store, number, turn, Some(arrived));
        }
    }
    store.flush(PATIENCE).unwrap();
    let before = store.health();
    let mut removed = 0;
    for turn in 0..TURNS {
        for number in count..2 * count {
            conversations.record(&store, number, turn);
            let recorded = turn * count + number + 1 - count;
            // As large a part of the older content as is recorded of the newer.
            if is_pruned && (recorded.is_multiple_of(count / 5) || recorded == count * TURNS) {
                let report = store.prune(&older_than(older[recorded])).unwrap();
                removed += report.payloads;
            }
        }
    }
    store.flush(PATIENCE).unwrap();
    let expected = if is_pruned { 2 * count * TURNS } else { 0 };
    assert_eq!(removed, expected as u64);
    let alone = store.health().bodies_alone - before.bodies_alone;
    assert_eq!(alone, count as u64, "each began once");
    close(&store);
    // What is removed is left out, removed or not.
    let (_, packed) = bytes(&folder.join("audit.db"), before.committed_events);
    (packed, packed)
}

#[test]
fn conversations_beside_a_retention_take_no_more() {
    let (plain, pruned) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(conversations) = Conversations::load(SWE_BENCH, TURNS, plain.path()) else {
        return;
    };
    let without = record(plain.path(), &conversations, false);
    let with = record(pruned.path(), &conversations, true);
    let what = format!("{} conversations beside a retention", count());
    assert!(is_within(&what, with, PERCENT_MAX, without));
}

/// A retention that removes the beginnings of conversations that go on.
#[test]
fn a_conversation_whose_beginning_is_removed_goes_on() {
    let (plain, pruned) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(conversations) = Conversations::load(SWE_BENCH, TURNS, plain.path()) else {
        return;
    };
    let count = count();
    let record = |folder: &Path, is_pruned| {
        let store = builder(folder).open().unwrap();
        let turn = |turn, arrived| {
            (0..count).for_each(|number| conversations.record_at(&store, number, turn, arrived));
        };
        turn(0, Some(long_ago(0)));
        turn(1, Some(long_ago(0)));
        turn(2, None);
        store.flush(PATIENCE).unwrap();
        let first_seq = store.health().committed_events;
        if is_pruned {
            let report = store.prune(&older_than(long_ago(3600))).unwrap();
            assert_eq!(report.payloads, 4 * count as u64);
        }
        (3..TURNS).for_each(|number| turn(number, None));
        store.flush(PATIENCE).unwrap();
        let health = store.health();
        assert_eq!(health.bodies_alone, count as u64, "{health:?}");
        close(&store);
        let (_, packed) = bytes(&folder.join("audit.db"), first_seq);
        (packed, packed)
    };
    let without = record(plain.path(), false);
    let with = record(pruned.path(), true);
    let what = format!("{count} conversations without their beginnings");
    assert!(is_within(&what, with, PERCENT_MAX, without));
}
