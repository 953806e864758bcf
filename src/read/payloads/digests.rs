//! The digest of a body that begins as another does, without hashing the beginning again.
//!
//! A conversation's next request repeats the one before, and to read it means to copy these bytes from there. SHA-256 goes
//! on from the state that it had behind them. Nothing is taken on trust: the states were made of the very bytes that
//! are copied.

use std::sync::Arc;

use crate::model::Digest;
use crate::payload::Hasher;

/// Bytes between two states. A state takes about a hundred bytes.
const STEP_BYTES: usize = 4 * 1024;

/// The states of SHA-256 behind each step of a content; the first is behind the first step.
#[derive(Debug, Clone, Default)]
pub(super) struct States(Option<Arc<[Hasher]>>);

impl States {
    /// The digest of a content, and its states. `repeated`: the content's first bytes are those of the content with
    /// these states, so many of them.
    pub(super) fn digest(content: &[u8], repeated: Option<(&Self, usize)>) -> (Digest, Self) {
        let known = repeated.map_or(&[][..], |(states, bytes)| {
            let steps = bytes.min(content.len()) / STEP_BYTES;
            let states = states.0.as_deref().unwrap_or_default();
            states.get(..steps).unwrap_or(states)
        });
        let mut hasher = known.last().cloned().unwrap_or_default();
        let rest = content.get(known.len().saturating_mul(STEP_BYTES)..);
        let mut steps = rest.unwrap_or_default().chunks_exact(STEP_BYTES);
        if known.is_empty() && steps.len() == 0 {
            hasher.update(content);
            return (hasher.finish(), Self::default());
        }
        let mut states = known.to_vec();
        states.reserve_exact(steps.len());
        for step in &mut steps {
            hasher.update(step);
            states.push(hasher.clone());
        }
        hasher.update(steps.remainder());
        (hasher.finish(), Self(Some(states.into())))
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_deref().map_or(0, size_of_val)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::sha256;

    fn content(length: usize) -> Vec<u8> {
        (0..length)
            .map(|at| (at * 7 % 251).to_le_bytes()[0])
            .collect()
    }

    #[test]
    fn a_resumed_digest_is_that_of_the_content() {
        let lengths = [0, 1, 4095, 4096, 4097, 8192, 20_000];
        for before in lengths.map(content) {
            let (digest, states) = States::digest(&before, None);
            assert_eq!(digest, sha256(&before));
            for head in lengths {
                for added in lengths {
                    let head = head.min(before.len());
                    let after = [&before[..head], &vec![b'x'; added]].concat();
                    let (digest, resumed) = States::digest(&after, Some((&states, head)));
                    assert_eq!(digest, sha256(&after), "{} {head} {added}", before.len());
                    let again = States::digest(
                        &[&after[..], b"and on"].concat(),
                        Some((&resumed, after.len())),
                    );
                    assert_eq!(again.0, sha256(&[&after[..], b"and on"].concat()));
                }
            }
        }
    }

    #[test]
    fn what_is_repeated_is_not_hashed_again() {
        let before = content(20_000);
        let (_, states) = States::digest(&before, None);
        let mut other = before.clone();
        other[0] ^= 1;
        // A false promise of repeated bytes gives the digest of those.
        let (digest, _) = States::digest(&other, Some((&states, other.len())));
        assert_eq!(digest, sha256(&before));
        assert_eq!(states.bytes(), 4 * size_of::<Hasher>());
    }
}
