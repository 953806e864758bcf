//! Events: immutable facts, each one line of JSON with a fixed field order.
//!
//! The order of the fields is the order of declaration: here for events of the store, in `request_events.rs` and
//! `removal.rs` for the others, and in `body.rs` for what each says of bodies. Names and order are part of the file format: a
//! line is written once, and the written bytes are the hashed bytes.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::error::EventError;
use super::hours::is_zero;
use super::removal::{Erased, Pruned};
use super::request_events::{EndKind, Ended, Opened, Served};
use crate::model::PriceSource;

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Position in the log, without gaps from 0.
    pub(crate) seq: u64,
    /// When it happened, in microseconds since the Unix epoch.
    pub(crate) at: i64,
    pub(crate) kind: EventKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EventKind {
    StoreOpened(Box<StoreOpened>),
    StoreClosed(StoreClosed),
    Opened(Box<Opened>),
    Served(Served),
    Ended(Box<Ended>),
    Gap(Gap),
    Erased(Box<Erased>),
    Pruned(Box<Pruned>),
    PriceBook(PriceBookStated),
}

/// An opening of the store begins. Everything up to the next event of this kind belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoreOpened {
    /// The id of the log: chosen with its first event, and the same in all of these.
    #[serde(default)]
    pub(crate) log_id: String,
    pub(crate) auditlite_version: String,
    pub(crate) sqlite_version: String,
    pub(crate) durability: String,
    pub(crate) overflow: String,
    pub(crate) capture: String,
    pub(crate) payload_bytes_max: u64,
    /// Removals without the store's signature that this opening found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unsigned_removals: Option<UnsignedRemovals>,
}

/// [`UnsignedRemovals`] names at most this many events; further ones are only counted.
pub(crate) const UNSIGNED_REMOVALS_MAX: usize = 256;

/// Removals that were in the log when an opening began, and that removed events which the store had signed
/// or anchored. They come after everything it had signed or anchored, so their author did not have its key.
/// They are recorded so that the checkpoints of this opening do not pass them off as the store's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct UnsignedRemovals {
    /// The number of events covered by the last checkpoint that the store's key signed or that is in its
    /// anchor file.
    pub(crate) covered_events: u64,
    /// The number of removals.
    pub(crate) count: u64,
    /// The seqs of the first of the events that record them.
    pub(crate) seqs: Vec<u64>,
}

/// An opening of the store ends in order, with its accounts: submitted = stored + lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoreClosed {
    pub(crate) lifecycles_submitted: u64,
    pub(crate) lifecycles_stored: u64,
    pub(crate) lifecycles_lost: u64,
    pub(crate) payloads_lost: u64,
}

/// The price book that costs are computed from; the ends say so by the event's seq.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PriceBookStated {
    /// What it was made of, the overriding one first; at most [`PRICE_SOURCES_MAX`].
    pub(crate) sources: Vec<PriceSource>,
    /// How many more it was made of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) more_sources: u64,
}

/// A price book is one list, or a few on top of each other.
pub(crate) const PRICE_SOURCES_MAX: usize = 32;

/// Something was lost because the queue was full.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    /// Lifecycles of which nothing is recorded.
    pub(crate) lifecycles: u64,
    /// Bodies that were left out of recorded lifecycles; their events say so too.
    pub(crate) payloads: u64,
    /// Updates (the served model, or the body forwarded upstream) that were left out.
    pub(crate) updates: u64,
}

impl Event {
    /// The event's name.
    pub(crate) fn name(&self) -> &'static str {
        match &self.kind {
            EventKind::StoreOpened(_) => "store_opened",
            EventKind::StoreClosed(_) => "store_closed",
            EventKind::Opened(_) => "opened",
            EventKind::Served(_) => "served",
            EventKind::Ended(ended) => ended.kind.status().as_str(),
            EventKind::Gap(_) => "gap",
            EventKind::Erased(_) => "erased",
            EventKind::Pruned(_) => "pruned",
            EventKind::PriceBook(_) => "price_book",
        }
    }

    /// Appends the line of the event, with its newline.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) -> Result<(), EventError> {
        #[derive(Serialize)]
        struct Line<'a, T: Serialize> {
            seq: u64,
            at: i64,
            event: &'a str,
            #[serde(flatten)]
            kind: &'a T,
        }
        fn write<T: Serialize>(
            event: &Event,
            kind: &T,
            out: &mut Vec<u8>,
        ) -> Result<(), EventError> {
            serde_json::to_writer(
                &mut *out,
                &Line {
                    seq: event.seq,
                    at: event.at,
                    event: event.name(),
                    kind,
                },
            )?;
            out.push(b'\n');
            Ok(())
        }
        match &self.kind {
            EventKind::StoreOpened(kind) => write(self, kind, out),
            EventKind::StoreClosed(kind) => write(self, kind, out),
            EventKind::Opened(kind) => write(self, kind, out),
            EventKind::Served(kind) => write(self, kind, out),
            EventKind::Ended(kind) => write(self, kind, out),
            EventKind::Gap(kind) => write(self, kind, out),
            EventKind::Erased(kind) => write(self, kind, out),
            EventKind::Pruned(kind) => write(self, kind, out),
            EventKind::PriceBook(kind) => write(self, kind, out),
        }
    }

    /// Reads a line, with or without its newline.
    pub(crate) fn from_line(line: &[u8]) -> Result<Self, EventError> {
        // Checked once for the line, instead of for each string.
        Ok(serde_json::from_str(std::str::from_utf8(line)?)?)
    }
}

/// Reads an event in one pass: its first three fields tell what the others are.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl<'de> Visitor<'de> for Line {
            type Value = Event;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Event, M::Error> {
                let seq = field(&mut map, "seq")?;
                let at = field(&mut map, "at")?;
                let name: &'de str = field(&mut map, "event")?;
                let kind = EventKind::read(name, MapAccessDeserializer::new(map))?;
                Ok(Event { seq, at, kind })
            }
        }
        deserializer.deserialize_map(Line)
    }
}

/// The value of the next field, which must have this name.
fn field<'de, T: Deserialize<'de>, M: MapAccess<'de>>(
    map: &mut M,
    name: &'static str,
) -> Result<T, M::Error> {
    match map.next_key::<&str>()? {
        Some(found) if found == name => map.next_value(),
        _ => Err(M::Error::custom(format_args!(
            "the field {name:?} is not where it belongs"
        ))),
    }
}

impl EventKind {
    /// The first and the last event that this event records as removed, if it is a removal that removed
    /// anything.
    pub(crate) fn removed_span(&self) -> Option<(u64, u64)> {
        match self {
            Self::Erased(erased) => erased.span(),
            Self::Pruned(pruned) => pruned.span(),
            _ => None,
        }
    }

    /// Reads the fields of the event with this name.
    fn read<'de, D: Deserializer<'de>>(name: &str, fields: D) -> Result<Self, D::Error> {
        let kind = match name {
            "opened" => return Deserialize::deserialize(fields).map(Self::Opened),
            "served" => return Deserialize::deserialize(fields).map(Self::Served),
            "gap" => return Deserialize::deserialize(fields).map(Self::Gap),
            "erased" => {
                let mut erased: Box<Erased> = Deserialize::deserialize(fields)?;
                for request in &mut erased.requests {
                    request.ended.kind = request.status;
                }
                return Ok(Self::Erased(erased));
            }
            "pruned" => return Deserialize::deserialize(fields).map(Self::Pruned),
            "price_book" => return Deserialize::deserialize(fields).map(Self::PriceBook),
            "store_opened" => return Deserialize::deserialize(fields).map(Self::StoreOpened),
            "store_closed" => return Deserialize::deserialize(fields).map(Self::StoreClosed),
            "completed" => EndKind::Completed,
            "failed" => EndKind::Failed,
            "rejected" => EndKind::Rejected,
            "abandoned" => EndKind::Abandoned,
            "interrupted" => EndKind::Interrupted,
            other => {
                return Err(D::Error::custom(format_args!(
                    "the event {other:?} is not known"
                )));
            }
        };
        let mut ended: Box<Ended> = Deserialize::deserialize(fields)?;
        ended.kind = kind;
        Ok(Self::Ended(ended))
    }
}
