//! The wall clock jumps, also backwards, in the middle of lifecycles: sequence, latencies, lists, time ranges,
//! statistics and gaps stay right. Part of the crate's own tests, because only these can set the clock
//! (`clock::test_shift`). They set that of the recording thread; the writer's stays true, and so differs too.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

mod retention;

use std::time::Duration;

use crate::clock::{now_micros, test_shift};
use crate::{
    Completion, ListOptions, ReadOnlyStore, RequestContext, RequestFilter, RequestRecord,
    StatsFilter, StatsKey, Status, Store, Timestamp,
};

const HOUR: i64 = 3_600_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// The clock's offset from the true time at each step.
const SHIFTS: [i64; 8] = [
    0,
    -3 * HOUR,
    2 * HOUR,
    -24 * 365 * 40 * HOUR, // the eighties
    -1,
    24 * 365 * 100 * HOUR,
    -24 * 365 * 80 * HOUR, // before 1970
    0,
];

/// Sets the clock back when it is dropped.
struct ClockSet;

impl Drop for ClockSet {
    fn drop(&mut self) {
        test_shift::set(0);
    }
}

fn set_clock(shift: i64) -> i64 {
    test_shift::set(shift);
    now_micros()
}

fn context(id: &str) -> RequestContext {
    RequestContext::new("openai.chat").request_id(id)
}

fn list(store: &Store, since: Option<i64>, until: Option<i64>) -> Vec<RequestRecord> {
    let mut filter = RequestFilter::new();
    filter.since = since.map(Timestamp::from_micros);
    filter.until = until.map(Timestamp::from_micros);

    store
        .reader()
        .list(&filter, &ListOptions::new().limit(1000))
        .unwrap()
        .requests
}

#[test]
fn a_clock_that_jumps_disturbs_nothing() {
    let _guard = ClockSet;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path).capacity_events(64).open().unwrap();
    let recorder = store.recorder();
    let mut opened_at = Vec::new();
    for (number, shift) in SHIFTS.into_iter().enumerate() {
        let before = set_clock(shift);
        let mut audit = recorder.open(context(&format!("r-{number}")), "q").unwrap();
        opened_at.push((before, now_micros()));
        audit.upstream_started();
        // The clock goes on to jump while the request is under way.
        set_clock(SHIFTS[(number + 1) % SHIFTS.len()]);
        audit.chunk("an answer");
        audit.complete(Completion::new()).unwrap();
        store.flush(PATIENCE).unwrap();
    }
    // Losses are stated between their earliest and their latest time.
    set_clock(5 * HOUR);
    let held: Vec<_> = (0..80)
        .map(|number| {
            if number == 70 {
                set_clock(-5 * HOUR);
            }
            recorder
                .open(context(&format!("held-{number}")), "q")
                .unwrap()
        })
        .collect();
    let lost = held.iter().filter(|audit| !audit.is_recorded()).count() as u64;
    assert!(lost > 0);
    drop(held);
    store.flush(PATIENCE).unwrap();

    let all = list(&store, None, None);
    assert!(all.is_sorted_by(|a, b| a.opened_seq > b.opened_seq));
    let jumped: Vec<_> = all.iter().rev().take(SHIFTS.len()).collect();
    for (number, (request, (from, to))) in jumped.iter().zip(&opened_at).enumerate() {
        assert_eq!(
            request.request_id,
            format!("r-{number}"),
            "the newest comes first"
        );
        assert!(
            (*from..=*to).contains(&request.opened_at.as_micros()),
            "{number}"
        );
        for us in [
            request.latency_us,
            request.upstream_latency_us,
            request.time_to_first_chunk_us,
        ] {
            assert!(us.unwrap() < 60_000_000, "{number}: {us:?}");
        }
        assert!(request.time_to_first_chunk_us <= request.latency_us);
        // Its own time finds it, however times are ordered.
        let opened_at = request.opened_at.as_micros();
        let found = list(&store, Some(opened_at), Some(opened_at + 1));
        assert!(found.contains(request), "{number}");
        let hour = opened_at.div_euclid(HOUR) * HOUR;
        let rows = store
            .reader()
            .stats(
                &StatsFilter::new()
                    .since(Timestamp::from_micros(hour))
                    .until(Timestamp::from_micros(hour + HOUR))
                    .group_by([StatsKey::Hour]),
            )
            .unwrap();
        assert_eq!(rows.len(), 1, "{number}");
        assert_eq!(rows[0].time, Some(Timestamp::from_micros(hour)));
        assert!(rows[0].completed >= 1);
    }
    // A request that is left open is interrupted by a start that lies long before it.
    set_clock(24 * 365 * HOUR);
    let open = recorder.open(context("left open"), "q").unwrap();
    store.flush(PATIENCE).unwrap();
    let report = store.close(PATIENCE);
    assert!(report.is_complete);
    assert_eq!(report.shed_lifecycles, lost);
    drop(open);
    let store = Store::builder(&path).open().unwrap();
    let left = store.reader().get("left open").unwrap();
    assert_eq!(left.status, Status::Interrupted);
    assert_eq!(left.latency_us, None);
    assert!(store.close(PATIENCE).is_complete);

    let connection = rusqlite::Connection::open(&path).unwrap();
    let gaps: Vec<(i64, i64)> = connection
        .prepare("SELECT first_at, last_at FROM gaps")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(!gaps.is_empty());
    assert!(gaps.iter().all(|(first, last)| first <= last), "{gaps:?}");
    let doctor = ReadOnlyStore::open(&path).unwrap().doctor().unwrap();
    assert_eq!(doctor.findings, Vec::<String>::new());
    assert_eq!(doctor.openings, 2);
}
