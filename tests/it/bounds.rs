//! Input out of its bounds: recorded all the same, shortened or left out, and flagged.

use auditlite::{
    ATTRIBUTES_MAX, Completion, Failure, IDENTIFIER_BYTES_MAX, RequestContext, Status,
    TOKEN_LIMIT_MAX, TOKENS_MAX, TOOL_INPUT_BYTES_MAX, Timestamp, ToolCall, Usage,
    stored_identifier,
};

use crate::support::{Folder, PATIENCE, close, findings};

#[test]
fn absurd_input_never_loses_a_lifecycle() {
    let folder = Folder::new();
    let store = folder.open();
    let mut context = RequestContext::new("x".repeat(1000))
        .request_id("y".repeat(IDENTIFIER_BYTES_MAX + 1))
        .user_id("ü".repeat(1000))
        .trace_id("a\0b")
        .temperature(f64::INFINITY)
        .top_p(f64::NAN)
        .max_tokens(u64::MAX)
        .started_at(Timestamp::from_micros(i64::MIN));
    for number in 0..200 {
        context = context.attribute(format!("k{number}"), "v".repeat(100_000));
    }
    let mut audit = store
        .recorder()
        .open(context, vec![0xFF, 0x00, 0xFE])
        .unwrap();
    let long = "y".repeat(IDENTIFIER_BYTES_MAX + 1);
    assert_eq!(audit.request_id(), stored_identifier(&long));
    let id = audit.request_id().to_owned();
    audit.set_served_model(&"m".repeat(1000));
    audit
        .complete(
            Completion::new()
                .usage(Usage::new(u64::MAX, u64::MAX))
                .finish_reason("f".repeat(1000))
                .tool_call(ToolCall::new(
                    "i".repeat(1000),
                    "n\0",
                    "é".repeat(TOOL_INPUT_BYTES_MAX),
                ))
                .response_body("{not json"),
        )
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    let request = store.reader().get(&id).unwrap();
    assert_eq!(request.status, Status::Completed);
    assert_eq!(
        *request.user_id.as_ref().unwrap(),
        stored_identifier(&"ü".repeat(1000))
    );
    assert_eq!(request.trace_id.clone().unwrap(), stored_identifier("a\0b"));
    assert_eq!((request.temperature, request.top_p), (None, None));
    assert_eq!(request.max_tokens, Some(TOKEN_LIMIT_MAX));
    assert_eq!(request.input_tokens, Some(TOKENS_MAX));
    assert_eq!(request.attributes.len(), ATTRIBUTES_MAX);
    for name in [
        "request_id",
        "user_id",
        "trace_id",
        "temperature",
        "top_p",
        "max_tokens",
        "started_at",
        "attributes",
        "wire_protocol",
        "response_model",
        "input_tokens",
        "output_tokens",
        "finish_reasons",
        "tool_calls",
    ] {
        let is_flagged = request
            .adjusted_fields
            .iter()
            .any(|adjusted| adjusted == name);
        assert!(
            is_flagged,
            "{name} is not flagged in {:?}",
            request.adjusted_fields
        );
    }
    let calls = store.reader().tool_calls(&request).unwrap();
    assert_eq!(calls[0].input_bytes, 2 * TOOL_INPUT_BYTES_MAX as u64);
    let input = calls[0].input.as_ref().unwrap();
    assert_eq!(input.len(), TOOL_INPUT_BYTES_MAX);
    assert!(input.chars().all(|c| c == 'é'));
    // Even the rollup holds what does not add up to a number.
    assert!(
        store
            .reader()
            .stats(&auditlite::StatsFilter::default())
            .is_ok()
    );
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn check_tells_beforehand_what_is_out_of_bounds() {
    let error = RequestContext::new("")
        .user_id("u".repeat(300))
        .check()
        .unwrap_err();
    assert_eq!(error.field, "user_id");
    assert!(error.to_string().contains("300 bytes"), "{error}");
    assert!(Failure::new("x".repeat(300)).check().is_err());
    assert!(
        Completion::new()
            .usage(Usage::new(u64::MAX, 0))
            .check()
            .is_err()
    );
    assert!(
        RequestContext::new("openai.chat")
            .user_id("u")
            .check()
            .is_ok()
    );
}

#[test]
fn the_same_request_id_twice_is_recorded_twice() {
    let folder = Folder::new();
    let store = folder.open();
    for body in ["first", "second"] {
        crate::support::record(&store, "same", body, body);
    }
    store.flush(PATIENCE).unwrap();
    let found = store.reader().find("same", 10).unwrap();
    assert_eq!(found.len(), 2);
    assert!(store.reader().get("same").is_err(), "neither is meant");
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn debug_output_never_shows_content() {
    let secret = "my-secret-content";
    let context = RequestContext::new("")
        .attribute("k", secret)
        .messages(vec![auditlite::Message::new("", secret)]);
    let completion = Completion::new()
        .response_body(secret)
        .assistant_text(secret)
        .tool_call(ToolCall::new("id", "name", secret));
    let failure = Failure::new("e")
        .response_body(secret)
        .error_message(secret);
    let folder = Folder::new();
    let store = folder.open();
    let audit = store.recorder().open(context.clone(), secret).unwrap();
    let shown = format!("{context:?} {completion:?} {failure:?} {audit:?} {store:?}");
    assert!(!shown.contains(secret), "{shown}");
}

#[test]
fn what_a_gateway_changed_itself_is_flagged_with_the_rest() {
    let folder = Folder::new();
    let store = folder.open();
    let mut context = RequestContext::new("").user_id("u".repeat(300));
    context.adjusted_fields = ["latency_us", "user_id", "", "a,b", "é", "latency_us"]
        .map(str::to_owned)
        .to_vec();
    context.adjusted_fields.push("x".repeat(65));
    context
        .adjusted_fields
        .extend((0..200).map(|n| format!("field_{n}")));
    context.check().unwrap_err();
    let audit = store.recorder().open(context, "{}").unwrap();
    let id = audit.request_id().to_owned();
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    let request = store.reader().get(&id).unwrap();
    let [first, second, third, ..] = request.adjusted_fields.as_slice() else {
        panic!("{:?}", request.adjusted_fields)
    };
    assert_eq!(
        (first.as_str(), second.as_str(), third.as_str()),
        ("user_id", "latency_us", "field_0")
    );
    assert!(
        (60..=65).contains(&request.adjusted_fields.len()),
        "{:?}",
        request.adjusted_fields
    );
    close(store);
    assert!(findings(&folder).is_empty());
}
