//! Which texts of messages an exported database has already: a conversation's next request repeats them all.

use std::collections::HashMap;

use crate::payload::FingerprintKey;

/// Texts that one generation remembers: with the generation before, some 6 MiB in all.
const GENERATION_TEXTS: usize = 64 * 1024;

/// The numbers of texts that were written or met last. A text is known by a keyed fingerprint of 128 bits, as the blocks
/// of bodies are when they are recorded. One that was forgotten is written a second time.
#[derive(Debug)]
pub(super) struct Texts {
    key: FingerprintKey,
    last_id: i64,
    newer: HashMap<[u64; 2], i64>,
    older: HashMap<[u64; 2], i64>,
}

/// The number of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextId {
    Known(i64),
    /// It is to be written.
    New(i64),
}

impl Texts {
    pub(super) fn new() -> Self {
        Self {
            key: FingerprintKey::random(),
            last_id: 0,
            newer: HashMap::new(),
            older: HashMap::new(),
        }
    }

    pub(super) fn id_of(&mut self, text: &str) -> TextId {
        let hash = self.key.hash(text.as_bytes());
        if let Some(id) = self.newer.get(&hash) {
            return TextId::Known(*id);
        }
        if self.newer.len() >= GENERATION_TEXTS {
            self.older = std::mem::take(&mut self.newer);
        }
        let id = match self.older.get(&hash) {
            Some(id) => TextId::Known(*id),
            None => {
                self.last_id = self.last_id.saturating_add(1);
                TextId::New(self.last_id)
            }
        };
        let (TextId::Known(number) | TextId::New(number)) = id;
        self.newer.insert(hash, number);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_comes_again_has_its_number_as_long_as_memory_is_bounded() {
        let mut texts = Texts::new();
        assert_eq!(texts.id_of("kept"), TextId::New(1));
        assert_eq!(texts.id_of(""), TextId::New(2));
        for number in 0..10 * GENERATION_TEXTS {
            texts.id_of(&number.to_string());
            assert!(texts.newer.len() <= GENERATION_TEXTS);
            assert!(texts.older.len() <= GENERATION_TEXTS);
            if number % GENERATION_TEXTS == 0 {
                assert_eq!(texts.id_of("kept"), TextId::Known(1), "{number}");
            }
        }
        assert!(matches!(texts.id_of(""), TextId::New(_)), "long ago");
    }
}
