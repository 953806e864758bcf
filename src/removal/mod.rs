//! Removal: erasing on request, and pruning by age or size.
//!
//! Planned here, on the caller's thread and a reading connection; written by the writer in short
//! steps. What others are packed against is never taken out before they are packed anew, in steps of
//! their own that change no content: a system prompt that all conversations share has as many
//! dependants as there are conversations, too many for one transaction. The step that takes
//! something out states it in the log in the same transaction. A crash in between leaves a file in
//! which all is well and some is not taken out yet.

mod clock_check;
mod dependants;
mod erase;
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

/// Longest wait for one step, which takes milliseconds: after it, the writer is in trouble.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the write-ahead log is tried to be emptied while readers are in the way.
const TRUNCATE_TIMEOUT: Duration = Duration::from_secs(10);
const TRUNCATE_PAUSE: Duration = Duration::from_millis(20);
/// Pages that are overwritten in one step, some milliseconds.
const WIPED_PAGES_EACH: usize = 256;

/// Has the writer take out what is planned. One removal at a time.
#[derive(Debug, Clone)]
pub(crate) struct Remover {
    shared: Arc<Shared>,
    path: Arc<Path>,
    one_at_a_time: Arc<Mutex<()>>,
    /// As of the store's opening.
    opened: Instant,
    /// Whether this process has seen that links say what they are to say: it reads all payloads' rows.
    are_links_checked: Arc<AtomicBool>,
}

/// A removal that is going on.
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

    /// `go_on` is asked between steps.
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

    /// As [`prune`](Self::prune), again and again: nothing goes by its age while the clock cannot be
    /// believed, which is told as an alarm.
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
    /// Has everything before committed, and nothing later packed against it.
    fn forget(&self) -> Result<(), RemovalError> {
        self.submit(MaintenanceCommand {
            resets_delta_cache: true,
            ..MaintenanceCommand::default()
        })
    }

    /// One step; it is committed when this returns.
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

    /// Leaves nothing behind of what was taken out: neither in a search index that was given up, nor in
    /// the write-ahead log, nor in the space that pages do not use. `false`: a reader was in the way all
    /// the time, or the search index is so damaged that it cannot be taken out.
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

    /// Takes out the search index where it was given up. `false`: that cannot be done.
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

    /// Empties the write-ahead log and overwrites what these pages do not use. `false`: a reader was
    /// in the way all the time.
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

    /// Gives the time in which all of the file can be read, from now on.
    fn restart_clock(&self) -> Result<(), ReadError> {
        Ok(restart_clock(&self.connection, self.path)?)
    }

    fn send(
        &self,
        command: MaintenanceCommand,
    ) -> Result<Result<(), MaintenanceError>, RemovalError> {
        let command = |reply| Command::Maintenance(Box::new((command, reply)));
        let result = self.shared.ask(command, STEP_TIMEOUT)?;
        // What is read between two steps has a bound; a removal as a whole may take hours.
        self.restart_clock()?;
        Ok(result)
    }
}
