//! A keyed hash of values.

use std::hash::{BuildHasher, RandomState};

use rusqlite::types::ValueRef;

/// The key is random: an attacker who edits the file does not know it, and so cannot make two rows collide.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyedHash {
    key: RandomState,
    bytes: Vec<u8>,
}

impl KeyedHash {
    pub(crate) fn new(key: RandomState) -> Self {
        Self {
            key,
            bytes: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self) {
        self.bytes.clear();
    }

    /// Values of different types or lengths never push the same bytes.
    pub(crate) fn push(&mut self, value: ValueRef<'_>) {
        let (tag, bytes): (u8, &[u8]) = match value {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => {
                self.bytes.push(1);
                self.bytes.extend_from_slice(&number.to_le_bytes());
                return;
            }
            ValueRef::Real(number) => {
                self.bytes.push(2);
                self.bytes.extend_from_slice(&number.to_le_bytes());
                return;
            }
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        self.bytes.push(tag);
        if tag > 0 {
            self.bytes.extend_from_slice(&bytes.len().to_le_bytes());
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The hash of what was pushed since [`begin`](Self::begin).
    pub(crate) fn hash(&self) -> u64 {
        self.key.hash_one(self.bytes.as_slice())
    }
}
