//! The numbers of the stored forms.

/// How `payloads.data` is packed. The numbers are part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    AsIs = 0,
    Zstd = 1,
    Delta = 2,
    /// With media left out; what is left is packed in one of the other ways.
    Media = 3,
}

impl Encoding {
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        [Self::AsIs, Self::Zstd, Self::Delta, Self::Media]
            .into_iter()
            .find(|encoding| encoding.code() == code)
    }

    pub(crate) fn code(self) -> i64 {
        self as i64
    }
}
