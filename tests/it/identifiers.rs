//! Identifiers that are too long, or contain NUL: two never become equal, and the whole id finds its requests.

use auditlite::{
    Completion, EraseSelector, ListOptions, RequestContext, RequestFilter, RequestRecord,
    StatsFilter, Store, ToolCall, stored_identifier,
};

use crate::support::{Folder, PATIENCE, close};

/// Pairs that a cut after 256 bytes, or at NUL, would make one.
fn pairs() -> Vec<[String; 2]> {
    let long = |end: &str| format!("{}{end}", "x".repeat(256));
    vec![
        [long("-alice"), long("-mallory")],
        [long(""), long("-mallory")],
        ["a\0b".to_owned(), "a\u{fffd}b".to_owned()],
        [
            format!("{}1", "ä".repeat(200)),
            format!("{}2", "ä".repeat(200)),
        ],
    ]
}

/// A request all of whose identifiers are this one.
fn record(store: &Store, id: &str) {
    let mut context = RequestContext::new(id)
        .request_id(id)
        .user_id(id)
        .session_id(id)
        .context_id(id)
        .conversation_id(id)
        .trace_id(id)
        .provider_name(id)
        .request_model(id)
        .client_model(id)
        .attribute(id, "value");
    context.operation_name = Some(id.to_owned());
    context.url_path = Some(id.to_owned());
    context = context.actor(auditlite::ActorKind::Job, id);
    let audit = store.recorder().open(context, "question").unwrap();
    let completion = Completion::new()
        .response_id(id)
        .response_model(id)
        .finish_reason(id)
        .tool_call(ToolCall::new(id, id, "{}"))
        .response_body("answer");
    audit.complete(completion).unwrap();
}

/// Everything that a filter can name, set to this; the key of an attribute has a bound of its own.
fn filters(id: &str, key: &str) -> Vec<RequestFilter> {
    let sets: [fn(&mut RequestFilter, String); 7] = [
        |filter, id| filter.user_id = Some(id),
        |filter, id| filter.session_id = Some(id),
        |filter, id| filter.conversation_id = Some(id),
        |filter, id| filter.trace_id = Some(id),
        |filter, id| filter.provider_name = Some(id),
        |filter, id| filter.model = Some(id),
        |filter, id| filter.tool_name = Some(id),
    ];
    let filter = |set: fn(&mut RequestFilter, String)| {
        let mut filter = RequestFilter::default();
        set(&mut filter, id.to_owned());
        filter
    };
    let attribute = RequestFilter::new().attribute(key.to_owned(), "value".to_owned());
    sets.into_iter().map(filter).chain([attribute]).collect()
}

fn texts(request: &RequestRecord) -> Vec<&str> {
    let ids = [
        &request.user_id,
        &request.session_id,
        &request.context_id,
        &request.conversation_id,
        &request.trace_id,
        &request.actor_id,
        &request.operation_name,
        &request.url_path,
        &request.provider_name,
        &request.request_model,
        &request.client_model,
        &request.response_model,
        &request.response_id,
        &request.wire_protocol,
    ];
    let ids = ids.into_iter().map(|id| id.as_deref().unwrap());
    let lists = request.finish_reasons.iter().map(String::as_str);
    ids.chain(lists)
        .chain([request.request_id.as_str()])
        .collect()
}

#[test]
fn whatever_does_not_fit_stays_two_and_is_found_by_the_whole() {
    for pair in pairs() {
        let folder = Folder::new();
        let store = folder.open();
        pair.iter().for_each(|id| record(&store, id));
        store.flush(PATIENCE).unwrap();
        let reader = store.reader();
        for id in &pair {
            let stored = stored_identifier(id).into_owned();
            // By the whole and by what was recorded.
            let key = reader.get(id).unwrap().attributes[0].0.clone();
            for (name, key) in [(id, id), (&stored, &key)] {
                let request = reader.get(name).unwrap();
                assert!(texts(&request).iter().all(|text| *text == stored));
                let calls = reader.tool_calls(&request).unwrap();
                assert_eq!(
                    (&calls[0].tool_call_id, &calls[0].tool_name),
                    (&stored, &stored)
                );
                for filter in filters(name, key) {
                    let page = reader.list(&filter, &ListOptions::new().limit(10)).unwrap();
                    assert_eq!(page.requests, std::slice::from_ref(&request), "{filter:?}");
                }
                let user = StatsFilter::new().user_id(name.clone());
                assert_eq!(reader.stats(&user).unwrap()[0].requests, 1);
            }
            let request = reader.get(id).unwrap();
            let is_changed = stored != *id;
            for field in ["request_id", "user_id", "trace_id", "actor", "response_id"] {
                let is_flagged = request.adjusted_fields.iter().any(|name| name == field);
                assert_eq!(
                    is_flagged, is_changed,
                    "{field} of {:?}",
                    request.adjusted_fields
                );
            }
        }
        close(store);
    }
}

#[test]
fn an_erasure_by_the_whole_id_erases_its_own_and_nobody_elses() {
    let selectors: [fn(String) -> EraseSelector; 3] = [
        EraseSelector::Request,
        EraseSelector::User,
        EraseSelector::Conversation,
    ];
    for [alice, mallory] in pairs() {
        for selector in selectors {
            let folder = Folder::new();
            let store = folder.open();
            record(&store, &alice);
            record(&store, &mallory);
            let report = store.erase(&selector(alice.clone()), "asked for").unwrap();
            assert_eq!(report.requests, 1);
            let reader = store.reader();
            assert!(reader.get(&alice).unwrap().is_erased);
            assert!(!reader.get(&mallory).unwrap().is_erased);
            close(store);
        }
    }
}
