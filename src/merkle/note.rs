//! Signed notes: a text, and who signed it.
//!
//! Source: C2SP signed-note (<https://c2sp.org/signed-note>). One difference: a note without any signature
//! is read and written too, as text and an empty line. A store without a key makes such notes;
//! [`Trust::Unsigned`] identifies them.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::{SigningKey, VerifyingKey, is_name};

/// The longest note in bytes; 16 signatures of any known kind fit.
pub(super) const NOTE_BYTES_MAX: usize = 128 * 1024;
/// Limit of signatures of a note.
const SIGNATURES_MAX: usize = 64;
/// The prefix of a signature line.
pub(super) const SIGNATURE_START: &str = "\u{2014} ";

/// A text with signatures, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// With its last newline: the signed bytes.
    pub(crate) text: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    key_id: u32,
    bytes: Vec<u8>,
}

/// What the signatures of a note prove to a reader with some keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A given key signed the text.
    Signed,
    /// No key signed it.
    Unsigned,
    /// Only other keys signed it.
    UnknownKey,
    /// A signature that names a given key is not a signature of this text.
    Invalid,
}

/// Why bytes are not a note, or a note is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoteError {
    #[error("it is longer than 128 KiB")]
    TooLong,
    #[error("it is not UTF-8, or holds control characters")]
    NotText,
    #[error("no empty line ends its text")]
    NoEnd,
    #[error("a line after its text is not a signature")]
    NotASignature,
    #[error("it has more than 64 signatures")]
    TooManySignatures,
    #[error("its text is not origin, size and root of a log")]
    NotACheckpoint,
}

impl Note {
    /// The text as a note, signed if there is a key. The text ends with a newline.
    pub(crate) fn write(text: &str, key: Option<&SigningKey>) -> String {
        let mut note = format!("{text}\n");
        if let Some(key) = key {
            let public = key.public();
            let mut bytes = public.key_id().to_be_bytes().to_vec();
            bytes.extend_from_slice(&key.sign(text));
            let signature = STANDARD.encode(bytes);
            let _ = writeln!(note, "{SIGNATURE_START}{} {signature}", public.name());
        }
        note
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if note
            .chars()
            .any(|character| character < ' ' && character != '\n')
        {
            return Err(NoteError::NotText);
        }
        // The text may contain empty lines; the last one ends it.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::NoEnd)?;
        let mut signatures = Vec::new();
        if !lines.is_empty() {
            let lines = lines.strip_suffix('\n').ok_or(NoteError::NotASignature)?;
            for line in lines.split('\n') {
                if signatures.len() == SIGNATURES_MAX {
                    return Err(NoteError::TooManySignatures);
                }
                signatures.push(Signature::parse(line).ok_or(NoteError::NotASignature)?);
            }
        }
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// What its signatures prove to a reader with these keys.
    pub(crate) fn trust(&self, keys: &[VerifyingKey]) -> Trust {
        if self.signatures.is_empty() {
            return Trust::Unsigned;
        }
        let mut trust = Trust::UnknownKey;
        for signature in &self.signatures {
            let key = keys
                .iter()
                .find(|key| key.name() == signature.name && key.key_id() == signature.key_id);
            match key {
                None => {}
                Some(key) if key.is_valid(&self.text, &signature.bytes) => trust = Trust::Signed,
                Some(_) => return Trust::Invalid,
            }
        }
        trust
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, data) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
        let data = STANDARD.decode(data).ok()?;
        let (key_id, bytes) = data.split_first_chunk::<4>()?;
        (is_name(name) && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*key_id),
            bytes: bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::{PUBLIC, SECRET};
    use super::*;

    /// Notes of the tests of Go's `sumdb/note`.
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const PETER: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const ENOCH: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
    const ENOCH_PUBLIC: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";

    fn trust(note: &str, keys: &[&str]) -> Result<Trust, NoteError> {
        let keys: Vec<VerifyingKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
        Note::parse(note.as_bytes()).map(|note| note.trust(&keys))
    }

    #[test]
    fn a_published_text_is_signed_as_published() {
        let key = SigningKey::from_secret_text(SECRET).unwrap();
        let note = Note::write(TEXT, Some(&key));
        assert_eq!(note, format!("{TEXT}\n{PETER}"));
        assert_eq!(Note::parse(note.as_bytes()).unwrap().text, TEXT);
    }

    #[test]
    fn signatures_count_for_the_keys_that_are_given() {
        let both = format!("{TEXT}\n{PETER}{ENOCH}");
        assert_eq!(trust(&both, &[PUBLIC]), Ok(Trust::Signed));
        assert_eq!(trust(&both, &[ENOCH_PUBLIC]), Ok(Trust::Signed));
        assert_eq!(trust(&both, &[]), Ok(Trust::UnknownKey));
        let other = both.replace("cryptography", "cartography");
        assert_eq!(trust(&other, &[PUBLIC]), Ok(Trust::Invalid));
        assert_eq!(trust(&other, &[]), Ok(Trust::UnknownKey));
        let unsigned = Note::write(TEXT, None);
        assert_eq!(trust(&unsigned, &[PUBLIC]), Ok(Trust::Unsigned));
        // The example of the specification.
        let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let note = "This is an example message.\n\n\
            — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        assert_eq!(trust(note, &[vkey]), Ok(Trust::Signed));
    }

    #[test]
    fn what_is_not_a_note_is_refused() {
        let longer = PETER.replacen("o/ZJ", "o/ZJABCD", 1);
        assert_eq!(
            trust(&format!("{TEXT}\n{longer}"), &[PUBLIC]),
            Ok(Trust::Invalid)
        );
        let many = format!("{TEXT}\n{}", PETER.repeat(65));
        let huge = format!("{}\n\n", "x".repeat(NOTE_BYTES_MAX));
        let cut = PETER.trim_end();
        let spaced = PETER.replace("PeterNeumann", "Bad Name");
        for (note, error) in [
            (TEXT.to_owned(), NoteError::NoEnd),
            (format!("{TEXT}\n{cut}"), NoteError::NotASignature),
            (format!("\u{1}{TEXT}\n{PETER}"), NoteError::NotText),
            (format!("{TEXT}\n{spaced}"), NoteError::NotASignature),
            (
                format!("{TEXT}\n{PETER}Unexpected\n"),
                NoteError::NotASignature,
            ),
            (many, NoteError::TooManySignatures),
            (huge, NoteError::TooLong),
        ] {
            assert_eq!(Note::parse(note.as_bytes()), Err(error));
        }
        assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::NotText));
    }
}
