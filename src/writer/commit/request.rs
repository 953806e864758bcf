//! The request to commit a batch, and what follows from its commit.

use std::sync::Arc;

use super::maintenance::Maintenance;
use super::pieces::PackedPiece;
use crate::db::Batch;
use crate::log::Ended;
use crate::model::{MessageToolCall, Timestamp};
use crate::pricing::PriceBook;
use crate::sync::channel::Sender;
use crate::writer::admission::capacity::Reservation;
use crate::writer::admission::ending::ParseResponse;
use crate::writer::admission::lifecycle::{Lifecycle, Route, Stage};

/// A packed batch that is ready to be committed, sent by the packer to the committer.
#[derive(Debug)]
pub(crate) struct CommitRequest {
    /// `None`: a thread waits for an answer, and there is nothing to write.
    pub(crate) batch: Option<Batch>,
    pub(crate) pieces: Vec<PackedPiece>,
    pub(crate) reached: Vec<(Arc<Lifecycle>, Stage)>,
    pub(crate) ends: Vec<EndNote>,
    pub(crate) reservation: Reservation,
    pub(crate) replies: Replies,
}

/// Answers that are due once the batch is committed. Travels with the batch through all stages: an answer says
/// that everything before it is committed.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pub(crate) flushes: Vec<Sender<()>>,
    /// Present with the last batch before a close.
    pub(crate) close: Option<Sender<bool>>,
    /// Present with a batch that a step of a removal ends.
    pub(crate) maintenance: Option<Maintenance>,
}

/// A price book and the event that states it.
#[derive(Debug)]
pub(crate) struct StatedBook {
    pub(crate) seq: u64,
    pub(crate) book: Arc<PriceBook>,
}

/// Completes an end's event, and is traced with it.
#[derive(Debug)]
pub(crate) struct EndNote {
    pub(crate) event_index: usize,
    pub(crate) span: tracing::Span,
    /// What was to serve.
    pub(crate) route: Option<Arc<Route>>,
    /// The call that it executed.
    pub(crate) executed: Option<Box<MessageToolCall>>,
    /// What its response is parsed for.
    pub(crate) parse_response: ParseResponse,
    /// By which it is priced.
    pub(crate) prices: Option<Arc<StatedBook>>,
    /// When the request began, where the gateway told.
    pub(crate) started_at: Option<Timestamp>,
}

impl EndNote {
    /// What served, else what was to serve.
    pub(crate) fn provider_name<'n>(&'n self, ended: &'n Ended) -> Option<&'n str> {
        let served = ended.response_provider_name.as_deref();
        served.or_else(|| self.route.as_ref()?.provider_name.as_deref())
    }

    /// What served, what it was routed to, what was asked for, as far as known.
    pub(crate) fn models<'n>(&'n self, ended: &'n Ended) -> impl Iterator<Item = &'n str> {
        let asked = self
            .route
            .as_ref()
            .and_then(|route| route.client_model.as_deref());
        self.served_models(ended).chain(asked)
    }

    /// What the book prices: what served or was routed to; where it has no price of these, what was asked for, a name
    /// of the client's under which another model may have served.
    pub(crate) fn priced_models<'n>(&'n self, ended: &'n Ended, book: &PriceBook) -> Vec<&'n str> {
        let served: Vec<_> = self.served_models(ended).collect();
        match book.knows(self.provider_name(ended), &served) {
            true => served,
            false => self.models(ended).collect(),
        }
    }

    fn served_models<'n>(&'n self, ended: &'n Ended) -> impl Iterator<Item = &'n str> {
        let routed = self
            .route
            .as_ref()
            .and_then(|route| route.request_model.as_deref());
        ended.response_model.as_deref().into_iter().chain(routed)
    }
}
