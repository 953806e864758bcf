//! Tokens of other models that took part in a response: they count in the request's totals and to the model that used
//! them.

use auditlite::{
    Completion, CostSource, EraseSelector, ModelUsage, PriceBook, ReadOnlyStore, Reader,
    RequestContext, RequestFilter, Retention, StatsFilter, StatsKey, StatsRow, Status, Store,
    Timestamp, Usage, UsageDetails,
};

use crate::support::{Folder, PATIENCE, close, findings};

const PRICES: &str = r#"{"prices": [
    {"model": "sonnet", "input": 3, "output": 15},
    {"model": "opus", "input": 5, "output": 25}
]}"#;
/// 100 and 50 tokens of the model that answers, 2,000 and 300 of its adviser.
const ADVISED: &str = r#"{"id":"m","type":"message","role":"assistant","model":"sonnet","content":[],"stop_reason":"end_turn","usage":{"input_tokens":100,"output_tokens":50,"iterations":[{"type":"message","input_tokens":100,"output_tokens":50},{"type":"advisor_message","model":"opus","input_tokens":2000,"output_tokens":300}]}}"#;
const ALONE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"sonnet","content":[],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":5}}"#;
/// 48 hours, in microseconds.
const TWO_DAYS: i64 = 172_800_000_000;

fn open(store: &Store, id: &str) -> auditlite::RequestHandle {
    let context = RequestContext::new("anthropic.messages")
        .request_id(id)
        .provider_name("anthropic")
        .user_id("u")
        .request_model("sonnet");
    store.recorder().open(context, "{}").unwrap()
}

fn answered(store: &Store, id: &str, body: &str) {
    let mut audit = open(store, id);
    audit.chunk(body.to_owned());
    audit.finish(200).unwrap();
}

fn filled(folder: &Folder) -> Store {
    let book = PriceBook::from_json(PRICES).unwrap();
    let store = folder.builder().price_book(book).open().unwrap();
    answered(&store, "advised", ADVISED);
    answered(&store, "advised too", ADVISED);
    answered(&store, "alone", ALONE);
    store.flush(PATIENCE).unwrap();
    store
}

/// Model, requests, input, output, cost, credited requests.
type Figures<'r> = (Option<&'r str>, [u64; 5]);

fn figures(rows: &[StatsRow]) -> Vec<Figures<'_>> {
    let figures = |row: &StatsRow| {
        [
            row.requests,
            row.input_tokens,
            row.output_tokens,
            row.cost_microdollars,
            row.credited_requests,
        ]
    };
    let row = |row| (StatsRow::model_name(row), figures(row));
    rows.iter().map(row).collect()
}

trait Named {
    fn model_name(&self) -> Option<&str>;
}

impl Named for StatsRow {
    fn model_name(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

fn by_model(reader: &Reader) -> Vec<StatsRow> {
    let filter = StatsFilter::new().group_by([StatsKey::Model]);
    reader.stats(&filter).unwrap()
}

/// Two requests that an adviser took part in, and one without.
const ALL: [Figures<'static>; 2] = [
    (Some("opus"), [0, 4000, 600, 35_000, 2]),
    (Some("sonnet"), [3, 210, 105, 2205, 0]),
];

#[test]
fn tokens_and_their_cost_count_to_the_model_that_used_them_and_requests_once() {
    let folder = Folder::new();
    let store = filled(&folder);
    let reader = store.reader();
    let request = reader.get("advised").unwrap();
    assert_eq!(
        (request.input_tokens, request.output_tokens),
        (Some(2100), Some(350))
    );
    // 100 × 3 + 50 × 15, and 2,000 × 5 + 300 × 25.
    assert_eq!(request.cost_microdollars, Some(1050 + 17_500));
    assert_eq!(request.cost_source, Some(CostSource::Computed));
    let other = &request.usage_details.unwrap().other_models[0];
    assert_eq!(
        (other.cost_microdollars, other.cost_source),
        (Some(17_500), Some(CostSource::Computed))
    );
    let rows = by_model(&reader);
    assert_eq!(figures(&rows), ALL);
    // The same from the requests themselves, also beside other keys.
    let read = |keys: &[StatsKey]| reader.stats_of(&RequestFilter::new(), keys).unwrap();
    assert_eq!(read(&[StatsKey::Model]), rows);
    let keys = [StatsKey::Day, StatsKey::User, StatsKey::Model];
    let filter = StatsFilter::new().group_by(keys);
    assert_eq!(read(&keys), reader.stats(&filter).unwrap());
    // Over all models, and by anything else.
    let whole = [(None, [3, 4210, 705, 37_205, 0])];
    for keys in [&[][..], &[StatsKey::User], &[StatsKey::Provider]] {
        let filter = StatsFilter::new().group_by(keys.to_vec());
        assert_eq!(figures(&reader.stats(&filter).unwrap()), whole);
        assert_eq!(figures(&read(keys)), whole);
    }
    // A filter of the summary chooses tokens by the model that used them; one of requests chooses requests.
    let of_opus = reader.stats(&StatsFilter::new().model("opus")).unwrap();
    assert_eq!(figures(&of_opus), [(None, ALL[0].1)]);
    let filter = RequestFilter::new().model("opus");
    assert_eq!(reader.stats_of(&filter, &[StatsKey::Model]).unwrap(), []);
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
    auditlite::rebuild(folder.path()).unwrap();
    assert_eq!(findings(&folder), Vec::<String>::new());
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert_eq!(by_model(&reader), rows);
}

#[test]
fn what_no_price_is_known_of_says_so_and_stays_in_the_cost_of_the_request() {
    let folder = Folder::new();
    let book = PriceBook::from_json(&PRICES.replace("opus", "haiku")).unwrap();
    let store = folder.builder().price_book(book).open().unwrap();
    answered(&store, "advised", ADVISED);
    // A gateway that knows the cost, and of no book what its parts are; it cannot say more of its parts.
    let mut other = ModelUsage::default();
    other.model = "opus".to_owned();
    other.usage = Usage::new(2000, 300);
    (other.cost_microdollars, other.cost_source) = (Some(9), Some(CostSource::Told));
    let mut details = UsageDetails::default();
    details.other_models.push(other);
    let told = Completion::new()
        .usage(Usage::new(2100, 350))
        .usage_details(details)
        .cost_microdollars(20_000);
    open(&store, "told").complete(told).unwrap();
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let request = reader.get("advised").unwrap();
    // All at the rates of the model that served: 2,100 × 3 + 350 × 15.
    assert_eq!(request.cost_microdollars, Some(11_550));
    assert_eq!(request.cost_source, Some(CostSource::Incomplete));
    let rows = by_model(&reader);
    assert_eq!(
        figures(&rows),
        [
            (Some("opus"), [0, 4000, 600, 0, 2]),
            (Some("sonnet"), [2, 200, 100, 31_550, 0]),
        ]
    );
    let (opus, sonnet) = (&rows[0], &rows[1]);
    assert_eq!(
        (
            opus.credited_unpriced,
            opus.credited_told_usage,
            opus.unpriced
        ),
        (2, 1, 0)
    );
    assert_eq!((sonnet.told_cost, sonnet.incomplete_cost), (1, 1));
    let read = reader.stats_of(
        &RequestFilter::new().statuses([Status::Completed]),
        &[StatsKey::Model],
    );
    assert_eq!(read.unwrap(), rows);
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
}

#[test]
fn an_end_that_comes_later_counts_to_both_models() {
    let folder = Folder::new();
    let store = filled(&folder);
    let mut audit = open(&store, "later");
    audit.set_served_model("sonnet-2");
    store.flush(PATIENCE).unwrap();
    audit.chunk(ADVISED.replace("\"sonnet\"", "\"sonnet-2\""));
    audit.finish(200).unwrap();
    store.flush(PATIENCE).unwrap();
    let rows = by_model(&store.reader());
    let found: Vec<(&str, u64, u64)> = rows
        .iter()
        .map(|row| {
            let model = row.model.as_deref().unwrap();
            (model, row.requests, row.input_tokens)
        })
        .collect();
    assert_eq!(
        found,
        [("opus", 0, 6000), ("sonnet", 3, 210), ("sonnet-2", 1, 100)]
    );
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
}

#[test]
fn sums_stay_when_requests_are_erased_and_pruned() {
    let folder = Folder::new();
    let store = filled(&folder);
    let past = Timestamp::from_micros(Timestamp::now().as_micros() - TWO_DAYS);
    let context = RequestContext::new("anthropic.messages")
        .request_id("old")
        .provider_name("anthropic")
        .user_id("u")
        .started_at(past);
    let mut audit = store.recorder().open(context, "{}").unwrap();
    audit.chunk(ADVISED);
    audit.finish(200).unwrap();
    store.flush(PATIENCE).unwrap();
    let before = by_model(&store.reader());
    let erased = EraseSelector::Request("advised".to_owned());
    store.erase(&erased, "asked for").unwrap();
    assert_eq!(by_model(&store.reader()), before);
    let hourly = StatsFilter::new().group_by([StatsKey::User, StatsKey::Model]);
    let users = store.reader().stats(&hourly).unwrap();
    let tokens = |user: &str| -> u64 {
        let of = users
            .iter()
            .filter(|row| row.user_id.as_deref() == Some(user));
        of.map(|row| row.input_tokens).sum()
    };
    assert_eq!((tokens(""), tokens("u")), (2100, 4210));
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
    // All of it, in a second opening.
    let store = folder.open();
    let day = std::time::Duration::from_secs(1);
    let retention = Retention::new()
        .content_older_than(day)
        .metadata_older_than(day);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let report = store.prune(&retention).unwrap();
    assert!(report.requests >= 4, "{report:?}");
    assert_eq!(by_model(&store.reader()), before);
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
    auditlite::rebuild(folder.path()).unwrap();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert_eq!(by_model(&reader), before);
}

/// A build that credited nothing made `tests/fixtures/uncredited.db.zst`: two requests that an adviser took part in. Its
/// lines say no source of the adviser's cost, so its sums stay what they are, and a check of the file finds nothing.
#[test]
fn requests_of_an_earlier_build_stay_where_they_were_counted() {
    let folder = Folder::new();
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/uncredited.db.zst"
    );
    let packed = std::fs::read(fixture).unwrap();
    std::fs::write(folder.path(), zstd::decode_all(&*packed).unwrap()).unwrap();
    const MODEL: &str = "claude-sonnet-4-5-20250929";
    let before = [(Some(MODEL), [2, 4200, 700, 23_100, 0])];
    let check = || {
        assert_eq!(findings(&folder), Vec::<String>::new());
        let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
        assert_eq!(figures(&by_model(&reader)), before);
        let keys = [StatsKey::User, StatsKey::Model];
        let read = reader.stats_of(&RequestFilter::new(), &keys).unwrap();
        assert_eq!(figures(&read), before);
        let hourly = StatsFilter::new().group_by(keys);
        assert_eq!(reader.stats(&hourly).unwrap(), read);
    };
    check();
    close(folder.open());
    check();
    auditlite::rebuild(folder.path()).unwrap();
    check();
    // What comes now is credited, beside what came before.
    let book = PriceBook::from_json(PRICES).unwrap();
    let store = folder.builder().price_book(book).open().unwrap();
    answered(
        &store,
        "now",
        &ADVISED.replace("\"sonnet\"", &format!("{MODEL:?}")),
    );
    store.flush(PATIENCE).unwrap();
    let rows = by_model(&store.reader());
    let found: Vec<(u64, u64)> = rows
        .iter()
        .map(|row| (row.requests, row.input_tokens))
        .collect();
    assert_eq!(found, [(3, 4300), (0, 2000)]);
    let erased = EraseSelector::Request("advised-1".to_owned());
    store.erase(&erased, "asked for").unwrap();
    assert_eq!(by_model(&store.reader()), rows);
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
}
