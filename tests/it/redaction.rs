//! Secrets are removed before anything is queued or hashed.

use auditlite::{
    Completion, Failure, ListOptions, PayloadSide, Redaction, Rejection, RequestContext,
    RequestRecord, Status, Store, ToolCall,
};

use crate::support::{Folder, PATIENCE, close, findings};

const KEY: &str = "sk-proj-SECRETSECRETSECRETSECRET";

/// Every file of the store, as bytes and as what zstd frames in it hold.
fn is_anywhere(folder: &Folder, secret: &str) -> bool {
    let store = auditlite::ReadOnlyStore::open(folder.path()).unwrap();
    let reader = store.reader();
    let page = reader
        .list(
            &auditlite::RequestFilter::default(),
            &ListOptions::new().limit(100),
        )
        .unwrap();
    let in_bodies = page.requests.iter().any(|request| {
        let sides = [PayloadSide::Request, PayloadSide::Response];
        sides.into_iter().any(|side| {
            let body = reader.payload(request, side);
            body.is_ok_and(|body| String::from_utf8_lossy(&body.bytes).contains(secret))
        })
    });
    let in_records = page.requests.iter().any(|request| {
        format!("{request:?}").contains(secret)
            || format!(
                "{:?}",
                reader
                    .tool_calls(request)
                    .unwrap()
                    .into_iter()
                    .map(|call| call.input)
                    .collect::<Vec<_>>()
            )
            .contains(secret)
            || reader.transcript(request).is_ok_and(|said| {
                let said = said.messages.into_iter().chain(said.replies);
                said.into_iter()
                    .any(|message| message.flattened().contains(secret))
            })
            || reader
                .assistant_text(request)
                .unwrap()
                .is_some_and(|text| text.contains(secret))
    });
    let bytes = std::fs::read(folder.path()).unwrap();
    let in_file = bytes
        .windows(secret.len())
        .any(|window| window == secret.as_bytes());
    in_bodies || in_records || in_file
}

fn lifecycle(store: &Store, id: &str) -> RequestRecord {
    let context = RequestContext::new("openai.chat")
        .request_id(id)
        .attribute("note", format!("uses {KEY}"));
    let request = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{KEY}"}}]}}"#);
    let mut audit = store.recorder().open(context, request).unwrap();
    // The key lies across chunks.
    for chunk in format!(r#"{{"choices":[{{"message":{{"content":"it is {KEY}"}}}}]}}"#)
        .as_bytes()
        .chunks(5)
    {
        audit.chunk(chunk.to_vec());
    }
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    store.reader().get(id).unwrap()
}

#[test]
fn secrets_are_nowhere() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .redaction(Redaction::credentials("policy-7"))
        .open()
        .unwrap();
    let found = lifecycle(&store, "a");
    assert_eq!(found.status, Status::Completed);
    assert_eq!(
        found.request_model.as_deref(),
        Some("m"),
        "what is left is read"
    );
    let body = store
        .reader()
        .payload(&found, PayloadSide::Response)
        .unwrap();
    assert_eq!(
        body.bytes,
        br#"{"choices":[{"message":{"content":"it is [redacted]"}}]}"#
    );
    assert_eq!(found.attributes[0].1, "uses [redacted]");
    let context = RequestContext::new("in-house").request_id("b");
    let completion = Completion::new()
        .response_body(format!("say {KEY}"))
        .assistant_text(format!("say {KEY}"))
        .tool_call(ToolCall::new("call", "tool", format!("with {KEY}")));
    let audit = store
        .recorder()
        .open(context, format!("ask {KEY}"))
        .unwrap();
    audit.complete(completion).unwrap();
    close(store);
    assert!(!is_anywhere(&folder, KEY));
    assert!(!is_anywhere(&folder, "SECRETSECRET"));
    assert_eq!(findings(&folder), [""; 0]);
}

/// Whatever an upstream echoes, wherever, and however its JSON spells it: it is in no event, and in no
/// table that is made from one.
#[test]
fn no_text_that_is_read_from_a_body_holds_a_secret() {
    let spelt = KEY.replacen("sk-", "\\u0073k\\u002d", 1);
    for key in [KEY, &spelt] {
        for (name, protocol, status, response) in [
            (
                "error",
                "openai.chat",
                401,
                format!(
                    r#"{{"error":{{"message":"Incorrect API key provided: {key}.","type":"{key}","code":"{key}"}}}}"#
                ),
            ),
            (
                "completion",
                "openai.chat",
                200,
                format!(
                    r#"{{"id":"{key}","model":"{key}","choices":[{{"finish_reason":"{key}","message":{{"content":null,"tool_calls":[{{"id":"{key}","type":"function","function":{{"name":"{key}","arguments":"{{}}"}}}}]}}}}]}}"#
                ),
            ),
            (
                "stream",
                "openai.chat",
                200,
                format!(
                    "data: {{\"id\":\"{key}\",\"model\":\"{key}\",\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":0,\"id\":\"{key}\",\"function\":{{\"name\":\"{key}\",\"arguments\":\"\"}}}}]}},\"finish_reason\":\"{key}\"}}]}}\n\ndata: [DONE]\n\n"
                ),
            ),
            (
                "anthropic",
                "anthropic.messages",
                529,
                format!(r#"{{"type":"error","error":{{"type":"{key}","message":"{key}"}}}}"#),
            ),
            (
                "gemini",
                "gemini.generate",
                400,
                format!(
                    r#"{{"error":{{"code":400,"status":"{key}","message":"API key {key} not valid"}}}}"#
                ),
            ),
        ] {
            let folder = Folder::new();
            let store = folder
                .builder()
                .redaction(Redaction::credentials("p"))
                .open()
                .unwrap();
            let context = RequestContext::new(protocol)
                .request_id("r")
                .url_path(format!("/v1beta/models/{KEY}:generateContent"));
            let request = format!(r#"{{"model":"{key}","messages":[]}}"#);
            let mut audit = store.recorder().open(context, request).unwrap();
            audit.chunk(response);
            audit.finish(status).unwrap().wait(PATIENCE).unwrap();
            let found = store.reader().get("r").unwrap();
            let calls = store.reader().tool_calls(&found).unwrap();
            let told = format!("{found:?} {calls:?}");
            assert!(!told.contains("SECRETSECRET"), "{name}: {told}");
            assert!(told.contains("[redacted]"), "{name}: {told}");
            assert_ne!(found.error_type.as_deref(), Some(""));
            close(store);
            assert!(!events_hold(&folder, "SECRETSECRET"), "{name}");
            assert_eq!(findings(&folder), [""; 0]);
        }
    }
}

/// And whatever a gateway tells, at a length at which it would be cut.
#[test]
fn no_text_that_a_gateway_tells_holds_a_secret() {
    for length in [0, 200, 250, 16_370] {
        let told = format!("{} {KEY} {KEY}", "x".repeat(length));
        let folder = Folder::new();
        let store = folder
            .builder()
            .redaction(Redaction::credentials("p"))
            .open()
            .unwrap();
        let context = |id: &str| {
            RequestContext::new(&*told)
                .request_id(id)
                .operation_name(&*told)
                .url_path(&*told)
                .provider_name(&*told)
                .request_model(&*told)
                .client_model(&*told)
                .attribute(&*told, &*told)
        };
        let open = |id: &str| store.recorder().open(context(id), "").unwrap();
        let mut served = open("served");
        served.set_served_model(&told);
        served.set_served_provider(&told);
        let call = ToolCall::new(&*told, &*told, &*told);
        let completion = Completion::new()
            .finish_reason(&*told)
            .tool_call(call.clone());
        served.complete(completion.response_id(&*told)).unwrap();
        let completion = Completion::new()
            .response_model(&*told)
            .assistant_text(&*told);
        open("completed").complete(completion).unwrap();
        let failure = Failure::new(&*told)
            .error_message(&*told)
            .finish_reason(&*told);
        let failure = failure
            .tool_call(call)
            .response_id(&*told)
            .response_model(&*told);
        open("failed").fail(failure).unwrap();
        let rejection = Rejection::new(&*told).error_message(&*told);
        open("rejected").reject(rejection).unwrap();
        close(store);
        assert!(!events_hold(&folder, "SECRET"), "{length}");
        assert!(!is_anywhere(&folder, "SECRETSECRET"), "{length}");
        assert_eq!(findings(&folder), [""; 0]);
    }
}

/// Every line of the log, as it is stored.
fn events_hold(folder: &Folder, secret: &str) -> bool {
    let mut bundle = Vec::new();
    let options = auditlite::BundleOptions::default();
    let store = auditlite::ReadOnlyStore::open(folder.path()).unwrap();
    store.write_bundle(&options, &mut bundle).unwrap();
    let text = String::from_utf8(bundle).unwrap();
    assert!(text.contains("redaction_id"));
    text.contains(secret)
}

/// People are not made one: their ids are what the gateway tells.
#[test]
fn ids_stay_what_they_are() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .redaction(Redaction::credentials("p"))
        .open()
        .unwrap();
    for other in ["a", "b"] {
        let id = format!("sk-0123456789abcdefghij-{other}");
        let context = RequestContext::new("")
            .user_id(&*id)
            .conversation_id(&*id)
            .request_id(&*id);
        let audit = store.recorder().open(context, "").unwrap();
        audit.finish(200).unwrap().wait(PATIENCE).unwrap();
        let found = store.reader().get(&id).unwrap();
        assert_eq!(found.user_id, Some(id));
    }
    close(store);
}

#[test]
fn credentials_in_headers_and_queries_never_enter() {
    let folder = Folder::new();
    let store = folder.open();
    let mut context = RequestContext::default()
        .request_id("r")
        .url_path(format!("/v1/chat/completions?key={KEY}"))
        .attribute("url.full", format!("https://h/v1?alt=sse&key={KEY}&n=1"));
    let headers = [
        "Authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "X-Api-Key",
        "api_key",
        "x-goog-api-key",
        "http.request.header.authorization",
        "http.request.header.x_amz_security_token",
    ];
    for header in headers {
        context = context.attribute(header, format!("Bearer {KEY}"));
    }
    let audit = store.recorder().open(context, "{}").unwrap();
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    let found = store.reader().get("r").unwrap();
    assert_eq!(found.attributes.len(), 1 + headers.len());
    let (url, rest) = found.attributes.split_first().unwrap();
    assert_eq!(url.1, "https://h/v1?alt=sse&key=[redacted]&n=1");
    assert!(rest.iter().all(|(_, value)| value == "[redacted]"));
    assert_eq!(found.adjusted_fields, ["attributes"]);
    close(store);
    assert!(!is_anywhere(&folder, KEY));
    assert!(!is_anywhere(&folder, "SECRETSECRET"));
}

#[test]
fn without_a_policy_they_stay() {
    let folder = Folder::new();
    let store = folder.open();
    lifecycle(&store, "a");
    close(store);
    assert!(is_anywhere(&folder, KEY), "the test would see them");
}

#[test]
fn a_policy_that_fails_or_panics_costs_the_content_only() {
    for panics in [false, true] {
        let folder = Folder::new();
        let policy = Redaction::callback("broken", move |text| {
            assert!(
                !panics || !text.windows(3).any(|word| word == b"sk-"),
                "broken"
            );
            match text.windows(3).any(|word| word == b"sk-") {
                true => Err("broken".into()),
                false => Ok(None),
            }
        });
        let store = folder.builder().redaction(policy).open().unwrap();
        let found = lifecycle(&store, "a");
        assert_eq!(found.status, Status::Completed);
        assert!(found.is_withheld());
        assert_eq!(found.adjusted_fields, ["attributes"]);
        let flags = ["request_withheld", "response_withheld"];
        assert_eq!(found.body_flags, flags);
        let error = store
            .reader()
            .payload(&found, PayloadSide::Request)
            .unwrap_err();
        assert!(error.to_string().contains("redaction"), "{error}");
        let health = store.health();
        assert_eq!((health.redaction_failures, health.shed_payloads), (3, 0));
        close(store);
        assert!(!is_anywhere(&folder, KEY));
        assert_eq!(findings(&folder), [""; 0]);
    }
}

#[test]
fn a_stream_above_the_cap_is_withheld() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .payload_bytes_max(16 * 1024)
        .redaction(Redaction::credentials("p"))
        .open()
        .unwrap();
    let mut audit = store
        .recorder()
        .open(RequestContext::new("").request_id("r"), "x")
        .unwrap();
    for _ in 0..100 {
        audit.chunk(vec![b'x'; 1000]);
    }
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    let found = store.reader().get("r").unwrap();
    assert_eq!(found.response_bytes, Some(100_000));
    assert!(found.is_withheld());
    assert!(
        store
            .reader()
            .payload(&found, PayloadSide::Response)
            .is_err()
    );
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
}

#[test]
fn the_policy_s_id_is_in_the_events() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .redaction(Redaction::credentials("policy-7"))
        .open()
        .unwrap();
    lifecycle(&store, "a");
    close(store);
    let mut bundle = Vec::new();
    let options = auditlite::BundleOptions::default();
    auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .write_bundle(&options, &mut bundle)
        .unwrap();
    let text = String::from_utf8_lossy(&bundle);
    assert_eq!(text.matches(r#""redaction_id":"policy-7""#).count(), 2);
}
