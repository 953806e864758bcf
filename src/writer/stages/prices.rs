//! States the price book in the log before an end is priced by it.

use std::sync::Arc;

use super::batch::BatchBuilder;
use crate::clock::now_micros;
use crate::log::{EventKind, PRICE_SOURCES_MAX, PriceBookStated};
use crate::writer::admission::queue::Shared;
use crate::writer::commit::request::StatedBook;

/// The price book of the ends that are prepared now. The owner may replace the store's at any time; an end that
/// comes after that is priced by the new one.
#[derive(Debug, Default)]
pub(crate) struct Prices {
    /// How often the store's book had been set when it was last looked at.
    times_set: u64,
    stated: Option<Arc<StatedBook>>,
}

impl Prices {
    /// Takes over a book that was set since, and states it.
    pub(crate) fn update(&mut self, shared: &Shared, batch: &mut BatchBuilder) {
        let times_set = shared.price_book_times_set();
        if times_set == self.times_set {
            return;
        }
        self.times_set = times_set;
        let book = shared.price_book();
        let known = self.stated.as_ref().map(|stated| Arc::as_ptr(&stated.book));
        if book.as_ref().map(Arc::as_ptr) == known {
            return;
        }
        self.stated = book.map(|book| {
            let mut sources = book.sources();
            let more = sources.len().saturating_sub(PRICE_SOURCES_MAX);
            sources.truncate(PRICE_SOURCES_MAX);
            let stated = PriceBookStated {
                sources,
                more_sources: u64::try_from(more).unwrap_or(u64::MAX),
            };
            let seq = batch.push(now_micros(), EventKind::PriceBook(stated));
            Arc::new(StatedBook { seq, book })
        });
    }

    /// The book that was stated last.
    pub(crate) fn stated(&self) -> Option<Arc<StatedBook>> {
        self.stated.clone()
    }
}
