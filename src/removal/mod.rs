//! Removal: erasing on request, and pruning by age or size.
//!
//! Removals are planned here, on the caller's thread with a reading connection, and written by the writer
//! in short steps. Content on which others depend is removed only after these are repacked, in separate
//! steps that change no content: a system prompt that all conversations share has as many dependants as
//! there are conversations, too many for one transaction. The step that removes something records it in the
//! log in the same transaction. After a crash in between, the file is whole and some content is not removed
//! yet.
//!
//! `erase` and `prune` plan, `policy` prunes regularly on a thread of its own. `dependants` repacks what depends on
//! removed content, `segment_lines` replaces lines by their leaf hashes. `unlisted` finds what only the log tells of an
//! erasure's subject; `clock_check` keeps a wrong clock from making everything too old.

mod clock_check;
mod dependants;
mod erase;
mod media;
mod policy;
mod prune;
mod segment_lines;
mod unlisted;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::db::{Connection, RawFile, Removal, open_reader, restart_clock};
use crate::error::{ReadError, RemovalError, chain};
use crate::log::EventKind;
use crate::read::search;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Instant, thread};
use crate::writer::{Command, MaintenanceCommand, MaintenanceError, Shared};

pub use erase::{EraseReport, EraseSelector};
pub use prune::{PruneReport, Retention};

pub(crate) use erase::preview as preview_erase;
pub(crate) use policy::{LOOK_EVERY, RetentionThread};
pub(crate) use prune::preview as preview_prune;

/// The longest wait for one step, which takes milliseconds: a longer one means that the writer is in
/// trouble.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long emptying the write-ahead log is retried while readers need it.
const TRUNCATE_TIMEOUT: Duration = Duration::from_secs(10);
const TRUNCATE_PAUSE: Duration = Duration::from_millis(20);
/// Pages that one step zeroes, in some milliseconds.
const WIPED_PAGES_EACH: usize = 256;

/// Plans removals and has the writer execute them. Shared by the store's owner and the retention thread, for as
/// long as the store is open. The mutex protects no data: it keeps two removals from running at the same time,
/// since each plans its steps from the state that the step before left.
#[derive(Debug, Clone)]
pub(crate) struct Remover {
    shared: Arc<Shared>,
    path: Arc<Path>,
    one_at_a_time: Arc<Mutex<()>>,
    /// When the store was opened.
    opened: Instant,
    /// Whether this process has checked that the links are complete, which reads the rows of all payloads.
    are_links_checked: Arc<AtomicBool>,
}

/// A removal in progress, on one thread. Exists while the mutex of [`Remover`] is held.
struct Session<'r> {
    shared: &'r Shared,
    path: &'r Path,
    connection: Connection,
    are_links_checked: &'r AtomicBool,
    /// Whether the writer gets as much time for others as a step took.
    is_paced: bool,
}

impl Remover {
    pub(crate) fn new(shared: Arc<Shared>, path: &Path) -> Self {
        Self {
            shared,
            path: path.into(),
            one_at_a_time: Arc::default(),
            opened: Instant::now(),
            are_links_checked: Arc::default(),
        }
    }

    pub(crate) fn erase(
        &self,
        selector: &EraseSelector,
        reason: &str,
    ) -> Result<EraseReport, RemovalError> {
        self.run(false, |session| erase::erase(session, selector, reason))
    }

    /// `go_on` is called between steps.
    pub(crate) fn prune(
        &self,
        retention: &Retention,
        is_paced: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<PruneReport, RemovalError> {
        self.run(is_paced, |session| {
            if retention.depends_on_the_clock()
                && let Some(ahead) =
                    clock_check::clock_ahead(&session.connection, Some(self.opened.elapsed()))?
            {
                return Err(RemovalError::ClockAhead { ahead });
            }
            prune::prune(session, retention, go_on)
        })
    }

    /// As [`prune`](Self::prune), for repeated use by the retention policy. While the clock cannot be
    /// trusted, nothing is removed because of its age, and an alarm is raised.
    fn apply(
        &self,
        retention: &Retention,
        go_on: &dyn Fn() -> bool,
    ) -> Result<PruneReport, RemovalError> {
        let mut result = self.prune(retention, true, go_on);
        let ahead = match result {
            Err(RemovalError::ClockAhead { ahead }) => Some(ahead),
            _ => None,
        };
        self.shared.counters.set_clock_ahead(ahead);
        if ahead.is_some() {
            result = self.prune(&retention.by_size(), true, go_on);
        }
        result
    }

    fn run<T>(
        &self,
        is_paced: bool,
        work: impl FnOnce(&Session<'_>) -> Result<T, RemovalError>,
    ) -> Result<T, RemovalError> {
        if self.shared.process.is_left() {
            return Err(RemovalError::WriterStopped);
        }
        let _only = self
            .one_at_a_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let session = Session {
            shared: &self.shared,
            path: &self.path,
            connection: open_reader(&self.path).map_err(ReadError::from)?,
            are_links_checked: &self.are_links_checked,
            is_paced,
        };
        work(&session)
    }
}

impl Session<'_> {
    /// Commits everything before.
    fn flush(&self) -> Result<(), RemovalError> {
        self.forget(&[])
    }

    /// Makes the writer pack nothing later against these payloads, and commits everything before. The ranges
    /// are in ascending order.
    fn forget(&self, ranges: &[(i64, i64)]) -> Result<(), RemovalError> {
        self.submit(MaintenanceCommand {
            forgets: ranges.to_vec(),
            ..MaintenanceCommand::default()
        })
    }

    /// Executes one step; it is committed when this returns.
    fn step(&self, kind: Option<EventKind>, removal: Removal) -> Result<(), RemovalError> {
        let begun = Instant::now();
        self.submit(MaintenanceCommand {
            kind,
            removal,
            ..MaintenanceCommand::default()
        })?;
        if self.is_paced {
            thread::sleep(begun.elapsed());
        }
        Ok(())
    }

    /// Leaves no byte of removed content behind: not in a search index that was given up, the write-ahead
    /// log, or unused space of pages. `false`: a reader was in the way all the time, or the search index is
    /// too damaged to be dropped.
    fn zero_slack(&self) -> Result<bool, RemovalError> {
        if !self.drop_index()? || !self.truncate(&[])? {
            return Ok(false);
        }
        let pages = RawFile::open(self.path)
            .and_then(|file| file.pages_with_slack())
            .map_err(|error| RemovalError::Failed(chain(&error)))?;
        for pages in pages.chunks(WIPED_PAGES_EACH) {
            if !self.truncate(pages)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Drops the search index if it was given up. `false`: that is impossible.
    fn drop_index(&self) -> Result<bool, RemovalError> {
        loop {
            match search::is_dropping(&self.connection) {
                Ok(true) => {}
                Ok(false) => return Ok(true),
                Err(_) => return Ok(false),
            }
            let result = self.send(MaintenanceCommand {
                drops_search_index: true,
                ..MaintenanceCommand::default()
            })?;
            if result.is_err() {
                return Ok(false);
            }
        }
    }

    /// Empties the write-ahead log and zeroes the unused space of these pages. `false`: a reader was in the
    /// way all the time.
    fn truncate(&self, slack_pages: &[u32]) -> Result<bool, RemovalError> {
        let begun = Instant::now();
        loop {
            let result = self.send(MaintenanceCommand {
                truncates_wal: true,
                slack_pages: slack_pages.to_vec(),
                ..MaintenanceCommand::default()
            })?;
            match result {
                Ok(()) => return Ok(true),
                Err(MaintenanceError::Failed(what)) => return Err(RemovalError::Failed(what)),
                Err(MaintenanceError::ReaderInTheWay) if begun.elapsed() >= TRUNCATE_TIMEOUT => {
                    return Ok(false);
                }
                Err(MaintenanceError::ReaderInTheWay) => thread::sleep(TRUNCATE_PAUSE),
            }
        }
    }

    fn submit(&self, command: MaintenanceCommand) -> Result<(), RemovalError> {
        self.send(command)?.map_err(|error| match error {
            MaintenanceError::Failed(what) => RemovalError::Failed(what),
            MaintenanceError::ReaderInTheWay => {
                RemovalError::Failed("a reader is in the way".to_owned())
            }
        })
    }

    /// Allows, from now on, the time in which the whole file can be read.
    fn restart_clock(&self) -> Result<(), ReadError> {
        Ok(restart_clock(&self.connection, self.path)?)
    }

    fn send(
        &self,
        command: MaintenanceCommand,
    ) -> Result<Result<(), MaintenanceError>, RemovalError> {
        let command = |reply| Command::Maintenance(Box::new((command, reply)));
        let result = self.shared.ask(command, STEP_TIMEOUT)?;
        // A read between two steps has a time limit; a removal as a whole may take hours.
        self.restart_clock()?;
        Ok(result)
    }
}
