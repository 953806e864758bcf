//! Erasing and pruning: what remains, what does not, and that the trail still verifies.

use std::time::Duration;

use auditlite::{
    Completion, EraseSelector, ListOptions, PayloadSide, ReadError, ReadOnlyStore, RemovalError,
    RequestContext, RequestFilter, Retention, StatsFilter, StatsKey, Status, Store, Timestamp,
    ToolCall, Usage, VerifyOptions,
};

use crate::support::{Folder, PATIENCE, close, findings};

/// Verification and the doctor have nothing to say; a rebuild changes nothing.
pub fn assert_clean(folder: &Folder) {
    let report = ReadOnlyStore::open(folder.path())
        .unwrap()
        .verify(&VerifyOptions::default())
        .unwrap();
    assert_eq!(report.findings, [], "{report:?}");
    assert_eq!(findings(folder), [""; 0]);
}

fn turn(store: &Store, conversation: &str, user: &str, number: usize, secret: &str) -> String {
    let id = format!("{conversation}-{number}");
    let history: String = (0..=number)
        .map(|turn| format!("{{\"role\":\"user\",\"content\":\"{conversation} says {turn}\"}},"))
        .collect();
    let context = RequestContext::new("openai.chat")
        .request_id(id.clone())
        .conversation_id(conversation)
        .user_id(user)
        .session_id(format!("session of {user}"))
        .attribute("note", format!("attribute of {user}"))
        .provider_name("openai")
        .request_model("gpt-4o");
    let body = format!(
        "{{\"system\":\"{}\",\"messages\":[{history}\"{secret}\"]}}",
        "You are a helpful assistant of a long system prompt. ".repeat(20)
    );
    let audit = store.recorder().open(context, body).unwrap();
    audit
        .complete(
            Completion::new()
                .response_body(format!("answer {number} of {conversation}: {secret}"))
                .assistant_text(format!("text {secret}"))
                .tool_call(ToolCall::new("call", format!("tool of {user}"), "{}"))
                .usage(Usage::new(10, 2)),
        )
        .unwrap();
    id
}

/// Where this text occurs in the store's files.
fn occurrences(folder: &Folder, text: &str) -> Vec<(String, usize)> {
    let directory = folder.path().parent().unwrap().to_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let hits = bytes.windows(text.len()).enumerate();
        found.extend(
            hits.filter(|(_, window)| *window == text.as_bytes())
                .map(|(at, _)| (path.display().to_string(), at)),
        );
    }
    found
}

fn body(number: usize, conversation: &str, side: PayloadSide, store: &ReadOnlyStore) -> Vec<u8> {
    let reader = store.reader();
    let request = reader.get(&format!("{conversation}-{number}")).unwrap();
    reader.payload(&request, side).unwrap().bytes
}

#[test]
fn an_erased_conversation_leaves_its_ids_and_sums_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..12 {
        for (conversation, user) in [("alpha", "xq-user-alice"), ("beta", "xq-user-bob")] {
            turn(
                &store,
                conversation,
                user,
                number,
                &format!("zzsecret {user}"),
            );
        }
        store.flush(PATIENCE).unwrap();
    }
    let reading = ReadOnlyStore::open(folder.path()).unwrap();
    let kept: Vec<_> = (0..12)
        .map(|number| body(number, "beta", PayloadSide::Request, &reading))
        .collect();
    let selector = EraseSelector::Conversation("alpha".to_owned());
    let preview = reading.preview_erase(&selector).unwrap();
    assert_eq!(preview.requests, 12);
    let report = store.erase(&selector, "asked for").unwrap();
    assert_eq!(report.requests, 12);
    assert_eq!(report.payloads, preview.payloads);
    assert!(report.is_fully_erased);
    assert_eq!(store.erase(&selector, "again").unwrap().requests, 0);

    let reader = store.reader();
    let request = reader.get("alpha-3").unwrap();
    assert!(request.is_erased);
    assert_eq!(request.status, Status::Completed);
    assert_eq!((request.user_id, request.conversation_id), (None, None));
    assert_eq!(request.input_tokens, Some(10));
    let request = reader.get("alpha-3").unwrap();
    for side in [PayloadSide::Request, PayloadSide::Response] {
        let error = reader.payload(&request, side).unwrap_err();
        assert!(
            matches!(
                error,
                ReadError::NotKept {
                    reason: "it was erased",
                    ..
                }
            ),
            "{error}"
        );
    }
    for (number, kept) in kept.iter().enumerate() {
        assert_eq!(body(number, "beta", PayloadSide::Request, &reading), *kept);
    }
    let by_user = StatsFilter::new().group_by([StatsKey::User]);
    let rows = reader.stats(&by_user).unwrap();
    let users: Vec<_> = rows
        .iter()
        .map(|row| (row.user_id.clone().unwrap(), row.requests))
        .collect();
    assert_eq!(users, [(String::new(), 12), ("xq-user-bob".to_owned(), 12)]);
    for text in ["xq-user-alice", "zzsecret xq-user-alice", "alpha says"] {
        assert_eq!(occurrences(&folder, text), [], "{text}");
    }
    assert!(!occurrences(&folder, "xq-user-bob").is_empty());
    drop(reader);
    close(store);
    assert_clean(&folder);
    auditlite::rebuild(folder.path()).unwrap();
    assert_clean(&folder);
}

#[test]
fn a_request_that_has_not_ended_is_not_erased() {
    let folder = Folder::new();
    let store = folder.open();
    let context = RequestContext::new("").request_id("open").user_id("u");
    let audit = store.recorder().open(context, "body").unwrap();
    let error = store
        .erase(&EraseSelector::User("u".to_owned()), "why")
        .unwrap_err();
    assert!(matches!(error, RemovalError::Pending { .. }), "{error}");
    audit.complete(Completion::new()).unwrap();
    let report = store.erase(&EraseSelector::User("u".to_owned()), "why");
    assert_eq!(report.unwrap().requests, 1);
    for (selector, reason) in [("", "why"), ("u", "")] {
        let error = store
            .erase(&EraseSelector::User(selector.to_owned()), reason)
            .unwrap_err();
        assert!(matches!(error, RemovalError::InvalidArgument(_)), "{error}");
    }
    close(store);
    assert_clean(&folder);
}

#[test]
fn content_is_pruned_before_metadata_and_sums_stay() {
    let folder = Folder::new();
    let store = folder.open();
    let hour_ago = |hours: i64| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        now.as_micros() as i64 - hours * 3_600_000_000
    };
    for number in 0..60_i64 {
        let context = RequestContext::new("")
            .request_id(format!("r-{number:02}"))
            .conversation_id("long")
            .user_id("someone")
            .started_at(Timestamp::from_micros(hour_ago(60 - number)));
        let body = format!("{}{number}", "all the same text again ".repeat(30));
        let audit = store.recorder().open(context, body).unwrap();
        audit
            .complete(Completion::new().usage(Usage::new(1, 1)))
            .unwrap();
        store.flush(PATIENCE).unwrap();
    }
    let total = |store: &Store| store.reader().stats(&StatsFilter::default()).unwrap();
    let before = total(&store);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let retention = Retention::new()
        .content_older_than(hours(20))
        .metadata_older_than(hours(40));
    let preview = ReadOnlyStore::open(folder.path())
        .unwrap()
        .preview_prune(&retention)
        .unwrap();
    let report = store.prune(&retention).unwrap();
    assert_eq!(report.payloads, preview.payloads);
    assert_eq!(report.requests, preview.requests);
    assert!((18..=22).contains(&report.requests), "{report:?}");
    assert!((38..=42).contains(&report.payloads), "{report:?}");
    assert!(report.repacked >= 1);
    assert_eq!(total(&store), before);
    let reader = store.reader();
    assert!(matches!(reader.get("r-05"), Err(ReadError::NotFound(_))));
    let request = reader.get("r-30").unwrap();
    let error = reader.payload(&request, PayloadSide::Request).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::NotKept {
                reason: "it was pruned",
                ..
            }
        ),
        "{error}"
    );
    for number in 45..60 {
        let request = reader.get(&format!("r-{number:02}")).unwrap();
        let body = reader.payload(&request, PayloadSide::Request).unwrap();
        assert!(body.bytes.ends_with(format!("again {number}").as_bytes()));
    }
    // Nothing is due any more: nothing is written.
    let again = store.prune(&retention).unwrap();
    assert_eq!((again.payloads, again.requests), (0, 0));
    close(store);
    assert_clean(&folder);
    auditlite::rebuild(folder.path()).unwrap();
    assert_clean(&folder);
}

/// Rows that SQLite moves from page to page while it records leave no copies behind.
#[test]
fn nothing_of_an_erased_user_is_left_in_a_file_of_many() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..3000 {
        let user = format!("user-{:04}-of-many", (number * 7919) % 1000);
        let context = RequestContext::new("")
            .request_id(format!("{:05}", (number * 7919) % 3000))
            .user_id(user.clone())
            .session_id(format!("session of {user}"));
        let audit = store
            .recorder()
            .open(context, format!("body of {user}"))
            .unwrap();
        if number % 3 == 0 {
            store.flush(PATIENCE).unwrap();
        }
        audit
            .fail(auditlite::Failure::new("overloaded").error_message(format!("no, {user}")))
            .unwrap();
    }
    store.flush(PATIENCE).unwrap();
    for number in (0..1000).step_by(97) {
        let user = format!("user-{number:04}-of-many");
        let report = store
            .erase(&EraseSelector::User(user.clone()), "why")
            .unwrap();
        assert_eq!(report.requests, 3);
        assert!(report.is_fully_erased);
        assert_eq!(occurrences(&folder, &user), [], "{user}");
    }
    close(store);
    assert_clean(&folder);
}

/// Requests that end later than they are opened make their rows grow, and SQLite move others: what it
/// leaves of them where they were is found and overwritten.
#[test]
fn nothing_is_left_on_pages_where_rows_once_were() {
    let folder = Folder::new();
    let store = folder.open();
    let (mut open, mut texts) = (Vec::new(), Vec::new());
    for number in 0..4000 {
        let user = format!("user-{:04}-of-some", (number * 7919) % 1500);
        let context = RequestContext::new("")
            .user_id(user.clone())
            .session_id(format!("session of {user}"))
            .conversation_id(format!("talk-{:05}-of-some", number / 4))
            .attribute("note", format!("attribute of {user}"));
        open.push(
            store
                .recorder()
                .open(context, format!("body {number}"))
                .unwrap(),
        );
        if number % 5 == 0 {
            store.flush(PATIENCE).unwrap();
        }
        if open.len() > 20 {
            let end =
                Completion::new().tool_call(ToolCall::new("id", format!("tool-{number}"), "{}"));
            open.remove(0).complete(end).unwrap();
        }
    }
    drop(open);
    store.flush(PATIENCE).unwrap();
    for number in (0..1500).step_by(29) {
        let user = format!("user-{number:04}-of-some");
        let selector = EraseSelector::User(user.clone());
        assert!(store.erase(&selector, "why").unwrap().is_fully_erased);
        texts.push(user);
    }
    for number in (0..1000).step_by(29) {
        let talk = format!("talk-{number:05}-of-some");
        let filter = RequestFilter::new().conversation_id(talk.clone());
        let page = store
            .reader()
            .list(&filter, &ListOptions::new().limit(10))
            .unwrap();
        for request in page.requests {
            let selector = EraseSelector::UserConversation {
                user_id: request.user_id.unwrap(),
                conversation_id: talk.clone(),
            };
            assert!(store.erase(&selector, "why").unwrap().is_fully_erased);
        }
        texts.push(talk);
    }
    for text in texts {
        assert_eq!(occurrences(&folder, &text), [], "{text}");
    }
    close(store);
    assert_clean(&folder);
}
