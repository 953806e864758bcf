//! The feed and incremental exports: each finished request once and final, and later facts after it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auditlite::{
    Completion, EraseSelector, ExportFormat, ExportOptions, Failure, FeedFact, ListOptions, Reader,
    RequestContext, RequestFilter, RequestHandle, RequestOrder, RequestRecord, Retention, Status,
    Store, Timestamp,
};

use crate::support::{Folder, PATIENCE, close};

/// What a reader of the feed knows: the latest word on each request.
#[derive(Default)]
struct Copy {
    next: u64,
    requests: BTreeMap<u64, RequestRecord>,
    ended: usize,
    erased: usize,
    pruned: usize,
}

impl Copy {
    /// Goes on where it ended, with a new feed each time, as a job that is started again does.
    fn catch_up(&mut self, reader: &Reader) {
        let mut feed = reader.feed(&RequestFilter::default(), self.next).unwrap();
        let mut last = self.next.checked_sub(1);
        while let Some(items) = feed.read().unwrap() {
            for item in items {
                assert!(Some(item.seq) > last, "{} after {last:?}", item.seq);
                last = Some(item.seq);
                match item.fact {
                    FeedFact::Ended(request) => {
                        assert_ne!(request.status, Status::Pending);
                        assert_eq!(request.ended_seq, Some(item.seq));
                        let before = self.requests.insert(request.opened_seq, *request);
                        assert_eq!(before, None, "it came before");
                        self.ended += 1;
                    }
                    FeedFact::Erased(requests) => {
                        for request in requests {
                            assert!(request.is_erased);
                            self.requests.insert(request.opened_seq, request);
                            self.erased += 1;
                        }
                    }
                    FeedFact::Pruned { from, to } => {
                        self.requests
                            .retain(|opened, _| !(from..to).contains(opened));
                        self.pruned += 1;
                    }
                    FeedFact::ContentPruned { from, to } => assert!(from < to),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(feed.take_unreadable().is_empty());
        assert!(feed.next_seq() >= self.next);
        self.next = feed.next_seq();
    }

    fn compare(&self, reader: &Reader) {
        let mut all = BTreeMap::new();
        let mut options = ListOptions::new().order(RequestOrder::Oldest).limit(1000);
        loop {
            let page = reader.list(&RequestFilter::default(), &options).unwrap();
            for request in page.requests {
                if request.status != Status::Pending {
                    all.insert(request.opened_seq, request);
                }
            }
            match page.next {
                Some(next) => options.cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(self.requests, all);
    }
}

fn hours_ago(hours: u64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = now - Duration::from_secs(hours * 3600);
    Timestamp::from_micros(i64::try_from(at.as_micros()).unwrap())
}

fn open(store: &Store, number: usize, hours: u64) -> RequestHandle {
    let context = RequestContext::new("openai.chat")
        .request_id(format!("r-{number}"))
        .user_id(format!("u-{}", number % 7))
        .started_at(hours_ago(hours));
    store.recorder().open(context, "{}").unwrap()
}

fn end(handle: RequestHandle, number: usize) {
    match number % 3 {
        0 => handle
            .complete(Completion::new().response_body("[]"))
            .map(drop),
        1 => handle.fail(Failure::new("timeout")).map(drop),
        _ => {
            drop(handle); // abandoned
            Ok(())
        }
    }
    .unwrap();
}

/// Openings and ends interleave; sessions end with requests open, which are interrupted later; users are erased, the
/// oldest requests pruned. The reader comes by at any of these points.
#[test]
fn the_feed_gives_each_request_once_when_it_is_final_and_its_union_is_everything() {
    for seed in [1_u64, 7, 42] {
        let mut state = seed;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let folder = Folder::new();
        let mut copy = Copy::default();
        let mut number = 0;
        for session in 0..5_u64 {
            let store = folder.open();
            let mut handles: Vec<(usize, RequestHandle)> = Vec::new();
            for _ in 0..300 {
                if handles.len() < 3 || random(2) == 0 {
                    handles.push((number, open(&store, number, 60 - 10 * session)));
                    number += 1;
                } else {
                    let (number, handle) = handles.swap_remove(random(handles.len()));
                    end(handle, number);
                }
                if random(40) == 0 {
                    store.flush(PATIENCE).unwrap();
                    copy.catch_up(&store.reader());
                }
            }
            store.flush(PATIENCE).unwrap();
            if session == 2 {
                copy.catch_up(&store.reader());
            }
            if session > 1 {
                // Everything of the user must have ended: so only of requests that have.
                for _ in 0..3 {
                    let id = format!("r-{}", random(number));
                    let _ = store.erase(&EraseSelector::Request(id), "asked for");
                }
            }
            if session == 3 {
                let hours = |hours: u64| Duration::from_secs(hours * 3600);
                let retention = Retention::new()
                    .content_older_than(hours(35))
                    .metadata_older_than(hours(55));
                assert!(store.prune(&retention).unwrap().requests > 0);
            }
            copy.catch_up(&store.reader());
            copy.compare(&store.reader());
            close(store);
            drop(handles);
        }
        let store = folder.open();
        store.flush(PATIENCE).unwrap();
        copy.catch_up(&store.reader());
        copy.compare(&store.reader());
        assert!(
            copy.ended > 500 && copy.erased > 0 && copy.pruned > 0,
            "seed {seed}"
        );
        // Read at once, it says the same.
        let mut whole = Copy::default();
        whole.catch_up(&store.reader());
        whole.compare(&store.reader());
        assert_eq!(whole.next, copy.next);
        // Nothing more comes.
        let ended = copy.ended;
        copy.catch_up(&store.reader());
        assert_eq!(copy.ended, ended);
        close(store);
    }
}

#[test]
fn a_request_that_stays_open_delays_nothing_and_nothing_comes_again() {
    let folder = Folder::new();
    let store = folder.open();
    let reader = store.reader();
    let slow = open(&store, 0, 0);
    let (mut next, mut seen) = (0, Vec::new());
    let export = |format: ExportFormat, next: &mut u64| -> String {
        store.flush(PATIENCE).unwrap();
        let options = ExportOptions::new().format(format).since_ended(*next);
        let mut out = Vec::new();
        let summary = reader.export(&options, &mut out).unwrap();
        assert_eq!((summary.pending, summary.next_after), (0, None));
        *next = summary.next_since_ended.unwrap();
        String::from_utf8(out).unwrap()
    };
    let ids = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .map(|line| line["request_id"].as_str().unwrap().to_owned())
            .collect()
    };
    for number in 1..6 {
        end(open(&store, number, 0), 0);
        seen.extend(ids(&export(ExportFormat::JsonLines, &mut next)));
    }
    assert_eq!(seen, ["r-1", "r-2", "r-3", "r-4", "r-5"]);
    assert_eq!(export(ExportFormat::JsonLines, &mut next), "");
    end(slow, 0);
    assert_eq!(ids(&export(ExportFormat::JsonLines, &mut next)), ["r-0"]);
    assert_eq!(export(ExportFormat::JsonLines, &mut next), "");
    // From the beginning, in the order of ends; as CSV too. At most so many, and then on from there.
    let mut from = 0;
    let all = ["r-1", "r-2", "r-3", "r-4", "r-5", "r-0"];
    assert_eq!(ids(&export(ExportFormat::JsonLines, &mut from)), all);
    assert_eq!(from, next);
    let mut from = 0;
    let csv = export(ExportFormat::Csv, &mut from);
    let column = |line: &str| line.split(',').nth(2).unwrap().to_owned();
    assert_eq!(csv.lines().skip(1).map(column).collect::<Vec<_>>(), all);
    let mut from = Some(0);
    for part in all.chunks(4) {
        let mut options = ExportOptions::new().limit(4);
        options.since_ended = from;
        let mut out = Vec::new();
        from = reader.export(&options, &mut out).unwrap().next_since_ended;
        assert_eq!(ids(&String::from_utf8(out).unwrap()), part);
    }
    // What is erased comes once more, as what is left of it.
    store
        .erase(&EraseSelector::Request("r-3".to_owned()), "asked for")
        .unwrap();
    let text = export(ExportFormat::JsonLines, &mut next);
    assert_eq!(ids(&text), ["r-3"]);
    assert!(text.contains("\"is_erased\":true"));
    close(store);
}

#[test]
fn a_filter_holds_for_what_has_ended() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..30 {
        end(open(&store, number, 0), number);
    }
    store.flush(PATIENCE).unwrap();
    let filter = RequestFilter::new()
        .statuses([Status::Failed])
        .user_id("u-1");
    let mut feed = store.reader().feed(&filter, 0).unwrap();
    let mut ids = Vec::new();
    while let Some(items) = feed.read().unwrap() {
        ids.extend(items.into_iter().map(|item| match item.fact {
            FeedFact::Ended(request) => request.request_id,
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(ids, ["r-1", "r-22"]);
    close(store);
}

/// What a feed gives of nine requests after this change to the segment in which the fifth or a later one ended.
fn nine_ended_after(change: &str, request: &str) {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..9 {
        end(open(&store, number, 0), 0);
        store.flush(PATIENCE).unwrap();
    }
    close(store);
    let changed = crate::support::sqlite(&folder)
        .execute(
            &format!(
                "UPDATE log_segments SET {change} WHERE first_seq IN \
                 (SELECT max(first_seq) FROM log_segments, requests \
                 WHERE first_seq <= ended_seq AND request_id = ?1)"
            ),
            [request],
        )
        .unwrap();
    assert_eq!(changed, 1);
    let reader = auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .reader();
    let mut copy = Copy::default();
    copy.catch_up(&reader);
    copy.compare(&reader);
    assert_eq!(copy.ended, 9);
}

#[test]
fn a_damaged_part_of_the_log_costs_no_request() {
    nine_ended_after("data = zeroblob(length(data))", "r-4");
}

#[test]
fn a_part_of_the_log_that_says_it_is_endless_costs_no_memory() {
    nine_ended_after("count = 1 << 50", "r-8");
}
