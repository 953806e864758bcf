//! Schedules of opening, recording, shedding, flushing, waiting, closing, dropping and of the
//! writer's death: the whole writer over a real file, its threads on shuttle's primitives (`sync`).
//!
//! Part of the crate's own tests, because the replacements for the primitives are not public:
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --profile schedules --lib schedules
//! ```
//!
//! `AUDITLITE_SCHEDULES` sets how many each test explores, `AUDITLITE_SCHEDULES_SEED` repeats a run.
//! It explores interleavings under sequentially consistent memory; weaker memory orders, and the inside of
//! crossbeam's channel, are not explored.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rusqlite::Connection;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread;

use crate::sync::{Fault, Plan, begin};
use crate::tests::seeds;
use crate::{
    CloseReport, Completion, EraseSelector, FlushError, Overflow, PayloadSide, ReadOnlyStore,
    Receipt, ReceiptError, RecordError, RequestContext, Store,
};

/// Longer than any schedule's clock runs.
const PATIENCE: Duration = Duration::from_secs(1_000_000);
/// Bytes of a coroutine's stack: SQLite and zstd need more than shuttle's own default.
const STACK_BYTES: usize = 1 << 20;

/// Runs `schedule` many times, each with a folder of its own: half with a random scheduler, half
/// with one that is biased to few, well-placed preemptions.
fn explore(name: &str, schedule: fn(&Path)) {
    let count = seeds::number("AUDITLITE_SCHEDULES", 300) as usize;
    let seed = seeds::seed("AUDITLITE_SCHEDULES_SEED");
    let half = count.div_ceil(2);
    run(name, RandomScheduler::new_from_seed(seed, half), schedule);
    run(name, PctScheduler::new_from_seed(seed, 3, half), schedule);
}

fn run(name: &str, scheduler: impl Scheduler + 'static, schedule: fn(&Path)) {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    // In memory if there is such a place: syncing does not matter here.
    let shared_memory = Path::new("/dev/shm");
    let parent = match shared_memory.is_dir() {
        true => tempfile::tempdir_in(shared_memory),
        false => tempfile::tempdir(),
    };
    let parent = parent.unwrap();
    let folder = parent.path().to_owned();
    println!("{name}: {}", folder.display());
    shuttle::Runner::new(scheduler, config).run(move || {
        let folder = tempfile::tempdir_in(&folder).unwrap();
        schedule(&folder.path().join("audit.db"));
    });
}

fn context(id: &str) -> RequestContext {
    RequestContext::new("openai.chat").request_id(id)
}

/// What a request thread knows of one request.
struct Told {
    id: String,
    /// The opening was admitted and recorded, as far as the handle knows.
    is_recorded: bool,
    receipt: Option<Receipt>,
}

/// Opens and completes a request.
fn record(recorder: &crate::Recorder, id: &str) -> Result<Told, RecordError> {
    let audit = recorder.open(context(id), vec![b'q'; 1000])?;
    let is_recorded = audit.is_recorded();
    let receipt = audit
        .complete(Completion::new().response_body("an answer"))
        .ok();
    Ok(Told {
        id: id.to_owned(),
        is_recorded,
        receipt,
    })
}

/// Statuses by request id, as they lie in the file.
fn stored(path: &Path) -> Vec<(String, String)> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT request_id, status FROM requests")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

fn status_of<'s>(stored: &'s [(String, String)], id: &str) -> Option<&'s str> {
    let mut found = stored.iter().filter(|(stored, _)| stored == id);
    let status = found.next().map(|(_, status)| status.as_str());
    assert!(found.next().is_none(), "{id} is stored twice");
    status
}

/// The file is whole; every durable receipt is kept; everything missing was recorded as lost.
fn check(path: &Path, told: &[Told], report: &CloseReport) {
    let doctor = ReadOnlyStore::open(path).unwrap().doctor().unwrap();
    assert_eq!(doctor.findings, Vec::<String>::new());
    let stored = stored(path);
    let mut missing_openings = 0;
    let mut missing_ends = 0;
    for told in told {
        let status = status_of(&stored, &told.id);
        if let Some(receipt) = &told.receipt
            && told.is_recorded
        {
            let is_there = status == Some("completed");
            assert!(
                is_there || !receipt.is_durable(),
                "{} was called durable",
                told.id
            );
            missing_ends += u64::from(!is_there);
        }
        missing_openings += u64::from(told.is_recorded && status.is_none());
        assert!(told.is_recorded || status.is_none());
    }
    if report.is_complete {
        assert_eq!((missing_openings, missing_ends), (0, 0), "{report:?}");
        assert_eq!(report.lost_events, 0);
        assert_eq!(doctor.shed_lifecycles, report.shed_lifecycles);
        assert_eq!(doctor.crashed_openings, 0);
    } else {
        // The report counts exactly the admitted events that are missing.
        assert_eq!(
            report.lost_events,
            missing_openings + missing_ends,
            "{report:?}"
        );
    }
}

/// Requests that are open end, and others are opened, while the owner closes.
#[test]
fn a_close_takes_in_all_that_was_promised() {
    explore("close", |path| {
        begin(Plan::default());
        let store = Store::builder(path).open().unwrap();
        let mut threads: Vec<_> = (0..2)
            .map(|number| {
                let held: Vec<_> = (0..3)
                    .map(|turn| {
                        let id = format!("held-{number}-{turn}");
                        let audit = store.recorder().open(context(&id), "q").unwrap();
                        (audit, id)
                    })
                    .collect();
                thread::spawn(move || {
                    held.into_iter()
                        .map(|(audit, id)| Told {
                            id,
                            is_recorded: true,
                            receipt: audit.complete(Completion::new()).ok(),
                        })
                        .collect()
                })
            })
            .collect();
        let recorder = store.recorder();
        threads.push(thread::spawn(move || {
            let mut told = Vec::new();
            for turn in 0..3 {
                match record(&recorder, &format!("new-{turn}")) {
                    Ok(one) => told.push(one),
                    Err(error) => assert_eq!(error, RecordError::Closed),
                }
            }
            told
        }));
        let report = store.close(PATIENCE);
        assert!(report.is_complete, "{report:?}");
        let told: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        for told in &told {
            let Some(receipt) = &told.receipt else {
                continue;
            };
            receipt.wait(PATIENCE).unwrap();
        }
        check(path, &told, &report);
    });
}

/// Little capacity: whole lifecycles are shed, ends always fit, and everything is stated.
#[test]
fn what_is_shed_is_stated_and_reserved_ends_fit() {
    explore("shed", |path| {
        begin(Plan::default());
        let store = Store::builder(path).capacity_events(16).open().unwrap();
        let threads: Vec<_> = (0..2)
            .map(|number| {
                let recorder = store.recorder();
                thread::spawn(move || {
                    let held: Vec<_> = (0..6)
                        .map(|turn| {
                            let id = format!("r-{number}-{turn}");
                            (recorder.open(context(&id), "q").unwrap(), id)
                        })
                        .collect();
                    held.into_iter()
                        .map(|(audit, id)| Told {
                            id,
                            is_recorded: audit.is_recorded(),
                            // Its place was reserved at the opening.
                            receipt: Some(audit.complete(Completion::new()).unwrap()),
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let told: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        store.flush(PATIENCE).unwrap();
        let health = store.health();
        assert_eq!((health.queued_events, health.queued_bytes), (0, 0));
        let lost = told.iter().filter(|told| !told.is_recorded).count() as u64;
        assert_eq!(health.shed_lifecycles, lost);
        let report = store.close(PATIENCE);
        check(path, &told, &report);
        assert_eq!(report.shed_lifecycles, lost);
    });
}

/// A thread that waits for capacity gets it when it is released, and gives up when the store is closed.
#[test]
fn a_thread_that_waits_for_capacity_is_served_or_refused() {
    explore("wait", |path| {
        begin(Plan::default());
        let builder = Store::builder(path).capacity_events(16);
        let store = builder.overflow(Overflow::Wait(PATIENCE)).open().unwrap();
        let held: Vec<_> = (0..7)
            .map(|number| {
                store
                    .recorder()
                    .open(context(&format!("held-{number}")), "q")
                    .unwrap()
            })
            .collect();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let recorder = store.recorder();
                thread::spawn(move || {
                    let mut told = Vec::new();
                    for turn in 0..2 {
                        match record(&recorder, &format!("r-{number}-{turn}")) {
                            Ok(one) => told.push(one),
                            Err(error) => assert_eq!(error, RecordError::Closed),
                        }
                    }
                    told
                })
            })
            .collect();
        let dropper = thread::spawn(move || drop(held));
        let report = store.close(PATIENCE);
        assert!(report.is_complete, "{report:?}");
        dropper.join().unwrap();
        let told: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        check(path, &told, &report);
    });
}

/// Flushes by many threads, more than the channel has places for: each returns, none takes the
/// place of an end.
#[test]
fn flushes_are_barriers_and_take_nobodys_place() {
    explore("flush", |path| {
        begin(Plan {
            is_hasty: true,
            fault: None,
        });
        let store = Arc::new(Store::builder(path).capacity_events(16).open().unwrap());
        let held: Vec<_> = (0..8)
            .map(|number| {
                (
                    store
                        .recorder()
                        .open(context(&format!("r-{number}")), "q")
                        .unwrap(),
                    number,
                )
            })
            .collect();
        let flusher = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                for _ in 0..crate::writer::CONTROL_SLOTS + 16 {
                    // Its command stays behind where nobody waits for the answer.
                    let _ = store.flush(Duration::ZERO);
                }
            })
        };
        let told: Vec<_> = held
            .into_iter()
            .map(|(audit, number)| Told {
                id: format!("r-{number}"),
                is_recorded: audit.is_recorded(),
                receipt: Some(audit.complete(Completion::new()).unwrap()),
            })
            .collect();
        match store.flush(PATIENCE) {
            Ok(()) => {
                assert!(told.iter().all(|told| {
                    !told.is_recorded || told.receipt.as_ref().unwrap().is_durable()
                }))
            }
            Err(error) => assert_eq!(error, FlushError::Timeout(PATIENCE)),
        }
        flusher.join().unwrap();
        let store = Arc::into_inner(store).unwrap();
        let report = store.close(PATIENCE);
        check(path, &told, &report);
    });
}

/// The committer dies at a random batch: every call returns, and the report says what is gone.
fn death(path: &Path, fault: Fault, is_hasty: bool) {
    begin(Plan {
        is_hasty,
        fault: Some(fault),
    });
    let builder = Store::builder(path).capacity_events(16);
    let store = Arc::new(builder.overflow(Overflow::Wait(PATIENCE)).open().unwrap());
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let recorder = store.recorder();
                let mut told = Vec::new();
                for turn in 0..6 {
                    let Ok(one) = record(&recorder, &format!("r-{number}-{turn}")) else {
                        break;
                    };
                    if turn == 2 {
                        let _ = store.flush(PATIENCE);
                    }
                    if turn == 4
                        && let Some(receipt) = &one.receipt
                    {
                        match receipt.wait(PATIENCE) {
                            Ok(()) | Err(ReceiptError::Shed | ReceiptError::WriterStopped) => {}
                            Err(error) => assert!(is_hasty, "{error}"),
                        }
                    }
                    told.push(one);
                }
                told
            })
        })
        .collect();
    let told: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let store = Arc::into_inner(store).unwrap();
    let health = store.health();
    let recorder = store.recorder();
    let report = store.close(PATIENCE);
    if health.state == crate::HealthState::Failed {
        assert!(!report.is_complete);
    }
    assert!(matches!(
        recorder.open(context("late"), "q"),
        Err(RecordError::Closed | RecordError::WriterStopped(_))
    ));
    check(path, &told, &report);
}

#[test]
fn nobody_waits_for_a_writer_that_failed() {
    explore("failed", |path| death(path, Fault::Fails, false));
}

#[test]
fn nobody_waits_for_a_writer_that_is_gone() {
    explore("gone", |path| death(path, Fault::Vanishes, false));
}

/// Tasks await receipts while others are dropped and the owner closes: one that is not woken is a deadlock.
#[test]
fn a_task_that_awaits_a_receipt_is_woken() {
    explore("await", |path| {
        begin(Plan::default());
        let store = Store::builder(path).open().unwrap();
        let threads: Vec<_> = (0..2)
            .map(|number| {
                let recorder = store.recorder();
                thread::spawn(move || {
                    for turn in 0..3 {
                        let id = format!("r-{number}-{turn}");
                        let Ok(audit) = recorder.open(context(&id), "q") else {
                            break;
                        };
                        let mut is_dropped = std::pin::pin!(audit.opened_receipt());
                        let mut nobody = Context::from_waker(Waker::noop());
                        let _ = is_dropped.as_mut().poll(&mut nobody);
                        let opened = shuttle::future::block_on(audit.opened_receipt());
                        assert_eq!(opened, Ok(()));
                        // Refused where the writer has looked for the last time.
                        if let Ok(receipt) = audit.complete(Completion::new()) {
                            assert_eq!(shuttle::future::block_on(receipt), Ok(()));
                        }
                    }
                })
            })
            .collect();
        assert!(store.close(PATIENCE).is_complete);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// The writer dies while a task awaits it.
fn awaited_death(path: &Path, fault: Fault) {
    begin(Plan {
        is_hasty: false,
        fault: Some(fault),
    });
    let store = Store::builder(path).open().unwrap();
    let recorder = store.recorder();
    let awaiting = thread::spawn(move || {
        for turn in 0..6 {
            let Ok(audit) = recorder.open(context(&format!("r-{turn}")), "q") else {
                break;
            };
            let Ok(receipt) = audit.complete(Completion::new()) else {
                break;
            };
            if let Err(error) = shuttle::future::block_on(receipt) {
                assert_eq!(error, ReceiptError::WriterStopped);
            }
        }
    });
    awaiting.join().unwrap();
    store.close(PATIENCE);
}

#[test]
fn a_task_is_woken_by_a_writer_that_fails() {
    explore("await failed", |path| awaited_death(path, Fault::Fails));
}

#[test]
fn a_task_is_woken_by_a_writer_that_is_gone() {
    explore("await gone", |path| awaited_death(path, Fault::Vanishes));
}

/// Deadlines pass at any moment, also those of the close: what it reports as lost is what is lost.
#[test]
fn a_close_that_runs_out_of_time_reports_what_is_lost() {
    explore("hasty", |path| {
        begin(Plan {
            is_hasty: true,
            fault: None,
        });
        let store = Store::builder(path).open().unwrap();
        let threads: Vec<_> = (0..2)
            .map(|number| {
                let recorder = store.recorder();
                thread::spawn(move || {
                    let mut told = Vec::new();
                    for turn in 0..3 {
                        told.extend(record(&recorder, &format!("r-{number}-{turn}")));
                    }
                    told
                })
            })
            .collect();
        let told: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let report = store.close(Duration::from_micros(150));
        let doctor = ReadOnlyStore::open(path).unwrap().doctor().unwrap();
        assert_eq!(doctor.findings, Vec::<String>::new());
        if report.is_complete {
            check(path, &told, &report);
            return;
        }
        // The writer may have gone on after the report, but not back.
        let stored = stored(path);
        let statuses = told.iter().map(|told| status_of(&stored, &told.id));
        let missing: u64 = statuses
            .map(|status| match status {
                None => 2,
                Some(status) => u64::from(status != "completed"),
            })
            .sum();
        assert!(missing <= report.lost_events, "{missing}: {report:?}");
    });
}

/// A base64 text that is a medium, the same for a number.
fn medium(number: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number as u64);
    (0..16 * 1024).map(|_| random.alphanumeric()).collect()
}

/// Conversations that show the same images begin while others that show them are erased: each body that stays
/// comes back, and the file has no medium that no body has.
#[test]
fn a_medium_stays_for_all_that_refer_to_it_while_its_holders_are_erased() {
    const COUNT: usize = 5;
    explore("media", |path| {
        begin(Plan::default());
        let store = Arc::new(Store::builder(path).open().unwrap());
        let show = |recorder: &crate::Recorder, kind: &str, number: usize| {
            let id = format!("{kind}-{number}");
            let context = context(&id).conversation_id(id.as_str());
            // The beginnings differ, so that the medium is what bodies have in common.
            let text = format!("{kind} says {number}. ").repeat(40);
            let body = format!("{text}\"{}\"{text}", medium(number));
            let audit = recorder.open(context, body.clone()).unwrap();
            audit.complete(Completion::new()).unwrap();
            (id, body)
        };
        let recorder = store.recorder();
        for number in 0..COUNT {
            show(&recorder, "erased", number);
        }
        store.flush(PATIENCE).unwrap();
        let mut shown = Vec::new();
        for number in 0..COUNT {
            let eraser = {
                let store = Arc::clone(&store);
                thread::spawn(move || {
                    let selector = EraseSelector::Request(format!("erased-{number}"));
                    assert_eq!(store.erase(&selector, "why").unwrap().requests, 1);
                })
            };
            // Each later in the erasure.
            for _ in 0..number {
                store.flush(PATIENCE).unwrap();
            }
            shown.push(show(&recorder, "kept", number));
            eraser.join().unwrap();
        }
        assert!(store.close(PATIENCE).is_complete);
        let store = ReadOnlyStore::open(path).unwrap();
        assert_eq!(store.doctor().unwrap().findings, Vec::<String>::new());
        let reader = store.reader();
        for (id, body) in shown {
            let request = reader.get(&id).unwrap();
            let read = reader.payload(&request, PayloadSide::Request).unwrap();
            assert!(read.bytes == body.as_bytes(), "{id}");
        }
    });
}
