//! Keys: what a conversation is found by.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::fingerprint::FingerprintKey;

/// Bodies that may build on each other: those of one domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Domain(pub(crate) u32);

/// A keyed hash of what a conversation is found by. Clients choose names and heads, and cannot choose them so
/// that keys collide: the key of the hash is as secret as that of the blocks' fingerprints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    kind: KeyKind,
    hash: [u64; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// A conversation that the gateway named.
    Named,
    /// A conversation that was recognised by what it repeats, by its number.
    Unnamed,
    /// The first body with a head; others are packed against it and do not replace it.
    Head,
}

/// A map by keys. They are hashes already.
pub(super) type KeyMap<V> = std::collections::HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

impl Key {
    pub(super) fn new(key: FingerprintKey, kind: KeyKind, domain: Domain, what: &[u8]) -> Self {
        let [low, high] = key.hash(what);
        let Domain(domain) = domain;
        let hash = [low, high ^ u64::from(domain)];
        Self { kind, hash }
    }

    pub(super) fn unnamed(key: FingerprintKey, number: u64) -> Self {
        let what = number.to_le_bytes();
        Self::new(key, KeyKind::Unnamed, Domain::default(), &what)
    }

    pub(super) fn kind(self) -> KeyKind {
        self.kind
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [low, _] = self.hash;
        state.write_u64(low);
    }
}

/// It is made from content, and must not get into a log.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(f)
    }
}

/// Takes a key's hash as it is.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Keys write one number only.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
