//! One `tracing` event for each end, with ids and figures, never a body.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use auditlite::{Completion, Failure, PriceBook, RequestContext, Usage};
use tracing::field::{Field, Visit};
use tracing::span;

use crate::support::{Folder, PATIENCE, close};

/// Collects events as text.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Collector {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn each_end_is_traced_once_without_content() {
    let collector = Collector::default();
    // The writer's thread emits them: the default of the whole process is needed.
    tracing::subscriber::set_global_default(collector.clone()).unwrap();
    let folder = Folder::new();
    let book = PriceBook::from_json(r#"{"prices":[{"model":"known","input":1.0,"output":1.0}]}"#);
    let store = folder.builder().price_book(book.unwrap()).open().unwrap();
    for (id, model) in [
        ("tr-1", "known"),
        ("tr-2", "mystery-model"),
        ("tr-3", "mystery-model"),
    ] {
        let context = RequestContext::new("").request_id(id).request_model(model);
        let audit = store.recorder().open(context, "the-body").unwrap();
        let completion = Completion::new()
            .usage(Usage::new(1000, 500))
            .response_body("the-body");
        audit.complete(completion).unwrap().wait(PATIENCE).unwrap();
    }
    let context = RequestContext::new("").request_id("tr-4");
    let audit = store.recorder().open(context, "the-body").unwrap();
    audit.fail(Failure::new("timeout")).unwrap();
    close(store);
    let events = collector.0.lock().unwrap().clone();
    let of = |id: &str| -> Vec<&String> { events.iter().filter(|e| e.contains(id)).collect() };
    for id in ["tr-1", "tr-2", "tr-3"] {
        assert_eq!(of(id).len(), 1, "{events:?}");
        assert!(of(id)[0].starts_with("DEBUG"));
    }
    let folder = Folder::new();
    let store = folder.builder().log_ends_at_info(true).open().unwrap();
    let context = RequestContext::new("").request_id("access-log");
    let audit = store.recorder().open(context, "the-body").unwrap();
    audit
        .complete(Completion::new())
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    close(store);
    let found = collector.0.lock().unwrap().clone();
    let logged = found.iter().find(|event| event.contains("access-log"));
    assert!(logged.unwrap().starts_with("INFO"));
    let first = of("tr-1")[0];
    for part in [
        "model=\"known\"",
        "input_tokens=1000",
        "cost_microdollars=1500",
        "latency_us=",
    ] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
    assert!(of("tr-4")[0].starts_with("WARN") && of("tr-4")[0].contains("timeout"));
    // An unknown model is warned of once, and has no cost rather than a zero.
    let warnings = events
        .iter()
        .filter(|e| e.starts_with("WARN") && e.contains("mystery-model"));
    assert_eq!(warnings.count(), 1, "{events:?}");
    assert!(!of("tr-2")[0].contains("cost_microdollars"));
    assert!(events.iter().all(|event| !event.contains("the-body")));
}
