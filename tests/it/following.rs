//! Following a store: each request once, when it has ended, and only if it matches by then.

use auditlite::{Completion, Failure, RequestContext, RequestFilter, Status};

use crate::support::{Folder, PATIENCE, close};

#[test]
fn a_request_is_given_once_when_it_has_ended_and_matches() {
    let folder = Folder::new();
    let store = folder.builder().open().unwrap();
    let recorder = store.recorder();
    let open = |id: &str| {
        let context = RequestContext::new("openai.chat")
            .request_id(id)
            .user_id("u");
        recorder.open(context, "{}").unwrap()
    };
    open("before").fail(Failure::new("timeout")).unwrap();
    let open_before = open("open-before");
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let filter = RequestFilter::new().statuses([Status::Failed]).user_id("u");
    let mut follower = reader.follow(&filter, reader.last_seq().unwrap());
    let mut poll = || -> Vec<String> {
        store.flush(PATIENCE).unwrap();
        let ended = follower.poll().unwrap();
        ended
            .into_iter()
            .map(|request| request.request_id)
            .collect()
    };

    let (late, good) = (open("late"), open("good"));
    assert_eq!(poll(), [""; 0]);
    open("quick").fail(Failure::new("timeout")).unwrap();
    good.complete(Completion::new()).unwrap();
    assert_eq!(poll(), ["quick"]);
    // Both in one poll: in the order of their ends.
    let (first, second) = (open("first"), open("second"));
    second.fail(Failure::new("timeout")).unwrap();
    first.fail(Failure::new("timeout")).unwrap();
    assert_eq!(poll(), ["second", "first"]);
    late.fail(Failure::new("timeout")).unwrap();
    assert_eq!(poll(), ["late"]);
    // Opened before it followed.
    open_before.fail(Failure::new("timeout")).unwrap();
    assert_eq!(poll(), ["open-before"]);
    assert_eq!(poll(), [""; 0]);
    close(store);
}

#[test]
fn the_name_is_followed_when_the_file_is_moved_and_begun_anew() {
    let folder = Folder::new();
    let store = folder.open();
    crate::support::record(&store, "old", "q", "a");
    close(store);
    let reader = auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .reader();
    let mut follower = reader.follow(&RequestFilter::default(), None);
    let ids = |ended: Vec<auditlite::RequestRecord>| -> Vec<String> {
        ended
            .into_iter()
            .map(|request| request.request_id)
            .collect()
    };
    assert_eq!(ids(follower.poll().unwrap()), ["old"]);
    std::fs::rename(folder.path(), folder.join("moved.db")).unwrap();
    // Until there is another one, the file that was moved is read.
    assert_eq!(reader.get("old").unwrap().request_id, "old");
    assert_eq!(ids(follower.poll().unwrap()), [""; 0]);

    let store = folder.open();
    crate::support::record(&store, "new", "q", "a");
    store.flush(PATIENCE).unwrap();
    assert_eq!(ids(follower.poll().unwrap()), ["new"]);
    let log = auditlite::ReadOnlyStore::open(folder.path()).unwrap();
    assert_eq!(follower.take_replacement(), log.log_id().unwrap());
    assert_eq!(follower.take_replacement(), None);
    assert!(reader.get("old").is_err());
    close(store);
}
