//! Proofs in the tree: that a line is in it, and that a later tree continues an earlier one.
//!
//! A proof is a list of roots over ranges of leaves. The sizes alone determine these ranges, so a proof is
//! made in one pass over the leaves, with a handful of hashes in memory. Sources: RFC 6962, sections 2.1.1
//! and 2.1.2; for the checks RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use std::ops::Range;

use super::tree::{CompactRange, empty_root, node_hash};
use crate::model::Digest;

/// The ranges whose roots prove that leaf `index` is in the tree of `size` leaves, in the order of the
/// proof. `None`: there is no such leaf.
///
/// Descends from the root: each split leaves the leaf on one side, and the root of the other side belongs
/// to the proof. The proof lists them from the leaf upwards.
pub(crate) fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let mut ranges = Vec::new();
    let (mut first, mut after) = (0, size);
    while let Some(middle) = split(first, after) {
        if index < middle {
            ranges.push(middle..after);
            after = middle;
        } else {
            ranges.push(first..middle);
            first = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The ranges whose roots prove that the tree of `size` leaves continues the tree of `old` leaves, in the
/// order of the proof. `None`: it is not larger, or the old tree is empty.
///
/// Descends along the end of the old tree, collecting the root of the other side at each split, until what
/// is left is a whole subtree of the old tree.
pub(crate) fn consistency_ranges(old: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if old == 0 || old > size {
        return None;
    }
    let mut ranges = Vec::new();
    let (mut first, mut after) = (0, size);
    while old != after
        && let Some(middle) = split(first, after)
    {
        if old <= middle {
            ranges.push(middle..after);
            after = middle;
        } else {
            ranges.push(first..middle);
            first = middle;
        }
    }
    // If the old tree is one whole subtree, the verifier knows its root already.
    if first != 0 {
        ranges.push(first..after);
    }
    ranges.reverse();
    Some(ranges)
}

/// Where RFC 6962 splits a tree: at the largest power of two below its size.
fn split(first: u64, after: u64) -> Option<u64> {
    let largest = after.checked_sub(first)?.checked_sub(1)?.checked_ilog2()?;
    first.checked_add(1_u64.checked_shl(largest)?)
}

/// Makes a proof from the leaves, which must come in order. Each range is built as a compact range; when
/// its last leaf arrives, its root takes its position in the proof.
#[derive(Debug)]
pub(crate) struct PathCollector {
    /// In the order of the leaves, with the position in the proof.
    pending: std::vec::IntoIter<(usize, Range<u64>)>,
    current: Option<(usize, Range<u64>, CompactRange)>,
    path: Vec<Digest>,
}

impl PathCollector {
    /// The ranges must not overlap.
    pub(crate) fn new(ranges: Vec<Range<u64>>) -> Self {
        let path = vec![empty_root(); ranges.len()];
        let mut pending: Vec<_> = ranges.into_iter().enumerate().collect();
        pending.sort_by_key(|(_, range)| range.start);
        let mut collector = Self {
            pending: pending.into_iter(),
            current: None,
            path,
        };
        collector.advance();
        collector
    }

    /// The next leaf that is needed; leaves before it need not be passed.
    pub(crate) fn wanted(&self) -> Option<u64> {
        let (_, range, collected) = self.current.as_ref()?;
        Some(collected.end().max(range.start))
    }

    /// Adds the next leaf; a leaf that is not needed is ignored.
    pub(crate) fn push(&mut self, index: u64, leaf: Digest) {
        let Some((place, range, collected)) = &mut self.current else {
            return;
        };
        if index != collected.end() {
            return;
        }
        collected.push(leaf);
        if collected.end() == range.end {
            if let Some(hash) = self.path.get_mut(*place) {
                *hash = collected.root();
            }
            self.advance();
        }
    }

    /// The proof; `None` if leaves are missing.
    pub(crate) fn finish(self) -> Option<Vec<Digest>> {
        self.current.is_none().then_some(self.path)
    }

    fn advance(&mut self) {
        self.current = self.pending.next().map(|(place, range)| {
            let collected = CompactRange::starting_at(range.start);
            (place, range, collected)
        });
    }
}

/// Whether the proof shows that leaf `index` of the tree of `size` leaves with this root has this hash.
///
/// Walks up from the leaf. `node` is its position on the current level, `last` that of the last node. A
/// right child, or the last node of a level, is combined with a sibling on its left; any other node with
/// one on its right. A last node without sibling moves up unchanged.
pub(crate) fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Digest,
    path: &[Digest],
    root: &Digest,
) -> bool {
    let Some(last) = size.checked_sub(1).filter(|last| index <= *last) else {
        return false;
    };
    let (mut node, mut last) = (index, last);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the proof shows that the tree of `size` leaves with `root` begins with the tree of `old` leaves
/// with `old_root`.
///
/// Both roots are computed from the same proof, going up from the last node of the old tree. First, levels
/// on which that node is a right child are skipped: there it completes a whole subtree of the old tree. A
/// sibling on the left belongs to both trees, so it goes into both hashes. A sibling on the right holds
/// only new leaves, so it goes only into the new one. At the end both must equal the given roots, and all
/// levels must be used up.
pub(crate) fn verify_consistency(
    old: u64,
    size: u64,
    path: &[Digest],
    old_root: &Digest,
    root: &Digest,
) -> bool {
    if old == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    if old == size {
        return path.is_empty() && old_root == root;
    }
    if old > size {
        return false;
    }
    let (mut node, mut last) = (old - 1, size - 1);
    let shift = node.trailing_ones();
    (node, last) = (node >> shift, last >> shift);
    let mut path = path.iter();
    let start = if old.is_power_of_two() {
        Some(old_root)
    } else {
        path.next()
    };
    let Some(start) = start else {
        return false;
    };
    let (mut old_hash, mut hash) = (*start, *start);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && hash == *root
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::string_slice)]
pub(super) mod tests {
    use super::super::tree::leaf_hash;
    use super::*;

    /// The leaves, roots and proofs below are test vectors of the certificate-transparency projects.
    pub(in crate::merkle) const LEAF_INPUTS: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    /// By size of the tree.
    pub(in crate::merkle) const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    const INCLUSION: &[(u64, u64, &[&str])] = &[
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            3,
            &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        ),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    const CONSISTENCY: &[(u64, u64, &[&str])] = &[
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
        (
            6,
            7,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ];

    pub(in crate::merkle) fn hex(text: &str) -> Digest {
        let bytes: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        Digest(bytes.try_into().unwrap())
    }

    pub(in crate::merkle) fn numbered_leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|at| leaf_hash(&at.to_le_bytes())).collect()
    }

    /// MTH of RFC 6962, section 2.1, as defined there.
    pub(in crate::merkle) fn naive_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            leaves => {
                let half = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..half]), &naive_root(&leaves[half..]))
            }
        }
    }

    /// PATH of section 2.1.1.
    fn naive_path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let half = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(half);
        let (mut path, other) = if index < half {
            (naive_path(index, left), naive_root(right))
        } else {
            (naive_path(index - half, right), naive_root(left))
        };
        path.push(other);
        path
    }

    /// SUBPROOF of section 2.1.2.
    fn naive_subproof(old: usize, leaves: &[Digest], is_whole: bool) -> Vec<Digest> {
        if old == leaves.len() {
            return if is_whole {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let half = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(half);
        let (mut path, other) = if old <= half {
            (naive_subproof(old, left, is_whole), naive_root(right))
        } else {
            (naive_subproof(old - half, right, false), naive_root(left))
        };
        path.push(other);
        path
    }

    fn collected(ranges: Vec<Range<u64>>, leaves: &[Digest]) -> Vec<Digest> {
        let mut collector = PathCollector::new(ranges);
        for (index, leaf) in leaves.iter().enumerate() {
            let index = index as u64;
            if collector.wanted().is_some_and(|wanted| wanted <= index) {
                collector.push(index, *leaf);
            }
        }
        collector.finish().unwrap()
    }

    #[test]
    fn published_proofs_are_made_and_hold() {
        let leaves: Vec<Digest> = LEAF_INPUTS.iter().map(|input| leaf_hash(input)).collect();
        for &(index, size, path) in INCLUSION {
            let path: Vec<Digest> = path.iter().copied().map(hex).collect();
            let ranges = inclusion_ranges(index, size).unwrap();
            assert_eq!(collected(ranges, &leaves[..size as usize]), path);
            let root = hex(ROOTS[size as usize]);
            let leaf = &leaves[index as usize];
            assert!(verify_inclusion(index, size, leaf, &path, &root));
        }
        for &(old, size, path) in CONSISTENCY {
            let path: Vec<Digest> = path.iter().copied().map(hex).collect();
            let ranges = consistency_ranges(old, size).unwrap();
            assert_eq!(collected(ranges, &leaves[..size as usize]), path);
            let (old_root, root) = (hex(ROOTS[old as usize]), hex(ROOTS[size as usize]));
            assert!(verify_consistency(old, size, &path, &old_root, &root));
        }
    }

    #[test]
    fn every_proof_is_the_defined_one_and_proves_nothing_else() {
        let leaves = numbered_leaves(130);
        let roots: Vec<Digest> = (0..=130).map(|size| naive_root(&leaves[..size])).collect();
        for size in 1..=130_usize {
            let leaves = &leaves[..size];
            let root = &roots[size];
            for index in 0..size {
                let ranges = inclusion_ranges(index as u64, size as u64).unwrap();
                let path = collected(ranges, leaves);
                assert_eq!(path, naive_path(index, leaves), "{index} of {size}");
                let holds = |index: usize, size: usize, leaf: &Digest, path: &[Digest]| {
                    verify_inclusion(index as u64, size as u64, leaf, path, root)
                };
                assert!(holds(index, size, &leaves[index], &path));
                assert!(!holds(index + 1, size, &leaves[index], &path));
                assert!(!holds(index, size, root, &path) || size == 1);
                let longer = [&path[..], &[*root]].concat();
                assert!(!holds(index, size, &leaves[index], &longer));
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!holds(index, size, &leaves[index], shorter));
                }
                // One hash of each proof is changed: a different one for each proof.
                let mut wrong = path.clone();
                if let Some(at) = (index + size).checked_rem(path.len()) {
                    wrong[at].0[index % 32] ^= 1;
                    assert!(!holds(index, size, &leaves[index], &wrong));
                }
            }
            for old in 1..=size {
                let ranges = consistency_ranges(old as u64, size as u64).unwrap();
                let path = collected(ranges, leaves);
                assert_eq!(path, naive_subproof(old, leaves, true), "{old} of {size}");
                let holds = |old: usize, old_root: &Digest, path: &[Digest]| {
                    verify_consistency(old as u64, size as u64, path, old_root, root)
                };
                assert!(holds(old, &roots[old], &path));
                assert!(!holds(old, &roots[old - 1], &path));
                let longer = [&path[..], &[*root]].concat();
                assert!(!holds(old, &roots[old], &longer));
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!holds(old, &roots[old], shorter));
                }
                let mut wrong = path.clone();
                if let Some(at) = (old + size).checked_rem(path.len()) {
                    wrong[at].0[old % 32] ^= 1;
                    assert!(!holds(old, &roots[old], &wrong));
                }
            }
        }
        assert!(inclusion_ranges(3, 3).is_none());
        assert!(consistency_ranges(4, 3).is_none());
        assert!(verify_consistency(0, 3, &[], &empty_root(), &roots[3]));
        assert!(!verify_consistency(0, 3, &[], &roots[1], &roots[3]));
        assert!(!verify_consistency(4, 3, &[], &roots[4], &roots[3]));
        assert!(!verify_inclusion(0, 0, &leaves[0], &[], &empty_root()));
    }
}
