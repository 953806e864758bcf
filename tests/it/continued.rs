//! Conversations that go on after a restart, after they were let go, and beside a removal.

use std::time::Duration;

use auditlite::{
    Completion, EraseSelector, Health, PayloadSide, RequestContext, Retention, Store, StoreBuilder,
};
use serde_json::json;

use crate::support::{Folder, PATIENCE, close};

/// Text that does not compress to nothing.
fn text(seed: usize, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(&format!("{:x} ", random.u32(..50_000)));
    }
    text
}

/// Conversations that take turns, each of a user of its own.
struct Traffic {
    histories: Vec<Vec<String>>,
    bodies: Vec<(String, String)>,
}

impl Traffic {
    fn new(conversations: usize, first_bytes: usize) -> Self {
        Self {
            histories: (0..conversations)
                .map(|number| vec![text(number, first_bytes)])
                .collect(),
            bodies: Vec::new(),
        }
    }

    /// One turn of each.
    fn turn(&mut self, store: &Store) {
        for number in 0..self.histories.len() {
            let history = &mut self.histories[number];
            let turn = history.len() / 2;
            let messages: Vec<_> = history
                .iter()
                .map(|text| json!({"role": "user", "content": text}))
                .collect();
            let body = json!({"model": "m", "messages": messages}).to_string();
            let id = format!("c{number}-{turn}");
            let context = RequestContext::new("openai.chat")
                .request_id(id.as_str())
                .user_id(format!("user-{number}"))
                .conversation_id("shared");
            let audit = store.recorder().open(context, body.clone()).unwrap();
            let reply = text(number * 1000 + turn, 200);
            let response =
                json!({"choices": [{"message": {"role": "assistant", "content": reply}}]});
            audit
                .complete(Completion::new().response_body(response.to_string()))
                .unwrap();
            history.push(reply);
            history.push(text(number * 7000 + turn, 300));
            self.bodies.push((id, body));
        }
    }

    /// Every body comes back.
    fn check(&self, store: &Store) {
        store.flush(PATIENCE).unwrap();
        let reader = store.reader();
        for (id, body) in &self.bodies {
            let request = reader.get(id).unwrap();
            let payload = reader.payload(&request, PayloadSide::Request).unwrap();
            assert!(*payload.bytes == *body.as_bytes(), "{id}");
        }
    }
}

fn builder(folder: &Folder) -> StoreBuilder {
    folder.builder().commit_interval(Duration::from_millis(1))
}

fn size(folder: &Folder) -> u64 {
    std::fs::metadata(folder.path()).unwrap().len()
}

fn finish(store: Store) -> Health {
    let health = store.health();
    close(store);
    health
}

#[test]
fn a_conversation_goes_on_where_it_was_when_the_store_was_closed() {
    let (once, often) = (Folder::new(), Folder::new());
    let (mut steady, mut interrupted) = (Traffic::new(12, 20_000), Traffic::new(12, 20_000));
    let store = builder(&once).open().unwrap();
    for _ in 0..10 {
        steady.turn(&store);
    }
    steady.check(&store);
    let health = finish(store);
    assert_eq!((health.bodies_alone, health.conversations_resumed), (12, 0));
    for round in 0..10 {
        let store = builder(&often).open().unwrap();
        interrupted.turn(&store);
        interrupted.check(&store);
        let health = finish(store);
        let (alone, resumed) = if round == 0 { (12, 0) } else { (0, 12) };
        assert_eq!(health.bodies_alone, alone, "round {round}");
        assert_eq!(health.conversations_resumed, resumed, "round {round}");
    }
    let (once, often) = (size(&once), size(&often));
    assert!(
        often <= once * 115 / 100,
        "{often} bytes in place of {once}"
    );
}

#[test]
fn a_conversation_that_was_let_go_is_read_back() {
    let folder = Folder::new();
    let mut traffic = Traffic::new(60, 20_000);
    let store = builder(&folder)
        .conversation_cache_bytes(100_000)
        .open()
        .unwrap();
    for _ in 0..4 {
        traffic.turn(&store);
        // What is read back is what is committed.
        store.flush(PATIENCE).unwrap();
    }
    let health = store.health();
    assert!(health.conversations_resumed >= 100, "{health:?}");
    assert!(health.bodies_alone <= 65, "{health:?}");
    traffic.check(&store);
    close(store);
}

#[test]
fn what_is_removed_is_not_gone_on_with_and_everything_else_is() {
    let folder = Folder::new();
    let mut traffic = Traffic::new(9, 20_000);
    let store = builder(&folder).open().unwrap();
    for _ in 0..3 {
        traffic.turn(&store);
    }
    store.flush(PATIENCE).unwrap();
    let before = store.health().bodies_alone;
    let erased = EraseSelector::User("user-4".to_owned());
    store.erase(&erased, "asked for").unwrap();
    traffic.turn(&store);
    store.flush(PATIENCE).unwrap();
    // The one that was erased begins again. No other lost anything.
    assert_eq!(store.health().bodies_alone, before + 1);
    let is_left = |id: &str| !id.starts_with("c4-") || id == "c4-3";
    traffic.bodies.retain(|(id, _)| is_left(id));
    traffic.check(&store);
    // Without the content so far, all begin again, and need nothing of what is gone.
    let before = store.health().bodies_alone;
    let everything = Retention::new().content_older_than(Duration::ZERO);
    store.prune(&everything).unwrap();
    traffic.bodies.clear();
    for _ in 0..2 {
        traffic.turn(&store);
    }
    traffic.check(&store);
    assert_eq!(store.health().bodies_alone, before + 9);
    close(store);
}

#[test]
fn without_memory_for_conversations_nothing_is_read_back() {
    let folder = Folder::new();
    let mut traffic = Traffic::new(4, 20_000);
    for _ in 0..2 {
        let store = builder(&folder).conversation_cache_bytes(0).open().unwrap();
        traffic.turn(&store);
        traffic.check(&store);
        let health = finish(store);
        assert_eq!(
            (health.conversations_resumed, health.bodies_continued),
            (0, 0)
        );
    }
}

#[test]
fn what_is_removed_is_not_read_back_to_go_on_with() {
    let folder = Folder::new();
    let mut traffic = Traffic::new(4, 20_000);
    let store = builder(&folder).open().unwrap();
    for _ in 0..2 {
        traffic.turn(&store);
    }
    close(store);
    // Nothing is followed yet: every conversation would be read back.
    let store = builder(&folder).open().unwrap();
    store
        .erase(&EraseSelector::User("user-1".to_owned()), "asked for")
        .unwrap();
    traffic.turn(&store);
    store.flush(PATIENCE).unwrap();
    let health = store.health();
    assert_eq!((health.conversations_resumed, health.bodies_alone), (3, 1));
    traffic
        .bodies
        .retain(|(id, _)| !id.starts_with("c1-") || id == "c1-2");
    traffic.check(&store);
    close(store);
}
