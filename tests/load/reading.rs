//! Following, searching, exporting and verifying under full recording load: request threads notice
//! nothing of it, and every reader gets what it asked for.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use auditlite::{
    Completion, ExportContent, ExportOptions, ListOptions, Overflow, ReadOnlyStore, Reader,
    RequestContext, RequestFilter, SearchOptions, Store, VerifyOptions, WireProtocol,
    update_search_index,
};

use crate::{PATIENCE, latency};

/// As many as are there before, for an export to take its time.
const REQUESTS: u64 = 20_000;
const BODY_BYTES: usize = 20_000;

/// What the readers did.
#[derive(Debug, Default)]
struct Done {
    followed: AtomicU64,
    searches: AtomicU64,
    exports: AtomicU64,
}

/// Goes on until it is told to end, once at least.
fn again_and_again(is_over: &AtomicBool, count: &AtomicU64, mut once: impl FnMut() -> u64) {
    loop {
        count.fetch_add(once(), Ordering::Relaxed);
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Two readers of one processor's time: `tail` as often as the program looks, and the rest in turns.
fn read(reader: &Reader, done: &Done, is_over: &AtomicBool) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let newest = reader
                .list(&RequestFilter::default(), &ListOptions::new().limit(1))
                .unwrap();
            let mut follower = reader.follow(
                &RequestFilter::default(),
                Some(newest.requests[0].opened_seq),
            );
            again_and_again(is_over, &done.followed, || {
                std::thread::sleep(Duration::from_millis(250));
                follower.poll().unwrap().len() as u64
            });
        });
        scope.spawn(|| {
            again_and_again(is_over, &done.searches, || {
                let found = reader
                    .search("\"ticket 17\"", &SearchOptions::default())
                    .unwrap();
                assert!(!found.hits.is_empty());
                std::thread::sleep(Duration::from_millis(100));
                1
            });
        });
        again_and_again(is_over, &done.exports, || {
            let options = ExportOptions::new().content(ExportContent::Full);
            let mut out = Until { is_over, bytes: 0 };
            // An export that is broken off is one that ran to the end of the measurement.
            let _ = reader.export(&options, &mut out);
            u64::from(out.bytes > 0)
        });
    });
}

/// Takes what is exported until the measurement is over.
struct Until<'a> {
    is_over: &'a AtomicBool,
    bytes: u64,
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("over"));
        }
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn reading_is_not_noticed_by_those_who_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path)
        .overflow(Overflow::Wait(PATIENCE))
        .open()
        .unwrap();
    for number in 0..REQUESTS {
        let context = RequestContext::new(WireProtocol::OpenAiChat);
        let said = format!("ticket {number} says the invoice is wrong; ").repeat(10);
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{said}"}}]}}"#);
        let audit = store.recorder().open(context, body).unwrap();
        audit.complete(Completion::new()).unwrap();
    }
    assert!(store.close(PATIENCE).is_complete);
    update_search_index(&path, |_| true).unwrap();
    let store = Store::builder(&path).open().unwrap();
    let done = Done::default();
    let what = "while others follow, search and export";
    let is_unmoved = latency::is_unmoved(&store, BODY_BYTES, what, |is_over| {
        read(&store.reader(), &done, is_over);
    });
    println!("{done:?}");
    assert!(done.followed.into_inner() > 0, "nothing was followed");
    assert!(is_unmoved, "latencies moved");
    assert!(store.close(PATIENCE).is_complete);
    let store = ReadOnlyStore::open(&path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings, []);
}
