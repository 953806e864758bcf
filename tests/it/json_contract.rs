//! What is read back, as JSON: the names are those of the schemas that the command line's output is described by.
//! Where the two differ, docs/decisions.md says why.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use auditlite::{
    Alarm, Completion, ConversationOptions, EraseSelector, Message, MessageToolCall,
    MessageToolResult, PayloadSide, PruneReport, ReadOnlyStore, RequestContext, RequestFilter,
    Retention, SearchOptions, StatsFilter, Store, VerifyOptions, update_search_index,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{Folder, PATIENCE, close, record};

fn names(value: impl Serialize) -> BTreeSet<String> {
    let value = serde_json::to_value(value).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

/// Names of the object at this place of a schema; arrays on the way stand for their elements.
fn described(schema: &str, place: &[&str]) -> BTreeSet<String> {
    let path = format!("{}/docs/schemas/{schema}.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let of = |schema: &Value, name: &str| {
        let field = &schema["properties"][name];
        field.get("items").unwrap_or(field).clone()
    };
    let object = place.iter().fold(schema, |schema, name| of(&schema, name));
    names(&object["properties"])
}

/// The schema has the model's names, but for those that the command line adds and leaves out.
fn check(schema: &str, place: &[&str], model: impl Serialize, added: &[&str], left_out: &[&str]) {
    let set = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    };
    let (model, added, left_out) = (names(model), set(added), set(left_out));
    assert!(model.is_disjoint(&added), "{schema} {place:?}");
    assert!(model.is_superset(&left_out), "{schema} {place:?}");
    let expected: BTreeSet<_> = model.difference(&left_out).chain(&added).cloned().collect();
    assert_eq!(described(schema, place), expected, "{schema} {place:?}");
}

/// A tool is called, and the next request brings what it gave.
fn record_conversation(store: &Store) {
    let call = json!({"id": "call-1", "type": "function",
        "function": {"name": "get_weather", "arguments": "{}"}});
    let question = json!({"role": "user", "content": "What is the weather in Lyon?"});
    let asked = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let answered = json!({"role": "tool", "tool_call_id": "call-1", "content": "sunny"});
    let turns = [
        ("turn-0", vec![question.clone()], asked.clone()),
        (
            "turn-1",
            vec![question, asked, answered],
            json!({"role": "assistant", "content": "Sunny."}),
        ),
    ];
    for (id, messages, reply) in turns {
        let context = RequestContext::new("openai.chat")
            .request_id(id)
            .user_id("u-1")
            .conversation_id("weather");
        let body = json!({"messages": messages}).to_string();
        let audit = store.recorder().open(context, body).unwrap();
        let response = json!({"choices": [{"message": reply}]}).to_string();
        let completion = Completion::new().response_body(response).read_body(true);
        audit.complete(completion).unwrap();
    }
}

fn recorded() -> (Folder, ReadOnlyStore) {
    let folder = Folder::new();
    let store = folder.open();
    record_conversation(&store);
    close(store);
    update_search_index(folder.path(), |_| true).unwrap();
    let reading = ReadOnlyStore::open(folder.path()).unwrap();
    (folder, reading)
}

#[test]
fn reports_serialize_with_the_names_of_the_json_contract() {
    let (_folder, reading) = recorded();
    let reader = reading.reader();
    check("doctor", &[], reading.doctor().unwrap(), &["path"], &[]);
    let verified = reading.verify(&VerifyOptions::new()).unwrap();
    check("verify", &[], verified, &["path"], &[]);
    check(
        "stats",
        &[],
        &reader.stats(&StatsFilter::new()).unwrap()[0],
        &[],
        &[],
    );
    let tools = reader.tools(&RequestFilter::new()).unwrap();
    check("tools", &[], &tools[0], &[], &[]);
    check("list", &[], reader.get("turn-0").unwrap(), &[], &[]);
    let user = EraseSelector::User("u-1".to_owned());
    let erased = reading.preview_erase(&user).unwrap();
    check("erase", &[], erased, &["dry_run"], &[]);
    let retention = Retention::new().size_bytes_max(1 << 30);
    let pruned = reading.preview_prune(&retention).unwrap();
    check("prune", &[], pruned, &["dry_run"], &[]);
}

/// `show` joins what several calls return; `conversation` and `search` name requests instead of repeating them.
#[test]
fn requests_and_messages_serialize_with_the_names_of_the_json_contract() {
    let (_folder, reading) = recorded();
    let reader = reading.reader();
    let request = reader.get("turn-0").unwrap();
    let joined = [
        "overhead_us",
        "price_book",
        "request",
        "response",
        "response_bytes_so_far",
        "tool_calls",
        "messages",
        "replies",
        "unparsed",
        "left_out",
        "unchecked",
        "damaged",
    ];
    check("show", &[], &request, &joined, &[]);
    let transcript = names(reader.transcript(&request).unwrap());
    let described = described("show", &[]);
    assert!(described.is_superset(&transcript), "{transcript:?}");
    for (place, side) in [
        ("request", PayloadSide::Request),
        ("response", PayloadSide::Response),
    ] {
        let info = reader.body_info(&request, side).unwrap().unwrap();
        check("show", &[place], info, &[], &[]);
    }
    let calls = reader.tool_calls(&request).unwrap();
    check(
        "show",
        &["tool_calls"],
        &calls[0],
        &["result", "executed_by", "asked_in"],
        &[],
    );
    let results = reader.tool_results(&request, &["call-1"]).unwrap();
    let result = results[0].clone().unwrap();
    check("show", &["tool_calls", "result"], result, &[], &[]);

    // Empty fields of a message are left out by the library, which also records this form.
    let mut message = Message::new("tool", "sunny");
    message
        .tool_calls
        .push(MessageToolCall::new("call-1", "get_weather", "{}"));
    message
        .tool_results
        .push(MessageToolResult::new("call-1", "sunny"));
    for (schema, list) in [("show", "messages"), ("show", "replies")] {
        check(schema, &[list], &message, &[], &[]);
    }
    let of_requests = [
        "is_reply",
        "first_request_id",
        "first_opened_seq",
        "last_request_id",
        "last_opened_seq",
        "requests",
    ];
    check("conversation", &["messages"], &message, &of_requests, &[]);
    for (schema, list) in [
        ("show", "messages"),
        ("show", "replies"),
        ("conversation", "messages"),
    ] {
        let calls = &message.tool_calls[0];
        check(schema, &[list, "tool_calls"], calls, &[], &[]);
        let results = &message.tool_results[0];
        check(schema, &[list, "tool_results"], results, &[], &[]);
    }

    let page = reader
        .conversation("weather", &ConversationOptions::default())
        .unwrap();
    let named = [
        "conversation_id",
        "user_id",
        "request_ids",
        "opened_seqs",
        "is_cut",
    ];
    check("conversation", &[], &page, &named, &["requests"]);
    let said = names(&page.messages[0]);
    let expected = ["first", "is_reply", "last", "message", "requests"];
    assert!(said.iter().eq(expected), "{said:?}");

    let found = reader.search("lyon", &SearchOptions::default()).unwrap();
    let hit = &found.hits[0];
    let named = [
        "request_id",
        "opened_seq",
        "opened_at",
        "conversation_id",
        "user_id",
        "model",
    ];
    check("search", &[], hit, &named, &["request"]);
    check("search", &["snippet"], &hit.snippet[0], &[], &[]);
}

#[test]
fn durations_serialize_as_whole_microseconds_that_their_name_says() {
    let ahead = Duration::from_millis(1_500);
    let alarm = serde_json::to_value(Alarm::ClockAhead { ahead }).unwrap();
    assert_eq!(alarm, json!({"kind": "clock_ahead", "ahead_us": 1_500_000}));
    let mut report = PruneReport::default();
    let json = serde_json::to_value(report).unwrap();
    assert_eq!(json["clock_ahead_us"], Value::Null);
    report.clock_ahead = Some(ahead);
    let json = serde_json::to_value(report).unwrap();
    assert_eq!(json["clock_ahead_us"], 1_500_000);
}

#[test]
fn what_has_no_contract_of_its_own_serializes_too() {
    let folder = Folder::new();
    let (sender, notices) = mpsc::channel();
    let store = folder
        .builder()
        .on_checkpoint(move |notice| Ok(sender.send(notice.clone())?))
        .open()
        .unwrap();
    record(&store, "r-1", "a question", "an answer");
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let page = reader
        .list(&RequestFilter::new(), &Default::default())
        .unwrap();
    let page = serde_json::to_value(page).unwrap();
    assert_eq!(page["requests"][0]["status"], "completed");
    let health = serde_json::to_value(store.health()).unwrap();
    assert_eq!(health["state"], "healthy");
    let request = reader.get("r-1").unwrap();
    let info = reader
        .body_info(&request, PayloadSide::Request)
        .unwrap()
        .unwrap();
    let json = serde_json::to_value(info).unwrap();
    assert_eq!(json["sha256"], info.sha256.unwrap().to_string());
    close(store);
    let notice = notices.recv_timeout(PATIENCE).unwrap();
    let json = serde_json::to_value(&notice).unwrap();
    assert_eq!(json["root"], notice.root.to_string());
    assert_eq!(json["at"], notice.at.as_micros());
    assert_eq!(json["size"], notice.size);
}
