//! Maintenance: what erasing and pruning ask of the writer. They plan on committed data, outside of the
//! writer; each step passes through the channel, so that it has its place in the log's order.

use crate::db::Removal;
use crate::log::EventKind;
use crate::sync::channel::Sender;

/// One step, as it is asked for.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceCommand {
    /// The event that states it; `None` for what changes nothing that can be read.
    pub(crate) kind: Option<EventKind>,
    pub(crate) removal: Removal,
    /// Nothing that comes later is packed against what came before.
    pub(crate) resets_delta_cache: bool,
    /// Empties the write-ahead log, where no reader is in the way.
    pub(crate) truncates_wal: bool,
    /// Then overwrites the unused space of these pages.
    pub(crate) slack_pages: Vec<u32>,
    /// Takes out the next part of a search index that was given up.
    pub(crate) drops_search_index: bool,
}

/// Why a step was not done.
#[derive(Debug)]
pub(crate) enum MaintenanceError {
    /// A reader uses an old state of the file.
    ReaderInTheWay,
    Failed(String),
}

pub(crate) type MaintenanceReply = Sender<Result<(), MaintenanceError>>;
