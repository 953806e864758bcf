//! What recurs is stored once, wherever it stands.

use super::{Recorded, body, image, said, shown, words};

const MIB: usize = 1024 * 1024;

/// The packed bytes of one copy of a medium.
fn packed_bytes(text: &str) -> u64 {
    zstd::bulk::compress(text.as_bytes(), 1).unwrap().len() as u64
}

/// Three turns of a conversation that shows an image at a place of its own.
pub(super) fn converse(recorded: &mut Recorded, name: &str, seed: u64, image: &str) {
    let mut messages = vec![said(
        "system",
        &words(seed, 500 + seed as usize * 37 % 3000),
    )];
    for turn in 0..3 {
        let asked = words(seed * 10 + turn, 300);
        messages.push(match turn == seed % 3 {
            true => shown(&asked, &[image]),
            false => said("user", &asked),
        });
        let answer = words(seed * 100 + turn, 200);
        let response = format!("{{\"choices\":[{{\"message\":{{\"content\":\"{answer}\"}}}}]}}");
        recorded.turn(name, turn as usize, body(&messages), response);
        messages.push(said("assistant", &answer));
    }
}

#[test]
fn an_image_in_a_hundred_conversations_is_stored_once() {
    let shared = image(1, MIB);
    let mut without = Recorded::new();
    let mut with = Recorded::new();
    for number in 0..100 {
        converse(&mut without, &format!("c{number}"), number, "none");
        converse(&mut with, &format!("c{number}"), number, &shared);
    }
    let new = without.file_bytes();
    let bytes = with.file_bytes();
    let copy = packed_bytes(&shared);
    assert!(
        bytes <= new + copy * 12 / 10,
        "{bytes} for {new} and {copy}"
    );
    assert_eq!(with.count("media"), 1);
    with.check();
    with.check_clean();
}

#[test]
fn a_medium_is_known_after_the_store_is_opened_again() {
    let shared = image(2, 300_000);
    let mut recorded = Recorded::new();
    for number in 0..10 {
        converse(&mut recorded, &format!("c{number}"), number, &shared);
        recorded.reopen();
    }
    let bytes = recorded.media_bytes();
    assert_eq!(recorded.count("media"), 1);
    assert!(bytes <= packed_bytes(&shared) + 64, "{bytes}");
    recorded.check();
    recorded.check_clean();
}

#[test]
fn a_medium_that_comes_in_a_response_is_not_stored_again_in_requests() {
    let made = image(3, 200_000);
    let mut recorded = Recorded::new();
    let response = format!("{{\"data\":[{{\"b64_json\":\"{made}\"}}]}}");
    recorded.turn("maker", 0, body(&[said("user", "draw")]), response.clone());
    recorded.turn("again", 0, body(&[said("user", "draw it again")]), response);
    for number in 0..5 {
        converse(&mut recorded, &format!("c{number}"), number, &made);
    }
    recorded.close();
    assert_eq!(recorded.count("media"), 1);
    recorded.check();
    recorded.check_clean();
}

#[test]
fn media_are_known_in_any_order_and_number() {
    let images: Vec<String> = (0..4).map(|seed| image(10 + seed, 40_000)).collect();
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| images[at].as_str());
    let mut recorded = Recorded::new();
    for (number, shows) in [
        vec![a, b],
        vec![b, a],
        vec![a, a],
        vec![c, a, b, c, d],
        vec![d],
        vec![d, c, b, a],
    ]
    .iter()
    .enumerate()
    {
        let asked = words(number as u64, 200 * number);
        let request = body(&[said("system", "see"), shown(&asked, shows)]);
        recorded.turn(&format!("c{number}"), 0, request, "{}".to_owned());
    }
    recorded.close();
    assert_eq!(recorded.count("media"), 4);
    recorded.check();
    recorded.check_clean();
}

/// Images of one program begin with the same bytes and end with the same padding, so that what two bodies have in
/// common ends inside of them.
#[test]
fn media_that_begin_and_end_alike_are_told_apart_and_known() {
    let (begin, end) = (image(20, 4096 + 2), image(21, 4096));
    let begin = begin.trim_end_matches('=');
    let alike = |seed| {
        let middle = image(seed, 60_000);
        format!("{begin}{}{end}", middle.trim_end_matches('='))
    };
    let mut recorded = Recorded::new();
    // In each round another one is in the first body, against which the others of the round are packed.
    for round in 0..4 {
        for number in 0..6 {
            let image = alike(30 + (number + round) % 6);
            let messages = [
                said("system", &words(round, 2000)),
                shown("what is it?", &[&image]),
            ];
            let name = format!("c{round}-{number}");
            recorded.turn(&name, 0, body(&messages), "{}".to_owned());
        }
    }
    recorded.close();
    assert_eq!(recorded.count("media"), 6);
    recorded.check();
    recorded.check_clean();
}

/// Bodies above 2 MiB are packed against none.
#[test]
fn bodies_that_stand_alone_share_their_media() {
    let images: Vec<String> = (0..3).map(|seed| image(40 + seed, 900_000)).collect();
    let shows: Vec<&str> = images.iter().map(String::as_str).collect();
    let mut recorded = Recorded::new();
    let mut messages = vec![shown("see", &shows)];
    for turn in 0..5 {
        messages.push(said("user", &words(turn, 100)));
        recorded.turn("c", turn as usize, body(&messages), "{}".to_owned());
    }
    recorded.close();
    assert_eq!(recorded.count("media"), 3);
    assert!(recorded.media_bytes() < 2_200_000);
    recorded.check();
    recorded.check_clean();
}

/// Some writers of JSON escape every slash.
#[test]
fn escaped_slashes_are_part_of_a_medium() {
    let shared = image(50, 50_000).replace('/', "\\/");
    let mut recorded = Recorded::new();
    for number in 0..3 {
        let text = words(number, 1000);
        let request = format!("{{\"text\":\"{text}\",\"image\":\"{shared}\"}}");
        recorded.turn(&format!("c{number}"), 0, request, "{}".to_owned());
    }
    recorded.close();
    assert_eq!(recorded.count("media"), 1);
    recorded.check();
    recorded.check_clean();
}
