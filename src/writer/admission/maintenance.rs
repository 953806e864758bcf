//! Maintenance: the steps that erasing and pruning send to the writer. They are planned on committed data, outside of
//! the writer; each passes through the channel, so that it has its place in the order of the log.

use crate::db::Removal;
use crate::log::EventKind;
use crate::sync::channel::Sender;

/// One requested step.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceCommand {
    /// The event that records it; `None` for a step that changes nothing that can be read.
    pub(crate) kind: Option<EventKind>,
    pub(crate) removal: Removal,
    /// Payloads that nothing later may be packed against, by first and last id, in ascending order: they are
    /// about to be removed.
    pub(crate) forgets: Vec<(i64, i64)>,
    /// Empty the write-ahead log, unless a reader is in the way.
    pub(crate) truncates_wal: bool,
    /// Then overwrite the unused space of these pages.
    pub(crate) slack_pages: Vec<u32>,
    /// Delete the next part of a search index that was given up.
    pub(crate) drops_search_index: bool,
}

/// Why a step was not executed.
#[derive(Debug)]
pub(crate) enum MaintenanceError {
    /// A reader still uses an old state of the file.
    ReaderInTheWay,
    Failed(String),
}

pub(crate) type MaintenanceReply = Sender<Result<(), MaintenanceError>>;
