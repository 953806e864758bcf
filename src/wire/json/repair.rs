//! Repairs JSON that strict parsers refuse although servers and clients accept it.

/// The longest document that is repaired: repairing builds a tree, which takes many times the length.
const REPAIRED_BYTES_MAX: usize = 1024 * 1024;

/// The document without what a strict parser refuses: duplicate keys (the last one wins, as in most
/// servers), bytes that are not UTF-8, and halves of surrogate pairs. `None` if it still is not JSON.
pub(crate) fn repaired(document: &[u8]) -> Option<Vec<u8>> {
    if document.len() > REPAIRED_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8_lossy(document);
    let text = without_lone_surrogates(&text);
    let tree: serde_json::Value = serde_json::from_str(&text).ok()?;
    serde_json::to_vec(&tree).ok()
}

/// Replaces each escape of half a surrogate pair with that of U+FFFD.
fn without_lone_surrogates(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        clean.push_str(before);
        let unit = code_unit(after);
        let next = after.get(5..).and_then(|after| after.strip_prefix('\\'));
        let is_pair = matches!(unit, Some(0xD800..=0xDBFF))
            && matches!(next.and_then(code_unit), Some(0xDC00..=0xDFFF));
        let taken = match unit {
            Some(_) if is_pair => 11,
            Some(0xD800..=0xDFFF) => {
                clean.push_str("\\uFFFD");
                rest = after.get(5..).unwrap_or_default();
                continue;
            }
            Some(_) => 5,
            None => after.chars().next().map_or(0, char::len_utf8),
        };
        clean.push('\\');
        let (escape, after) = after.split_at_checked(taken).unwrap_or((after, ""));
        clean.push_str(escape);
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// The UTF-16 code unit of an escape: `u` and four hexadecimal digits.
fn code_unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix('u')?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &[u8]) -> Option<serde_json::Value> {
        repaired(document).map(|json| serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let read = read(br#"{"a":1,"b":{"c":1,"c":2},"a":3}"#).unwrap();
        assert_eq!(read, serde_json::json!({"a": 3, "b": {"c": 2}}));
    }

    #[test]
    fn halves_of_pairs_and_stray_bytes_are_replaced() {
        for (document, expected) in [
            (&br#"["\ud83d"]"#[..], "\u{FFFD}"),
            (br#"["\ude00!"]"#, "\u{FFFD}!"),
            (br#"["\ud83d\ud83d\ude00"]"#, "\u{FFFD}\u{1F600}"),
            (br#"["\ud83d\n"]"#, "\u{FFFD}\n"),
            (br#"["\\ud83d"]"#, "\\ud83d"),
            (b"[\"\xFF\"]", "\u{FFFD}"),
        ] {
            assert_eq!(read(document).unwrap()[0], expected);
        }
        assert_eq!(read(b"{\"a\":"), None);
        assert_eq!(read(b"[\"\\u00"), None);
    }
}
