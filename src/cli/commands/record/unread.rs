//! What the lines of a recording say that is not read: fields without a meaning, and bodies of an unknown protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::cli::support::{format, text};

/// Limit of the names that are kept. Hostile lines could have any number.
const NAMES_MAX: usize = 64;
/// How many names the words for people have.
const NAMES_SHOWN_MAX: usize = 8;

/// The counts so far. The reading thread adds to them, and the summary is made of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Counts>>);

/// What is not read, as the summary says it.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counts {
    /// Lines whose response is of a protocol that is not known.
    unknown_protocols: u64,
    /// Lines with a field of this name, which has no meaning.
    unknown_fields: BTreeMap<String, u64>,
}

impl Unread {
    /// Counts what one line has.
    pub(super) fn add(&self, is_read: bool, unknown_fields: &[String]) {
        let mut counts = self.lock();
        if !is_read {
            counts.unknown_protocols = counts.unknown_protocols.saturating_add(1);
        }
        for name in unknown_fields {
            if let Some(lines) = counts.unknown_fields.get_mut(name) {
                *lines = lines.saturating_add(1);
            } else if counts.unknown_fields.len() < NAMES_MAX {
                counts.unknown_fields.insert(name.clone(), 1);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// One line for people each.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.unknown_protocols > 0 {
            words.push(format!(
                "{} of an unknown wire protocol: usage, model and outcome were not read of the bodies; \
                 a field `wire` or `path` says which it is",
                format::counted(self.unknown_protocols, "line is", "lines are")
            ));
        }
        if !self.unknown_fields.is_empty() {
            let shown = self.unknown_fields.iter().take(NAMES_SHOWN_MAX);
            let mut names: Vec<String> = shown
                .map(|(name, lines)| format!("{} ({})", text::escape(name), format::count(*lines)))
                .collect();
            if self.unknown_fields.len() > NAMES_SHOWN_MAX {
                names.push("…".to_owned());
            }
            let names = names.join(", ");
            words.push(format!(
                "fields that are not read, and in how many lines: {names}"
            ));
        }
        words
    }
}
