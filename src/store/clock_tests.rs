//! A clock that jumps: the order, the latencies and the lists stay right.

use std::time::Duration;

use crate::clock::{now_micros, test_shift};
use crate::handle::RequestHandle;
use crate::reader::ReadOnlyStore;
use crate::record::{Completion, RequestContext, RequestFilter, StatsFilter};
use crate::store::Store;

const HOUR_US: i64 = 3_600_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_clock_that_jumps_back_leaves_order_latencies_and_lists_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path).open().unwrap();
    let recorder = store.recorder();
    let open = |id: &str| {
        let context = RequestContext::new("openai.chat").request_id(id);
        recorder.open(context, "q").unwrap()
    };
    let end = |audit: RequestHandle| audit.complete(Completion::new()).unwrap();
    let now = now_micros();
    end(open("first"));
    // The clock goes back while a request is under way, and once more between two of them.
    let under_way = open("under way");
    test_shift::set(-2 * HOUR_US);
    end(under_way);
    end(open("two hours before"));
    test_shift::set(-24 * HOUR_US);
    end(open("a day before"));
    test_shift::set(HOUR_US);
    let last = end(open("an hour after"));
    last.wait(PATIENCE).unwrap();
    test_shift::set(0);

    let reader = store.reader();
    let newest_first = [
        "an hour after",
        "a day before",
        "two hours before",
        "under way",
        "first",
    ];
    // Lists are in the order of the log, whatever the clock said, page by page too.
    let mut listed = Vec::new();
    let mut before = None;
    loop {
        let page = reader.list(&RequestFilter::default(), before, 2).unwrap();
        listed.extend(page.requests);
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    let ids: Vec<&str> = listed
        .iter()
        .map(|request| request.request_id.as_str())
        .collect();
    assert_eq!(ids, newest_first);
    assert!(listed.is_sorted_by(|a, b| a.opened_seq > b.opened_seq));
    for request in &listed {
        // Differences of wall times would be hours, or negative.
        let latency_us = request.latency_us.unwrap();
        assert!(
            latency_us < 60_000_000,
            "{} {latency_us}",
            request.request_id
        );
        assert!(request.ended_seq.unwrap() > request.opened_seq);
    }
    // A time range finds what the clock said at the time, wherever it stands in the log.
    let within = |from: i64, until: i64| -> Vec<String> {
        let filter = RequestFilter {
            since: Some(now + from),
            until: Some(now + until),
            ..RequestFilter::default()
        };
        let page = reader.list(&filter, None, 10).unwrap();
        page.requests
            .into_iter()
            .map(|request| request.request_id)
            .collect()
    };
    assert_eq!(within(-3 * HOUR_US, -HOUR_US), ["two hours before"]);
    assert_eq!(within(-25 * HOUR_US, -23 * HOUR_US), ["a day before"]);
    assert_eq!(within(HOUR_US / 2, 2 * HOUR_US), ["an hour after"]);
    let rows = reader.stats(&StatsFilter::default()).unwrap();
    assert_eq!(rows.iter().map(|row| row.completed).sum::<u64>(), 5);
    assert!(store.close(PATIENCE).is_complete);
    let report = ReadOnlyStore::open(&path).unwrap().doctor().unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}
