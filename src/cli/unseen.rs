//! Which characters a reader does not see, or sees elsewhere than they stand.
//!
//! What steers a terminal or turns the reading direction around rewrites what is on the screen; what
//! has no width hides words in plain sight (tag characters spell out whole sentences for a model).

/// Whether a character is acted upon, shown as nothing, or shown as whatever a font likes.
///
/// By Unicode's properties: controls, line and paragraph separators, `Default_Ignorable_Code_Point`,
/// format characters but for the signs that are drawn around numbers, blank letters, private use
/// (no two fonts agree) and noncharacters.
pub(super) fn is_unseen(character: char) -> bool {
    if (' '..='~').contains(&character) {
        return false;
    }
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}'
            | '\u{115f}' | '\u{1160}' // Hangul fillers
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            // No width, direction, separators of lines, invisible operators.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' // a Braille cell without dots
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' // private use
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fe00}'..='\u{fe0f}' // variation selectors
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{13430}'..='\u{1343f}' // of hieroglyphs, of shorthand, of music
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            // Tags, more variation selectors, and all that is kept free for the like; private use.
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
        || u32::from(character) & 0xfffe == 0xfffe
}

/// Whether a character only says how the one before it is drawn, as text or as a picture.
fn is_presentation(character: char) -> bool {
    matches!(character, '\u{fe0e}' | '\u{fe0f}')
}

/// The first character that is not to be shown as it is, and the text before and after it. One
/// selector of presentation after something that is seen may stay: emoji are written so, and one
/// hides nothing.
pub(super) fn split_unseen(
    text: &str,
    is_kept: impl Fn(char) -> bool,
) -> Option<(&str, char, &str)> {
    let mut follows_seen = false;
    let found = text.char_indices().find(|&(_, character)| {
        let is_unseen = is_unseen(character);
        let is_drawing = follows_seen && is_presentation(character);
        follows_seen = !is_unseen && !character.is_whitespace();
        is_unseen && !is_drawing && !is_kept(character)
    });
    let (at, character) = found?;
    let (before, from) = text.split_at(at);
    let mut after = from.chars();
    after.next();
    Some((before, character, after.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_seen() {
        for text in [
            "",
            "a b",
            "日本語",
            "é",
            "e\u{301}",
            "🦀",
            "مرحبا",
            "नमस्ते",
            "\u{600}12",
        ] {
            assert!(!text.chars().any(is_unseen), "{text}");
        }
        for text in ["❤\u{fe0f}", "1\u{fe0f}\u{20e3}", "☎\u{fe0e} a"] {
            assert_eq!(split_unseen(text, |_| false), None, "{text}");
        }
    }

    #[test]
    fn selectors_of_presentation_hide_nothing() {
        for text in [
            "a\u{fe0f}\u{fe0e}",
            "\u{fe0f}",
            "a \u{fe0f}",
            "a\u{200b}\u{fe0f}",
        ] {
            assert!(split_unseen(text, |_| false).is_some(), "{text:?}");
        }
        let (before, found, after) = split_unseen("a\u{fe0f}\u{fe0e}b", |_| false).unwrap();
        assert_eq!((before, found, after), ("a\u{fe0f}", '\u{fe0e}', "b"));
    }
}
