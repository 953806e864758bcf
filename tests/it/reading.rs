//! Reading: ids, filters, pages.

use auditlite::{
    Completion, ListOptions, ReadError, RequestContext, RequestFilter, Status, Store, Timestamp,
};

use crate::support::{Folder, PATIENCE, close, findings, page_bytes, sqlite};

const START: i64 = 1_750_000_000_000_000;
const MINUTE: i64 = 60_000_000;

/// 300 requests, a minute apart, in conversations, sessions and traces of different sizes.
fn filled() -> (Folder, Store) {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..300_i64 {
        let mut context = RequestContext::new("openai.chat")
            .request_id(format!("req-{number:03}"))
            .user_id(format!("user-{}", number % 7))
            .provider_name(if number % 2 == 0 {
                "openai"
            } else {
                "anthropic"
            })
            .request_model(format!("model-{}", number % 3))
            .client_model("auto")
            .started_at(Timestamp::from_micros(START + number * MINUTE));
        context = match number % 3 {
            0 => context
                .conversation_id(format!("c-{}", number % 10))
                .session_id("s-0"),
            1 => context.context_id("x-1"),
            _ => context.session_id("s-2"),
        };
        if number < 10 {
            context = context.trace_id(if number == 9 {
                "trace-one"
            } else {
                "trace-many"
            });
        }
        let audit = store.recorder().open(context, "question").unwrap();
        if number % 50 == 49 {
            audit.fail(auditlite::Failure::new("timeout")).unwrap();
        } else {
            audit
                .complete(Completion::new().response_body("answer"))
                .unwrap();
        }
    }
    store.flush(PATIENCE).unwrap();
    (folder, store)
}

/// A filter, and which of the requests it shows.
type Case = (RequestFilter, Box<dyn Fn(i64) -> bool>);

fn ids(store: &Store, filter: &RequestFilter) -> Vec<String> {
    // Through small pages, so that the cursor is part of every test.
    let mut ids = Vec::new();
    let mut before = None;
    loop {
        let page = store
            .reader()
            .list(filter, &ListOptions::new().cursor(before).limit(7))
            .unwrap();
        assert!(page.requests.len() <= 7);
        ids.extend(page.requests.into_iter().map(|request| request.request_id));
        match page.next {
            Some(next) => before = Some(next),
            None => return ids,
        }
    }
}

fn expected(keep: impl Fn(i64) -> bool) -> Vec<String> {
    (0..300)
        .rev()
        .filter(|&n| keep(n))
        .map(|n| format!("req-{n:03}"))
        .collect()
}

#[test]
fn every_filter_shows_what_matches_newest_first() {
    let (_folder, store) = filled();
    let filter = RequestFilter::default;
    assert_eq!(ids(&store, &filter()), expected(|_| true));
    let cases: Vec<Case> = vec![
        (
            filter().since(Timestamp::from_micros(START + 100 * MINUTE)),
            Box::new(|n| n >= 100),
        ),
        (
            filter().until(Timestamp::from_micros(START + 100 * MINUTE)),
            Box::new(|n| n < 100),
        ),
        (
            filter()
                .since(Timestamp::from_micros(START + 5 * MINUTE + 1))
                .until(Timestamp::from_micros(START + 8 * MINUTE + 1)),
            Box::new(|n| (6..=8).contains(&n)),
        ),
        (
            filter().statuses([Status::Failed]),
            Box::new(|n| n % 50 == 49),
        ),
        (
            filter().statuses([Status::Completed]),
            Box::new(|n| n % 50 != 49),
        ),
        (filter().statuses([Status::Pending]), Box::new(|_| false)),
        (
            filter().provider_name("anthropic"),
            Box::new(|n| n % 2 == 1),
        ),
        (filter().model("model-2"), Box::new(|n| n % 3 == 2)),
        (filter().model("auto"), Box::new(|_| true)),
        (filter().user_id("user-3"), Box::new(|n| n % 7 == 3)),
        (filter().session_id("s-0"), Box::new(|n| n % 3 == 0)),
        (
            filter().conversation_id("c-6"),
            Box::new(|n| n % 3 == 0 && n % 10 == 6),
        ),
        (filter().conversation_id("x-1"), Box::new(|n| n % 3 == 1)),
        (filter().conversation_id("s-2"), Box::new(|n| n % 3 == 2)),
        (filter().conversation_id("s-0"), Box::new(|_| false)),
        (filter().trace_id("trace-many"), Box::new(|n| n < 9)),
        (
            filter()
                .user_id("user-3")
                .statuses([Status::Failed])
                .provider_name("anthropic"),
            Box::new(|n| n % 7 == 3 && n % 50 == 49 && n % 2 == 1),
        ),
        (filter().user_id("x' OR 1=1 --"), Box::new(|_| false)),
    ];
    for (filter, keep) in cases {
        assert_eq!(ids(&store, &filter), expected(keep), "{filter:?}");
    }
}

#[test]
fn a_request_is_found_by_id_unique_prefix_or_trace() {
    let (_folder, store) = filled();
    let reader = store.reader();
    assert_eq!(reader.get("req-123").unwrap().request_id, "req-123");
    assert_eq!(reader.get("trace-one").unwrap().request_id, "req-009");
    let ambiguous = |id: &str| match reader.get(id).unwrap_err() {
        ReadError::Ambiguous { candidates, .. } => candidates,
        other => panic!("{other}"),
    };
    assert_eq!(ambiguous("req-12").len(), 5, "some of ten");
    assert_eq!(ambiguous("trace-many").len(), 5);
    for nothing in ["", "nope", "req-1234", "\u{10FFFF}", "%", "req-12_"] {
        let error = reader.get(nothing).unwrap_err();
        assert!(
            matches!(error, ReadError::NotFound(_)),
            "{nothing}: {error}"
        );
    }
    assert_eq!(reader.find("req-12", 100).unwrap().len(), 10);
    assert_eq!(reader.find("trace-many", 100).unwrap().len(), 9);
    assert_eq!(reader.find("s-2", 1000).unwrap().len(), 100);
    for limit in [0, 10_001] {
        let error = reader
            .list(&RequestFilter::default(), &ListOptions::new().limit(limit))
            .unwrap_err();
        assert!(matches!(error, ReadError::InvalidArgument(_)), "{error}");
    }
}

#[test]
fn a_unique_prefix_is_enough_though_a_longer_id_contains_it() {
    let folder = Folder::new();
    let store = folder.open();
    for id in ["abc", "abcd", "xyz-1"] {
        crate::support::record(&store, id, "q", "a");
    }
    store.flush(PATIENCE).unwrap();
    assert_eq!(store.reader().get("abc").unwrap().request_id, "abc");
    assert_eq!(store.reader().get("xyz").unwrap().request_id, "xyz-1");
    close(store);
}

#[test]
fn lists_never_touch_payloads() {
    let (folder, store) = filled();
    close(store);
    // With its payloads spoilt the file still lists, finds and counts.
    let root: u32 = sqlite(&folder)
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'payloads'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let mut bytes = std::fs::read(folder.path()).unwrap();
    let page = page_bytes(&bytes);
    let begin = (root as usize - 1) * page;
    bytes[begin..begin + page].fill(0xFF);
    std::fs::write(folder.path(), bytes).unwrap();
    assert!(
        sqlite(&folder)
            .query_row("SELECT payload_id FROM payloads", [], |row| row
                .get::<_, i64>(0))
            .is_err()
    );
    let reader = auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .reader();
    assert_eq!(
        reader
            .list(&RequestFilter::default(), &ListOptions::new().limit(1000))
            .unwrap()
            .requests
            .len(),
        300
    );
    assert!(reader.get("req-001").is_ok());
    assert!(
        !reader
            .stats(&auditlite::StatsFilter::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn pages_stay_in_step_while_the_log_grows() {
    let (_folder, store) = filled();
    let first = store
        .reader()
        .list(&RequestFilter::default(), &ListOptions::new().limit(100))
        .unwrap();
    crate::support::record(&store, "req-new", "q", "a");
    store.flush(PATIENCE).unwrap();
    let second = store
        .reader()
        .list(
            &RequestFilter::default(),
            &ListOptions::new().cursor(first.next).limit(100),
        )
        .unwrap();
    assert_eq!(first.requests.last().unwrap().request_id, "req-200");
    assert_eq!(second.requests[0].request_id, "req-199");
}

#[test]
fn time_ranges_stay_right_when_the_clock_jumps() {
    let folder = Folder::new();
    let store = folder.open();
    for (number, minute) in [0, 100, 50, -1000, 100, 51].into_iter().enumerate() {
        let context = RequestContext::new("")
            .request_id(format!("r-{number}"))
            .started_at(Timestamp::from_micros(START + minute * MINUTE));
        let audit = store.recorder().open(context, "q").unwrap();
        audit.complete(Completion::new()).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let filter = RequestFilter::new()
        .since(Timestamp::from_micros(START + 50 * MINUTE))
        .until(Timestamp::from_micros(START + 101 * MINUTE));
    assert_eq!(ids(&store, &filter), ["r-5", "r-4", "r-2", "r-1"]);
}

/// Earlier builds wrote the last seq itself.
#[test]
fn the_last_bits_of_a_minutes_range_say_nothing() {
    let folder = Folder::new();
    let store = folder.open();
    let record = |number: i64| {
        let context = RequestContext::new("")
            .request_id(format!("r-{number}"))
            .started_at(Timestamp::from_micros(START + number));
        let audit = store.recorder().open(context, "q").unwrap();
        audit.complete(Completion::new()).unwrap();
        store.flush(PATIENCE).unwrap();
    };
    let range = || -> (i64, i64) {
        let sql = "SELECT first_seq, last_seq FROM opened_minutes";
        let connection = sqlite(&folder);
        connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    record(0);
    let first = range();
    (1..40).for_each(record);
    assert_eq!(range(), first, "a commit has written the row");
    (40..600).for_each(record);
    assert_eq!(range(), (first.0, first.1 + 1024));
    close(store);
    let sql = "UPDATE opened_minutes SET last_seq = (SELECT max(opened_seq) FROM requests)";
    for change in [sql, "UPDATE opened_minutes SET last_seq = 1024"] {
        sqlite(&folder).execute(change, []).unwrap();
        let store = folder.open();
        let filter = RequestFilter::new().since(Timestamp::from_micros(START));
        assert_eq!(ids(&store, &filter).len(), 600);
        close(store);
        assert_eq!(findings(&folder), Vec::<String>::new());
    }
}
