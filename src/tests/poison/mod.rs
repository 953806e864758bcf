//! Input that makes a step of preparation panic (`sync::trip`, compiled for these tests only) costs only its own
//! content: all other requests are recorded in full, and the file is in order.
//!
//! Compiled into the library's tests: nothing that a gateway can send is known to panic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use crate::{
    Completion, Health, ListOptions, ReadOnlyStore, RequestContext, RequestFilter, RequestRecord,
    StatsFilter, Store, VerifyOptions,
};

const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER: &str = r#"{"id":"ID","model":"m","choices":[{"index":0,"message":{"role":"assistant",
    "content":"TEXT"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;

/// A request with a conversation, its user and its texts.
struct Exchange {
    user: &'static str,
    request: String,
    response: String,
    response_id: Option<&'static str>,
    is_streamed: bool,
}

impl Exchange {
    fn new(user: &'static str) -> Self {
        // Long enough to be held and packed.
        let said = "what was said before, ".repeat(40);
        Self {
            user,
            request: format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"{said}{user}"}}]}}"#
            ),
            response: ANSWER.replace("TEXT", &said),
            response_id: None,
            is_streamed: false,
        }
    }

    fn record(self, store: &Store) -> String {
        let context = RequestContext::new("openai.chat")
            .user_id(self.user)
            .conversation_id("c");
        let mut audit = store.recorder().open(context, self.request).unwrap();
        let id = audit.request_id().to_owned();
        if self.is_streamed {
            // Above the cap, so that it is read as it comes.
            for chunk in self.response.as_bytes().chunks(16 * 1024) {
                audit.chunk(chunk.to_vec());
            }
            audit.finish(200).unwrap();
            return id;
        }
        match self.response_id {
            Some(response_id) => {
                let completion = Completion::new()
                    .response_id(response_id)
                    .response_body(self.response);
                audit.complete(completion).unwrap();
            }
            None => {
                audit.chunk(self.response);
                audit.finish(200).unwrap();
            }
        }
        id
    }
}

/// Records it between others, checks these and the file, and gives what became of it.
fn recorded(exchange: Exchange) -> (RequestRecord, Health) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path)
        .payload_bytes_max(32 * 1024)
        .open()
        .unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(Exchange::new("other").record(&store));
    }
    let poisoned = exchange.record(&store);
    for _ in 0..3 {
        others.push(Exchange::new("other").record(&store));
        store.flush(PATIENCE).unwrap();
    }
    let health = store.health();
    assert!(store.close(PATIENCE).is_complete);

    let store = ReadOnlyStore::open(&path).unwrap();
    assert_eq!(store.doctor().unwrap().findings, Vec::<String>::new());
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let reader = store.reader();
    for id in &others {
        let request = reader.get(id).unwrap();
        assert_eq!(
            (request.input_tokens, request.body_flags.len()),
            (Some(9), 0)
        );
        for side in [crate::PayloadSide::Request, crate::PayloadSide::Response] {
            reader.payload(&request, side).unwrap();
        }
    }
    let all = reader
        .list(&RequestFilter::default(), &ListOptions::new().limit(100))
        .unwrap();
    assert_eq!(all.requests.len(), 7);
    assert_eq!(
        reader.stats(&StatsFilter::default()).unwrap()[0].requests,
        7
    );
    (reader.get(&poisoned).unwrap(), health)
}

fn bytes(request: &RequestRecord) -> (u64, Option<u64>) {
    (request.request_bytes, request.response_bytes)
}

#[test]
fn a_request_whose_opening_cannot_be_prepared_is_recorded_barely() {
    let exchange = Exchange::new("trip:open;");
    let lengths = (
        exchange.request.len() as u64,
        Some(exchange.response.len() as u64),
    );
    let (request, health) = recorded(exchange);
    assert_eq!(health.unprepared_events, 1);
    assert_eq!(request.body_flags, ["unprepared"]);
    assert_eq!(
        (request.user_id.as_deref(), bytes(&request)),
        (None, lengths)
    );
    assert_eq!(health.shed_payloads, 1, "its body is stated as lost");
}

#[test]
fn an_end_that_cannot_be_prepared_is_recorded_barely() {
    let mut exchange = Exchange::new("u");
    exchange.response_id = Some("trip:end;");
    let length = exchange.response.len() as u64;
    let (request, health) = recorded(exchange);
    assert_eq!(health.unprepared_events, 1);
    assert_eq!(request.body_flags, ["unprepared"]);
    assert_eq!(request.status, crate::Status::Completed);
    assert_eq!(
        (request.user_id.as_deref(), request.response_bytes),
        (Some("u"), Some(length))
    );
    assert_eq!(health.shed_payloads, 1);
}

#[test]
fn an_event_whose_line_cannot_be_written_is_recorded_barely() {
    let (request, health) = recorded(Exchange::new("trip:line;"));
    assert_eq!(health.unprepared_events, 1);
    assert_eq!(request.body_flags, ["unprepared"]);
    assert_eq!((request.user_id, request.input_tokens), (None, Some(9)));
    assert_eq!(health.shed_payloads, 0, "its bodies are kept");
}

#[test]
fn bodies_that_cannot_be_read_or_packed_are_kept_byte_for_byte() {
    let insert = |text: &str, what: &str| text.replacen("said", what, 1);
    // Where it fails, and what says so.
    for (place, flag) in [
        ("request", "request_unparsed"),
        ("response", "response_unparsed"),
        ("completer", "response_unparsed"),
        ("chunk", "response_unparsed"),
        ("pack", ""),
    ] {
        let mut exchange = Exchange::new("u");
        let trip = format!("trip:{place};");
        match place {
            "request" => exchange.request = insert(&exchange.request, &trip),
            "completer" => exchange.response = exchange.response.replace("ID", &trip),
            "pack" => {
                exchange.request = insert(&exchange.request, &trip);
                exchange.response = insert(&exchange.response, &trip);
            }
            _ => exchange.response = insert(&exchange.response, &trip),
        }
        if place == "chunk" {
            exchange.is_streamed = true;
            exchange.response.push_str(&" ".repeat(100 * 1024));
        }
        let lengths = (
            exchange.request.len() as u64,
            Some(exchange.response.len() as u64),
        );
        let (request, health) = recorded(exchange);
        let flags: Vec<&str> = request.body_flags.iter().map(String::as_str).collect();
        assert_eq!(flags.join(","), flag, "{place}");
        assert_eq!(bytes(&request), lengths, "{place}");
        assert_eq!(request.user_id.as_deref(), Some("u"), "{place}");
        assert_eq!(health.unprepared_events, 0, "{place}");
        assert_eq!(
            health.unparsed_bodies,
            u64::from(!flag.is_empty()),
            "{place}"
        );
    }
}

/// A medium that was planned with a request whose preparation ends in a panic is never written: later bodies do not
/// refer to it.
#[test]
fn a_medium_of_a_request_that_is_not_prepared_costs_no_later_body() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path).open().unwrap();
    let body = format!("{{\"image\":\"{}\"}}", "iVBORw0K".repeat(4000));
    let mut ids = Vec::new();
    for user in ["trip:planned;", "u", "v"] {
        let context = RequestContext::new("openai.chat").user_id(user);
        let audit = store.recorder().open(context, body.clone()).unwrap();
        ids.push(audit.request_id().to_owned());
        audit.complete(Completion::new()).unwrap();
    }
    assert!(store.close(PATIENCE).is_complete);
    let store = ReadOnlyStore::open(&path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let reader = store.reader();
    assert_eq!(reader.get(&ids[0]).unwrap().body_flags, ["unprepared"]);
    for id in &ids[1..] {
        let request = reader.get(id).unwrap();
        let read = reader
            .payload(&request, crate::PayloadSide::Request)
            .unwrap();
        assert_eq!(read.bytes, body.as_bytes());
    }
}
