//! Characters that a reader does not see, or sees in another place.
//!
//! Characters that control a terminal or change the reading direction rewrite the screen; characters without width
//! hide words in plain sight (tag characters spell whole sentences for a model).

/// Whether a character controls the terminal, is invisible, or looks different in every font.
///
/// By Unicode's properties: controls, line and paragraph separators, `Default_Ignorable_Code_Point`,
/// format characters but for the signs that are drawn around numbers, blank letters, private use
/// (no two fonts agree) and noncharacters.
pub(crate) fn is_unseen(character: char) -> bool {
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

/// Whether a font may have a picture for it: symbols, and the characters of keycaps. After a letter, a selector
/// changes nothing visible, and so makes two names that look the same. Source:
/// <https://www.unicode.org/Public/UCD/latest/ucd/emoji/emoji-variation-sequences.txt>.
fn has_presentations(character: char, after_selector: Option<char>) -> bool {
    match character {
        '#' | '*' | '0'..='9' => after_selector == Some('\u{20e3}'),
        '\u{a9}' | '\u{ae}' | '\u{2139}' | '\u{24c2}' => true,
        '\u{1f170}' | '\u{1f171}' | '\u{1f17e}' | '\u{1f17f}' => true,
        // Marks upon letters lie among the symbols.
        '\u{20d0}'..='\u{20ff}' | '\u{302a}'..='\u{302f}' | '\u{3099}' | '\u{309a}' => false,
        '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}' => !character.is_alphanumeric(),
        _ => false,
    }
}

/// The first character that must be escaped, and the text before and after it. One selector of presentation after a
/// character with several presentations may stay: emoji are written like that.
pub(crate) fn split_unseen(
    text: &str,
    is_kept: impl Fn(char) -> bool,
) -> Option<(&str, char, &str)> {
    let mut before = None;
    let found = text.char_indices().find(|&(at, character)| {
        let is_drawing = is_presentation(character) && {
            let after = text.get(at..).unwrap_or_default().chars().nth(1);
            before.is_some_and(|before| has_presentations(before, after))
        };
        before = Some(character);
        is_unseen(character) && !is_drawing && !is_kept(character)
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
        for text in [
            "❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "☎\u{fe0e} a",
            "㊗\u{fe0f}",
            "Ⓜ\u{fe0f}",
            "a⚖\u{fe0f}b",
        ] {
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
            "pa\u{fe0f}ul",
            "1\u{fe0f}",
            "日\u{fe0f}",
            "か\u{3099}\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
        ] {
            assert!(split_unseen(text, |_| false).is_some(), "{text:?}");
        }
        let (before, found, after) = split_unseen("❤\u{fe0f}\u{fe0e}b", |_| false).unwrap();
        assert_eq!((before, found, after), ("❤\u{fe0f}", '\u{fe0e}', "b"));
    }
}
