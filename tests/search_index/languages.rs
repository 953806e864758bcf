//! What is erased of Chinese, Japanese and Korean text leaves the index: the pairs of characters too that its words
//! were split into.

use std::collections::BTreeSet;
use std::path::Path;

use auditlite::{EraseSelector, ReadOnlyStore, update_search_index};

use super::random::Random;
use super::{close, compared, open, say, seeds};

/// Characters of each language, few enough that texts share pairs.
const ALPHABETS: [&str; 3] = [
    "東京都大学研究所人工知能日本語",
    "かきくけこがサシスセソザ々ー",
    "서울부산인공지능대학교연구소",
];

/// Sentences of two to nine characters each.
fn text(random: &mut Random) -> Vec<String> {
    let alphabet: Vec<char> = ALPHABETS[random.below(3) as usize].chars().collect();
    let sentences = 1 + random.below(30);
    (0..sentences)
        .map(|_| {
            let length = 2 + random.below(8);
            let characters =
                (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]);
            characters.collect()
        })
        .collect()
}

/// What the index is to have of the sentences.
fn words(sentences: &[String]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for sentence in sentences {
        let characters: Vec<char> = sentence.chars().collect();
        words.extend(
            characters
                .windows(2)
                .map(|pair| pair.iter().collect::<String>()),
        );
        words.extend(characters.last().map(char::to_string));
    }
    words
}

/// The words that SQLite's index has, and the keys by which it finds its pages.
fn found(path: &Path) -> (BTreeSet<String>, Vec<Vec<u8>>) {
    let plain = rusqlite::Connection::open(path).unwrap();
    plain
        .execute_batch("CREATE VIRTUAL TABLE temp.found USING fts5vocab(main, search_index, row)")
        .unwrap();
    let mut terms = plain.prepare("SELECT term FROM temp.found").unwrap();
    let terms = terms.query_map([], |row| row.get(0)).unwrap();
    let mut keys = plain
        .prepare("SELECT CAST(term AS BLOB) FROM search_index_idx")
        .unwrap();
    let keys = keys.query_map([], |row| row.get(0)).unwrap();
    (
        terms.map(Result::unwrap).collect(),
        keys.map(Result::unwrap).collect(),
    )
}

fn check(path: &Path, living: &[(String, Vec<String>)], what: &str) {
    let mut expected: BTreeSet<String> = living.iter().flat_map(|(_, text)| words(text)).collect();
    if !living.is_empty() {
        // What the model says to each.
        expected.insert("noted".to_owned());
    }
    let (found, keys) = found(path);
    assert_eq!(found, expected, "{what}");
    for key in keys.iter().filter(|key| key.len() > 1) {
        let begins = |word: &String| word.as_bytes().starts_with(&key[1..]);
        assert!(expected.iter().any(begins), "{what}: {key:?}");
    }
}

#[test]
fn no_pair_of_erased_characters_is_left_in_the_index() {
    let mut random = Random(seeds::seed("AUDITLITE_SEARCH_INDEX_SEED"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut living: Vec<(String, Vec<String>)> = Vec::new();
    for round in 0..4 {
        let store = open(&path);
        for number in 0..60 {
            let user = format!("u-{round}-{number}");
            let text = text(&mut random);
            say(&store.recorder(), &user, &user, &user, &text.join("、"));
            living.push((user, text));
        }
        close(store);
        assert!(update_search_index(&path, |_| true).unwrap().is_none());
        check(&path, &living, "added");
        let store = open(&path);
        let is_last = round == 3;
        let (gone, kept): (Vec<_>, Vec<_>) =
            living.into_iter().partition(|_| is_last || random.coin());
        for (user, _) in gone {
            let report = store
                .erase(&EraseSelector::User(user), "asked for")
                .unwrap();
            assert!(report.is_fully_erased && report.requests == 1, "{report:?}");
        }
        living = kept;
        assert_eq!(store.health().search_index_drops, 0);
        close(store);
        check(&path, &living, "erased");
    }
    let store = ReadOnlyStore::open(&path).unwrap();
    assert_eq!(store.verify(&compared()).unwrap().findings, []);
}
