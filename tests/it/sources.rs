//! Where numbers come from: counts, costs, and the price book that costs were computed from.

use auditlite::{
    Completion, CostSource, Failure, PriceBook, ReadOnlyStore, Rejection, RequestContext,
    RequestRecord, StatsFilter, Store, Usage, UsageSource,
};

use crate::support::{Folder, PATIENCE, close, findings, sqlite};

const OWN: &str = r#"{"prices": [{"model": "m", "input": 1, "output": 10}]}"#;
const BODY: &str = r#"{"id":"1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#;
/// An Anthropic stream that breaks off behind its first event, which counts the input and one token of output.
const CUT: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":1000,\"output_tokens\":1}}}\n\n";

fn priced(folder: &Folder) -> Store {
    let book = PriceBook::from_json(OWN).unwrap();
    folder.builder().price_book(book).open().unwrap()
}

fn read(store: &Store, id: &str) -> RequestRecord {
    store.flush(PATIENCE).unwrap();
    store.reader().get(id).unwrap()
}

fn open(store: &Store, id: &str, protocol: &str) -> auditlite::RequestHandle {
    let context = RequestContext::new(protocol)
        .request_id(id)
        .request_model("m")
        .is_streaming(true);
    store.recorder().open(context, "{}").unwrap()
}

#[test]
fn every_number_says_where_it_comes_from() {
    let folder = Folder::new();
    let store = priced(&folder);
    let told = Completion::new().usage(Usage::new(1000, 100));
    open(&store, "told", "").complete(told.clone()).unwrap();
    let costs = told.clone().cost_microdollars(7);
    open(&store, "told-cost", "").complete(costs).unwrap();
    let seen = Usage::new(1000, 100).source(UsageSource::Partial);
    let seen = Failure::new("cut").usage(seen);
    open(&store, "told-partial", "").fail(seen).unwrap();
    let body = Completion::new().response_body(BODY).read_body(true);
    open(&store, "reported", "openai.chat")
        .complete(body)
        .unwrap();
    let mut cut = open(&store, "partial", "anthropic.messages");
    cut.chunk(CUT);
    cut.finish(200).unwrap();
    open(&store, "absent", "")
        .complete(Completion::new())
        .unwrap();
    open(&store, "refused", "")
        .reject(Rejection::new("quota"))
        .unwrap();
    let mut unpriced = Completion::new().usage(Usage::new(1, 1));
    unpriced.response_model = Some("unheard-of".to_owned());
    let context = RequestContext::new("").request_id("unpriced");
    let audit = store.recorder().open(context, "{}").unwrap();
    audit.complete(unpriced).unwrap();
    drop(open(&store, "dropped", ""));

    use CostSource::{Computed, Unknown};
    use UsageSource::{Absent, Partial, Reported, Told};
    for (id, usage, cost, microdollars) in [
        ("told", Some(Told), Some(Computed), Some(2000)),
        ("told-cost", Some(Told), Some(CostSource::Told), Some(7)),
        (
            "told-partial",
            Some(Partial),
            Some(CostSource::Partial),
            Some(2000),
        ),
        ("reported", Some(Reported), Some(Computed), Some(2000)),
        (
            "partial",
            Some(Partial),
            Some(CostSource::Partial),
            Some(1010),
        ),
        ("absent", Some(Absent), Some(Unknown), None),
        ("refused", None, None, None),
        ("unpriced", Some(Told), Some(Unknown), None),
        ("dropped", Some(Absent), Some(Unknown), None),
    ] {
        let request = read(&store, id);
        let found = (
            request.usage_source,
            request.cost_source,
            request.cost_microdollars,
        );
        assert_eq!(found, (usage, cost, microdollars), "{id}");
        let is_computed = matches!(cost, Some(Computed | CostSource::Partial));
        assert_eq!(request.price_book_seq.is_some(), is_computed, "{id}");
    }
    let sums = store.reader().stats(&StatsFilter::new()).unwrap();
    let [sums] = sums.as_slice() else {
        panic!("{sums:?}")
    };
    let usage = (sums.without_usage, sums.partial_usage, sums.told_usage);
    assert_eq!(usage, (2, 2, 3));
    let costs = (
        sums.unpriced,
        sums.partial_cost,
        sums.told_cost,
        sums.incomplete_cost,
    );
    assert_eq!(costs, (1, 2, 1, 0));
    // The same from the requests themselves, and from a table that is rebuilt.
    let filter = auditlite::RequestFilter::new();
    assert_eq!(
        &store.reader().stats_of(&filter, &[]).unwrap(),
        std::slice::from_ref(sums)
    );
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
    auditlite::rebuild(folder.path()).unwrap();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert_eq!(
        &reader.stats(&StatsFilter::new()).unwrap(),
        std::slice::from_ref(sums)
    );
}

/// A response of OpenAI's shape, with this more in its usage.
fn body_with(more: &str) -> String {
    BODY.replace(
        "\"completion_tokens\":100",
        &format!("\"completion_tokens\":100,{more}"),
    )
}

#[test]
fn a_stated_cost_counts_with_the_computed_one_beside_it_and_a_missing_price_is_said() {
    let folder = Folder::new();
    let store = priced(&folder);
    for (id, more) in [
        ("stated", r#""cost":0.0009"#),
        (
            "byok",
            r#""cost":0.0009,"is_byok":true,"cost_details":{"upstream_inference_cost":0.004}"#,
        ),
        ("scale", r#""service_tier":"scale""#),
        ("default", r#""service_tier":"default""#),
        ("searched", r#""server_tool_use":{"web_search_requests":2}"#),
        ("both", r#""cost":0.0009,"service_tier":"flex""#),
    ] {
        let end = Completion::new()
            .response_body(body_with(more))
            .read_body(true);
        open(&store, id, "openai.chat").complete(end).unwrap();
    }
    // The gateway's counts do not hide what the response shows of its tier.
    let told = Completion::new().usage(Usage::new(2000, 0));
    let end = told
        .response_body(body_with(r#""service_tier":"scale""#))
        .read_body(true);
    open(&store, "told", "openai.chat").complete(end).unwrap();

    use CostSource::{Computed, Incomplete, Stated};
    for (id, source, cost, computed, unpriced) in [
        ("stated", Stated, 900, Some(2000), vec![]),
        ("byok", Stated, 4900, Some(2000), vec![]),
        ("scale", Incomplete, 2000, None, vec!["tier scale"]),
        ("default", Computed, 2000, None, vec![]),
        ("searched", Incomplete, 2000, None, vec!["web_search"]),
        ("both", Stated, 900, Some(2000), vec!["tier flex"]),
        ("told", Incomplete, 2000, None, vec!["tier scale"]),
    ] {
        let request = read(&store, id);
        let details = request.usage_details.clone().unwrap_or_default();
        assert_eq!(request.cost_source, Some(source), "{id}");
        assert_eq!(request.cost_microdollars, Some(cost), "{id}");
        assert_eq!(details.computed_cost_microdollars, computed, "{id}");
        assert_eq!(details.unpriced, unpriced, "{id}");
        assert!(request.price_book_seq.is_some(), "{id}");
    }
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
}

#[test]
fn a_price_book_is_stated_once_before_the_ends_that_it_prices() {
    let folder = Folder::new();
    let store = priced(&folder);
    let end = |store: &Store, id: &str| {
        let usage = Completion::new().usage(Usage::new(1000, 100));
        open(store, id, "").complete(usage).unwrap();
        read(store, id)
    };
    let (first, second) = (end(&store, "1"), end(&store, "2"));
    let seq = first.price_book_seq.unwrap();
    assert_eq!(second.price_book_seq, Some(seq));
    assert!(seq < first.ended_seq.unwrap());
    let sources = store.reader().price_book(&first).unwrap();
    let [source] = sources.as_slice() else {
        panic!("{sources:?}")
    };
    assert_eq!((source.format.as_str(), source.entries), ("own", 1));
    assert_eq!(sources, PriceBook::from_json(OWN).unwrap().sources());
    // An end that comes after a new book was set is priced by that.
    let dearer = OWN.replace("10}", "20}");
    let dearer = PriceBook::from_json(OWN)
        .unwrap()
        .merge(PriceBook::from_json(&dearer).unwrap());
    store.set_price_book(dearer);
    let third = end(&store, "3");
    assert_eq!(third.cost_microdollars, Some(3000));
    assert!(third.price_book_seq > second.ended_seq);
    assert_eq!(store.reader().price_book(&third).unwrap().len(), 2);
    assert_eq!(store.reader().price_book(&second).unwrap(), sources);
    store.set_price_book(None);
    let fourth = end(&store, "4");
    assert_eq!(
        (fourth.price_book_seq, fourth.cost_source),
        (None, Some(CostSource::Unknown))
    );
    close(store);
    let report = ReadOnlyStore::open(folder.path()).unwrap();
    let report = report.verify(&auditlite::VerifyOptions::new()).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn what_a_crash_left_of_a_stream_is_partial() {
    let folder = Folder::new();
    let book = || PriceBook::from_json(OWN).unwrap();
    let pieces = |builder: auditlite::StoreBuilder| {
        builder.response_pieces(std::time::Duration::from_millis(1), 4096)
    };
    let store = pieces(folder.builder()).price_book(book()).open().unwrap();
    let mut cut = open(&store, "cut", "anthropic.messages");
    cut.chunk(CUT);
    cut.chunk(format!(": {}\n\n", "x".repeat(20_000)));
    let silent = open(&store, "silent", "anthropic.messages");
    store.flush(PATIENCE).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    // As after a crash: a copy of the file while both are open.
    let copy = Folder::new();
    for end in ["", "-wal"] {
        let name = format!("audit.db{end}");
        std::fs::copy(folder.join(&name), copy.join(&name)).unwrap();
    }
    drop((cut, silent));
    close(store);
    let store = copy.builder().price_book(book()).open().unwrap();
    let (cut, silent) = (read(&store, "cut"), read(&store, "silent"));
    assert_eq!(
        (cut.usage_source, cut.cost_source),
        (Some(UsageSource::Partial), Some(CostSource::Partial))
    );
    assert_eq!(cut.cost_microdollars, Some(1010));
    assert!(cut.price_book_seq < cut.ended_seq);
    assert_eq!(
        (silent.usage_source, silent.cost_source),
        (Some(UsageSource::Absent), Some(CostSource::Unknown))
    );
    close(store);
    assert_eq!(findings(&copy), Vec::<String>::new());
}

/// Files of earlier builds lack the columns, and their lines the fields.
#[test]
fn a_file_of_an_earlier_build_is_read_as_it_is_and_gets_the_columns_when_it_is_written() {
    let folder = Folder::new();
    let store = folder.open();
    let usage = Completion::new().usage(Usage::new(1000, 100));
    open(&store, "1", "").complete(usage).unwrap();
    read(&store, "1");
    let before = store.reader().stats(&StatsFilter::new()).unwrap();
    close(store);
    let connection = sqlite(&folder);
    for (table, columns) in [
        (
            "requests",
            &[
                "usage_source",
                "cost_source",
                "price_book_seq",
                "usage_details",
            ][..],
        ),
        (
            "usage_hourly",
            &[
                "partial_usage",
                "told_usage",
                "partial_cost",
                "told_cost",
                "incomplete_cost",
                "credited_requests",
                "credited_partial_usage",
                "credited_told_usage",
                "credited_unpriced",
            ],
        ),
        (
            "usage_daily",
            &[
                "partial_usage",
                "told_usage",
                "partial_cost",
                "told_cost",
                "incomplete_cost",
                "credited_requests",
                "credited_partial_usage",
                "credited_told_usage",
                "credited_unpriced",
            ],
        ),
    ] {
        for column in columns {
            connection
                .execute(&format!("ALTER TABLE {table} DROP COLUMN {column}"), [])
                .unwrap();
        }
    }
    drop(connection);
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let request = reader.get("1").unwrap();
    assert_eq!(
        (request.usage_source, request.input_tokens),
        (None, Some(1000))
    );
    for filter in [
        StatsFilter::new(),
        StatsFilter::new().group_by([auditlite::StatsKey::User]),
    ] {
        let sums = reader.stats(&filter).unwrap();
        assert_eq!((sums[0].told_usage, sums[0].input_tokens), (0, 1000));
    }
    let all = auditlite::RequestFilter::new();
    assert_eq!(reader.stats_of(&all, &[]).unwrap()[0].input_tokens, 1000);
    assert_eq!(
        reader
            .list(&all, &auditlite::ListOptions::new())
            .unwrap()
            .requests
            .len(),
        1
    );
    drop(reader);
    close(folder.open());
    auditlite::rebuild(folder.path()).unwrap();
    assert_eq!(findings(&folder), Vec::<String>::new());
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert_eq!(reader.stats(&StatsFilter::new()).unwrap(), before);
    assert_eq!(
        reader.get("1").unwrap().usage_source,
        Some(UsageSource::Told)
    );
}
