//! Ids for lines that have none: derived from the line, so that recording it again is recognised.

use std::collections::HashMap;

use auditlite::Timestamp;
use sha2::{Digest as _, Sha256};

/// Different lines of a file that are counted at once, 40 bytes each. After so many the counts restart, and the
/// ids include the number of restarts: so the same file always gives the same ids.
const LINES_MAX: usize = 1 << 20;

type LineDigest = [u8; 32];

/// Makes ids for the lines of one file, or of standard input.
///
/// Equal lines are different requests: the id of each contains its number among them. A line without a time may
/// appear in tomorrow's file as well, as another request: its id contains the file's first line.
#[derive(Debug, Default)]
pub(crate) struct LineIds {
    first: Option<LineDigest>,
    seen: HashMap<LineDigest, u64>,
    round: u64,
}

impl LineIds {
    /// Called for every recorded line, in order. `None`: the line has an id.
    pub(crate) fn id(
        &mut self,
        line: &[u8],
        has_id: bool,
        started_at: Option<Timestamp>,
    ) -> Option<String> {
        if has_id && self.first.is_some() {
            return None;
        }
        let digest: LineDigest = Sha256::digest(line.trim_ascii()).into();
        let first = *self.first.get_or_insert(digest);
        if has_id {
            return None;
        }
        if self.seen.len() >= LINES_MAX {
            self.seen.clear();
            self.round = self.round.saturating_add(1);
        }
        let nth = self.seen.entry(digest).or_default();
        let mut hash = Sha256::new_with_prefix(digest);
        hash.update(nth.to_le_bytes());
        hash.update(self.round.to_le_bytes());
        if started_at.is_none() {
            hash.update(first);
        }
        *nth = nth.saturating_add(1);
        let digest: LineDigest = hash.finalize().into();
        let (mut bytes, _) = digest
            .split_first_chunk::<16>()
            .map(|(id, rest)| (*id, rest))?;
        if let Some(at) = started_at {
            // As in a UUIDv7: ids in the order of time are close to each other in the index.
            let [_, _, milliseconds @ ..] = (at.as_micros() / 1000).to_be_bytes();
            for (byte, of_time) in bytes.iter_mut().zip(milliseconds) {
                *byte = of_time;
            }
        }
        let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
        Some(id.hyphenated().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(lines: &[&str]) -> Vec<Option<String>> {
        let mut ids = LineIds::default();
        lines
            .iter()
            .map(|line| {
                ids.id(
                    line.as_bytes(),
                    line.starts_with("id"),
                    line.starts_with('7')
                        .then_some(Timestamp::from_micros(7_000_000)),
                )
            })
            .collect()
    }

    #[test]
    fn the_same_lines_get_the_same_ids_and_equal_ones_different_ids() {
        let lines = ["7a", "7a", "b", "b", "id", "b"];
        let once = ids(&lines);
        assert_eq!(once, ids(&lines));
        assert_eq!(once[4], None);
        let mut different: Vec<_> = once.iter().flatten().collect();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), 5);
        assert!(
            once[0].as_ref().unwrap().starts_with("00000000-1b58-8"),
            "{once:?}"
        );
    }

    #[test]
    fn a_line_with_a_time_is_known_in_any_file_and_another_one_in_its_own() {
        let [monday, tuesday] = [ids(&["7m", "7a", "b"]), ids(&["7t", "7a", "b"])];
        assert_eq!(monday[1], tuesday[1]);
        assert_ne!(monday[2], tuesday[2]);
        // Line breaks of another system are no other line.
        assert_eq!(ids(&["7m\r\n"]), ids(&["7m\n"]));
    }
}
