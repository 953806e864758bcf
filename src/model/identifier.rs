//! Brings identifiers into their bound so that two of them never become equal.
//!
//! A plain cut would merge two users whose ids begin alike, and a search for the whole id would find nothing. So a
//! long identifier keeps its beginning, to be recognised, and a digest of the whole. Recording an identifier and
//! searching for one both use this module.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::Digest;
use crate::config::IDENTIFIER_BYTES_MAX;

/// Separates the beginning and the digest.
const MARK: &str = "~sha256:";
/// The mark, and the digest in hexadecimal.
const DIGEST_BYTES: usize = MARK.len() + 64;

/// The form in which an identifier is recorded and found again.
///
/// An identifier of at most 256 bytes ([`IDENTIFIER_BYTES_MAX`]) without NUL is not changed. Any other becomes its
/// beginning (as many whole characters as fit into 184 bytes, with `U+FFFD` for NUL), then `~sha256:` and the
/// SHA-256 of the whole in 64 hexadecimal digits. Filters and selectors accept both forms; applied to a recorded
/// form, this changes nothing.
///
/// ```
/// let id = "tenant/".repeat(100);
/// let stored = auditlite::stored_identifier(&id);
/// assert!(stored.starts_with("tenant/tenant/") && stored.len() <= 256);
/// assert_eq!(auditlite::stored_identifier(&stored), stored);
/// assert_eq!(auditlite::stored_identifier("u-17"), "u-17");
/// ```
pub fn stored_identifier(identifier: &str) -> Cow<'_, str> {
    match bounded(identifier, IDENTIFIER_BYTES_MAX) {
        None => Cow::Borrowed(identifier),
        Some(bounded) => Cow::Owned(bounded),
    }
}

/// The form of an identifier that is too long, or contains NUL; `None`: it stays as it is.
pub(super) fn bounded(identifier: &str, bytes_max: usize) -> Option<String> {
    if identifier.len() <= bytes_max && !identifier.contains('\0') {
        return None;
    }
    let digest = Digest(Sha256::digest(identifier).into());
    // Three bytes take the place of one.
    let beginning = identifier.replace('\0', "\u{fffd}");
    let end = beginning.floor_char_boundary(bytes_max.saturating_sub(DIGEST_BYTES));
    let (beginning, _) = beginning.split_at(end);
    Some(format!("{beginning}{MARK}{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ATTRIBUTE_KEY_BYTES_MAX;

    #[test]
    fn identifiers_that_fit_stay_and_others_stay_apart() {
        let long = "ä".repeat(128);
        for id in ["", "u-17", "\u{fffd}", long.as_str()] {
            assert!(matches!(stored_identifier(id), Cow::Borrowed(same) if same == id));
        }
        let ids = [
            "x".repeat(257),
            "x".repeat(258),
            format!("{}y", "x".repeat(256)),
            "ä".repeat(129),
            "\0".to_owned(),
            "\0\0".to_owned(),
            "\u{fffd}".repeat(90),
            "\0".repeat(90),
            "\u{1f980}".repeat(70),
        ];
        let mut seen = std::collections::HashSet::new();
        for id in &ids {
            let stored = stored_identifier(id).into_owned();
            assert!(stored.len() <= IDENTIFIER_BYTES_MAX, "{stored}");
            assert!(!stored.contains('\0') && stored.contains(MARK), "{stored}");
            assert_eq!(stored_identifier(&stored), stored, "its own form");
            assert!(seen.insert(stored), "{id:?} is another's");
        }
    }

    /// As docs/format.md says it.
    #[test]
    fn the_form_is_a_beginning_and_the_digest_of_the_whole() {
        let stored = stored_identifier(&"a".repeat(300)).into_owned();
        let digest = "9835fa6bf4e20a9b9ea812506302e98982721a6cf8d2cae67af57129bf21ae90";
        assert_eq!(stored.len(), IDENTIFIER_BYTES_MAX);
        assert_eq!(stored, format!("{}~sha256:{digest}", "a".repeat(184)));
        let key = bounded(&"k".repeat(129), ATTRIBUTE_KEY_BYTES_MAX).unwrap();
        assert_eq!(key.len(), ATTRIBUTE_KEY_BYTES_MAX);
    }
}
