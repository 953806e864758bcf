//! Filters, alone and together, select the same requests as a scan over all of them.

use std::collections::BTreeSet;

use auditlite::{
    Completion, ExportOptions, FILTER_RANGES_MAX, Failure, ListOptions, ReadError, Reader,
    Rejection, RequestContext, RequestFilter, RequestHandle, RequestOrder, RequestRecord, StatsKey,
    Status, Store, Timestamp, WireProtocol,
};
use fastrand::Rng;

use crate::support::{Folder, PATIENCE, close};

const ERRORS: [&str; 4] = ["timeout", "rate_limit", "upstream[1]", "_OTHER"];
const CODES: [u16; 6] = [200, 400, 429, 499, 500, 599];
const PATHS: [&str; 3] = ["messages", "chat/completions", "models/m:generate"];
const REQUESTS: i64 = 200;

/// Records requests with every end that there is. Those that are left open come back.
fn fill(store: &Store, round: i64, rng: &mut Rng) -> Vec<RequestHandle> {
    let recorder = store.recorder();
    let mut open = Vec::new();
    for number in 0..REQUESTS {
        let number = round * REQUESTS + number;
        let mut context = RequestContext::new(WireProtocol::OpenAiChat)
            .request_id(format!("req-{number:03}"))
            .user_id(format!("user-{}", rng.u8(..3)))
            .url_path(format!(
                "/v1/{}?key=not-recorded",
                PATHS[rng.usize(..PATHS.len())]
            ))
            .provider_name(if rng.bool() { "openai" } else { "anthropic" })
            .request_model(format!("model-{}", rng.u8(..3)))
            .started_at(Timestamp::from_micros(
                1_700_000_000_000_000 + number * 40_000_000,
            ));
        if rng.bool() {
            context = context.conversation_id(format!("c-{}", rng.u8(..4)));
        }
        let audit = recorder.open(context, "question").unwrap();
        let code = rng.bool().then_some(CODES[rng.usize(..CODES.len())]);
        let kind = ERRORS[rng.usize(..ERRORS.len())];
        match rng.u8(..6) {
            0 => {
                let mut failure = Failure::new(kind);
                failure.http_status = code;
                audit.fail(failure).unwrap();
            }
            1 => {
                let mut rejection = Rejection::new(kind);
                rejection.http_status = code;
                audit.reject(rejection).unwrap();
            }
            2 => drop(audit),
            3 => open.push(audit),
            _ => {
                let mut completion = Completion::new().response_body("answer");
                completion.http_status = code;
                audit.complete(completion).unwrap();
            }
        }
    }
    store.flush(PATIENCE).unwrap();
    open
}

/// `?` and `*`, and nothing else, stand for other characters.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| is_like(rest, &text[at..])),
        [b'?', rest @ ..] => !text.is_empty() && is_like(rest, &text[1..]),
        [first, rest @ ..] => text.first() == Some(first) && is_like(rest, &text[1..]),
    }
}

fn matches(filter: &RequestFilter, request: &RequestRecord) -> bool {
    let like = |pattern: &Option<String>, names: &[&Option<String>]| {
        pattern.as_ref().is_none_or(|pattern| {
            let mut names = names.iter().filter_map(|name| name.as_ref());
            names.any(|name| is_like(pattern.as_bytes(), name.as_bytes()))
        })
    };
    let is_in = |code: u16| {
        filter
            .http_statuses
            .iter()
            .any(|range| range.contains(&code))
    };
    (filter.statuses.is_empty() || filter.statuses.contains(&request.status))
        && (filter.http_statuses.is_empty() || request.http_status.is_some_and(is_in))
        && like(&filter.error_type, &[&request.error_type])
        && like(&filter.url_path, &[&request.url_path])
        && like(&filter.provider_name, &[&request.provider_name])
        && like(&filter.model, &[&request.request_model])
        && filter.user_id.is_none_or_eq(&request.user_id)
        && filter
            .conversation_id
            .is_none_or_eq(&request.conversation_id)
        && filter.since.is_none_or(|since| request.opened_at >= since)
        && filter.until.is_none_or(|until| request.opened_at < until)
        && filter
            .after_seq
            .is_none_or(|after| request.opened_seq > after)
}

trait IsNoneOrEq {
    fn is_none_or_eq(&self, found: &Self) -> bool;
}

impl IsNoneOrEq for Option<String> {
    fn is_none_or_eq(&self, found: &Self) -> bool {
        self.is_none() || self == found
    }
}

fn filter(rng: &mut Rng, last: u64) -> RequestFilter {
    let mut filter = RequestFilter::default();
    let some = |rng: &mut Rng| rng.u8(..3) == 0;
    let at = |rng: &mut Rng| 1_700_000_000_000_000 + rng.i64(-2..405) * 40_000_000;
    if rng.bool() {
        let count = 1 + rng.usize(..3);
        filter.statuses = (0..count).map(|_| Status::ALL[rng.usize(..6)]).collect();
    }
    if some(rng) {
        let ranges = [429..=429, 400..=499, 500..=599, 0..=u16::MAX, 418..=418];
        let count = 1 + rng.usize(..2);
        filter.http_statuses = (0..count).map(|_| ranges[rng.usize(..5)].clone()).collect();
    }
    if some(rng) {
        let patterns = [
            "timeout",
            "*",
            "rate?limit",
            "upstream[1]",
            "upstream[?]",
            "?OTHER",
            "none",
        ];
        filter.error_type = Some(patterns[rng.usize(..patterns.len())].to_owned());
    }
    if some(rng) {
        let patterns = [
            "/v1/messages",
            "/v1/*",
            "*m?generate",
            "/v1/message",
            "/v1/messages?key=not-recorded",
        ];
        filter.url_path = Some(patterns[rng.usize(..patterns.len())].to_owned());
    }
    if some(rng) {
        filter.provider_name = Some("openai".to_owned());
    }
    if some(rng) {
        filter.model = Some(format!("model-{}", ["0", "?", "9"][rng.usize(..3)]));
    }
    if some(rng) {
        filter.user_id = Some(format!("user-{}", rng.u8(..3)));
    }
    if some(rng) {
        filter.conversation_id = Some(format!("c-{}", rng.u8(..4)));
    }
    if some(rng) {
        filter.since = Some(Timestamp::from_micros(at(rng)));
    }
    if some(rng) {
        filter.until = Some(Timestamp::from_micros(at(rng)));
    }
    if some(rng) {
        filter.after_seq = Some(rng.u64(..=last));
    }
    filter
}

/// Through small pages, so that the cursors are part of the test.
fn pages(reader: &Reader, filter: &RequestFilter, is_oldest_first: bool) -> Vec<u64> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = match is_oldest_first {
            true => reader.list(
                filter,
                &ListOptions::new()
                    .order(RequestOrder::Oldest)
                    .cursor(cursor)
                    .limit(9),
            ),
            false => reader.list(filter, &ListOptions::new().cursor(cursor).limit(9)),
        };
        let page = page.unwrap();
        found.extend(page.requests.iter().map(|request| request.opened_seq));
        match page.next {
            None => return found,
            next => cursor = next,
        }
    }
}

#[test]
fn every_way_of_reading_with_a_filter_gives_what_a_walk_over_all_requests_gives() {
    let mut rng = Rng::with_seed(crate::seeds::seed("AUDITLITE_FILTERS_SEED"));
    let folder = Folder::new();
    let store = folder.open();
    let open = fill(&store, 0, &mut rng);
    close(store);
    drop(open);
    // What was open is interrupted from here on.
    let store = folder.open();
    let open = fill(&store, 1, &mut rng);
    let reader = store.reader();
    let newest_first = reader
        .list(&RequestFilter::default(), &ListOptions::new().limit(10_000))
        .unwrap()
        .requests;
    let states: BTreeSet<Status> = newest_first.iter().map(|request| request.status).collect();
    assert_eq!(states.len(), Status::ALL.len(), "{states:?}");
    let last = newest_first[0].opened_seq;
    let mut with_some = 0;
    for _ in 0..2_000 {
        let filter = filter(&mut rng, last);
        let mut expected: Vec<&RequestRecord> = newest_first
            .iter()
            .filter(|request| matches(&filter, request))
            .collect();
        let numbers = |requests: &[&RequestRecord]| -> Vec<u64> {
            requests.iter().map(|request| request.opened_seq).collect()
        };
        assert_eq!(
            pages(&reader, &filter, false),
            numbers(&expected),
            "{filter:?}"
        );
        let most_first = ListOptions::new().order(RequestOrder::RequestBytes);
        let top = reader.list(&filter, &most_first.limit(10_000)).unwrap();
        let top: BTreeSet<u64> = top
            .requests
            .iter()
            .map(|request| request.opened_seq)
            .collect();
        assert_eq!(top, numbers(&expected).into_iter().collect(), "{filter:?}");
        expected.reverse();
        assert_eq!(
            pages(&reader, &filter, true),
            numbers(&expected),
            "{filter:?}"
        );
        let counted = reader.stats_of(&filter, &[StatsKey::Model]).unwrap();
        let counted: u64 = counted.iter().map(|row| row.requests).sum();
        let ended = expected
            .iter()
            .filter(|request| request.status != Status::Pending)
            .count();
        assert_eq!(counted, ended as u64, "{filter:?}");
        let options = ExportOptions::new().filter(filter.clone());
        let exported = reader.export(&options, &mut std::io::sink()).unwrap();
        assert_eq!(exported.requests, expected.len() as u64, "{filter:?}");
        with_some += usize::from(!expected.is_empty());
    }
    assert!(with_some > 400, "{with_some}");
    drop(open);
}

#[test]
fn only_a_list_by_time_has_a_cursor() {
    let folder = Folder::new();
    let reader = folder.open().reader();
    for order in RequestOrder::ALL {
        let from_here = ListOptions::new().order(order).cursor(1);
        let result = reader.list(&RequestFilter::new(), &from_here);
        assert_eq!(result.is_ok(), order.is_by_time(), "{order:?}");
    }
}

fn attributes(count: usize) -> RequestFilter {
    let one_more = |filter: RequestFilter, _| filter.attribute("k", "v");
    (0..count).fold(RequestFilter::new(), one_more)
}

#[test]
fn a_filter_beyond_its_bounds_is_refused_by_every_way_of_reading() {
    let folder = Folder::new();
    let store = folder.open();
    let reader = store.reader();
    let too_many = FILTER_RANGES_MAX + 1;
    let (first, last) = (599, 500);
    for filter in [
        RequestFilter::new().http_statuses(vec![500..=599; too_many]),
        RequestFilter::new().http_statuses([first..=last]),
        attributes(auditlite::ATTRIBUTES_MAX + 1),
    ] {
        let options = auditlite::SearchOptions::new().filter(filter.clone());
        let errors = [
            reader
                .list(&filter, &ListOptions::new().limit(1))
                .unwrap_err(),
            reader
                .list(
                    &filter,
                    &ListOptions::new().order(RequestOrder::Oldest).limit(1),
                )
                .unwrap_err(),
            reader
                .list(&filter, &ListOptions::new().order(RequestOrder::Cost))
                .unwrap_err(),
            reader.stats_of(&filter, &[]).unwrap_err(),
            reader.tools(&filter).unwrap_err(),
            reader.search("word", &options).unwrap_err(),
            reader
                .follow(&filter, None)
                .poll()
                .err()
                .unwrap_or(ReadError::Timeout),
        ];
        for (way, error) in errors.into_iter().enumerate() {
            assert!(
                matches!(error, ReadError::InvalidArgument(_)),
                "{way}: {error}"
            );
        }
    }
    let most = attributes(auditlite::ATTRIBUTES_MAX)
        .http_statuses(vec![500..=599; FILTER_RANGES_MAX])
        .statuses(Status::ALL);
    assert!(
        reader
            .list(&most, &ListOptions::new().limit(1))
            .unwrap()
            .requests
            .is_empty()
    );
}

#[test]
fn a_path_is_recorded_without_its_query_and_goes_with_an_erasure() {
    let folder = Folder::new();
    let store = folder.open();
    let long = format!("/v1/{}", "x".repeat(300));
    for (id, path) in [
        ("plain", "/v1/messages"),
        ("query", "/v1/messages?key=secret"),
        ("fragment", "/v1/messages#secret"),
        ("nothing", "?key=secret"),
        ("long", &long),
    ] {
        let context = RequestContext::new("")
            .request_id(id)
            .url_path(path)
            .user_id("u");
        let audit = store.recorder().open(context, "").unwrap();
        audit.complete(Completion::new()).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let path = |id: &str| store.reader().get(id).unwrap().url_path;
    for id in ["plain", "query", "fragment"] {
        assert_eq!(path(id).as_deref(), Some("/v1/messages"), "{id}");
    }
    assert_eq!(path("nothing"), None);
    let found = store.reader().get("long").unwrap();
    assert_eq!(
        found.url_path.as_deref(),
        Some(&*auditlite::stored_identifier(&long))
    );
    assert_eq!(found.adjusted_fields, ["url_path"]);
    let of = |path: &str| {
        let filter = RequestFilter::new().url_path(path.to_owned());
        pages(&store.reader(), &filter, false).len()
    };
    assert_eq!((of("/v1/messages"), of(&long), of("/v1/*")), (3, 1, 4));
    store
        .erase(&auditlite::EraseSelector::User("u".to_owned()), "r")
        .unwrap();
    assert_eq!(path("plain"), None);
    assert_eq!(of("*"), 0);
    close(store);
    let file = std::fs::read(folder.path()).unwrap();
    assert!(!file.windows(9).any(|bytes| bytes == b"/messages"));
    assert!(crate::support::findings(&folder).is_empty());
}
