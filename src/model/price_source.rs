//! What a price book was made of.

use serde::{Deserialize, Serialize};

use super::read::Digest;

/// A list of prices that is part of a price book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PriceSource {
    /// `litellm`, `own` or `built_in`.
    pub format: String,
    /// SHA-256 of its text.
    #[serde(with = "hexadecimal")]
    pub sha256: Digest,
    /// The day of the prices, as `2026-11-20`, where they say it: the built-in ones do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// How many prices it has.
    pub entries: u64,
}

/// A digest as lower-case hex.
mod hexadecimal {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use crate::model::Digest;

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    pub(super) fn serialize<S: Serializer>(
        digest: &Digest,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
