//! A plain SQLite file: nothing compressed, names as in the documentation, for Datasette or pandas.

use std::io::Write;
use std::path::Path;

use super::{Body, ExportContent, Item, Sink, excerpt, readable};
use crate::db::{ExportBody, ExportDatabase, ExportRequest};
use crate::error::{ExportError, ReadError};

/// Writes rows.
pub(super) struct SqliteSink {
    database: ExportDatabase,
    content: ExportContent,
}

impl SqliteSink {
    /// Writes into an empty file.
    pub(super) fn create(path: &Path, content: ExportContent) -> Result<Self, ExportError> {
        Ok(Self {
            database: ExportDatabase::create(path).map_err(ReadError::from)?,
            content,
        })
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        Ok(self.database.finish().map_err(ReadError::from)?)
    }

    fn body<'b>(&self, side: &'static str, body: &'b Body) -> Option<ExportBody<'b>> {
        let Body::Present {
            length,
            sha256,
            payload,
            reason,
            is_unchecked,
        } = body
        else {
            return None;
        };
        let bytes = payload.as_ref().map(|payload| payload.bytes.as_slice());
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let is_excerpt = self.content == ExportContent::Excerpt;
        Some(ExportBody {
            side,
            length: *length,
            sha256: sha256.map(|digest| digest.to_string()),
            head: payload.as_ref().and_then(|payload| payload.head),
            not_exported: reason.as_deref(),
            is_unchecked: *is_unchecked,
            text: text.map(|text| if is_excerpt { excerpt(text) } else { text }),
            bytes: bytes.filter(|_| text.is_none() && !is_excerpt),
        })
    }
}

impl Sink for SqliteSink {
    fn begin(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }

    fn wants_messages(&self) -> bool {
        self.content != ExportContent::None
    }

    fn write(&mut self, item: &Item<'_>, _: &mut dyn Write) -> Result<(), ExportError> {
        let record = readable::fields(item.record, |cost| dollars(cost).into())?;
        let sides = [("request", &item.request), ("response", &item.response)];
        let bodies = sides
            .iter()
            .filter_map(|(side, body)| self.body(side, body))
            .collect();
        let text = |message: &crate::model::CanonicalMessage| {
            let text = message.flattened();
            match self.content {
                ExportContent::Excerpt => excerpt(&text).to_owned(),
                _ => text,
            }
        };
        let sent = item.messages.iter().map(|message| (false, message));
        let said = item.replies.iter().map(|message| (true, message));
        let request = ExportRequest {
            record: &record,
            tool_calls: &item.tool_calls,
            bodies,
            messages: sent
                .chain(said)
                .map(|(is_reply, message)| (is_reply, message.role.as_str(), text(message)))
                .collect(),
        };
        self.database
            .add(&request)
            .map_err(|error| ReadError::from(error).into())
    }
}

/// Dollars as a fraction, as SQLite counts with them. What is recorded of costs is far below the 2^53
/// microdollars from which on a fraction would be inexact.
fn dollars(microdollars: u64) -> f64 {
    let exact = readable::dollars(microdollars);
    exact.parse().unwrap_or(f64::NAN)
}
