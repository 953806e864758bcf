//! Checks the past of a log that is opened: is it the one that the last opening left, and what was removed since?
//!
//! To continue from another past would sign it. Here it is decided, before this opening's first event, what refuses
//! the opening and what is only recorded.

use std::path::Path;

use crate::config::{Config, Durability};
use crate::db::{Appender, TreeHead, open_error};
use crate::error::OpenError;
use crate::log::{UNSIGNED_REMOVALS_MAX, UnsignedRemovals};
use crate::merkle::{Checkpoint, SigningKey, Trust};
use crate::sync::atomic::Ordering;
use crate::writer::admission::queue::Shared;
use crate::writer::commit::anchor::AnchorFile;
use crate::writer::commit::tree_head::CheckpointSettings;

/// A log before this opening's first event.
pub(crate) struct Past<'p> {
    pub(crate) config: &'p Config,
    pub(crate) path: &'p Path,
    pub(crate) checkpoints: &'p CheckpointSettings,
    pub(crate) appender: &'p Appender,
    pub(crate) head: &'p TreeHead,
}

impl Past<'_> {
    /// Refuses a log from which the store must not continue. Returns what the opening must record about it, if
    /// anything.
    pub(crate) fn check(&self, shared: &Shared) -> Result<Option<UnsignedRemovals>, OpenError> {
        let found = self.head.log_id.as_deref();
        check_identity(self.path, self.config.expected_log.as_deref(), found)?;
        let Some(log_id) = found else { return Ok(None) };
        let origin = format!("auditlite/{log_id}");
        let anchored = self.check_anchor(&origin, shared)?;
        let signed = match &self.checkpoints.key {
            Some(key) => self.signed_events(key, &origin)?,
            None => None,
        };
        if self.config.is_unsigned_refused && self.checkpoints.key.is_none() && self.is_signed()? {
            let path = self.path.to_owned();
            return Err(OpenError::KeyMissing { path });
        }
        match anchored.max(signed) {
            Some(covered_events) => self.unsigned_removals(covered_events),
            None => Ok(None),
        }
    }

    /// Checks that the log still has what the anchor file states of it. Returns the number of anchored events,
    /// if the file has a note about this log and it fits.
    ///
    /// To continue from an older copy would sign a second, different history, so that is refused. With
    /// [`Durability::Buffered`] it is an alarm only: after a power loss such a log is often shorter than its
    /// anchor, and the gateway must start again by itself.
    fn check_anchor(&self, origin: &str, shared: &Shared) -> Result<Option<u64>, OpenError> {
        let Some(anchor) = &self.checkpoints.anchor else {
            return Ok(None);
        };
        let latest = match AnchorFile::new(anchor.clone()).latest(origin) {
            Ok(latest) => latest,
            Err(error) => {
                // As with an anchor that cannot be written: it must not keep the gateway from starting.
                tracing::warn!(target: "auditlite", ?anchor, %error, "the anchor file cannot be read; whether the log is still all that it states was not checked");
                shared
                    .counters
                    .checkpoint_failures
                    .fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
        };
        let Some(latest) = latest else {
            return Ok(None);
        };
        let path = self.path;
        let (anchored_events, events) = (latest.size, self.head.range.end());
        let root = self
            .appender
            .root_at(anchored_events)
            .map_err(|error| open_error(path, error))?;
        if root == Some(latest.root) {
            return Ok(Some(anchored_events));
        }
        let what = if anchored_events > events {
            format!("it has {events} events of this log, and there were {anchored_events}")
        } else {
            format!("its first {anchored_events} events are not those that there were")
        };
        if self.config.durability == Durability::Buffered {
            tracing::error!(target: "auditlite", ?path, ?anchor, what, "the audit log is not what its anchor states; recording continues");
            shared.counters.set_behind_anchor(anchored_events);
            return Ok(None);
        }
        Err(OpenError::BehindAnchor {
            path: path.to_owned(),
            anchor: anchor.clone(),
            anchored_events,
            events,
            what,
        })
    }

    /// The number of events that the last checkpoint signed by this key covers. After a change of keys there is none
    /// yet, and the last signed one counts.
    fn signed_events(&self, key: &SigningKey, origin: &str) -> Result<Option<u64>, OpenError> {
        let keys = [key.verifying_key()];
        let mut of_others = None;
        let own = self.appender.last_checkpoint(|note| {
            let (checkpoint, note) = Checkpoint::parse(note.as_bytes()).ok()?;
            let trust = note.trust(&keys);
            if checkpoint.origin != origin || !matches!(trust, Trust::Signed | Trust::UnknownKey) {
                return None;
            }
            of_others = of_others.or(Some(checkpoint.size));
            (trust == Trust::Signed).then_some(checkpoint.size)
        });
        let own = own.map_err(|error| open_error(self.path, error))?;
        Ok(own.or(of_others))
    }

    fn is_signed(&self) -> Result<bool, OpenError> {
        let signed = self.appender.last_checkpoint(|note| {
            let (_, note) = Checkpoint::parse(note.as_bytes()).ok()?;
            (note.trust(&[]) != Trust::Unsigned).then_some(())
        });
        let signed = signed.map_err(|error| open_error(self.path, error))?;
        Ok(signed.is_some())
    }

    fn unsigned_removals(
        &self,
        covered_events: u64,
    ) -> Result<Option<UnsignedRemovals>, OpenError> {
        let mut seqs = self
            .appender
            .removals_from(covered_events)
            .map_err(|error| open_error(self.path, error))?;
        let count = u64::try_from(seqs.len()).unwrap_or(u64::MAX);
        if count == 0 {
            return Ok(None);
        }
        tracing::error!(
            target: "auditlite",
            path = ?self.path,
            removals = count,
            covered_events,
            "what this store had signed or anchored was erased or pruned by another program; the log records it, and recording continues"
        );
        seqs.truncate(UNSIGNED_REMOVALS_MAX);
        Ok(Some(UnsignedRemovals {
            covered_events,
            count,
            seqs,
        }))
    }
}

/// Checks that a log is the expected one, if one is expected.
pub(crate) fn check_identity(
    path: &Path,
    expected: Option<&str>,
    found: Option<&str>,
) -> Result<(), OpenError> {
    match expected {
        Some(expected) if found != Some(expected) => Err(OpenError::OtherLog {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found: found.map(str::to_owned),
        }),
        _ => Ok(()),
    }
}
