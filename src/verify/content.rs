//! Unpacks the content of payloads in order, and compares it with what the log commits to.

use std::sync::Arc;

use crate::db::{PayloadRow, Snapshot};
use crate::error::chain;
use crate::log::{BodyFact, Kept};
use crate::payload::{Encoding, Parts, sha256};
use crate::read::commitments::is_excerpt_committed;
use crate::read::payloads::{PayloadCache, check_sizes};

pub(super) struct Contents<'a> {
    snapshot: &'a Snapshot,
    payloads: PayloadCache,
    bytes: u64,
}

impl<'a> Contents<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            payloads: PayloadCache::default(),
            bytes: 0,
        }
    }

    /// Bytes that were unpacked and hashed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the row's content matches its commitment. The digest was compared before.
    pub(super) fn check(&mut self, row: &PayloadRow<'_>, fact: &BodyFact) -> Result<(), String> {
        let content = Arc::new(self.unpack(row)?);
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(content.len()).unwrap_or(u64::MAX));
        let digest = sha256(&content);
        let is_committed = if fact.kept == Kept::Excerpt {
            is_excerpt_committed(fact, row.salt, &digest)
        } else {
            digest.0 == row.sha256
        };
        if !is_committed {
            return Err("it does not have the digest that was committed to".to_owned());
        }
        self.payloads
            .hold(row.payload_id, content, row.sha256, row.head);
        Ok(())
    }

    fn unpack(&mut self, row: &PayloadRow<'_>) -> Result<Vec<u8>, String> {
        let damaged = || "it does not unpack to what was recorded".to_owned();
        let &PayloadRow {
            payload_id: id,
            length,
            kept,
            head,
            bases,
            ..
        } = row;
        check_sizes(id, length, kept, head, row.has_data).map_err(|_| damaged())?;
        let (encoding, data) = Encoding::from_code(row.encoding)
            .zip(row.data)
            .ok_or_else(damaged)?;
        let parts = Parts::of(encoding, data).ok_or_else(damaged)?;
        let bases = match (parts.encoding, bases) {
            (Encoding::Delta, Some(bases)) => Some((
                self.base(id, bases.first)?,
                bases.second.map(|base| self.base(id, base)).transpose()?,
            )),
            (_, None) => None,
            (_, Some(_)) => {
                return Err("it names what it is packed against, and is not packed so".to_owned());
            }
        };
        let bases = bases.as_ref().map(|(first, second)| {
            let second = second.as_ref().map(|second| second.as_slice());
            (first.as_slice(), second)
        });
        let connection = self.snapshot.connection();
        let content = self.payloads.unpack(connection, &parts, bases, kept);
        let content = content.map_err(|error| chain(&error))?;
        content.ok_or_else(|| {
            let refers = parts.holes.first().map(|_| {
                "it does not unpack to what was recorded, or a medium is damaged or missing that it refers to"
            });
            refers.map_or_else(damaged, str::to_owned)
        })
    }

    /// What a content is packed against: from the cache, otherwise read with everything that it needs.
    fn base(&mut self, id: i64, base: i64) -> Result<Arc<Vec<u8>>, String> {
        if base >= id {
            return Err("it is packed against a later one".to_owned());
        }
        let found = self.payloads.base(self.snapshot.connection(), base);
        let content = found.ok().flatten();
        content.ok_or_else(|| format!("what it is packed against, payload {base}, cannot be read"))
    }
}
