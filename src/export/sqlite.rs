//! A plain SQLite file: nothing compressed, names as in the documentation, for Datasette or pandas.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use super::{Body, ExportContent, Item, Sink, excerpt, readable};
use crate::db::{ExportBody, ExportColumn as Column, ExportDatabase, ExportRequest};
use crate::error::{ExportError, ReadError};
use crate::model::{CanonicalMessage, FieldValue, Held, export_columns};

/// Writes rows.
pub(super) struct SqliteSink {
    database: ExportDatabase,
    content: ExportContent,
    /// How many a request has.
    columns: usize,
}

impl SqliteSink {
    /// Writes into an empty file.
    pub(super) fn create(path: &Path, content: ExportContent) -> Result<Self, ExportError> {
        Ok(Self {
            database: ExportDatabase::create(path).map_err(ReadError::from)?,
            content,
            columns: export_columns().count(),
        })
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        Ok(self.database.finish().map_err(ReadError::from)?)
    }

    fn text<'m>(&self, message: &'m CanonicalMessage) -> Cow<'m, str> {
        match message.flat() {
            text if self.content != ExportContent::Excerpt => text,
            Cow::Borrowed(text) => Cow::Borrowed(excerpt(text)),
            Cow::Owned(text) => Cow::Owned(excerpt(&text).to_owned()),
        }
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

    fn write(&mut self, item: &Item, _: &mut dyn Write) -> Result<(), ExportError> {
        let record = &item.record;
        let opened_at = record.opened_at.to_rfc3339();
        let cost = record.cost_microdollars.map(dollars);
        let mut columns = Vec::with_capacity(self.columns);
        record.visit_export_values(opened_at.value(), cost.value(), |value| {
            columns.push(match value {
                FieldValue::Texts(_) | FieldValue::Pairs(_) | FieldValue::Details(_) => {
                    Column::Json(readable::json(&value))
                }
                other => Column::Value(other),
            });
        });
        let sides = [("request", &item.request), ("response", &item.response)];
        let bodies = sides
            .iter()
            .filter_map(|(side, body)| self.body(side, body))
            .collect();
        let sent = item.messages.iter().map(|message| (false, message));
        let said = item.replies.iter().map(|message| (true, message));
        let request = ExportRequest {
            opened_seq: record.opened_seq,
            columns,
            tool_calls: &item.tool_calls,
            bodies,
            messages: sent
                .chain(said)
                .map(|(is_reply, message)| (is_reply, message.role.as_str(), self.text(message)))
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
