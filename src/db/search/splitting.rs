//! Splitting: what the index is told of a text, so that words inside Chinese, Japanese and Korean text are found.
//!
//! SQLite's tokenizer takes a run of such characters as one word. So the run is split before: into its pairs of
//! neighbours, and its last character. `東京都` becomes `東京`, `京都`, `都`. A word of two characters or more is
//! then a phrase of pairs, and a single character is the beginning of a word. The same characters in another width
//! (`ｶﾞ`, `Ａ`) or in two parts (`か` and its mark) count as one. What is added to the index, what is removed from
//! it and what is searched is split here, so that one finds the other.

use std::borrow::Cow;

/// Stands between the pairs of a run: what follows repeats the character before. For SQLite's tokenizer a separator,
/// of one byte.
const PAIR: char = '\u{1f}';
/// Stands between a run and a word beside it.
const EDGE: char = '\u{1e}';
/// Characters that a text must not have, for [`restored`] to tell where it was split.
pub(super) const SEPARATORS: [char; 2] = [PAIR, EDGE];
/// Smaller bytes begin no character that is split or folded.
const LEAD_BYTE_MIN: u8 = 0xe3;

/// How the words of an index were made from the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By SQLite's tokenizer alone: an earlier build made the index. It is searched until it is built again.
    Unsplit,
    /// Split before.
    Split,
}

/// The text as an index of this form gets it.
pub(super) fn split(text: &str, form: Form) -> Cow<'_, str> {
    if form == Form::Unsplit || !is_concerned(text) {
        return Cow::Borrowed(text);
    }
    let mut split = String::with_capacity(text.len().saturating_mul(2));
    Run::default().push_all(&mut split, text);
    Cow::Owned(split)
}

/// Whether any character may be split or folded: most texts have none.
fn is_concerned(text: &str) -> bool {
    text.bytes().any(|byte| byte >= LEAD_BYTE_MIN)
}

/// What is looked for to find a text, as a phrase for the index, and whether its last word is only the beginning
/// of one there.
///
/// Within the phrase a run is split as in a text. At its end a run may go on in the text: its last character is left
/// out, because the last pair has it, or is the beginning of a pair.
pub(crate) fn phrase(text: &str, form: Form) -> (Cow<'_, str>, Ending) {
    if form == Form::Unsplit || !is_concerned(text) {
        return (Cow::Borrowed(text), Ending::Word);
    }
    // What is no word at the end does not end a run.
    let text = text
        .trim_end_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '\u{3099}' | '\u{309a}'));
    let mut split = String::new();
    let mut run = Run::default();
    for (_, c) in folded(text) {
        run.push(&mut split, c);
    }
    match run {
        Run { last: None, .. } => (Cow::Owned(split), Ending::Word),
        Run { is_pair: true, .. } => (Cow::Owned(split), Ending::Pair),
        Run { .. } => {
            run.end(&mut split);
            (Cow::Owned(split), Ending::Single)
        }
    }
}

/// How a phrase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a word that SQLite's tokenizer finds.
    Word,
    /// With a pair: the text may go on behind it.
    Pair,
    /// With one character, with which a pair begins or which stands alone.
    Single,
}

/// A run of characters that are split.
#[derive(Debug, Default)]
struct Run {
    last: Option<char>,
    /// Whether the run has a pair already.
    is_pair: bool,
}

impl Run {
    fn push_all(mut self, split: &mut String, text: &str) {
        for (_, c) in folded(text) {
            self.push(split, c);
        }
        self.end(split);
    }

    fn push(&mut self, split: &mut String, c: char) {
        if !is_split(c) {
            if self.last.is_some() {
                self.end(split);
                // Without it, what follows would be part of the last character's word.
                if c.is_alphanumeric() {
                    split.push(EDGE);
                }
            }
            split.push(c);
            return;
        }
        match self.last.replace(c) {
            Some(before) => {
                if self.is_pair {
                    split.push(PAIR);
                }
                split.push(before);
                split.push(c);
                self.is_pair = true;
            }
            None => {
                let is_in_word = split.chars().next_back().is_some_and(char::is_alphanumeric);
                if is_in_word {
                    split.push(EDGE);
                }
            }
        }
    }

    fn end(&mut self, split: &mut String) {
        if let Some(last) = self.last.take() {
            if self.is_pair {
                split.push(PAIR);
            }
            split.push(last);
        }
        self.is_pair = false;
    }
}

/// Whether the character is one of a run: Chinese, Japanese and Korean letters. Source: the blocks of the Unicode
/// character database, Blocks.txt.
fn is_split(c: char) -> bool {
    matches!(c,
        // 々, 〆 and 〇 are letters and numbers among symbols.
        '\u{3005}'..='\u{3007}'
        // Hiragana and Katakana without the dot that separates words, Bopomofo.
        | '\u{3041}'..='\u{3096}' | '\u{309d}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{312f}'
        | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}'
        // Ideographs: extension A, the common ones, compatibility.
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        // Syllables of Korean.
        | '\u{ac00}'..='\u{d7a3}'
        // Ideographs of the supplementary planes.
        | '\u{20000}'..='\u{3fffd}')
}

/// The characters of a text in one width and one part, each with where it begins in the text.
fn folded(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut characters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (begin, c) = characters.next()?;
        let c = of_common_width(c);
        let marked = characters.peek().and_then(|(_, mark)| with_mark(c, *mark));
        if marked.is_some() {
            characters.next();
        }
        Some((begin, marked.unwrap_or(c)))
    })
}

/// Letters of Latin in their narrow width, those of Katakana in their wide one. Source: the block Halfwidth and
/// Fullwidth Forms of the Unicode character database.
fn of_common_width(c: char) -> char {
    /// The wide forms of U+FF66 to U+FF9D, in their order.
    const WIDE: &str = "ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン";
    let number = u32::from(c);
    match number {
        0xff01..=0xff5e => char::from_u32(number - 0xff01 + 0x21).unwrap_or(c),
        0xff66..=0xff9d => {
            let place = usize::try_from(number - 0xff66).unwrap_or(usize::MAX);
            WIDE.chars().nth(place).unwrap_or(c)
        }
        _ => c,
    }
}

/// The letter of Hiragana or Katakana with the mark that follows it, as one character.
fn with_mark(c: char, mark: char) -> Option<char> {
    let steps = match mark {
        // Voiced, and half voiced: combining, and in half width.
        '\u{3099}' | '\u{ff9e}' => 1,
        '\u{309a}' | '\u{ff9f}' => 2,
        _ => return None,
    };
    // The marked letter follows the plain one.
    let takes = match c {
        'う' | 'ウ' => {
            return (steps == 1).then_some(if c == 'う' { 'ゔ' } else { 'ヴ' });
        }
        'は' | 'ひ' | 'ふ' | 'へ' | 'ほ' | 'ハ' | 'ヒ' | 'フ' | 'ヘ' | 'ホ' => 2,
        'か' | 'き' | 'く' | 'け' | 'こ' | 'さ' | 'し' | 'す' | 'せ' | 'そ' | 'た' | 'ち'
        | 'つ' | 'て' | 'と' | 'カ' | 'キ' | 'ク' | 'ケ' | 'コ' | 'サ' | 'シ' | 'ス' | 'セ'
        | 'ソ' | 'タ' | 'チ' | 'ツ' | 'テ' | 'ト' => 1,
        _ => 0,
    };
    let marked = u32::from(c).checked_add(steps)?;
    (steps <= takes).then(|| char::from_u32(marked)).flatten()
}

/// A part of a split text as it is in the text itself. `part` has, for each character, whether it matches.
pub(super) fn restored(text: &str, part: &[(char, bool)]) -> Vec<(String, bool)> {
    let mut joined: Vec<(char, bool)> = Vec::with_capacity(part.len());
    let mut is_repeated = false;
    for (c, is_match) in part {
        match (*c, joined.last_mut()) {
            (PAIR, _) => is_repeated = true,
            (EDGE, _) => {}
            (_, Some(last)) if is_repeated => {
                is_repeated = false;
                last.1 |= is_match;
            }
            (c, _) => joined.push((c, *is_match)),
        }
    }
    let characters: Vec<(usize, char)> = folded(text).collect();
    let is_here = |at: &[(usize, char)]| at.iter().zip(&joined).all(|(a, b)| a.1 == b.0);
    let place = match joined.is_empty() {
        true => None,
        false => characters.windows(joined.len()).position(is_here),
    };
    let mut pieces: Vec<(String, bool)> = Vec::new();
    for (index, (c, is_match)) in joined.iter().enumerate() {
        let mut buffer = [0; 4];
        let original = place.and_then(|place| {
            let at = place.checked_add(index)?;
            let begin = characters.get(at)?.0;
            let end = characters
                .get(at.checked_add(1)?)
                .map_or(text.len(), |next| next.0);
            text.get(begin..end)
        });
        let original = original.unwrap_or_else(|| c.encode_utf8(&mut buffer));
        match pieces.last_mut() {
            Some((piece, is_same)) if is_same == is_match => piece.push_str(original),
            _ => pieces.push((original.to_owned(), *is_match)),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        split(text, Form::Split)
            .replace(PAIR, "|")
            .replace(EDGE, "/")
    }

    #[test]
    fn runs_are_split_into_pairs_and_their_last_character() {
        for (text, expected) in [
            ("plain ascii", "plain ascii"),
            ("héllo", "héllo"),
            ("東", "東"),
            ("東京", "東京|京"),
            ("東京都、日本", "東京|京都|都、日本|本"),
            ("GPTは東京A", "GPT/は東|東京|京/A"),
            ("서울에서 왔다", "서울|울에|에서|서 왔다|다"),
            ("𠮷野家", "𠮷野|野家|家"),
            ("カタカナ ｶﾀｶﾅ", "カタ|タカ|カナ|ナ カタ|タカ|カナ|ナ"),
            ("ｶﾞｷﾞﾊﾟ", "ガギ|ギパ|パ"),
            ("か\u{3099}は\u{309a}", "がぱ|ぱ"),
            ("ＧＰＴ－４", "GPT-4"),
            ("ナ・ニ", "ナ・ニ"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_phrase_ends_where_the_text_may_go_on() {
        for (text, expected, ending) in [
            ("word", "word", Ending::Word),
            ("東京", "東京", Ending::Pair),
            ("東京都", "東京|京都", Ending::Pair),
            ("東", "東", Ending::Single),
            ("東京。", "東京", Ending::Pair),
            ("東京 都", "東京|京 都", Ending::Single),
            ("GPTは", "GPT/は", Ending::Single),
            ("東京A", "東京|京/A", Ending::Word),
            ("café 4", "café 4", Ending::Word),
        ] {
            let (phrase, found) = phrase(text, Form::Split);
            let phrase = phrase.replace(PAIR, "|").replace(EDGE, "/");
            assert_eq!((phrase.as_str(), found), (expected, ending), "{text:?}");
        }
    }

    #[test]
    fn what_was_split_comes_back_as_it_was() {
        let mut random = fastrand::Rng::with_seed(11);
        let alphabet: Vec<char> = "東京都がかはｶﾊﾞﾟＡ a-。𠮷서울\u{3099}é".chars().collect();
        for _ in 0..5000 {
            let text: String = (0..random.usize(1..12))
                .map(|_| alphabet[random.usize(..alphabet.len())])
                .collect();
            let part: Vec<(char, bool)> = split(&text, Form::Split)
                .chars()
                .map(|c| (c, false))
                .collect();
            let restored = restored(&text, &part);
            assert_eq!(restored, [(text.clone(), false)], "{text:?}");
        }
    }
}
