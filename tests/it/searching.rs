//! Search: built in idle times, or by a search of a free file; what it finds, and what it reports as missing.

use std::time::{Duration, Instant};

use auditlite::{
    Completion, EraseSelector, OpenError, ReadOnlyStore, Reader, Recorder, RequestContext,
    Retention, SearchIndexError, SearchOptions, SearchResult, Store, Timestamp,
    update_search_index,
};

use crate::support::{Folder, PATIENCE, close};

fn say(recorder: &Recorder, id: &str, conversation: &str, history: &[(&str, &str)], reply: &str) {
    let messages: Vec<_> = history
        .iter()
        .map(|(role, text)| serde_json::json!({"role": role, "content": text}))
        .collect();
    let body = serde_json::json!({"model": "gpt-4o", "messages": messages}).to_string();
    let context = RequestContext::new("openai.chat")
        .request_id(id)
        .started_at(Timestamp::from_micros(1_700_000_000_000_000))
        .user_id("u-1")
        .conversation_id(conversation);
    let handle = recorder.open(context, body).unwrap();
    let response =
        serde_json::json!({"choices": [{"message": {"role": "assistant", "content": reply}}]});
    handle
        .complete(Completion::new().response_body(response.to_string()))
        .unwrap();
}

fn record(recorder: &Recorder) {
    let mut history = vec![("user", "Where does the Aurora borealis come from?")];
    say(recorder, "r-1", "sky", &history, "From the solar wind.");
    history.extend([
        ("assistant", "From the solar wind."),
        ("user", "And why is it green?"),
    ]);
    say(
        recorder,
        "r-2",
        "sky",
        &history,
        "Oxygen glows green, borealis or not.",
    );
    say(
        recorder,
        "r-3",
        "sea",
        &[("user", "Why is the sea green?")],
        "Algae.",
    );
}

fn find(reader: &Reader, query: &str) -> Vec<(String, String)> {
    let found = reader.search(query, &SearchOptions::default()).unwrap();
    assert!(found.lag.is_none(), "{:?}", found.lag);
    let hits = found.hits.iter();
    hits.map(|hit| (hit.request.request_id.clone(), hit.role.clone()))
        .collect()
}

fn pairs(found: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(id, role): &(&str, &str)| ((*id).to_owned(), (*role).to_owned());
    found.iter().map(own).collect()
}

fn matches(result: &SearchResult) -> Vec<String> {
    let parts = result.hits.iter().flat_map(|hit| &hit.snippet);
    parts
        .filter(|part| part.is_match)
        .map(|part| part.text.clone())
        .collect()
}

#[test]
fn each_message_is_found_once_where_it_first_appeared() {
    let folder = Folder::new();
    let store = Store::builder(folder.path()).open().unwrap();
    record(&store.recorder());
    close(store);
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    assert!(!reader.search_lag().unwrap().is_built);
    let lag = update_search_index(folder.path(), |_| true).unwrap();
    assert!(lag.is_none() && lag.waiting == 0, "{lag:?}");
    assert_eq!(find(&reader, "solar wind"), pairs(&[("r-1", "assistant")]));
    assert_eq!(
        find(&reader, "\"solar wind\""),
        pairs(&[("r-1", "assistant")])
    );
    assert_eq!(find(&reader, "\"wind solar\""), []);
    assert_eq!(find(&reader, "auro*"), pairs(&[("r-1", "user")]));
    assert_eq!(find(&reader, "AURORA"), pairs(&[("r-1", "user")]));
    assert_eq!(find(&reader, "green -sea").len(), 2);
    assert_eq!(find(&reader, "algae OR oxygen").len(), 2);
    let mut options = SearchOptions::default();
    options.filter.conversation_id = Some("sea".to_owned());
    let found = reader.search("green", &options).unwrap();
    assert_eq!(found.hits.len(), 1);
    assert_eq!(matches(&found), ["green"]);
    options.filter.conversation_id = None;
    options.is_newest_first = true;
    options.limit = 1;
    let found = reader.search("green", &options).unwrap();
    assert_eq!(found.hits[0].request.request_id, "r-3");
    // The shorter message matches better.
    let best = reader
        .search("borealis", &SearchOptions::default())
        .unwrap();
    assert!(best.hits[0].score >= best.hits[1].score && best.hits[1].score > 0.0);
    for query in ["", "-green", "\"\""] {
        assert!(reader.search(query, &SearchOptions::default()).is_err());
    }
    // A second time there is nothing to do, and nothing is doubled.
    update_search_index(folder.path(), |_| true).unwrap();
    assert_eq!(find(&reader, "solar").len(), 1);
    let findings = ReadOnlyStore::open(folder.path())
        .unwrap()
        .doctor()
        .unwrap()
        .findings;
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn an_open_store_builds_the_index_when_it_is_idle_and_nobody_else_does() {
    let folder = Folder::new();
    let store = Store::builder(folder.path())
        .search_index(true)
        .open()
        .unwrap();
    let recorder = store.recorder();
    record(&recorder);
    let pending = recorder
        .open(RequestContext::new("openai.chat").request_id("open"), "{}")
        .unwrap();
    store.flush(PATIENCE).unwrap();
    let locked = update_search_index(folder.path(), |_| true);
    assert!(
        matches!(
            locked,
            Err(SearchIndexError::Open(OpenError::Locked { .. }))
        ),
        "{locked:?}"
    );
    let reader = store.reader();
    let wait_until = |what: &str, is_reached: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_reached() {
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_until("never idle", &|| reader.search_lag().unwrap().is_none());
    assert_eq!(find(&reader, "oxygen"), pairs(&[("r-2", "assistant")]));
    assert_eq!(reader.search_lag().unwrap().waiting, 1);
    let said = r#"{"choices":[{"message":{"role":"assistant","content":"late xenolith"}}]}"#;
    pending
        .complete(Completion::new().response_body(said))
        .unwrap();
    wait_until("the end is not seen", &|| {
        reader.search_lag().unwrap().waiting == 0
    });
    assert_eq!(find(&reader, "xenolith"), pairs(&[("open", "assistant")]));
    close(store);
    // The index is there: a store that was not asked for one keeps it up.
    let store = Store::builder(folder.path()).open().unwrap();
    say(
        &store.recorder(),
        "r-9",
        "sea",
        &[("user", "quokka")],
        "No.",
    );
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    wait_until("not kept up", &|| reader.search_lag().unwrap().is_none());
    assert_eq!(find(&reader, "quokka"), pairs(&[("r-9", "user")]));
    close(store);
}

#[test]
fn no_index_is_built_unasked_and_the_lag_is_said() {
    let folder = Folder::new();
    let store = Store::builder(folder.path()).open().unwrap();
    record(&store.recorder());
    store.flush(PATIENCE).unwrap();
    let result = store
        .reader()
        .search("solar", &SearchOptions::default())
        .unwrap();
    assert!(result.hits.is_empty() && !result.lag.is_built);
    assert!(result.lag.events >= 6 && result.lag.missing_since.is_some());
    close(store);
}

/// Occurrences of a text in the store's files.
fn occurrences(folder: &Folder, text: &str) -> usize {
    let directory = folder.path().parent().unwrap().to_owned();
    let count = |path: std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let windows = bytes.windows(text.len());
        windows.filter(|window| *window == text.as_bytes()).count()
    };
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

#[test]
fn what_is_erased_is_not_found_any_more_and_what_others_said_again_is() {
    let folder = Folder::new();
    let store = Store::builder(folder.path())
        .search_index(true)
        .open()
        .unwrap();
    let recorder = store.recorder();
    record(&recorder);
    say(
        &recorder,
        "r-4",
        "private",
        &[("user", "zanzibarquux")],
        "vermillionish",
    );
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let wait = || {
        let begun = Instant::now();
        while !reader.search_lag().unwrap().is_none() || reader.search_lag().unwrap().waiting > 0 {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait();
    assert_eq!(find(&reader, "zanzibarquux").len(), 1);
    assert!(
        occurrences(&folder, "zanzibarquux") > 0,
        "the test would not see it"
    );
    let erase = |id: &str| {
        let selector = EraseSelector::Request(id.to_owned());
        store.erase(&selector, "asked for").unwrap()
    };
    erase("r-4");
    assert_eq!(find(&reader, "zanzibarquux OR vermillionish"), []);
    assert_eq!(occurrences(&folder, "zanzibarquux"), 0);
    assert_eq!(occurrences(&folder, "vermillionish"), 0);
    // The second request of the conversation repeats what the first one said.
    assert_eq!(find(&reader, "aurora"), pairs(&[("r-1", "user")]));
    erase("r-1");
    wait();
    assert_eq!(find(&reader, "aurora"), pairs(&[("r-2", "user")]));
    let retention = Retention::new().content_older_than(Duration::from_secs(3600));
    store.prune(&retention).unwrap();
    wait();
    assert_eq!(find(&reader, "aurora OR oxygen OR algae"), []);
    close(store);
    crate::removal::assert_clean(&folder);
}

/// The next request of a conversation need not be the one that repeats what was said.
#[test]
fn what_a_later_request_said_again_is_found_under_it_and_the_lag_says_until_when_not() {
    let folder = Folder::new();
    let store = Store::builder(folder.path()).open().unwrap();
    let recorder = store.recorder();
    let first = ("user", "the ocelot sleeps");
    let second = ("user", "and the gnu grazes");
    say(&recorder, "r-1", "zoo", &[first, second], "Yes.");
    // Its client started a new conversation, and repeats nothing.
    say(&recorder, "r-2", "zoo", &[("user", "Hello?")], "Hello.");
    say(
        &recorder,
        "r-3",
        "zoo",
        &[("user", "Anyone?"), first],
        "Me.",
    );
    say(&recorder, "r-4", "zoo", &[second, first], "Indeed.");
    close(store);
    update_search_index(folder.path(), |_| true).unwrap();
    let store = Store::builder(folder.path()).open().unwrap();
    let selector = EraseSelector::Request("r-1".to_owned());
    assert!(store.erase(&selector, "asked for").unwrap().is_fully_erased);
    close(store);
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let lag = reader.search_lag().unwrap();
    assert!(!lag.is_none() && lag.again == 1, "{lag:?}");
    update_search_index(folder.path(), |_| true).unwrap();
    assert_eq!(reader.search_lag().unwrap().again, 0);
    assert_eq!(find(&reader, "ocelot"), pairs(&[("r-3", "user")]));
    assert_eq!(find(&reader, "gnu"), pairs(&[("r-4", "user")]));
    let findings = crate::support::findings(&folder);
    assert_eq!(findings, Vec::<String>::new());

    // Erasing the request that is to be looked at next passes the look on.
    let store = Store::builder(folder.path()).open().unwrap();
    for id in ["r-3", "r-2"] {
        let selector = EraseSelector::Request(id.to_owned());
        assert!(store.erase(&selector, "asked for").unwrap().is_fully_erased);
    }
    close(store);
    update_search_index(folder.path(), |_| true).unwrap();
    assert_eq!(find(&reader, "ocelot"), pairs(&[("r-4", "user")]));
}

/// Each step takes what the next one's requests repeat: they take its place in the index meanwhile.
#[test]
fn an_erasure_in_many_steps_leaves_the_index_whole() {
    const SAID: [(&str, &str); 1] = [("user", "What everybody asks.")];
    let folder = Folder::new();
    let store = folder.builder().search_index(true).open().unwrap();
    let recorder = store.recorder();
    // A segment each, so that a step takes some of them only.
    for number in 0..40 {
        let reply = format!("Answer {number}.");
        say(&recorder, &format!("sky-{number}"), "sky", &SAID, &reply);
        say(&recorder, &format!("sea-{number}"), "sea", &SAID, &reply);
        store.flush(PATIENCE).unwrap();
    }
    let reader = store.reader();
    let until = Instant::now() + PATIENCE;
    while !reader.search_lag().unwrap().is_none() {
        assert!(Instant::now() < until, "never idle");
        std::thread::sleep(Duration::from_millis(5));
    }
    let sky = EraseSelector::Conversation("sky".to_owned());
    let report = store.erase(&sky, "asked for").unwrap();
    assert_eq!(report.requests, 40);
    assert_eq!(store.health().search_index_drops, 0, "it was not damaged");
    close(store);
}
