//! Ranked searches: the best of the newest matches, compared with scores that are computed here from the words.

use auditlite::{
    Completion, ReadOnlyStore, RequestContext, SearchOptions, Store, Timestamp, update_search_index,
};

use crate::support::{Folder, close};

/// Matches that are ranked.
const RANKED: usize = 20_000;
/// Messages of each of two requests: more than are ranked in all.
const MESSAGES: usize = 10_500;

/// The words of a message: always `needle`, mostly more than once, sometimes `thread`, and others.
fn words(number: usize) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let mut words = vec![format!("number{number}")];
    // The best of all are among the oldest.
    let needles = if number < 40 {
        9
    } else {
        1 + random.usize(..4)
    };
    words.extend((0..needles).map(|_| "needle".to_owned()));
    if random.usize(..3) == 0 {
        words.push("thread".to_owned());
    }
    words.extend((0..random.usize(..20)).map(|_| format!("other{}", random.u8(..))));
    random.shuffle(&mut words);
    words
}

/// The numbers of the best, by the definition of BM25 as SQLite documents it: k1 = 1.2, b = 0.75.
/// Source: <https://www.sqlite.org/fts5.html#the_bm25_function>.
fn best(all: &[Vec<String>], lengths: &[usize], wanted: &[&str], newest: usize) -> Vec<usize> {
    let total = lengths.len() as f64;
    let average = lengths.iter().sum::<usize>() as f64 / total;
    let times = |words: &[String], word: &str| words.iter().filter(|other| *other == word).count();
    let weights: Vec<f64> = wanted
        .iter()
        .map(|word| {
            let having = all.iter().filter(|words| times(words, word) > 0).count() as f64;
            let weight = ((total - having + 0.5) / (having + 0.5)).ln();
            if weight <= 0.0 { 1e-6 } else { weight }
        })
        .collect();
    let mut scored: Vec<(f64, usize)> = Vec::new();
    for (number, words) in all.iter().enumerate() {
        let counts: Vec<f64> = wanted
            .iter()
            .map(|word| times(words, word) as f64)
            .collect();
        if counts.contains(&0.0) {
            continue;
        }
        let length = words.len() as f64;
        let parts = counts.iter().zip(&weights).map(|(count, weight)| {
            weight
                * ((count * (1.2 + 1.0)) / (count + 1.2 * (1.0 - 0.75 + 0.75 * length / average)))
        });
        scored.push((parts.sum(), number));
    }
    let from = scored.len().saturating_sub(newest);
    let mut scored = scored.split_off(from);
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    scored
        .into_iter()
        .take(10)
        .map(|(_, number)| number)
        .collect()
}

#[test]
fn the_first_of_a_ranked_search_are_the_best_of_the_newest_matches() {
    let folder = Folder::new();
    let store = Store::builder(folder.path()).open().unwrap();
    let all: Vec<Vec<String>> = (0..2 * MESSAGES).map(words).collect();
    for (half, messages) in all.chunks(MESSAGES).enumerate() {
        let messages: Vec<_> = messages
            .iter()
            .map(|words| serde_json::json!({"role": "user", "content": words.join(" ")}))
            .collect();
        let body = serde_json::json!({"messages": messages}).to_string();
        let context = RequestContext::new("openai.chat")
            .request_id(format!("half-{half}"))
            .conversation_id(format!("half-{half}"))
            .started_at(Timestamp::from_micros(1_700_000_000_000_000));
        let handle = store.recorder().open(context, body).unwrap();
        handle.complete(Completion::new()).unwrap();
    }
    close(store);
    assert!(
        update_search_index(folder.path(), |_| true)
            .unwrap()
            .is_none()
    );
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
    let threads = all
        .iter()
        .filter(|words| words.contains(&"thread".to_owned()))
        .count();
    assert!(threads < RANKED && 2 * MESSAGES > RANKED);
    for (query, wanted, is_all, newest, is_cut) in [
        ("needle", &["needle"][..], false, RANKED, true),
        ("needle", &["needle"], true, usize::MAX, false),
        ("needle thread", &["needle", "thread"], false, RANKED, false),
        ("thread", &["thread"], false, RANKED, false),
    ] {
        let options = SearchOptions::new().limit(10).is_all_ranked(is_all);
        let found = reader.search(query, &options).unwrap();
        let numbers: Vec<usize> = found
            .hits
            .iter()
            .map(|hit| {
                let half = hit.request.request_id.strip_prefix("half-").unwrap();
                let half: usize = half.parse().unwrap();
                half * MESSAGES + hit.position as usize
            })
            .collect();
        assert_eq!(
            numbers,
            best(&all, &lengths, wanted, newest),
            "{query} {is_all}"
        );
        assert_eq!(found.is_ranking_cut, is_cut, "{query} {is_all}");
        let scores = found.hits.iter().map(|hit| hit.score);
        assert!(scores.is_sorted_by(|a, b| a >= b), "{query} {is_all}");
    }
    let oldest = best(&all, &lengths, &["needle"], usize::MAX);
    assert!(
        oldest.iter().all(|number| *number < 40),
        "the test would not tell them apart"
    );
}
