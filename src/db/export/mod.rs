//! The plain database of an export.

mod database;
mod texts;

pub(crate) use database::{ExportBody, ExportColumn, ExportDatabase, ExportRequest};
