//! What can happen to the file while it is open: moved, replaced, damaged; and what the store says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use auditlite::{
    Alarm, FlushError, HealthState, ListOptions, Overflow, ReadError, ReceiptError, RecordError,
    RequestFilter, Store,
};

use crate::oracle::{Accounts, Ledger, examine, recover};
use crate::scene::{builder, folder, work};
use crate::vfs::rule;
use crate::world::{CallKind, Fault, Plan, Span};

const PATIENCE: Duration = Duration::from_secs(30);

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Everything returns at once, and says that it is over.
fn assert_latched(store: &Store, ledger: &Ledger) {
    assert_eq!(store.health().state, HealthState::Failed);
    let begun = Instant::now();
    let error = store
        .recorder()
        .open(auditlite::RequestContext::new(""), "q");
    assert!(
        matches!(error, Err(RecordError::WriterStopped(_))),
        "{error:?}"
    );
    assert_eq!(store.flush(PATIENCE), Err(FlushError::WriterStopped));
    assert!(ledger.lifecycle(&store.recorder(), "late-1").is_none());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_file_that_is_moved_away_is_missed_and_found_again() {
    let place = folder();
    let path = place.path().join("audit.db");
    let away = place.path().join("elsewhere.db");
    let store = builder(&path, Overflow::Shed).open().unwrap();
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, "r", 3, PATIENCE));
    fs::rename(&path, &away).unwrap();
    let receipt = ledger.lifecycle(&store.recorder(), "away-1").unwrap();
    until("it says so", || {
        store.health().state == HealthState::Degraded
    });
    assert!(store.health().problem.unwrap().contains("gone"));
    let wait = Duration::from_millis(50);
    assert_eq!(receipt.wait(wait), Err(ReceiptError::Timeout(wait)));
    assert!(!path.exists(), "no new file takes its place");
    fs::rename(&away, &path).unwrap();
    receipt.wait(PATIENCE).unwrap();
    assert_eq!(store.health().state, HealthState::Healthy);
    assert!(store.close(PATIENCE).is_complete);
    let promises = ledger.promises();
    assert_eq!(examine(&path, &promises, Accounts::Settled), [""; 0]);
}

#[test]
fn a_file_that_is_deleted_is_said_to_be_lost_and_close_keeps_its_deadline() {
    let place = folder();
    let path = place.path().join("audit.db");
    let store = builder(&path, Overflow::Shed).open().unwrap();
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, "r", 3, PATIENCE));
    fs::remove_file(&path).unwrap();
    let receipt = ledger.lifecycle(&store.recorder(), "gone-1").unwrap();
    until("it says so", || {
        store.health().state == HealthState::Degraded
    });
    assert!(!receipt.is_durable());
    let begun = Instant::now();
    let report = store.close(Duration::from_millis(100));
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(!report.is_complete);
    assert_eq!(report.lost_events, 2, "{report:?}");
    assert!(!receipt.is_durable());
}

#[test]
fn a_file_that_is_replaced_stops_the_writer_and_neither_file_is_touched() {
    let place = folder();
    let path = place.path().join("audit.db");
    let away = place.path().join("elsewhere.db");
    let store = builder(&path, Overflow::Shed).open().unwrap();
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, "r", 3, PATIENCE));
    let other = folder();
    let other_path = other.path().join("audit.db");
    let other_store = builder(&other_path, Overflow::Shed).open().unwrap();
    assert!(other_store.close(PATIENCE).is_complete);
    fs::rename(&path, &away).unwrap();
    fs::copy(&other_path, &path).unwrap();
    let before = fs::read(&path).unwrap();
    let receipt = ledger.lifecycle(&store.recorder(), "lost-1").unwrap();
    assert_eq!(receipt.wait(PATIENCE), Err(ReceiptError::WriterStopped));
    assert_latched(&store, &ledger);
    assert!(store.health().problem.unwrap().contains("another file"));
    let promises = ledger.promises();
    let report = store.close(PATIENCE);
    assert!(!report.is_complete && report.lost_events > 0, "{report:?}");
    assert_eq!(
        fs::read(&path).unwrap(),
        before,
        "the other file is as it was"
    );
    // The write-ahead log was left beside; together they are whole.
    fs::rename(&away, &path).unwrap();
    assert_eq!(
        recover(&path, &promises, Accounts::Open, "probe-1"),
        [""; 0]
    );
}

#[test]
fn a_write_ahead_log_that_is_removed_is_saved_into_the_database() {
    let place = folder();
    let path = place.path().join("audit.db");
    let store = builder(&path, Overflow::Shed).open().unwrap();
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, "r", 3, PATIENCE));
    fs::remove_file(beside(&path, "-wal")).unwrap();
    let receipt = ledger.lifecycle(&store.recorder(), "lost-1").unwrap();
    assert_eq!(receipt.wait(PATIENCE), Err(ReceiptError::WriterStopped));
    assert_latched(&store, &ledger);
    let promises = ledger.promises();
    assert!(promises.durable() >= 12);
    store.close(PATIENCE);
    assert_eq!(
        recover(&path, &promises, Accounts::Open, "probe-1"),
        [""; 0]
    );
}

#[test]
fn a_read_that_turns_corrupt_stops_the_writer_and_keeps_the_file() {
    let place = folder();
    let path = place.path().join("audit.db");
    let ledger = Ledger::default();
    let store = builder(&path, Overflow::Wait(PATIENCE)).open().unwrap();
    assert!(work(&store, &ledger, "r", 60, PATIENCE));
    assert!(store.close(PATIENCE).is_complete);
    let length = fs::metadata(&path).unwrap().len();
    let rule = rule(place.path());
    let store = builder(&path, Overflow::Shed).open().unwrap();
    rule.world.begin(Some(Plan {
        kind: CallKind::Read,
        number: 0,
        fault: Fault::Garble,
        span: Span::UntilCured,
    }));
    // Until a page is needed that is not in the cache.
    until("the damage is met", || {
        let number = ledger.promises().submitted();
        ledger.lifecycle(&store.recorder(), &format!("d-{number}"));
        store.health().state == HealthState::Failed
    });
    assert_latched(&store, &ledger);
    assert!(store.health().problem.unwrap().contains("damaged"));
    let begun = Instant::now();
    store.close(Duration::from_millis(200));
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(
        fs::metadata(&path).unwrap().len() >= length,
        "the file is kept"
    );
    rule.world.cure();
    assert_eq!(
        recover(&path, &ledger.promises(), Accounts::Open, "probe-1"),
        [""; 0]
    );
}

/// What the library traced, by message; and a bomb that goes off where it is traced.
mod traced {
    use std::fmt::{Debug, Write as _};

    use super::{Arc, Mutex, Once};
    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    /// A folder whose store's writer panics where it tells that commits fail.
    pub const BOMB: &str = "bomb-1";
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Record;

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Record {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            if text.0.contains(BOMB) && text.0.contains("a commit failed") {
                panic!("the subscriber panics, as the test wants");
            }
            if event.metadata().level() <= &tracing::Level::INFO && !text.0.contains("request_id") {
                LINES.lock().unwrap().push(text.0);
            }
        }
    }

    pub fn begin() {
        static BEGUN: Once = Once::new();
        BEGUN.call_once(|| {
            let subscriber = Arc::new(tracing_subscriber::registry().with(Record));
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
    }

    /// How often this was said of files in this folder.
    pub fn count(folder: &std::path::Path, what: &str) -> usize {
        let folder = folder.to_string_lossy().into_owned();
        let lines = LINES.lock().unwrap();
        let said = lines
            .iter()
            .filter(|line| line.contains(&folder) && line.contains(what));
        said.count()
    }
}

#[test]
fn a_spell_of_failures_is_traced_once_and_its_end_once() {
    traced::begin();
    let place = folder();
    let rule = rule(place.path());
    let store = builder(&place.path().join("audit.db"), Overflow::Shed)
        .open()
        .unwrap();
    let ledger = Ledger::default();
    for spell in 1..=2 {
        rule.world.begin(Some(Plan {
            kind: CallKind::Sync,
            number: 0,
            fault: Fault::Error,
            span: Span::UntilCured,
        }));
        let retries = store.health().commit_retries;
        let receipt = ledger
            .lifecycle(&store.recorder(), &format!("s-{spell}"))
            .unwrap();
        until("it is tried again", || {
            store.health().commit_retries >= retries + 4
        });
        rule.world.cure();
        receipt.wait(PATIENCE).unwrap();
        let said = |what| traced::count(place.path(), what);
        until("its end is said", || said("commits succeed again") == spell);
        assert_eq!(said("a commit failed"), spell);
    }
    assert!(store.health().reopens >= 2);
    assert!(store.close(PATIENCE).is_complete);
}

#[test]
fn a_panic_of_the_writer_latches() {
    traced::begin();
    if std::thread::available_parallelism().map_or(1, usize::from) == 1 {
        return; // one thread does everything, under another name
    }
    let place = folder();
    let within = place.path().join(traced::BOMB);
    std::fs::create_dir(&within).unwrap();
    let rule = rule(&within);
    let path = within.join("audit.db");
    let store = builder(&path, Overflow::Wait(PATIENCE)).open().unwrap();
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, "r", 3, PATIENCE));
    rule.world.begin(Some(Plan {
        kind: CallKind::Sync,
        number: 0,
        fault: Fault::Error,
        span: Span::UntilCured,
    }));
    let waits_in_vain = ledger.lifecycle(&store.recorder(), "r-last").unwrap();
    assert_eq!(
        waits_in_vain.wait(PATIENCE),
        Err(ReceiptError::WriterStopped)
    );
    until("both threads have ended", || {
        store
            .recorder()
            .open(auditlite::RequestContext::new(""), "q")
            .is_err()
    });
    rule.world.cure();
    assert_latched(&store, &ledger);
    assert!(store.health().problem.unwrap().contains("panicked"));
    let begun = Instant::now();
    assert!(!store.close(PATIENCE).is_complete);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut promises = ledger.promises();
    promises.expect_others();
    assert_eq!(
        recover(&path, &promises, Accounts::Open, "probe-1"),
        [""; 0]
    );
}

#[test]
fn a_pinned_log_raises_an_alarm_that_ends_with_its_reader() {
    let place = folder();
    let path = place.path().join("audit.db");
    let store = builder(&path, Overflow::Wait(PATIENCE))
        .wal_checkpoint_bytes(64 * 1024)
        .open()
        .unwrap();
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, "a", 2, PATIENCE));
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM requests;")
        .unwrap();
    let is_pinned = || {
        let alarms = store.health().alarms;
        alarms
            .iter()
            .any(|alarm| matches!(alarm, Alarm::WalPinned { .. }))
    };
    let mut round = 0;
    while !is_pinned() {
        assert!(work(&store, &ledger, &format!("b{round}"), 4, PATIENCE));
        round += 1;
        assert!(round < 100, "{:?}", store.health());
    }
    assert_eq!(store.health().state, HealthState::Healthy, "commits go on");
    reader.execute_batch("COMMIT").unwrap();
    until("the alarm ends when the log was moved", || !is_pinned());
    assert!(store.close(PATIENCE).is_complete);
    assert_eq!(
        examine(&path, &ledger.promises(), Accounts::Settled),
        [""; 0]
    );
}

#[test]
fn a_read_ends_when_its_time_is_over() {
    let place = folder();
    let path = place.path().join("audit.db");
    let store = builder(&path, Overflow::Wait(PATIENCE)).open().unwrap();
    let ledger = Ledger::default();
    for number in 0..3000 {
        ledger.lifecycle(&store.recorder(), &format!("r-{number}"));
    }
    assert!(store.close(PATIENCE).is_complete);
    let store = builder(&path, Overflow::Shed)
        .read_timeout(Duration::from_millis(2))
        .open()
        .unwrap();
    let filter = RequestFilter::default();
    let mut ended = false;
    // A connection may take longer than the read itself may: that is another error.
    for _ in 0..1000 {
        match store
            .reader()
            .list(&filter, &ListOptions::new().limit(10_000))
        {
            Err(ReadError::Timeout) => {
                ended = true;
                break;
            }
            Err(ReadError::NoConnection(_)) => {}
            other => panic!(
                "3,000 records in 2 ms: {:?}",
                other.map(|page| page.requests.len())
            ),
        }
    }
    assert!(ended);
    assert!(store.close(PATIENCE).is_complete);
}

#[test]
fn a_file_that_reaches_its_size_warns_then_leaves_bodies_out_then_refuses() {
    const SIZE: u64 = 1024 * 1024;
    for overflow in [
        Overflow::Shed,
        Overflow::Strict,
        Overflow::Wait(Duration::from_millis(1)),
    ] {
        let place = folder();
        let path = place.path().join("audit.db");
        let store = builder(&path, overflow)
            .size_bytes_max(SIZE)
            .open()
            .unwrap();
        let ledger = Ledger::default();
        let mut seen = Vec::new();
        let mut number = 0;
        let mut refused = 0;
        while refused < 20 {
            let id = format!("s-{number}");
            number += 1;
            assert!(number < 20_000, "{:?}", store.health());
            match ledger.open(&store.recorder(), &id) {
                Some(handle) => {
                    refused += u64::from(!handle.is_recorded());
                    ledger.complete(&id, handle);
                }
                None => refused += 1,
            }
            store.flush(PATIENCE).unwrap();
            let health = store.health();
            for alarm in health.alarms {
                let kind = match alarm {
                    Alarm::DiskSpaceLow { .. } => "low",
                    Alarm::MetadataOnly { .. } => "metadata only",
                    Alarm::SizeReached => "reached",
                    _ => continue,
                };
                if seen.last() != Some(&kind) {
                    seen.push(kind);
                }
            }
        }
        assert_eq!(seen, ["low", "metadata only", "reached"], "{overflow:?}");
        assert_eq!(store.health().state, HealthState::Degraded);
        let report = store.close(PATIENCE);
        assert!(report.is_complete, "{report:?}");
        assert!(report.shed_payloads > 0, "{report:?}");
        let is_strict = overflow == Overflow::Strict;
        assert_eq!(report.shed_lifecycles, if is_strict { 0 } else { 20 });
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes < SIZE + 128 * 1024, "{bytes}");
        let violations = examine(&path, &ledger.promises(), Accounts::Settled);
        assert_eq!(violations, [""; 0], "{overflow:?}");
    }
}
