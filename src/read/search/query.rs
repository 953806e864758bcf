//! Turns a typed search into an FTS5 expression in which every word is quoted.

use crate::db::search::{Ending, Form, phrase};
use crate::error::ReadError;

/// The longest search in bytes, and its most words: the work of a search grows with them.
const QUERY_BYTES_MAX: usize = 4096;
const WORDS_MAX: usize = 64;

/// `words "a phrase" begin* -without OR other`: all words must occur, in any order, and no word with a dash
/// before it; `OR` separates groups; nothing else has a meaning.
pub(super) fn expression(query: &str, form: Form) -> Result<String, ReadError> {
    let invalid = |what: &str| Err(ReadError::InvalidArgument(what.to_owned()));
    if query.len() > QUERY_BYTES_MAX {
        return invalid("a search has at most 4,096 bytes");
    }
    let words = split(query);
    if words.len() > WORDS_MAX {
        return invalid("a search has at most 64 words");
    }
    let mut groups = Vec::new();
    for group in words.split(|word| !word.is_quoted && word.text == "OR") {
        let quoted = |is_excluded: bool| -> Vec<String> {
            let chosen = group.iter().filter(|word| word.is_excluded == is_excluded);
            chosen
                .filter(|word| word.has_letters())
                .map(|word| word.quoted(form))
                .collect()
        };
        let (wanted, excluded) = (quoted(false), quoted(true));
        if wanted.is_empty() {
            return invalid("a search needs a word to find, not only words to exclude");
        }
        let mut expression = format!("({})", wanted.join(" AND "));
        if !excluded.is_empty() {
            expression = format!("({expression} NOT ({}))", excluded.join(" OR "));
        }
        groups.push(expression);
    }
    Ok(groups.join(" OR "))
}

#[derive(Debug, Default)]
struct Word {
    text: String,
    is_quoted: bool,
    is_excluded: bool,
    is_prefix: bool,
}

impl Word {
    /// Whether an index can contain any of it.
    fn has_letters(&self) -> bool {
        self.text.chars().any(char::is_alphanumeric)
    }

    fn quoted(&self, form: Form) -> String {
        let (phrase, ending) = phrase(&self.text, form);
        let star = match ending {
            Ending::Word if self.is_prefix => "*",
            // The text may go on behind the pair anyway.
            Ending::Word | Ending::Pair => "",
            Ending::Single => "*",
        };
        format!("\"{}\"{star}", phrase.replace('"', "\"\""))
    }
}

fn split(query: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut characters = query.chars().peekable();
    while let Some(next) = characters.peek().copied() {
        if next.is_whitespace() || next == '\0' {
            characters.next();
            continue;
        }
        let mut word = Word::default();
        if next == '-' {
            word.is_excluded = true;
            characters.next();
        }
        if characters.next_if_eq(&'"').is_some() {
            word.is_quoted = true;
            while let Some(next) = characters.next_if(|next| *next != '"') {
                word.text.push(if next == '\0' { ' ' } else { next });
            }
            characters.next();
        } else {
            while let Some(next) = characters
                .next_if(|next| !next.is_whitespace() && !matches!(next, '"' | '*' | '\0'))
            {
                word.text.push(next);
            }
        }
        while characters.next_if_eq(&'*').is_some() {
            word.is_prefix = true;
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_phrases_beginnings_and_exclusions() {
        for (query, expected) in [
            ("weather lyon", "(\"weather\" AND \"lyon\")"),
            ("\"in Lyon\" wea*", "(\"in Lyon\" AND \"wea\"*)"),
            (
                "rain -snow -\"hail storm\"",
                "((\"rain\") NOT (\"snow\" OR \"hail storm\"))",
            ),
            ("a OR b c", "(\"a\") OR (\"b\" AND \"c\")"),
            ("NEAR(x) AND", "(\"NEAR(x)\" AND \"AND\")"),
            ("col:x ^y {z", "(\"col:x\" AND \"^y\" AND \"{z\")"),
            ("a\"b", "(\"a\" AND \"b\")"),
            ("x !!! \0", "(\"x\")"),
            ("東京 京* -都", "((\"東京\" AND \"京\"*) NOT (\"都\"*))"),
            ("東京都*", "(\"東京\u{1f}京都\")"),
        ] {
            assert_eq!(
                expression(query, Form::Split).unwrap(),
                expected,
                "{query:?}"
            );
        }
        let unsplit = expression("東京都 京*", Form::Unsplit).unwrap();
        assert_eq!(unsplit, "(\"東京都\" AND \"京\"*)");
        for query in ["", "   ", "-a", "a OR", "OR", "***", "\"\""] {
            assert!(expression(query, Form::Split).is_err(), "{query:?}");
        }
        assert!(expression(&"a ".repeat(65), Form::Split).is_err());
        assert!(expression(&"a".repeat(5000), Form::Split).is_err());
    }

    /// SQLite accepts the expression for any text.
    #[test]
    fn any_text_is_a_search_or_refused() {
        let connection = crate::db::Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE VIRTUAL TABLE t USING fts5(text)")
            .unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let alphabet: Vec<char> = "ab \"*-^(){}:+,'\\ORNEAT\0é\u{1f980}".chars().collect();
        for _ in 0..2000 {
            let query: String = (0..random.usize(..12))
                .map(|_| alphabet[random.usize(..alphabet.len())])
                .collect();
            if let Ok(expression) = expression(&query, Form::Split) {
                let found = connection.query_row(
                    "SELECT count(*) FROM t WHERE t MATCH ?1",
                    [&expression],
                    |row| row.get::<_, i64>(0),
                );
                assert!(found.is_ok(), "{query:?} {expression:?}: {found:?}");
            }
        }
    }
}
