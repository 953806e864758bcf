//! Conversations: one user's each, whatever ids clients choose, and whole however long.

use std::collections::HashMap;

use auditlite::{
    Completion, ConversationOptions, EraseSelector, ListOptions, MESSAGES_MAX, Message, ReadError,
    RemovalError, RequestContext, RequestFilter, SearchOptions, Store, ToolCall,
    update_search_index,
};
use serde_json::json;

use crate::support::{Folder, PATIENCE, close, sqlite};

const USERS: [Option<&str>; 3] = [Some("alice"), Some("bob"), None];

/// A request that carries these texts, and its reply.
fn say(store: &Store, id: &str, user: Option<&str>, conversation: &str, texts: &[String]) {
    let mut context = RequestContext::new("openai.chat")
        .request_id(id)
        .conversation_id(conversation);
    context.user_id = user.map(str::to_owned);
    let message = |text: &String| {
        let is_reply = text.starts_with("reply");
        json!({"role": if is_reply { "assistant" } else { "user" }, "content": text})
    };
    let messages: Vec<_> = texts.iter().map(message).collect();
    let body = json!({"model": "m", "messages": messages}).to_string();
    let audit = store.recorder().open(context, body).unwrap();
    let reply = json!({"choices": [{"message": {"role": "assistant", "content": format!("reply to {id}")}}]});
    audit
        .complete(
            Completion::new()
                .tool_call(ToolCall::new("call", "tool", "{}"))
                .response_body(reply.to_string()),
        )
        .unwrap();
}

/// Three users whose clients call each conversation `default`, turn by turn.
fn shared() -> (Folder, Store) {
    let folder = Folder::new();
    let store = folder.open();
    for turn in 0..4 {
        for user in USERS {
            let name = user.unwrap_or("nobody");
            let mut texts = vec!["hello there".to_owned()];
            for before in 0..turn {
                texts.push(format!("reply to {name}-{before}"));
                texts.push(format!("{name} goes on {before}"));
            }
            say(&store, &format!("{name}-{turn}"), user, "default", &texts);
        }
    }
    store.flush(PATIENCE).unwrap();
    (folder, store)
}

fn options(user: Option<&str>) -> ConversationOptions {
    let mut options = ConversationOptions::default();
    options.user_id = Some(user.unwrap_or_default().to_owned());
    options
}

#[test]
fn a_conversation_is_one_users_and_asks_whose_where_several_have_its_id() {
    let (_folder, store) = shared();
    let reader = store.reader();
    let error = reader.conversation("default", &ConversationOptions::default());
    let Err(ReadError::AmbiguousConversation {
        mut users,
        has_more,
        ..
    }) = error
    else {
        panic!("{error:?}");
    };
    users.sort();
    assert_eq!(
        (users, has_more),
        (vec![String::new(), "alice".into(), "bob".into()], false)
    );
    for user in USERS {
        let name = user.unwrap_or("nobody");
        let said = reader.conversation("default", &options(user)).unwrap();
        let ids: Vec<_> = said
            .requests
            .iter()
            .map(|request| request.request_id.as_str())
            .collect();
        assert_eq!(ids, [0, 1, 2, 3].map(|turn| format!("{name}-{turn}")));
        assert_eq!(said.messages.len(), 8);
        let request = reader.get(&format!("{name}-2")).unwrap();
        let same = reader.conversation_of(&request, &ConversationOptions::default());
        assert_eq!(same.unwrap(), said);
        let filter = RequestFilter::new()
            .user_id(user.unwrap_or_default().to_owned())
            .conversation_id("default");
        let page = reader
            .list(&filter, &ListOptions::new().limit(100))
            .unwrap();
        assert!(
            page.requests
                .iter()
                .all(|request| request.user_id.as_deref() == user)
        );
        assert_eq!(page.requests.len(), 4);
    }
    let error = reader.conversation("default", &options(Some("carol")));
    assert!(matches!(error, Err(ReadError::NotFound(_))), "{error:?}");
}

#[test]
fn erasing_a_conversation_takes_one_users_or_refuses() {
    let (_folder, store) = shared();
    let ambiguous = store.erase(&EraseSelector::Conversation("default".to_owned()), "why");
    assert!(
        matches!(
            ambiguous,
            Err(RemovalError::Read(ReadError::AmbiguousConversation { .. }))
        ),
        "{ambiguous:?}"
    );
    let is_erased = |name: &str| {
        let ids = (0..4).map(|turn| format!("{name}-{turn}"));
        let erased: Vec<_> = ids
            .map(|id| store.reader().get(&id).unwrap().is_erased)
            .collect();
        assert!(
            erased.iter().all(|is| *is == erased[0]),
            "{name}: {erased:?}"
        );
        erased[0]
    };
    assert!(!["alice", "bob", "nobody"].into_iter().any(is_erased));
    let of = |user: &str| EraseSelector::UserConversation {
        user_id: user.to_owned(),
        conversation_id: "default".to_owned(),
    };
    assert_eq!(store.erase(&of("carol"), "why").unwrap().requests, 0);
    assert_eq!(store.erase(&of(""), "why").unwrap().requests, 4);
    assert_eq!(
        ["alice", "bob", "nobody"].map(is_erased),
        [false, false, true]
    );
    assert_eq!(store.erase(&of("alice"), "why").unwrap().requests, 4);
    assert_eq!(
        ["alice", "bob", "nobody"].map(is_erased),
        [true, false, true]
    );
    // Only one is left that can be meant.
    let last = store.erase(&EraseSelector::Conversation("default".to_owned()), "why");
    assert_eq!(last.unwrap().requests, 4);
}

#[test]
fn no_body_is_packed_against_another_users_conversation() {
    let (folder, store) = shared();
    close(store);
    let connection = sqlite(&folder);
    let mut users = HashMap::new();
    let mut statement = connection
        .prepare("SELECT opened_seq, ended_seq, coalesce(user_id, '') FROM requests")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        for column in [0, 1] {
            users.insert(
                row.get::<_, i64>(column).unwrap(),
                row.get::<_, String>(2).unwrap(),
            );
        }
    }
    let mut statement = connection
        .prepare(
            "SELECT payload_id, base_id, second_base_id FROM payloads WHERE base_id IS NOT NULL",
        )
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut links = 0;
    while let Some(row) = rows.next().unwrap() {
        let user = |column| {
            row.get::<_, Option<i64>>(column)
                .unwrap()
                .map(|id| &users[&(id / 4)])
        };
        for base in [user(1), user(2)].into_iter().flatten() {
            assert_eq!(Some(base), user(0));
            links += 1;
        }
    }
    assert!(links >= 20, "{links}");
}

#[test]
fn the_same_words_of_two_users_are_two_messages_to_find() {
    let (folder, store) = shared();
    close(store);
    update_search_index(folder.path(), |_| true).unwrap();
    let reader = auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .reader();
    let found = reader
        .search("\"hello there\"", &SearchOptions::default())
        .unwrap();
    let mut ids: Vec<_> = found
        .hits
        .iter()
        .map(|hit| hit.request.request_id.as_str())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["alice-0", "bob-0", "nobody-0"]);
}

/// Pages of a conversation, together.
fn paged(store: &Store, id: &str, limit: usize) -> (Vec<String>, Vec<String>) {
    let (mut ids, mut texts) = (Vec::new(), Vec::new());
    let mut options = ConversationOptions::default();
    options.limit = limit;
    loop {
        let page = store.reader().conversation(id, &options).unwrap();
        assert!(page.requests.len() <= limit && page.left_out == 0 && page.damaged == 0);
        for said in &page.messages {
            assert!(said.first <= said.last && said.last < page.requests.len());
        }
        ids.extend(page.requests.into_iter().map(|request| request.request_id));
        texts.extend(page.messages.into_iter().map(|said| said.message.text()));
        options.cursor = page.next;
        if page.next.is_none() {
            return (ids, texts);
        }
    }
}

#[test]
fn pages_of_a_conversation_are_the_whole_of_it_each_message_once() {
    let folder = Folder::new();
    let store = folder.open();
    let mut texts = vec!["again".to_owned()];
    let mut expected = texts.clone();
    for turn in 0..40 {
        let id = format!("turn-{turn:02}");
        say(&store, &id, Some("u"), "c", &texts);
        // The same word again and again is said as often as it is said.
        texts.extend([format!("reply to {id}"), "again".to_owned()]);
        expected.extend([format!("reply to {id}"), "again".to_owned()]);
    }
    expected.pop();
    store.flush(PATIENCE).unwrap();
    for limit in [1, 2, 7, 39, 40, 1_000] {
        let (ids, texts) = paged(&store, "c", limit);
        assert_eq!(
            ids,
            (0..40)
                .map(|turn| format!("turn-{turn:02}"))
                .collect::<Vec<_>>()
        );
        assert_eq!(texts, expected, "pages of {limit}");
    }
}

#[test]
fn a_conversation_of_more_than_a_thousand_requests_goes_on() {
    let folder = Folder::new();
    let store = folder.open();
    let mut expected = Vec::new();
    for turn in 0..1_205 {
        let window = (turn.max(2) - 2..=turn).map(|turn| format!("message {turn}"));
        say(
            &store,
            &format!("turn-{turn}"),
            None,
            "long",
            &window.collect::<Vec<_>>(),
        );
        expected.extend([format!("message {turn}"), format!("reply to turn-{turn}")]);
    }
    store.flush(PATIENCE).unwrap();
    let first = store
        .reader()
        .conversation("long", &ConversationOptions::default())
        .unwrap();
    assert_eq!(first.requests.len(), 1_000);
    assert_eq!(
        first.next,
        first.requests.last().map(|request| request.opened_seq)
    );
    let (ids, texts) = paged(&store, "long", 1_000);
    assert_eq!((ids.len(), texts.len()), (1_205, expected.len()));
    assert_eq!(texts, expected);
}

/// A request of more messages than are read, with what came before and comes after it.
#[test]
fn of_too_many_messages_the_newest_are_shown_and_found_and_the_rest_is_counted() {
    let folder = Folder::new();
    let store = folder.open();
    let texts =
        |count: usize| -> Vec<String> { (0..count).map(|at| format!("word{at}")).collect() };
    let excess = 100;
    let count = MESSAGES_MAX + excess;
    say(&store, "first", Some("u"), "much", &texts(count));
    say(&store, "second", Some("u"), "much", &texts(count + 1));
    let context = RequestContext::new("").request_id("handed-over").messages(
        texts(count)
            .into_iter()
            .map(|text| Message::new("user", text))
            .collect(),
    );
    store
        .recorder()
        .open(context, "")
        .unwrap()
        .complete(Completion::new())
        .unwrap();
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let request = reader.get("first").unwrap();
    let said = reader.transcript(&request).unwrap();
    assert_eq!(
        (said.messages.len(), said.left_out),
        (MESSAGES_MAX, excess as u64)
    );
    assert_eq!(said.messages[0].text(), format!("word{excess}"));
    assert_eq!(said.messages[0].position, excess as u64);
    assert_eq!(
        said.messages.last().unwrap().text(),
        format!("word{}", count - 1)
    );
    let said = reader
        .conversation("much", &ConversationOptions::default())
        .unwrap();
    // What the second one left out, the first one said.
    assert_eq!(said.left_out, excess as u64);
    assert_eq!(said.messages.len(), MESSAGES_MAX + 3);
    let request = reader.get("handed-over").unwrap();
    assert!(request.adjusted_fields.contains(&"messages".to_owned()));
    let messages = reader.messages(&request).unwrap();
    assert_eq!(messages.len(), MESSAGES_MAX);
    assert_eq!(messages.last().unwrap().text, format!("word{}", count - 1));
    close(store);
    update_search_index(folder.path(), |_| true).unwrap();
    let reader = auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .reader();
    let found = |word: &str| {
        reader
            .search(word, &SearchOptions::default())
            .unwrap()
            .hits
            .len()
    };
    assert_eq!(
        (found(&format!("word{}", count - 1)), found("word0")),
        (2, 0)
    );
}
