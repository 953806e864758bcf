//! Accounts: costs, statistics, and the session's own sums.

use auditlite::{
    Completion, Failure, ListOptions, PriceBook, RequestContext, StatsFilter, StatsKey, Store,
    Timestamp, Usage,
};

use crate::support::{Folder, PATIENCE, close, findings};

const HOUR: i64 = 3_600_000_000;
/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000_000;

fn prices() -> PriceBook {
    PriceBook::from_json(
        r#"{"prices":[
            {"provider":"openai","model":"gpt-4o*","input":2.5,"output":10.0,"cache_read":1.25},
            {"model":"cheap","input":0.1,"output":0.2}
        ]}"#,
    )
    .unwrap()
}

fn record(store: &Store, user: &str, model: &str, at: i64, usage: Option<Usage>) {
    let mut context = RequestContext::new("")
        .user_id(user)
        .request_model(model)
        .started_at(Timestamp::from_micros(at));
    if model.starts_with("gpt") {
        context = context.provider_name("openai");
    }
    let mut completion = Completion::new().timing(auditlite::Timing::default().latency_us(500));
    completion.usage = usage;
    let audit = store.recorder().open(context, "q").unwrap();
    audit.complete(completion).unwrap();
}

#[test]
fn costs_are_resolved_from_served_routed_and_requested_model_in_this_order() {
    let folder = Folder::new();
    let store = folder.builder().price_book(prices()).open().unwrap();
    let usage = Usage::new(1_000_000, 100_000).cache_read_input_tokens(400_000);
    let cost = |served: &str, routed: &str, requested: &str| {
        let context = RequestContext::new("")
            .provider_name("openai")
            .request_model(routed)
            .client_model(requested);
        let mut audit = store.recorder().open(context, "q").unwrap();
        audit.set_served_model(served);
        let id = audit.request_id().to_owned();
        let receipt = audit.complete(Completion::new().usage(usage)).unwrap();
        receipt.wait(PATIENCE).unwrap();
        store.reader().get(&id).unwrap().cost_microdollars
    };
    // 600,000 at 2.5 + 400,000 at 1.25 + 100,000 at 10 dollars a million.
    assert_eq!(cost("gpt-4o-2024", "cheap", ""), Some(3_000_000));
    assert_eq!(cost("unknown", "cheap", "gpt-4o"), Some(120_000));
    assert_eq!(cost("", "unknown", "gpt-4o"), Some(3_000_000));
    assert_eq!(cost("", "unknown", "other"), None);
    // Partial usage of a failure is priced too.
    let context = RequestContext::new("")
        .request_id("f")
        .request_model("cheap");
    let audit = store.recorder().open(context, "q").unwrap();
    let failure = Failure::new("timeout").usage(Usage::default().input_tokens(10_000));
    audit.fail(failure).unwrap().wait(PATIENCE).unwrap();
    let failed = store.reader().get("f").unwrap();
    assert_eq!(failed.cost_microdollars, Some(1_000));
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn statistics_add_up_in_every_grouping() {
    let folder = Folder::new();
    let store = folder.builder().price_book(prices()).open().unwrap();
    for (hour, user, model) in [
        (0, "a", "gpt-4o"),
        (0, "a", "cheap"),
        (1, "b", "gpt-4o"),
        (25, "b", "mystery"),
    ] {
        let at = NEW_YEAR + hour * HOUR + 1;
        record(&store, user, model, at, Some(Usage::new(1000, 100)));
    }
    record(&store, "a", "cheap", NEW_YEAR, None);
    store.flush(PATIENCE).unwrap();
    let stats = |group_by: &[StatsKey], since, until| {
        let mut filter = StatsFilter::new().group_by(group_by.to_vec());
        filter.since = since;
        filter.until = until;
        store.reader().stats(&filter).unwrap()
    };
    let all = stats(&[], None, None);
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].requests, all[0].completed), (5, 5));
    assert_eq!((all[0].input_tokens, all[0].output_tokens), (4000, 400));
    assert_eq!((all[0].latency_us_sum, all[0].latency_count), (2500, 5));
    assert_eq!(all[0].unpriced, 1, "a model without a price");
    assert_eq!(all[0].cost_microdollars, 3500 + 120 + 3500);
    let by_user = stats(&[StatsKey::User], None, None);
    let users: Vec<_> = by_user
        .iter()
        .map(|row| (row.user_id.clone().unwrap(), row.requests))
        .collect();
    assert_eq!(users, [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    let by_day = stats(&[StatsKey::Day], None, None);
    let days: Vec<_> = by_day
        .iter()
        .map(|row| (row.time.unwrap(), row.requests))
        .collect();
    assert_eq!(
        days,
        [(NEW_YEAR, 4), (NEW_YEAR + 24 * HOUR, 1)]
            .map(|(at, count)| (Timestamp::from_micros(at), count))
    );
    let by_hour_and_model = stats(&[StatsKey::Hour, StatsKey::Model], None, None);
    assert_eq!(by_hour_and_model.len(), 4);
    // Times are widened to whole hours; `until` itself is outside.
    let first_hour = stats(
        &[],
        Some(Timestamp::from_micros(NEW_YEAR + 5)),
        Some(Timestamp::from_micros(NEW_YEAR + HOUR)),
    );
    assert_eq!(first_hour[0].requests, 3);
    let two_hours = stats(
        &[],
        Some(Timestamp::from_micros(NEW_YEAR)),
        Some(Timestamp::from_micros(NEW_YEAR + HOUR + 1)),
    );
    assert_eq!(two_hours[0].requests, 4);
    assert!(
        stats(
            &[],
            Some(Timestamp::from_micros(NEW_YEAR + 100 * HOUR)),
            None
        )
        .is_empty()
    );
    close(store);
}

#[test]
fn a_session_states_its_own_sums_and_the_doctor_checks_them() {
    let folder = Folder::new();
    for _ in 0..3 {
        let store = folder.open();
        for number in 0..10 {
            crate::support::record(&store, &format!("r-{number}"), "q", "a");
        }
        close(store);
    }
    assert!(findings(&folder).is_empty());
    let connection = crate::support::sqlite(&folder);
    connection
        .execute("DELETE FROM requests WHERE opened_seq = 1", [])
        .unwrap();
    let findings = findings(&folder);
    // The accounts are compared with the log, which is unchanged.
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("table requests")),
        "{findings:?}"
    );
}

#[test]
fn the_close_report_accounts_for_everything() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..100 {
        crate::support::record(&store, &format!("r-{number}"), "q", "a");
    }
    let open = store.recorder().open(RequestContext::new(""), "q").unwrap();
    let recorder = store.recorder();
    let report = close(store);
    // The store's opening and close, 100 lifecycles, one opening.
    assert_eq!(report.committed_events, 2 + 200 + 1);
    assert_eq!((report.lost_events, report.open_requests), (0, 1));
    let error = recorder.open(RequestContext::new(""), "q").unwrap_err();
    assert_eq!(error, auditlite::RecordError::Closed);
    let error = open.complete(Completion::new()).unwrap_err();
    assert_eq!(error, auditlite::RecordError::Closed);
    assert!(findings(&folder).is_empty());
    // The one that was open is interrupted by the next open.
    let store = folder.open();
    let filter = auditlite::RequestFilter::new().statuses([auditlite::Status::Interrupted]);
    assert_eq!(
        store
            .reader()
            .list(&filter, &ListOptions::new().limit(10))
            .unwrap()
            .requests
            .len(),
        1
    );
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn dropping_the_store_closes_it() {
    let folder = Folder::new();
    let store = folder.open();
    crate::support::record(&store, "r-1", "q", "a");
    drop(store);
    let report = auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .doctor()
        .unwrap();
    assert_eq!(
        (report.events, report.pending, report.crashed_openings),
        (4, 0, 0)
    );
    assert_eq!(report.wal_bytes, 0);
    assert!(report.findings.is_empty());
}

/// Under load: an end that is handed over after the call never has an older book's price.
#[test]
fn ends_are_priced_with_the_book_that_was_set_last() {
    let folder = Folder::new();
    let dollars = |price: u64| {
        let json = format!(r#"{{"prices":[{{"model":"m","input":{price},"output":0}}]}}"#);
        PriceBook::from_json(&json).unwrap()
    };
    let store = folder.open();
    let complete = |model: &str| {
        let context = RequestContext::new("").request_model(model);
        let audit = store.recorder().open(context, "q").unwrap();
        let id = audit.request_id().to_owned();
        let completion = Completion::new().usage(Usage::new(1_000_000, 0));
        (id, audit.complete(completion).unwrap())
    };
    let cost = |id: &str| store.reader().get(id).unwrap().cost_microdollars;
    let (before, receipt) = complete("m");
    receipt.wait(PATIENCE).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                complete("other");
            }
        });
        let priced: Vec<(u64, String)> = (1..=20)
            .map(|price| {
                store.set_price_book(dollars(price));
                (price, complete("m").0)
            })
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        load.join().unwrap();
        store.flush(PATIENCE).unwrap();
        for (price, id) in &priced {
            assert!(
                cost(id) >= Some(price * 1_000_000),
                "{price}: {:?}",
                cost(id)
            );
        }
        assert_eq!(cost(&priced[19].1), Some(20_000_000));
    });
    store.set_price_book(None);
    let (after, receipt) = complete("m");
    receipt.wait(PATIENCE).unwrap();
    // What is committed keeps its cost.
    assert_eq!((cost(&before), cost(&after)), (None, None));
    close(store);
    assert!(findings(&folder).is_empty());
}
