//! What a request costs, and how long reading takes, as the file grows. Requests are small, as they
//! come from 20 users to three models, and spread over the time that an edge gateway takes for as
//! many: a million in thirty days.

use std::time::{Duration, Instant};

use auditlite::{
    Completion, ListOptions, Overflow, PayloadSide, RequestContext, RequestFilter, StatsFilter,
    StatsKey, Store, Timestamp, Timing, Usage, WireProtocol,
};

use super::common::bytes_on_disk;
use super::report::Figures;

const TIMEOUT: Duration = Duration::from_secs(120);
/// The first request, in microseconds since the Unix epoch, and the time to the next.
const BEGIN: i64 = 1_750_000_000_000_000;
const STEP_US: i64 = 2_592_000;
const PAGE: usize = 20;
/// How often each kind of read is measured.
const READS: usize = 100;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Scale {
    Small,
    Full,
}

impl Scale {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "small" => Some(Self::Small),
            "full" => Some(Self::Full),
            _ => None,
        }
    }

    fn sizes(self, smoke: bool) -> &'static [usize] {
        match self {
            _ if smoke => &[1_000, 2_000],
            Self::Small => &[10_000, 100_000],
            Self::Full => &[100_000, 1_000_000, 10_000_000],
        }
    }
}

pub(crate) fn run(scale: Scale, smoke: bool, figures: &mut Figures) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path)
        .overflow(Overflow::Wait(TIMEOUT))
        .open()
        .unwrap();
    eprintln!(
        "\n{:>10} requests{:>16}{:>15}{:>18}{:>15}{:>12}",
        "", "µs per request", "list page ms", "with bodies ms", "by model ms", "B on disk"
    );
    let mut recorded = 0;
    let mut ids = Vec::new();
    let sizes = scale.sizes(smoke);
    // As many at each size: long enough for the write-ahead log to go round.
    let measured = sizes[0] / 2;
    for &size in sizes {
        let subject = format!("growth_{size}");
        record(&store, recorded..size - measured, size, &mut ids);
        let begun = Instant::now();
        record(&store, size - measured..size, size, &mut ids);
        let cost = begun.elapsed().as_secs_f64() * 1e6 / measured as f64;
        recorded = size;
        let mut measure = |measure: &str, value: f64| {
            figures.add_printed(&subject, measure, value);
            value
        };
        let cost = measure("us_per_lifecycle", cost);
        let bytes = bytes_on_disk(&path) as f64 / size as f64;
        let bytes = measure("bytes_per_lifecycle", bytes);
        let [list, get, stats] = read(&store, &ids);
        let list = measure("list_page_ms", list);
        let get = measure("get_with_bodies_ms", get);
        let stats = measure("stats_by_model_ms", stats);
        eprintln!("{size:>19}{cost:>16.2}{list:>15.3}{get:>18.3}{stats:>15.3}{bytes:>12.0}");
    }
    assert!(store.close(TIMEOUT).is_complete);
}

/// Records these requests, and returns once they are committed. Some of their ids are noted.
fn record(store: &Store, numbers: std::ops::Range<usize>, size: usize, ids: &mut Vec<String>) {
    let recorder = store.recorder();
    for number in numbers {
        let model = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4"][number % 3];
        let context = RequestContext::new(WireProtocol::OpenAiChat)
            .user_id(format!("user-{}", number * 7 % 20))
            .conversation_id(format!("conversation-{}", number / 4))
            .provider_name("openai")
            .request_model(model)
            .started_at(Timestamp::from_micros(BEGIN + number as i64 * STEP_US));
        let request = format!(
            r#"{{"model":"{model}","messages":[{{"role":"system","content":"You sort support tickets into one of: billing, access, outage, other."}},{{"role":"user","content":"Ticket {number}: since {}:{:02} the invoice {} shows another amount than my order {}."}}]}}"#,
            number % 24,
            number % 60,
            number * 7919 % 1_000_003,
            number * 104_729 % 15_485_863
        );
        let response = format!(
            r#"{{"id":"chatcmpl-{number}","model":"{model}","choices":[{{"index":0,"message":{{"role":"assistant","content":"billing"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{},"completion_tokens":2}}}}"#,
            70 + number % 9
        );
        let completion = Completion::new()
            .response_body(response)
            .usage(Usage::new(70 + number as u64 % 9, 2))
            .finish_reason("stop")
            .http_status(200)
            .timing(Timing::default().latency_us(300_000 + number as u64 * 7919 % 500_000));
        let audit = recorder.open(context, request).unwrap();
        if number % (size / READS) == 0 {
            ids.push(audit.request_id().to_owned());
        }
        audit.complete(completion).unwrap();
    }
    store.flush(TIMEOUT).unwrap();
}

/// Median milliseconds of a page of the list, of a request with both bodies, of the sums by model.
fn read(store: &Store, ids: &[String]) -> [f64; 3] {
    let reader = store.reader();
    let filter = RequestFilter::default();
    let list = median(|_| {
        let page = reader
            .list(&filter, &ListOptions::new().limit(PAGE))
            .unwrap();
        assert_eq!(page.requests.len(), PAGE);
    });
    let get = median(|read| {
        // In no order.
        let request = reader.get(&ids[read * 61 % ids.len()]).unwrap();
        for side in [PayloadSide::Request, PayloadSide::Response] {
            assert!(!reader.payload(&request, side).unwrap().bytes.is_empty());
        }
    });
    let by_model = StatsFilter::new().group_by([StatsKey::Model]);
    let stats = median(|_| assert_eq!(reader.stats(&by_model).unwrap().len(), 3));
    [list, get, stats]
}

fn median(mut read: impl FnMut(usize)) -> f64 {
    let mut millis: Vec<f64> = (0..READS)
        .map(|number| {
            let begun = Instant::now();
            read(number);
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    millis[READS / 2]
}
