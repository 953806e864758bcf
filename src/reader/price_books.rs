//! Which price book a cost was computed from.

use super::Reader;
use crate::error::ReadError;
use crate::log::EventKind;
use crate::model::{PriceSource, RequestRecord};
use crate::read::commitments::Commitments;

impl Reader {
    /// What the price book was made of from which the request's cost was computed, the overriding list first: as the
    /// log states it once, at the [`price_book_seq`](RequestRecord::price_book_seq). Empty if its cost was not
    /// computed, or the event that states the book was removed or cannot be read.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub fn price_book(&self, request: &RequestRecord) -> Result<Vec<PriceSource>, ReadError> {
        let Some(seq) = request.price_book_seq else {
            return Ok(Vec::new());
        };
        let connection = self.connection()?;
        let event = Commitments::default().event(&connection, seq)?;
        Ok(match event.map(|event| event.kind) {
            Some(EventKind::PriceBook(stated)) => stated.sources,
            _ => Vec::new(),
        })
    }
}
