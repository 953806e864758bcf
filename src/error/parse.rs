//! Enums that are read from a name, and text that does not say what it should.

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

/// The names of an enum: `ALL`, `as_str`, `Display`, `FromStr`, and `Serialize` with the feature `serde`, all
/// from one table, so that the command line, JSON and the file say the same.
macro_rules! named {
    ($kind:ident; $($table:tt)*) => {
        $crate::error::named! { $kind, serialized elsewhere; $($table)* }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
    ($kind:ident, serialized elsewhere; $($variant:ident => $name:literal),* $(,)?) => {
        impl $kind {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name, as in the file, in JSON and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::error::ParseError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.into_iter().find(|one| one.as_str() == name);
                found.ok_or_else(|| {
                    let names = Self::ALL.map(Self::as_str).join(", ");
                    $crate::error::ParseError::new(format!("one of {names}"), name)
                })
            }
        }
    };
}
pub(crate) use named;
