//! Text that does not say what it should.

/// A text is not what it is read as: a time, a digest, or one of some names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, not {text:?}")]
#[non_exhaustive]
pub struct ParseError {
    /// What would have been understood.
    pub expected: String,
    /// The text, as far as its first 64 characters.
    pub text: String,
}

/// Characters of a text that are repeated in an error.
const CHARACTERS_MAX: usize = 64;

impl ParseError {
    pub(crate) fn new(expected: impl Into<String>, text: &str) -> Self {
        Self {
            expected: expected.into(),
            text: text.chars().take(CHARACTERS_MAX).collect(),
        }
    }
}
