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
    /// Of these, lines with a protocol of this name.
    unknown_protocol_names: BTreeMap<String, u64>,
    /// Lines with a field of this name, which has no meaning.
    unknown_fields: BTreeMap<String, u64>,
}

impl Unread {
    /// Counts what one line has.
    pub(super) fn add(&self, unknown_protocol: Option<&str>, unknown_fields: &[String]) {
        let mut counts = self.lock();
        if let Some(name) = unknown_protocol {
            counts.unknown_protocols = counts.unknown_protocols.saturating_add(1);
            if !name.is_empty() {
                count(&mut counts.unknown_protocol_names, name);
            }
        }
        for name in unknown_fields {
            count(&mut counts.unknown_fields, name);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one more line of this name.
fn count(names: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(lines) = names.get_mut(name) {
        *lines = lines.saturating_add(1);
    } else if names.len() < NAMES_MAX {
        names.insert(name.to_owned(), 1);
    }
}

/// The names, each with its lines, as far as they are shown.
fn listed(names: &BTreeMap<String, u64>) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX);
    let mut words: Vec<String> = shown
        .map(|(name, lines)| format!("{} ({})", text::escape(name), format::count(*lines)))
        .collect();
    if names.len() > NAMES_SHOWN_MAX {
        words.push("…".to_owned());
    }
    words.join(", ")
}

impl Counts {
    /// One line for people each.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.unknown_protocols > 0 {
            let mut said = format!(
                "{} of an unknown wire protocol: at most model, usage and error were read of the responses; \
                 a field `wire` or `path` says which it is",
                format::counted(self.unknown_protocols, "line is", "lines are")
            );
            if !self.unknown_protocol_names.is_empty() {
                said.push_str("; unknown names: ");
                said.push_str(&listed(&self.unknown_protocol_names));
            }
            words.push(said);
        }
        if !self.unknown_fields.is_empty() {
            let names = listed(&self.unknown_fields);
            words.push(format!(
                "fields that are not read, and in how many lines: {names}"
            ));
        }
        words
    }
}
