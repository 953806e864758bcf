//! Random bodies from a pool of media and texts, in many conversations, with erasures and reopenings between.

use fastrand::Rng;
use serde_json::Value;

use super::{Recorded, body, image, said, shown, words};
use crate::seeds::{number, seed};

fn message(random: &mut Rng, pool: &[String]) -> Value {
    let count = [0, 0, 1, 1, 2, 5][random.usize(..6)];
    let shows: Vec<&str> = (0..count)
        .map(|_| pool[random.usize(..pool.len())].as_str())
        .collect();
    let text = words(random.u64(..8), random.usize(..3000));
    shown(&text, &shows)
}

#[test]
fn every_body_that_stays_is_exact_whatever_is_erased() {
    let first = seed("MEDIA_SEED");
    for round in 0..number("MEDIA_ROUNDS", 2) {
        let seed = first.wrapping_add(round);
        let mut random = Rng::with_seed(seed);
        // Some begin or end alike, and some contain others.
        let mut pool: Vec<String> = (0..8)
            .map(|number| image(number, random.usize(14_000..60_000)))
            .collect();
        for _ in 0..4 {
            let (a, b) = (random.usize(..8), random.usize(..8));
            let begin = pool[a].get(..random.usize(..pool[a].len() - 2)).unwrap();
            pool.push(format!("{begin}{}", pool[b]));
        }
        let mut recorded = Recorded::new();
        let mut talks: Vec<(String, Vec<Value>)> = Vec::new();
        let mut turns = 0;
        for _ in 0..120 {
            match random.usize(..20) {
                0 => recorded.reopen(),
                1 => recorded.flush(),
                2 | 3 if !talks.is_empty() => {
                    let (name, _) = talks.swap_remove(random.usize(..talks.len()));
                    recorded.erase(&name);
                    recorded.check();
                }
                4 if !talks.is_empty() => {
                    // The client edits its history.
                    let at = random.usize(..talks.len());
                    let messages = &mut talks[at].1;
                    messages.remove(random.usize(..messages.len()));
                    messages.push(message(&mut random, &pool));
                }
                choice => {
                    if choice < 10 || talks.is_empty() {
                        let system = said("system", &words(random.u64(..3), 1500));
                        talks.push((format!("t{}", turns), vec![system]));
                    }
                    let at = random.usize(..talks.len());
                    let (name, messages) = &mut talks[at];
                    messages.push(message(&mut random, &pool));
                    let response = match random.bool() {
                        true => format!("{{\"b64\":\"{}\"}}", pool[random.usize(..pool.len())]),
                        false => words(random.u64(..100), 400),
                    };
                    recorded.turn(name, turns, body(messages), response);
                    turns += 1;
                }
            }
        }
        recorded.flush();
        recorded.check();
        recorded.check_clean();
        recorded.reopen();
        for (name, _) in talks {
            recorded.erase(&name);
        }
        assert_eq!(
            (recorded.count("media"), recorded.count("media_links")),
            (0, 0)
        );
        for medium in &pool {
            assert!(!recorded.has_part_of(medium.as_bytes()));
        }
        recorded.check_clean();
    }
}
