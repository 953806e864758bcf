//! A fork of the process that opened a store: its calls fail at once, and it does no harm to the other process.
//!
//! A binary of its own: the test runs itself again as the process that forks.
#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use auditlite::{
    Completion, EraseSelector, FlushError, HealthState, ListOptions, OpenError, ReadError,
    ReadOnlyStore, RecordError, RemovalError, RequestContext, RequestFilter, Status, Store,
    VerifyOptions,
};

const FORKING: &str = "AUDITLITE_FORKING";
const PATIENCE: Duration = Duration::from_secs(60);

/// Forks, runs `work` in the new process, and gives its exit status: 0 unless `work` panics.
fn in_fork(work: impl FnOnce()) -> i32 {
    // SAFETY: the new process calls nothing but `work`, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: whatever hangs is ended, and told by its status.
            unsafe { libc::alarm(30) };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends this process only.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(waited, child);
            assert!(libc::WIFEXITED(status), "{status}");
            libc::WEXITSTATUS(status)
        }
    }
}

fn context(id: &str) -> RequestContext {
    RequestContext::new("").request_id(id)
}

/// The process that forks, with nothing going on.
#[test]
fn forking() {
    let Some(path) = std::env::var_os(FORKING).map(PathBuf::from) else {
        return;
    };
    let store = Store::builder(&path).open().unwrap();
    let recorder = store.recorder();
    let before = recorder.open(context("before"), "{}").unwrap();
    before.complete(Completion::new()).unwrap();
    store.flush(PATIENCE).unwrap();
    // SQLite's connections are there to be inherited.
    let reader = store.reader();
    assert_eq!(reader.get("before").unwrap().status, Status::Completed);
    let across = recorder.open(context("across"), "{}").unwrap();
    let pending = across.opened_receipt();
    pending.wait(PATIENCE).unwrap();
    let mut store = Some(store);
    let mut across = Some(across);
    let late = Instant::now();
    while late.elapsed() < Duration::from_millis(11) {
        std::thread::yield_now(); // what is asked about forks is asked again after 10 ms
    }

    let status = in_fork(|| {
        let begun = Instant::now();
        let (store, across) = (store.take().unwrap(), across.take().unwrap());
        let refused = recorder.open(context("forked"), "{}");
        assert!(matches!(refused, Err(RecordError::Forked)), "{refused:?}");
        let again = recorder.open(context("forked"), "{}");
        assert!(matches!(again, Err(RecordError::Forked)), "{again:?}");
        let ended = across.complete(Completion::new());
        assert!(matches!(ended, Err(RecordError::Forked)), "{ended:?}");
        let health = store.health();
        assert_eq!(health.state, HealthState::Failed);
        assert!(health.problem.unwrap().contains("forked"));
        let flushed = store.flush(PATIENCE);
        assert!(
            matches!(flushed, Err(FlushError::WriterStopped)),
            "{flushed:?}"
        );
        let read = reader.get("before");
        assert!(matches!(read, Err(ReadError::Forked)), "{read:?}");
        let selector = EraseSelector::User("u".to_owned());
        let erased = store.erase(&selector, "why");
        assert!(
            matches!(erased, Err(RemovalError::WriterStopped)),
            "{erased:?}"
        );
        let second = Store::builder(&path).open();
        assert!(
            matches!(second, Err(OpenError::Locked { .. })),
            "{second:?}"
        );
        // Another file is its own to write to.
        let own = path.with_extension("own");
        let own = Store::builder(own).open().unwrap();
        let audit = own.recorder().open(context("own"), "{}").unwrap();
        audit.complete(Completion::new()).unwrap();
        assert!(own.close(PATIENCE).is_complete);
        drop(store);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    });
    assert_eq!(status, 0, "the forked process failed");

    // The other one has lost nothing by it.
    across.take().unwrap().complete(Completion::new()).unwrap();
    let after = recorder.open(context("after"), "{}").unwrap();
    after.complete(Completion::new()).unwrap();
    let report = store.take().unwrap().close(PATIENCE);
    assert!(report.is_complete, "{report:?}");
    println!("forked");
}

fn run(test: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FORKING, &path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("forked"),
        "{said}{errors}"
    );
    examine(&path);
    folder
}

fn examine(path: &Path) {
    let store = ReadOnlyStore::open(path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings, []);
    let page = store
        .reader()
        .list(&RequestFilter::default(), &ListOptions::new().limit(10_000));
    for request in page.unwrap().requests {
        assert_eq!(request.status, Status::Completed, "{request:?}");
        assert_ne!(request.request_id, "forked");
    }
}

#[test]
fn a_forked_process_is_told_and_disturbs_nobody() {
    let folder = run("forking");
    let reader = ReadOnlyStore::open(folder.path().join("audit.db"))
        .unwrap()
        .reader();
    for id in ["before", "across", "after"] {
        assert_eq!(reader.get(id).unwrap().request_id, id);
    }
}
