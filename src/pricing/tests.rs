//! The book as a whole: candidates and merging.

use serde_json::Value;

use super::*;

const LITELLM: &str = r#"{"gpt-4o": {"litellm_provider": "openai",
    "input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06}}"#;

/// A book in which each of these models costs so many microdollars per token.
fn own(prices: &[(Option<&str>, &str, u64)]) -> PriceBook {
    let prices: Vec<Value> = prices
        .iter()
        .map(|(provider, model, rate)| {
            let mut entry = serde_json::json!({"model": model, "input": rate, "output": rate});
            if let (Some(provider), Some(fields)) = (provider, entry.as_object_mut()) {
                fields.insert("provider".to_owned(), Value::from(*provider));
            }
            entry
        })
        .collect();
    PriceBook::from_json(&serde_json::json!({ "prices": prices }).to_string()).unwrap()
}

fn one_token(book: &PriceBook, provider: Option<&str>, candidates: &[&str]) -> Option<u64> {
    book.cost_microdollars(provider, candidates, &Usage::new(1, 0))
}

#[test]
fn the_first_candidate_with_a_price_wins_even_by_a_pattern() {
    let book = own(&[(None, "served-*", 1), (Some("openai"), "routed", 2)]);
    let cost = |candidates: &[&str]| one_token(&book, Some("openai"), candidates);
    // One under the provider precedes all that have none, and so does the price of another name.
    assert_eq!(cost(&["served-1", "routed", "requested"]), Some(2));
    assert_eq!(cost(&["served-1", "requested"]), Some(1));
    let anyones = |candidates: &[&str]| one_token(&book, None, candidates);
    assert_eq!(anyones(&["served-1", "routed"]), Some(1));
    assert_eq!(cost(&["unknown", "routed", "requested"]), Some(2));
    assert_eq!(cost(&["", "routed"]), Some(2));
    assert_eq!(cost(&["unknown", "requested"]), None);
    assert_eq!(cost(&[]), None);
    assert!(book.knows(Some("openai"), &["unknown", "routed"]));
    assert!(!book.knows(None, &["unknown", "routed"]));
}

#[test]
fn an_empty_candidate_matches_no_pattern() {
    assert_eq!(one_token(&own(&[(None, "*", 1)]), None, &[""]), None);
}

#[test]
fn the_overriding_book_wins_wherever_it_has_a_price() {
    let public = PriceBook::from_litellm_json(LITELLM).unwrap();
    let cost = |book: &PriceBook| one_token(book, Some("openai"), &["gpt-4o"]);
    assert_eq!(cost(&public), Some(2));
    let by_name = own(&[(Some("openai"), "gpt-4o", 5)]);
    assert_eq!(cost(&public.clone().merge(by_name)), Some(5));
    let by_pattern = own(&[(None, "gpt-*", 7)]);
    assert_eq!(cost(&public.clone().merge(by_pattern.clone())), Some(7));
    assert_eq!(cost(&by_pattern.merge(public.clone())), Some(2));
    let other = public.clone().merge(own(&[(Some("openai"), "gpt-5", 9)]));
    assert_eq!(cost(&other), Some(2));
    assert_eq!(other.len(), 2);
    assert_eq!(cost(&public.merge(PriceBook::default())), Some(2));
}

#[test]
fn the_default_book_is_empty_and_prints_shortly() {
    let book = PriceBook::default();
    assert!(book.is_empty());
    assert_eq!(one_token(&book, None, &["gpt-4o"]), None);
    assert_eq!(format!("{book:?}"), "PriceBook { entries: 0, .. }");
}

mod rules;
