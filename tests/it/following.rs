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
    open("before").complete(Completion::new()).unwrap();
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let newest = reader.list(&RequestFilter::default(), None, 1).unwrap();
    let filter = RequestFilter {
        status: Some(Status::Failed),
        user_id: Some("u".to_owned()),
        ..RequestFilter::default()
    };
    let mut follower = reader.follow(&filter, Some(newest.requests[0].opened_seq));
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
    late.fail(Failure::new("timeout")).unwrap();
    assert_eq!(poll(), ["late"]);
    assert_eq!(poll(), [""; 0]);
    close(store);
}
