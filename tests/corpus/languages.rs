//! Words of recorded Chinese and Japanese conversations are found, each wherever it is said, and are gone once the
//! conversation is erased.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use auditlite::{
    Completion, EraseSelector, ReadOnlyStore, RequestContext, SearchOptions, Store, VerifyOptions,
    update_search_index,
};
use serde_json::Value;

use crate::files::{corpus, expand, is_full, lines};

const CONVERSATIONS: &str = "trajectories-multilingual-mt-bench.jsonl.zst";
/// Words that are looked for are so many characters long.
const LENGTHS: std::ops::RangeInclusive<usize> = 1..=4;
/// A search gives no more messages.
const HITS_MAX: usize = 200;

fn is_ideograph_or_kana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}')
}

/// Words of the text, in the middle of what its writer put no space into.
fn words(text: &str, random: &mut fastrand::Rng) -> Vec<String> {
    let runs = text.split(|c| !is_ideograph_or_kana(c));
    let long: Vec<Vec<char>> = runs
        .map(|run| run.chars().collect())
        .filter(|run: &Vec<char>| run.len() > 4)
        .collect();
    (0..long.len().min(3))
        .map(|_| {
            let run = &long[random.usize(..long.len())];
            let length = random.usize(LENGTHS);
            let begin = random.usize(..=run.len() - length);
            run[begin..begin + length].iter().collect()
        })
        .collect()
}

#[test]
fn words_of_recorded_chinese_and_japanese_are_found_and_gone_after_an_erasure() {
    let Some(corpus) = corpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = expand(&corpus, CONVERSATIONS, 446, folder.path());
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path).open().unwrap();
    // What each conversation says, as one text.
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for line in lines(&file) {
        let call: Value = serde_json::from_str(&line).unwrap();
        let conversation = call["conversation"].as_str().unwrap();
        if !conversation.contains("/ja/") && !conversation.contains("/zh/") {
            continue;
        }
        let context = RequestContext::new("openai.chat")
            .user_id(conversation)
            .conversation_id(conversation);
        let handle = store
            .recorder()
            .open(context, call["request"].to_string())
            .unwrap();
        let end = Completion::new().response_body(call["response"].to_string());
        handle.complete(end).unwrap();
        let text = said.entry(conversation.to_owned()).or_default();
        let request = call["request"]["messages"].as_array().unwrap();
        let messages = request
            .iter()
            .chain(std::iter::once(&call["response"]["choices"][0]["message"]));
        for message in messages {
            text.push_str(message["content"].as_str().unwrap_or_default());
            text.push('\n');
        }
    }
    assert!(said.len() > 100);
    assert!(store.close(Duration::from_secs(60)).is_complete);
    assert!(update_search_index(&path, |_| true).unwrap().is_none());

    let mut random = fastrand::Rng::with_seed(17);
    let mut wanted = BTreeSet::new();
    for text in said.values() {
        wanted.extend(words(text, &mut random));
    }
    let wanted: Vec<String> = wanted
        .into_iter()
        .step_by(if is_full() { 1 } else { 3 })
        .collect();
    assert!(wanted.len() > 50);
    let erased: Vec<String> = said.keys().step_by(2).cloned().collect();
    let check = |said: &BTreeMap<String, String>| {
        let reader = ReadOnlyStore::open(&path).unwrap().reader();
        let mut without = 0;
        for word in &wanted {
            let options = SearchOptions::new().limit(HITS_MAX);
            let found = reader.search(word, &options).unwrap();
            if found.hits.len() == HITS_MAX {
                continue;
            }
            let hits = found.hits.iter();
            let found: BTreeSet<&str> = hits
                .map(|hit| hit.request.conversation_id.as_deref().unwrap())
                .collect();
            let having = said.iter().filter(|(_, text)| text.contains(word.as_str()));
            let expected: BTreeSet<&str> = having
                .map(|(conversation, _)| conversation.as_str())
                .collect();
            assert_eq!(found, expected, "{word}");
            without += usize::from(expected.is_empty());
        }
        without
    };
    assert_eq!(check(&said), 0);
    let store = Store::builder(&path).open().unwrap();
    for conversation in erased {
        said.remove(&conversation);
        let report = store
            .erase(&EraseSelector::User(conversation), "asked for")
            .unwrap();
        assert!(report.is_fully_erased, "{report:?}");
    }
    assert_eq!(store.health().search_index_drops, 0);
    assert!(store.close(Duration::from_secs(60)).is_complete);
    assert!(
        check(&said) > 10,
        "some words are said in erased conversations only"
    );
    let store = ReadOnlyStore::open(&path).unwrap();
    let report = store
        .verify(&VerifyOptions::new().compare_search(true))
        .unwrap();
    assert_eq!(report.findings, []);
}
