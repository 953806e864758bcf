//! Fingerprints: tell whether a block of a new body is that of an earlier body, whose bytes are not kept.
//!
//! A block that is taken for another would be silent: the digest is resumed from the earlier body, so that
//! digest, commitment and reading would agree on wrong bytes. Hence a keyed hash of 128 bits. The key is
//! random for each opening of the store and is never written, and no fingerprint leaves the process: who
//! chooses bodies learns nothing of it. HighwayHash claims to be a pseudorandom function (Alakuijala, Cox,
//! Wassenberg, "Fast keyed hash/pseudo-random function using SIMD multiply and permute", 2016), so that two
//! different blocks are taken for each other with probability 2^-128. A store that compares a million blocks
//! a second for a hundred years compares 2^52 of them: 2^-76 that it ever happens.

use highway::{HighwayHash as _, HighwayHasher};

/// Length of a block. Shorter ones tell more exactly where two bodies part, and take more memory: 16 bytes
/// for each block of a body.
pub(super) const BLOCK_BYTES: usize = 2 * 1024;

/// The fingerprint of one block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u64; 2]);

impl Fingerprint {
    /// Some bits of it, to look a body up by what it begins with.
    pub(super) fn hint(self) -> u64 {
        let Self([low, _]) = self;
        low
    }
}

/// It is content, and must not get into a log.
impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Makes fingerprints.
#[derive(Clone, Copy)]
pub(crate) struct FingerprintKey {
    key: [u64; 4],
    /// Only in tests: all blocks have the same fingerprint.
    #[cfg(test)]
    pub(super) is_blind: bool,
}

impl FingerprintKey {
    pub(crate) fn random() -> Self {
        Self {
            key: rand::random(),
            #[cfg(test)]
            is_blind: false,
        }
    }

    pub(super) fn fingerprint(&self, block: &[u8]) -> Fingerprint {
        #[cfg(test)]
        if self.is_blind {
            return Fingerprint([0, 0]);
        }
        Fingerprint(self.hash(block))
    }

    /// A keyed hash of anything else.
    pub(crate) fn hash(&self, bytes: &[u8]) -> [u64; 2] {
        HighwayHasher::new(highway::Key(self.key)).hash128(bytes)
    }
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey")
    }
}

/// The fingerprints of a new body's blocks, each made once and only when it is needed.
#[derive(Debug)]
pub(super) struct Blocks<'b> {
    body: &'b [u8],
    key: FingerprintKey,
    known: Vec<Fingerprint>,
}

impl<'b> Blocks<'b> {
    pub(super) fn new(key: FingerprintKey, body: &'b [u8]) -> Self {
        Self {
            body,
            key,
            known: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> FingerprintKey {
        self.key
    }

    pub(super) fn body(&self) -> &'b [u8] {
        self.body
    }

    /// Takes over those of a body that begins with the same bytes.
    pub(super) fn adopt(&mut self, known: &[Fingerprint]) {
        self.known.reserve(known.len());
        let new = known.get(self.known.len()..).unwrap_or_default();
        self.known.extend_from_slice(new);
    }

    /// How many blocks from the start are those.
    pub(super) fn count_common(&mut self, earlier: &[Fingerprint]) -> usize {
        let mut common = 0;
        while let Some(fingerprint) = earlier.get(common)
            && self.get(common) == Some(*fingerprint)
        {
            common += 1;
        }
        common
    }

    /// How many blocks from the end are those, of `bytes_max` bytes at most. The last block comes first.
    pub(super) fn count_common_from_end(&self, earlier: &[Fingerprint], bytes_max: usize) -> usize {
        let blocks = self.body.rchunks_exact(BLOCK_BYTES);
        let blocks = blocks.take(bytes_max / BLOCK_BYTES);
        earlier
            .iter()
            .zip(blocks)
            .take_while(|(earlier, block)| self.key.fingerprint(block) == **earlier)
            .count()
    }

    /// All whole blocks from the start.
    pub(super) fn all(&mut self) -> &[Fingerprint] {
        self.extend(self.body.len());
        &self.known
    }

    /// Those of the first `length` bytes.
    pub(super) fn into_first(mut self, length: usize) -> Vec<Fingerprint> {
        self.extend(length);
        self.known.truncate(length / BLOCK_BYTES);
        self.known.shrink_to_fit();
        self.known
    }

    fn extend(&mut self, length: usize) {
        let rest = self.body.get(self.known.len() * BLOCK_BYTES..length);
        let rest = rest.unwrap_or_default().chunks_exact(BLOCK_BYTES);
        self.known
            .extend(rest.map(|block| self.key.fingerprint(block)));
    }

    fn get(&mut self, index: usize) -> Option<Fingerprint> {
        while self.known.len() <= index {
            let start = self.known.len() * BLOCK_BYTES;
            let block = self.body.get(start..start + BLOCK_BYTES)?;
            self.known.push(self.key.fingerprint(block));
        }
        self.known.get(index).copied()
    }
}

/// Those of the blocks at a body's end, the last one first; of `bytes_max` bytes at most.
pub(super) fn from_end(key: FingerprintKey, body: &[u8], bytes_max: usize) -> Vec<Fingerprint> {
    let blocks = body.rchunks_exact(BLOCK_BYTES);
    let blocks = blocks.take(bytes_max / BLOCK_BYTES);
    blocks.map(|block| key.fingerprint(block)).collect()
}
