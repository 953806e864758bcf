//! Finds the conversation that a body without a name continues.
//!
//! Two ways lead to it. A conversation is registered by what its body begins with, up to a few blocks
//! before its end: a body that goes on where it ended begins with the same. And among the most recent
//! conversations with the same head, one may have been edited further up.

use std::collections::{HashMap, VecDeque};

use super::fingerprint::Fingerprint;
use super::key::{Domain, Key, KeyMap};

/// Conversations with the same head that are compared with a body.
const RECENT_MAX: usize = 8;
/// Blocks before the end up to which a body is registered: the client may rewrite its last messages.
const BEFORE_END: [usize; 4] = [0, 1, 2, 5];

/// Names of the beginnings of a body: of its first block, of its first two, and so on.
#[derive(Debug, Default)]
pub(super) struct Beginnings(Vec<u64>);

impl Beginnings {
    pub(super) fn new(domain: Domain, blocks: &[Fingerprint]) -> Self {
        let mut beginning = u64::from(domain.0);
        let next = |block: &Fingerprint| {
            // Only hints: bodies are compared before one is packed against another.
            beginning =
                (beginning.rotate_left(23) ^ block.hint()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            beginning
        };
        Self(blocks.iter().map(next).collect())
    }

    /// Those that a body is registered by.
    pub(super) fn to_register(&self) -> Vec<u64> {
        let longest_first = || self.0.iter().rev();
        BEFORE_END
            .iter()
            .filter_map(|before| longest_first().nth(*before).copied())
            .collect()
    }
}

/// The conversations without a name.
#[derive(Debug, Default)]
pub(super) struct UnnamedIndex {
    by_beginning: HashMap<u64, Key>,
    by_head: KeyMap<VecDeque<Key>>,
    last: u64,
}

impl UnnamedIndex {
    /// The number of the next new one.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The conversation with the longest beginning in common, and how many blocks that is.
    pub(super) fn find(&self, beginnings: &Beginnings) -> Option<(Key, usize)> {
        let longest_first = beginnings.0.iter().enumerate().rev();
        longest_first
            .filter_map(|(last, beginning)| Some((*self.by_beginning.get(beginning)?, last + 1)))
            .next()
    }

    /// The most recent ones with this head.
    pub(super) fn recent(&self, head: Key) -> impl Iterator<Item = Key> + '_ {
        self.by_head.get(&head).into_iter().flatten().copied()
    }

    pub(super) fn add(&mut self, key: Key, head: Key, hints: &[u64]) {
        let recent = self.by_head.entry(head).or_default();
        if !recent.contains(&key) {
            recent.push_back(key);
            if recent.len() > RECENT_MAX {
                recent.pop_front();
            }
        }
        for hint in hints {
            self.by_beginning.insert(*hint, key);
        }
    }

    pub(super) fn remove(&mut self, key: Key, head: Key, hints: &[u64]) {
        self.remove_hints(key, hints);
        if let Some(recent) = self.by_head.get_mut(&head) {
            recent.retain(|other| *other != key);
            if recent.is_empty() {
                self.by_head.remove(&head);
            }
        }
    }

    pub(super) fn remove_hints(&mut self, key: Key, hints: &[u64]) {
        for hint in hints {
            // Another conversation may have the same beginning.
            if self.by_beginning.get(hint) == Some(&key) {
                self.by_beginning.remove(hint);
            }
        }
    }
}
