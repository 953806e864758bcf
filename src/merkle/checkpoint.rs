//! Checkpoints: a log's size and root at some time, as the text of a note.
//!
//! Source: C2SP tlog-checkpoint (<https://c2sp.org/tlog-checkpoint>). One extension line, `at <microseconds
//! since the Unix epoch>`, tells when the checkpoint was made: without it, a heartbeat on a quiet log would
//! say nothing.

use std::io::{self, BufRead, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::SigningKey;
use super::note::{NOTE_BYTES_MAX, Note, NoteError, SIGNATURE_START};
use crate::model::Digest;

/// Limit of extension lines.
const EXTENSIONS_MAX: usize = 16;

/// The size and root of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The id of the log.
    pub(crate) origin: String,
    /// The number of events.
    pub(crate) size: u64,
    pub(crate) root: Digest,
    /// When it was made, in microseconds since the Unix epoch, if it says so.
    pub(crate) at: Option<i64>,
}

impl Checkpoint {
    /// As a note, signed if there is a key.
    pub(crate) fn write(&self, key: Option<&SigningKey>) -> String {
        let Self {
            origin, size, root, ..
        } = self;
        let mut text = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.0));
        if let Some(at) = self.at {
            text.push_str(&format!("at {at}\n"));
        }
        Note::write(&text, key)
    }

    /// Reads a note that must be a checkpoint. The caller judges its signatures.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, Note), NoteError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Self::from_text(&note.text).ok_or(NoteError::NotACheckpoint)?;
        Ok((checkpoint, note))
    }

    fn from_text(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
        let [origin, size, root, extensions @ ..] = lines.as_slice() else {
            return None;
        };
        if lines.iter().any(|line| line.is_empty()) || extensions.len() > EXTENSIONS_MAX {
            return None;
        }
        let number: u64 = size.parse().ok()?;
        // A size has exactly one spelling: no sign, no leading zeros.
        if number.to_string() != *size {
            return None;
        }
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        let at = extensions
            .iter()
            .find_map(|line| line.strip_prefix("at ")?.parse().ok());
        Some(Self {
            origin: (*origin).to_owned(),
            size: number,
            root: Digest(root),
            at,
        })
    }
}

/// Reads the notes of an anchor file: an empty line follows each. A note that a crash tore damages only
/// itself.
pub(crate) struct Notes<R> {
    reader: R,
    /// The first line of the next note, if it was read already.
    ahead: Vec<u8>,
}

impl<R: BufRead> Notes<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            ahead: Vec::new(),
        }
    }

    /// The only note, which must begin at once; other lines may follow the empty line that ends it. `None`:
    /// there is no note, or it has no such end.
    pub(crate) fn only(mut self) -> io::Result<Option<Vec<u8>>> {
        self.ahead = self.read_line()?;
        if self.ahead == b"\n" {
            return Ok(None);
        }
        let note = self.read_note()?;
        Ok(note.filter(|_| self.ahead.is_empty()))
    }

    /// The bytes of the next note. Text longer than a note may be is returned in pieces.
    fn read_note(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut note = std::mem::take(&mut self.ahead);
        let mut is_text = true;
        while note.len() <= NOTE_BYTES_MAX {
            let line = self.read_line()?;
            let is_end = line.is_empty();
            let is_blank = line == b"\n";
            if is_end || (is_blank && !is_text) {
                break;
            }
            if is_blank && note.is_empty() {
                continue;
            }
            if !is_text && !line.starts_with(SIGNATURE_START.as_bytes()) {
                self.ahead = line;
                break;
            }
            is_text &= !is_blank;
            note.extend_from_slice(&line);
        }
        Ok((!note.is_empty()).then_some(note))
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let bytes_max = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX);
        (&mut self.reader)
            .take(bytes_max)
            .read_until(b'\n', &mut line)?;
        Ok(line)
    }
}

impl<R: BufRead> Iterator for Notes<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_note().transpose()
    }
}

impl<R> std::fmt::Debug for Notes<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notes")
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::{PUBLIC, SECRET};
    use super::super::note::Trust;
    use super::*;

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint {
            origin: "example.com/log".to_owned(),
            size,
            root: Digest([7; 32]),
            at: Some(1_764_000_000_000_000),
        }
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let example = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
            — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
        let (checkpoint, note) = Checkpoint::parse(example.as_bytes()).unwrap();
        assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
        assert_eq!(checkpoint.size, 20_852_163);
        assert!(checkpoint.root.to_string().starts_with("0ac5186a91863e8e"));
        assert_eq!(checkpoint.at, None);
        assert_eq!(note.trust(&[PUBLIC.parse().unwrap()]), Trust::UnknownKey);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let key = SigningKey::from_secret_text(SECRET).unwrap();
        for size in [0, 1, u64::MAX] {
            let text = checkpoint(size).write(Some(&key));
            let (back, note) = Checkpoint::parse(text.as_bytes()).unwrap();
            assert_eq!(back, checkpoint(size));
            assert_eq!(note.trust(&[key.verifying_key()]), Trust::Signed);
        }
    }

    #[test]
    fn what_is_not_a_checkpoint_is_refused() {
        let good = checkpoint(10).write(None);
        for (from, to) in [
            ("10\n", "010\n"),
            ("10\n", "+10\n"),
            ("10\n", "-1\n"),
            ("10\n", "18446744073709551616\n"),
            ("10\n", "\n"),
            ("example.com/log\n", "\n"),
            ("Bwc=", "Bw=="),
            ("at 1764000000000000\n", "\nat 1\n"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert_eq!(
                Checkpoint::parse(bad.as_bytes()).unwrap_err(),
                NoteError::NotACheckpoint,
                "{bad}"
            );
        }
    }

    #[test]
    fn notes_are_told_apart_and_a_torn_one_spoils_only_itself() {
        let key = SigningKey::from_secret_text(SECRET).unwrap();
        let signed = checkpoint(1).write(Some(&key));
        let unsigned = checkpoint(2).write(None);
        let records = |torn: &str| -> Vec<bool> {
            let file = format!("{signed}\n{unsigned}\n{torn}{signed}\n{unsigned}\n");
            Notes::new(file.as_bytes())
                .map(|note| Checkpoint::parse(&note.unwrap()).is_ok())
                .collect()
        };
        assert_eq!(records(""), [true; 4]);
        for torn in [&signed, &unsigned] {
            for length in 1..torn.len() {
                let torn = torn.get(..length).unwrap_or("exam");
                // What the writer appends to a tail that does not look complete.
                let repair = if torn.ends_with("\n\n") { "" } else { "\n\n\n" };
                let whole = records(&format!("{torn}{repair}"));
                // A torn signature line may count as a separate note.
                assert!(matches!(whole.len(), 5 | 6), "{torn:?}");
                let others = [&whole[..2], &whole[whole.len() - 2..]].concat();
                assert_eq!(others, [true; 4], "{torn:?}");
            }
        }
        let garbage = vec![b'x'; NOTE_BYTES_MAX * 3];
        assert!(
            Notes::new(garbage.as_slice()).all(|note| note.unwrap().len() <= 2 * NOTE_BYTES_MAX)
        );
    }
}
