//! The Merkle tree of RFC 6962 over the lines of the log, and ranges of it as a few hashes.
//!
//! A leaf is one stored line of the log, without its newline. Leaves and inner nodes hash with different
//! first bytes, so one cannot be passed off as the other. Source: RFC 6962, section 2.1.

use sha2::{Digest as _, Sha256};

use crate::log::removed_leaf;
use crate::model::Digest;

/// The hash of a leaf: SHA-256(0x00 || line). The line comes without its newline.
pub(crate) fn leaf_hash(line: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(line);
    Digest(hasher.finalize().into())
}

/// The leaf of a line of a segment. The replacement of a removed line contains the leaf hash itself.
pub(crate) fn leaf_of(line: &[u8]) -> Digest {
    removed_leaf(line).unwrap_or_else(|| leaf_hash(line))
}

/// The hash of an inner node: SHA-256(0x01 || left || right).
pub(super) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left.0);
    hasher.update(right.0);
    Digest(hasher.finalize().into())
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub(super) fn empty_root() -> Digest {
    Digest(Sha256::digest([]).into())
}

/// The leaves from `begin` to before `end`, as the fewest perfect subtrees that cover them: at most 126
/// hashes for any number of leaves.
///
/// A perfect subtree has a power of two of leaves and begins at a multiple of its width, so its hash never
/// changes when leaves are added after it. The writer extends one range for the whole log and stores with
/// each segment only the subtrees that changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CompactRange {
    begin: u64,
    end: u64,
    nodes: Vec<Node>,
}

/// A perfect subtree of `1 << level` leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    level: u32,
    hash: Digest,
}

impl CompactRange {
    /// Without leaves; the first leaf will have number `begin`.
    pub(crate) fn starting_at(begin: u64) -> Self {
        Self {
            begin,
            end: begin,
            nodes: Vec::new(),
        }
    }

    /// Reads hashes that [`to_bytes`](Self::to_bytes) wrote. `None`: there are too many or too few.
    pub(crate) fn from_bytes(begin: u64, end: u64, bytes: &[u8]) -> Option<Self> {
        let mut range = Self::starting_at(begin);
        let mut hashes = hashes_of(bytes)?;
        for level in levels(begin, end) {
            range.nodes.push(Node {
                level,
                hash: hashes.next()?,
            });
        }
        range.end = end.max(begin);
        hashes.next().is_none().then_some(range)
    }

    /// The hashes of the subtrees, from left to right, 32 bytes each.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.nodes.iter().flat_map(|node| node.hash.0).collect()
    }

    /// The number of the first leaf.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }

    /// The number of the next leaf; for a range from 0, the size of the tree.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Adds one leaf.
    pub(crate) fn push(&mut self, leaf: Digest) {
        self.push_node(Node {
            level: 0,
            hash: leaf,
        });
    }

    /// Adds the leaves of a range that begins where this one ends. `false`: it does not begin there.
    #[must_use]
    pub(crate) fn merge(&mut self, next: &Self) -> bool {
        if next.begin != self.end {
            return false;
        }
        for node in &next.nodes {
            self.push_node(node.clone());
        }
        true
    }

    /// The root over the leaves. The range must begin at 0, or at a multiple of a power of two that is not
    /// smaller than the range.
    pub(crate) fn root(&self) -> Digest {
        let mut nodes = self.nodes.iter().rev();
        let Some(last) = nodes.next() else {
            return empty_root();
        };
        nodes.fold(last.hash, |right, left| node_hash(&left.hash, &right))
    }

    /// The hashes of the subtrees that end after leaf `since`. These are what changed since the range ended
    /// there; [`extended`](Self::extended) adds them again.
    pub(crate) fn changed_since(&self, since: u64) -> Vec<u8> {
        let mut end = self.end;
        let mut changed = 0;
        for node in self.nodes.iter().rev() {
            if end <= since {
                break;
            }
            changed += 1;
            end = end.saturating_sub(width(node.level));
        }
        let kept = self.nodes.len().saturating_sub(changed);
        self.nodes
            .iter()
            .skip(kept)
            .flat_map(|node| node.hash.0)
            .collect()
    }

    /// This range with `count` more leaves, from the hashes of [`changed_since`](Self::changed_since).
    /// `None`: there are too many or too few.
    pub(crate) fn extended(&self, count: u64, changed: &[u8]) -> Option<Self> {
        let end = self.end.checked_add(count)?;
        let mut hashes = hashes_of(changed)?;
        let mut own = self.nodes.iter();
        let mut nodes = Vec::new();
        let mut at = self.begin;
        for level in levels(self.begin, end) {
            at = at.saturating_add(width(level));
            nodes.push(if at <= self.end {
                own.next()?.clone()
            } else {
                Node {
                    level,
                    hash: hashes.next()?,
                }
            });
        }
        hashes.next().is_none().then_some(Self {
            begin: self.begin,
            end,
            nodes,
        })
    }

    /// The subtrees: the first leaf, the leaf after the last, and the hash of each.
    #[cfg(test)]
    pub(crate) fn subtrees(&self) -> impl Iterator<Item = (u64, u64, Digest)> + '_ {
        let mut at = self.begin;
        self.nodes.iter().map(move |node| {
            let first = at;
            at = at.saturating_add(width(node.level));
            (first, at, node.hash)
        })
    }

    /// The bounds of the subtrees of a range.
    pub(crate) fn bounds(begin: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut at = begin;
        levels(begin, end).map(move |level| {
            let first = at;
            at = at.saturating_add(width(level));
            (first, at)
        })
    }

    /// Appends a subtree, which must begin at `end` and at a multiple of its width. As long as it is the
    /// right child of a parent whose left child is the last subtree, both become that parent.
    fn push_node(&mut self, mut node: Node) {
        let mut first = self.end;
        self.end = self.end.saturating_add(width(node.level));
        // A right child whose sibling is in the range joins it into their parent.
        while first & width(node.level) != 0
            && let Some(sibling) = self.nodes.pop_if(|left| left.level == node.level)
        {
            first = first.saturating_sub(width(node.level));
            node = Node {
                level: node.level + 1,
                hash: node_hash(&sibling.hash, &node.hash),
            };
        }
        self.nodes.push(node);
    }
}

/// The number of leaves in a subtree of this level.
fn width(level: u32) -> u64 {
    1_u64.checked_shl(level).unwrap_or(0)
}

/// The levels of the subtrees that cover the leaves from `begin` to before `end`, from left to right.
fn levels(begin: u64, end: u64) -> impl Iterator<Item = u32> {
    let mut at = begin;
    std::iter::from_fn(move || {
        let largest = end.checked_sub(at)?.checked_ilog2()?;
        let level = largest.min(at.trailing_zeros());
        at = at.checked_add(width(level))?;
        Some(level)
    })
}

/// Hashes of 32 bytes each; `None` if bytes are left over.
fn hashes_of(bytes: &[u8]) -> Option<impl Iterator<Item = Digest> + '_> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().copied().map(Digest))
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::super::paths::tests::{LEAF_INPUTS, ROOTS, hex, naive_root, numbered_leaves};
    use super::*;

    #[test]
    fn the_roots_of_the_published_leaves_are_the_published_ones() {
        let mut range = CompactRange::default();
        assert_eq!(range.root(), hex(ROOTS[0]));
        for (input, root) in LEAF_INPUTS.iter().zip(&ROOTS[1..]) {
            range.push(leaf_hash(input));
            assert_eq!(range.root(), hex(root));
        }
    }

    #[test]
    fn hashes_of_leaves_and_nodes_are_the_published_ones() {
        // Vectors of the certificate-transparency hashers.
        let leaf = "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56";
        assert_eq!(leaf_hash(b"L123456"), hex(leaf));
        let mut hasher = Sha256::new();
        hasher.update(b"\x01N123N456");
        let node = "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb";
        assert_eq!(Digest(hasher.finalize().into()), hex(node));
    }

    #[test]
    fn every_range_is_what_the_definition_says_however_it_is_put_together() {
        let leaves = numbered_leaves(130);
        for end in 0..=leaves.len() {
            let mut whole = CompactRange::default();
            leaves[..end].iter().for_each(|leaf| whole.push(*leaf));
            assert_eq!(whole.end(), end as u64);
            assert_eq!(whole.root(), naive_root(&leaves[..end]), "{end}");
            let bytes = whole.to_bytes();
            let back = CompactRange::from_bytes(0, end as u64, &bytes);
            assert_eq!(back.as_ref(), Some(&whole));
            for middle in 0..=end {
                let (mut left, mut right) = (
                    CompactRange::default(),
                    CompactRange::starting_at(middle as u64),
                );
                leaves[..middle].iter().for_each(|leaf| left.push(*leaf));
                leaves[middle..end]
                    .iter()
                    .for_each(|leaf| right.push(*leaf));
                let changed = whole.changed_since(middle as u64);
                assert_eq!(
                    left.extended((end - middle) as u64, &changed).as_ref(),
                    Some(&whole)
                );
                for (first, after, hash) in right.subtrees() {
                    let covered = &leaves[first as usize..after as usize];
                    assert_eq!(hash, naive_root(covered));
                }
                let bounds: Vec<_> = right.subtrees().map(|(a, b, _)| (a, b)).collect();
                let expected: Vec<_> = CompactRange::bounds(middle as u64, end as u64).collect();
                assert_eq!(bounds, expected);
                assert!(left.merge(&right));
                assert_eq!(left, whole, "{middle} of {end}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut range = CompactRange::default();
        numbered_leaves(7)
            .into_iter()
            .for_each(|leaf| range.push(leaf));
        let bytes = range.to_bytes();
        assert_eq!(bytes.len(), 3 * 32);
        for (end, bytes) in [
            (7, &bytes[..64]),
            (7, &bytes[..95]),
            (6, &bytes[..]),
            (8, &bytes[..]),
            (u64::MAX, &bytes[..]),
        ] {
            assert_eq!(CompactRange::from_bytes(0, end, bytes), None, "{end}");
        }
        assert!(!range.clone().merge(&CompactRange::starting_at(8)));
        assert_eq!(range.extended(1, &bytes), None);
        assert_eq!(range.extended(u64::MAX, &bytes[..32]), None);
        assert!(range.extended(1, &bytes[..32]).is_some());
    }
}
