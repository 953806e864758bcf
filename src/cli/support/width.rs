//! The number of terminal columns that a text takes: East Asian characters and emoji take two.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that the text takes. The text must be escaped already.
///
/// Terminals disagree on characters that modify the one before them; the larger count is used, so that a line is
/// never wider than counted.
pub(crate) fn width(text: &str) -> usize {
    let one_by_one: usize = text.chars().filter_map(UnicodeWidthChar::width).sum();
    text.width().max(one_by_one)
}

/// The text in at most `columns_max` columns, with `…` at its end where some was cut off.
pub(crate) fn cut(text: &str, columns_max: usize) -> Cow<'_, str> {
    if width(text) <= columns_max {
        return Cow::Borrowed(text);
    }
    let mut end = 0;
    for (at, character) in text.char_indices() {
        let next = at.saturating_add(character.len_utf8());
        let is_in = text
            .get(..next)
            .is_some_and(|start| width(start) < columns_max);
        if !is_in {
            break;
        }
        end = next;
    }
    let start = text.get(..end).unwrap_or_default();
    let mark = if columns_max == 0 { "" } else { "…" };
    Cow::Owned(format!("{start}{mark}"))
}

/// The text, broken between words into lines of at most `columns_max` columns, as far as its words allow.
pub(crate) fn wrap(text: &str, columns_max: usize) -> String {
    let mut wrapped = String::with_capacity(text.len());
    let mut column = 0_usize;
    for (index, word) in text.split(' ').enumerate() {
        let columns = width(word);
        let is_too_wide =
            column > 0 && column.saturating_add(1).saturating_add(columns) > columns_max;
        if is_too_wide {
            wrapped.push('\n');
            column = 0;
        } else if index > 0 {
            wrapped.push(' ');
            column = column.saturating_add(1);
        }
        wrapped.push_str(word);
        column = column.saturating_add(columns);
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(width("abc"), 3);
        assert_eq!(width("日本語"), 6);
        assert_eq!(width("🦀"), 2);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("❤\u{fe0f}"), 2);
    }

    #[test]
    fn a_cut_text_fits_and_says_that_it_was_cut() {
        assert_eq!(cut("model", 5), "model");
        assert_eq!(cut("model", 4), "mod…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("日本語", 2), "…");
        assert_eq!(cut("日本語", 1), "…");
        assert_eq!(cut("日本語", 0), "");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
    }

    #[test]
    fn lines_break_between_words_only() {
        assert_eq!(wrap("one two three", 7), "one two\nthree");
        assert_eq!(wrap("one two three", 80), "one two three");
        assert_eq!(wrap("a-very-long-word b", 5), "a-very-long-word\nb");
        assert_eq!(wrap("", 5), "");
    }
}
