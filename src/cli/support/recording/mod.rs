//! Shared by `record` and `import`: one thread reads lines and submits requests, the command's own thread watches
//! the writer's health, signals and commits.
//!
//! The reading thread may block for ever, in a pipe into which nothing is written. So it owns nothing that the end
//! of the program needs: once told to stop it submits nothing more, and the process ends without it.

mod flight;
mod watch;

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use auditlite::{
    BodyInfos, CloseReport, Overflow, Reader, Receipt, RecordError, Recorder, Store, StoreBuilder,
};

use super::capacity::CapacityArgs;
use super::error::CliError;
use super::identity::Identity;
use super::progress::Progress;
use super::signals::{Signal, Signals};
use super::source::{self, Source};
use super::{format, output, writing};
use crate::cli::Outcome;
pub(crate) use flight::Counts;
use flight::Flight;
use watch::{News, Watch};

/// Time between two checks of health, signals and receipts.
const STEP: Duration = Duration::from_millis(50);
/// How long moving the write-ahead log into the database may take once all is committed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same if requests wait for their commit: containers are killed ten seconds after SIGTERM.
const CLOSE_TIMEOUT_PENDING: Duration = Duration::from_secs(5);
/// The same after commits have failed for so long that there is no hope.
const CLOSE_TIMEOUT_HOPELESS: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct RecordingArgs {
    /// Stop when nothing could be committed for so many seconds: a full disk, a lock
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    give_up_after: u32,
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
    /// No progress and no summary; bad lines and problems are still reported
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// What became of a line's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    New,
    Known,
}

/// What the reading thread and the command's own thread share while a recording runs.
///
/// `flight` is the only state that both change. The reading thread holds its lock from the opening of a request to
/// its end, so that the other thread never stops a request halfway.
pub(crate) struct Feed {
    recorder: Recorder,
    reader: Reader,
    /// Used by the reading thread only: the lock is never contended.
    body_infos: Mutex<BodyInfos>,
    progress: Progress,
    flight: Mutex<Flight>,
}

/// How a recording went.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) counts: Counts,
    pub(crate) elapsed: Duration,
    pub(crate) signal: Option<Signal>,
    outcome: Result<Outcome, CliError>,
}

impl Recorded {
    /// The command's outcome, to be told after the summary.
    pub(crate) fn outcome(self) -> Result<Outcome, CliError> {
        self.outcome
    }

    /// What the summary ends with.
    pub(crate) fn tail(&self) -> String {
        let mut words = String::new();
        if self.counts.not_committed > 0 {
            words.push_str(&format!(
                ", {} not committed",
                format::count(self.counts.not_committed)
            ));
        }
        if let Some(signal) = self.signal {
            words.push_str(&format!("; ended by {}", signal.name()));
        }
        words
    }
}

/// Runs `read` on a thread of its own until it has ended, a signal comes, or nothing can be committed.
///
/// # Errors
///
/// The store cannot be opened, or the operating system gives no thread. All else is in the result.
pub(crate) fn run(
    builder: StoreBuilder,
    args: &RecordingArgs,
    read: impl FnOnce(&Feed) -> Result<(), CliError> + Send + 'static,
) -> Result<Recorded, CliError> {
    let started = Instant::now();
    let give_up_after = Duration::from_secs(args.give_up_after.into());
    // Before the store is opened, so that a signal during the opening is obeyed right after it.
    let signals = Signals::take().map_err(|source| no_thread("signals", &source))?;
    let store = writing::open(
        builder
            .overflow(Overflow::Wait(give_up_after))
            .close_timeout(CLOSE_TIMEOUT_PENDING),
    )?;
    let feed = Arc::new(Feed {
        recorder: store.recorder(),
        body_infos: Mutex::new(store.reader().body_infos()),
        reader: store.reader(),
        progress: Progress::new(args.quiet),
        flight: Mutex::default(),
    });
    let (sender, done) = mpsc::channel();
    let its_feed = Arc::clone(&feed);
    thread::Builder::new()
        .name("auditlite-lines".to_owned())
        .spawn(move || drop(sender.send(read(&its_feed))))
        .map_err(|source| no_thread("reading", &source))?;
    let supervisor = Supervisor {
        store: &store,
        feed: &feed,
        signals: &signals,
        watch: Watch::new(give_up_after, Instant::now()),
    };
    let end = supervisor.watch_over(&done);
    Ok(close(store, &feed, end, started))
}

fn no_thread(what: &str, source: &std::io::Error) -> CliError {
    CliError::Message(format!("the operating system gives no {what}: {source}"))
}

/// Why a recording is over.
enum End {
    /// All input was read, or reading failed.
    Read(Result<(), CliError>),
    Signal(Signal),
    /// Nothing can be committed.
    GivenUp(String),
}

struct Supervisor<'a> {
    store: &'a Store,
    feed: &'a Feed,
    signals: &'a Signals,
    watch: Watch,
}

impl Supervisor<'_> {
    fn watch_over(mut self, done: &Receiver<Result<(), CliError>>) -> End {
        let mut read = None;
        loop {
            let oldest = {
                let mut flight = self.feed.flight();
                flight.settle();
                self.feed.progress.recorded(flight.counts.recorded);
                if let Some(signal) = self.signals.received() {
                    return End::Signal(signal);
                }
                let (waiting, recorded) = (flight.requests(), flight.counts.recorded);
                let news = self
                    .watch
                    .look(&self.store.health(), waiting, recorded, Instant::now());
                match news {
                    News::Nothing => {}
                    News::Say(words) => self.feed.progress.suspend(|| output::say(&words)),
                    News::GiveUp(problem) => return End::GivenUp(problem),
                }
                flight.oldest()
            };
            read = match (read, oldest) {
                (Some(read), None) => return End::Read(read),
                (Some(read), Some(oldest)) => {
                    wait_for(&oldest);
                    Some(read)
                }
                (None, _) => match done.recv_timeout(STEP) {
                    Ok(result) => Some(result),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => Some(Err(CliError::Message(
                        "reading ended by a panic; this is a bug, please report it".to_owned(),
                    ))),
                },
            };
        }
    }
}

/// Closes the store and sums up. The time that the close gets depends on the reason for the end: long if all is
/// committed, short if commits have failed for so long that waiting is useless.
fn close(store: Store, feed: &Feed, end: End, started: Instant) -> Recorded {
    let is_empty = {
        let mut flight = feed.flight();
        flight.is_stopped = true;
        flight.is_empty()
    };
    feed.progress.finish();
    let timeout = match end {
        End::GivenUp(_) => CLOSE_TIMEOUT_HOPELESS,
        End::Read(_) | End::Signal(_) if is_empty => CLOSE_TIMEOUT,
        End::Read(_) | End::Signal(_) => CLOSE_TIMEOUT_PENDING,
    };
    let health = store.health();
    let report = store.close(timeout);
    let mut counts = feed.flight().finish();
    if report.is_file_lost {
        counts.disown();
    }
    let problem = report.problem.clone().or(health.problem);
    let signal = match end {
        End::Signal(signal) => Some(signal),
        End::Read(_) | End::GivenUp(_) => None,
    };
    let outcome = match end {
        // Any other problem follows from this one.
        _ if report.is_file_lost => Err(not_committed(&counts, &problem.unwrap_or_default())),
        End::GivenUp(problem) => Err(not_committed(&counts, &problem)),
        End::Signal(_) | End::Read(Ok(())) if counts.not_committed > 0 => {
            Err(not_committed(&counts, &problem.unwrap_or_default()))
        }
        // The input failed and the store is fine: report the input's error.
        End::Read(Err(error)) => match problem.filter(|_| !report.is_complete) {
            Some(problem) => Err(not_committed(&counts, &problem)),
            None => Err(error),
        },
        End::Read(Ok(())) | End::Signal(_) => outcome(&report, &counts, signal),
    };
    Recorded {
        counts,
        elapsed: started.elapsed(),
        signal,
        outcome,
    }
}

fn not_committed(counts: &Counts, problem: &str) -> CliError {
    let what = match counts.not_committed {
        0 => String::new(),
        requests => {
            let requests = format::counted(requests, "request", "requests");
            format!(", and {requests} could not be committed")
        }
    };
    CliError::Message(format!(
        "recording stopped{what}: {problem}. Fix that and run the same command again: what is recorded \
         already is passed over"
    ))
}

/// The outcome by the store's own report.
fn outcome(
    report: &CloseReport,
    counts: &Counts,
    signal: Option<Signal>,
) -> Result<Outcome, CliError> {
    if report.lost_events > 0 || !report.is_complete {
        let problem = report.problem.as_deref();
        return Err(CliError::Message(format!(
            "all is committed, and the store did not close in order{}; check the disk, then \
             `auditlite doctor`",
            problem.map_or(String::new(), |problem| format!(" ({problem})"))
        )));
    }
    let is_unanchored = writing::say_unanchored(report);
    if let Some(signal) = signal {
        return Ok(Outcome::Signalled(signal));
    }
    if report.shed_lifecycles > 0 || report.shed_payloads > 0 {
        output::say(&format!(
            "warning: {} and {} were left out for want of capacity; the disk is too slow or full",
            format::counted(report.shed_lifecycles, "request", "requests"),
            format::counted(report.shed_payloads, "body", "bodies"),
        ));
        return Ok(Outcome::Findings);
    }
    Ok(match counts.bad_lines {
        0 if !is_unanchored => Outcome::Fine,
        _ => Outcome::Findings,
    })
}

impl Feed {
    /// Visits each line of a file that is not blank, with its number. A problem that `visit` returns is
    /// reported, and the next line follows.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or nothing more can be recorded.
    pub(crate) fn each_line(
        &self,
        path: &Path,
        mut visit: impl FnMut(&[u8]) -> Result<Result<(), String>, CliError>,
    ) -> Result<(), CliError> {
        Source::open(path, &self.progress)?.each_line(|number, line| {
            let visited = match line {
                Ok(line) => visit(line)?,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = visited {
                self.flight().count(|counts| &mut counts.bad_lines);
                source::say_bad_line(&self.progress, path, number, &problem);
            }
            Ok(())
        })
    }

    /// Records a request unless the file already has it. Waits for capacity, and until requests with the same id
    /// are committed, since only then they can be compared. Blocks.
    ///
    /// # Errors
    ///
    /// The file cannot be read, the writer has stopped, or the recording is over.
    pub(crate) fn take(
        &self,
        identity: Option<&Identity>,
        line_bytes: usize,
        body_bytes: u64,
        record: impl FnOnce(&Recorder) -> Result<Receipt, RecordError>,
    ) -> Result<Taken, CliError> {
        if let Some(identity) = identity {
            drop(self.flight_once(|flight| !flight.has_id(&identity.request_id))?);
            let mut infos = self
                .body_infos
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if identity.is_in(&self.reader, &mut infos)? {
                self.flight().count(|counts| &mut counts.already_recorded);
                return Ok(Taken::Known);
            }
        }
        // Held until the end is submitted too: a request is submitted whole or not at all.
        let mut flight = self.flight_once(|flight| flight.has_room(line_bytes))?;
        let receipt = record(&self.recorder)?;
        let request_id = identity.map(|identity| identity.request_id.as_str());
        flight.push(request_id, line_bytes, body_bytes, receipt);
        Ok(Taken::New)
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flight_once(
        &self,
        is_ready: impl Fn(&Flight) -> bool,
    ) -> Result<MutexGuard<'_, Flight>, CliError> {
        loop {
            let mut flight = self.flight();
            if flight.is_stopped {
                return Err(CliError::Stopped);
            }
            if is_ready(&flight) {
                return Ok(flight);
            }
            flight.settle();
            if is_ready(&flight) {
                return Ok(flight);
            }
            let oldest = flight.oldest();
            drop(flight);
            if let Some(oldest) = oldest {
                wait_for(&oldest);
            }
        }
    }
}

/// Waits one step for a receipt, also if the writer has stopped: the caller's loop must not spin.
fn wait_for(receipt: &Receipt) {
    let begun = Instant::now();
    if receipt.wait(STEP).is_err() {
        thread::sleep(STEP.saturating_sub(begun.elapsed()));
    }
}
