//! Makes text of unknown origin safe for a terminal.
//!
//! A model or a client may write escape sequences that move the cursor, overwrite the screen or change the reading
//! direction, and invisible characters. Both are printed as `\u{…}`.

use std::borrow::Cow;

use super::unseen::split_unseen;

/// For one line or one cell: line breaks and tabs are escaped, too.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// For a block of text: line feeds and tabs are kept.
pub(crate) fn escape_block(text: &str) -> Cow<'_, str> {
    escape_but(text, |character| matches!(character, '\n' | '\t'))
}

fn escape_but(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let mut rest = text;
    let mut safe = String::new();
    while let Some((before, character, after)) = split_unseen(rest, &is_kept) {
        safe.push_str(before);
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            other => safe.extend(other.escape_unicode()),
        }
        rest = after;
    }
    if safe.is_empty() {
        return Cow::Borrowed(text);
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// Whether bytes can be shown on a terminal as they are: valid UTF-8 with visible characters, line breaks and tabs
/// only.
pub(crate) fn is_plain_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        split_unseen(text, |character| matches!(character, '\n' | '\r' | '\t')).is_none()
    })
}

/// At most `characters_max` characters, the last one `…` where some were cut off.
pub(crate) fn shorten(text: &str, characters_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters_max) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept = characters_max.saturating_sub(1);
            Cow::Owned(text.chars().take(kept).chain(['…']).collect())
        }
    }
}

/// How much of a text is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fold {
    /// Lines that are shown.
    pub(crate) lines: usize,
    /// Characters of one line that are shown.
    pub(crate) characters: usize,
}

impl Fold {
    /// Everything is shown.
    pub(crate) const NONE: Self = Self {
        lines: usize::MAX,
        characters: usize::MAX,
    };
    /// What fits a screen.
    pub(crate) const SCREEN: Self = Self {
        lines: 40,
        characters: 500,
    };
    /// A few lines, for one part among many.
    pub(crate) const PART: Self = Self {
        lines: 12,
        characters: 500,
    };
}

/// The lines of a text, escaped, with a note in place of folded parts.
pub(crate) fn fold(text: &str, fold: Fold) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .take(fold.lines)
        .map(|line| fold_line(line, fold.characters))
        .collect();
    let more = text.lines().skip(fold.lines).count();
    if more > 0 {
        lines.push(format!("… {more} more lines (--full shows them)"));
    }
    lines
}

fn fold_line(line: &str, characters_max: usize) -> String {
    match line.char_indices().nth(characters_max) {
        None => escape_block(line).into_owned(),
        Some((at, _)) => {
            let (shown, rest) = line.split_at(at);
            let more = rest.chars().count();
            format!(
                "{}… {more} more characters (--full shows them)",
                escape_block(shown)
            )
        }
    }
}

/// JSON with line breaks and indentation, every token exactly as it was written. `None` if the text is not JSON.
///
/// Works on the characters: to parse and print it again would change numbers and the order of names, and an audit
/// shows what was sent. The text is checked first, so that strings and brackets can be trusted here.
pub(crate) fn indent_json(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut indented = String::with_capacity(text.len().saturating_mul(2));
    let mut depth = 0_usize;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                indented.push('"');
                while let Some(inner) = characters.next() {
                    indented.push(inner);
                    match inner {
                        '"' => break,
                        '\\' => indented.extend(characters.next()),
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                indented.push(character);
                while characters
                    .next_if(|next| next.is_ascii_whitespace())
                    .is_some()
                {}
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    indented.push(close);
                } else {
                    depth = depth.saturating_add(1);
                    break_line(&mut indented, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut indented, depth);
                indented.push(character);
            }
            ',' => {
                indented.push(',');
                break_line(&mut indented, depth);
            }
            ':' => indented.push_str(": "),
            space if space.is_ascii_whitespace() => {}
            other => indented.push(other),
        }
    }
    Some(indented)
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_and_text_direction_are_escaped() {
        assert_eq!(escape("a\u{1b}[31mb"), r"a\u{1b}[31mb");
        assert_eq!(
            escape("a\u{9b}2Jb\u{202e}c\u{2066}"),
            r"a\u{9b}2Jb\u{202e}c\u{2066}"
        );
        assert_eq!(escape("one\ntwo\r\tthree"), r"one\ntwo\r\tthree");
        assert_eq!(escape_block("one\ntwo\r\t\u{7}"), "one\ntwo\\r\t\\u{7}");
        assert_eq!(escape("日本語 🦀 é ❤\u{fe0f}"), "日本語 🦀 é ❤\u{fe0f}");
    }

    #[test]
    fn what_nobody_sees_is_escaped() {
        for unseen in [
            "\u{200b}",
            "\u{200d}",
            "\u{2060}",
            "\u{ad}",
            "\u{e0041}",
            "\u{e0100}",
            "\u{fe00}",
            "\u{2028}",
            "\u{85}",
            "\u{e000}",
            "\u{ffff}",
            "\u{3164}",
        ] {
            let code = u32::from(unseen.chars().next().unwrap());
            assert_eq!(escape(&format!("a{unseen}b")), format!("a\\u{{{code:x}}}b"));
            assert!(!is_plain_text(unseen.as_bytes()), "{code:x}");
        }
    }

    #[test]
    fn plain_text_is_told_from_bytes_and_from_escape_sequences() {
        assert!(is_plain_text("data: {}\r\n\tü\n".as_bytes()));
        assert!(!is_plain_text(b"\x1b[2J"));
        assert!(!is_plain_text(b"\xff\xfe"));
        assert!(!is_plain_text(b"\0"));
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }

    #[test]
    fn folding_says_what_it_left_out() {
        let some = Fold {
            lines: 2,
            characters: 3,
        };
        assert_eq!(
            fold("abc\nabcde\nx\ny", some),
            [
                "abc",
                "abc… 2 more characters (--full shows them)",
                "… 2 more lines (--full shows them)"
            ]
        );
        assert_eq!(fold("abc\nabcde", Fold::NONE), ["abc", "abcde"]);
    }

    #[test]
    fn indented_json_keeps_order_numbers_and_escapes() {
        let text = r#"{"z":1.50,"a":[1e400,{}, [ ]],"s":"\"{,\u00e9"}"#;
        let indented = indent_json(text).unwrap();
        assert_eq!(
            indented,
            "{\n  \"z\": 1.50,\n  \"a\": [\n    1e400,\n    {},\n    []\n  ],\n  \"s\": \"\\\"{,\\u00e9\"\n}"
        );
        assert_eq!(indent_json("data: {}"), None);
        assert_eq!(indent_json("{} {}"), None);
    }
}
