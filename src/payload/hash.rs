//! SHA-256, and the salted commitment that the log holds in place of a digest.

use sha2::{Digest as _, Sha256};

use crate::model::Digest;

/// SHA-256 over bytes that arrive in pieces.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// SHA-256(salt || sha256): proves a body to a reader who has the salt, and reveals nothing without it.
pub(crate) fn commitment(salt: &[u8; 32], sha256: &Digest) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(salt);
    hasher.update(&sha256.0);
    hasher.finish()
}
