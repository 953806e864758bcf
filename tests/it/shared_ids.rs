//! Requests that share an id: each is recorded, flagged and can be reached; none is taken for another.

use auditlite::{
    BundleOptions, Completion, EraseSelector, ListOptions, PayloadSide, ReadError, ReadOnlyStore,
    RemovalError, RequestContext, RequestFilter, RequestOrder, RequestRecord, Store,
};

use crate::support::{Folder, PATIENCE, close, findings};

/// Three requests of three users with one id, some others between them.
fn filled() -> (Folder, Store) {
    let folder = Folder::new();
    let store = folder.open();
    for user in ["alice", "bob", "carol"] {
        for id in ["same", &format!("own-of-{user}")] {
            let context = RequestContext::new("openai.chat")
                .request_id(id)
                .user_id(user);
            let audit = store
                .recorder()
                .open(context, format!("{id} sent by {user}"))
                .unwrap();
            let completion = Completion::new().response_body(format!("{id} said to {user}"));
            audit.complete(completion).unwrap();
        }
    }
    store.flush(PATIENCE).unwrap();
    (folder, store)
}

fn all(store: &Store) -> Vec<RequestRecord> {
    let page = store.reader().list(
        &RequestFilter::default(),
        &ListOptions::new().order(RequestOrder::Oldest).limit(100),
    );
    page.unwrap().requests
}

fn candidates(error: ReadError) -> Vec<String> {
    match error {
        ReadError::Ambiguous { candidates, .. } => candidates,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_is_flagged_and_reached_by_its_number_and_the_id_alone_is_refused() {
    let (_folder, store) = filled();
    let reader = store.reader();
    let requests = all(&store);
    assert_eq!(requests.len(), 6);
    let mut numbers = Vec::new();
    for request in &requests {
        let is_shared = request.request_id == "same";
        assert_eq!(request.is_id_shared, is_shared);
        let number = format!("#{}", request.opened_seq);
        let expected = if is_shared {
            &number
        } else {
            &request.request_id
        };
        assert_eq!(&request.reference(), expected);
        for name in [&number, expected] {
            assert_eq!(&reader.get(name).unwrap(), request);
            assert_eq!(
                reader.find(name, 10).unwrap(),
                std::slice::from_ref(request)
            );
        }
        let body = reader.payload(request, PayloadSide::Response).unwrap();
        let user = request.user_id.as_deref().unwrap();
        assert_eq!(
            body.bytes,
            format!("{} said to {user}", request.request_id).into_bytes()
        );
        numbers.extend(is_shared.then_some(number));
    }
    numbers.reverse();
    assert_eq!(candidates(reader.get("same").unwrap_err()), numbers);
    let found = reader.find("same", 10).unwrap();
    assert_eq!(
        found
            .iter()
            .map(RequestRecord::reference)
            .collect::<Vec<_>>(),
        numbers
    );
    let filter = RequestFilter::new().request_id("same");
    assert_eq!(
        reader
            .list(&filter, &ListOptions::new().limit(10))
            .unwrap()
            .requests,
        found
    );
    for nobody in ["#1000000", "#", "#-1", "#+1", "#1x", "##1"] {
        let error = reader.get(nobody).unwrap_err();
        assert!(
            matches!(error, ReadError::NotFound(_)),
            "{nobody}: {error:?}"
        );
    }
}

/// An id that looks like a number names nothing; its request is named by its own number.
#[test]
fn a_number_is_never_taken_for_an_id() {
    let folder = Folder::new();
    let store = folder.open();
    for id in ["plain", "#1", "#100"] {
        let context = RequestContext::new("").request_id(id);
        store
            .recorder()
            .open(context, "body")
            .unwrap()
            .complete(Completion::new())
            .unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let requests = all(&store);
    assert_eq!(store.reader().get("#1").unwrap(), requests[0]);
    assert_eq!(
        (requests[0].request_id.as_str(), requests[0].opened_seq),
        ("plain", 1)
    );
    assert!(matches!(
        store.reader().get("#100"),
        Err(ReadError::NotFound(_))
    ));
    for request in requests {
        assert_eq!(store.reader().get(&request.reference()).unwrap(), request);
    }
}

#[test]
fn an_erasure_takes_the_one_that_is_meant_or_none() {
    let (folder, store) = filled();
    let refused = store.erase(&EraseSelector::Request("same".to_owned()), "why");
    let Err(RemovalError::Read(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(candidates(error).len(), 3);
    assert!(all(&store).iter().all(|request| !request.is_erased));
    let bob = all(&store)
        .into_iter()
        .find(|request| request.request_id == "same" && request.user_id.as_deref() == Some("bob"));
    let selector = EraseSelector::Request(bob.unwrap().reference());
    assert_eq!(store.erase(&selector, "why").unwrap().requests, 1);
    assert_eq!(
        store.erase(&selector, "why").unwrap().requests,
        0,
        "nothing is left of it"
    );
    let left: Vec<_> = all(&store)
        .into_iter()
        .filter(|request| request.request_id == "same" && !request.is_erased)
        .map(|request| request.user_id.unwrap())
        .collect();
    assert_eq!(left, ["alice", "carol"]);
    // Still shared: the id names the erased one too.
    assert!(
        all(&store)
            .iter()
            .all(|request| request.is_id_shared == (request.request_id == "same"))
    );
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn a_bundle_of_one_holds_the_events_of_no_other() {
    let (folder, store) = filled();
    let requests = all(&store);
    close(store);
    let reading = ReadOnlyStore::open(folder.path()).unwrap();
    for request in requests {
        let options = BundleOptions::new().opened_seq(request.opened_seq);
        let mut bundle = Vec::new();
        let summary = reading.write_bundle(&options, &mut bundle).unwrap();
        assert_eq!(summary.events, 2);
        let bundle = String::from_utf8(bundle).unwrap();
        let lines: Vec<_> = bundle
            .lines()
            .filter(|line| line.starts_with('{'))
            .collect();
        let seqs = [request.opened_seq, request.ended_seq.unwrap()];
        for (line, seq) in lines.iter().zip(seqs) {
            assert!(line.starts_with(&format!("{{\"seq\":{seq},")), "{line}");
        }
    }
}
