//! Random words and bodies: usual ones, and those that break things.

use fastrand::Rng;

/// Names as they come, a few of them over and over, so that filters find several.
pub fn name(rng: &mut Rng, what: &str) -> Option<String> {
    if rng.u8(..4) == 0 {
        return None;
    }
    Some(match rng.u8(..12) {
        0 => odd(rng),
        number => format!("{what}-{}", number % 3),
    })
}

/// Text at and beyond the bounds, or with a meaning to a program on the way.
pub fn odd(rng: &mut Rng) -> String {
    const ODD: &[&str] = &[
        "",
        "a",
        "%",
        "_",
        "*",
        "'",
        "\"",
        "'; DROP TABLE requests; --",
        "a\0b",
        "\u{feff}x",
        "é",
        "\u{10FFFF}",
        "\u{10FFFF}\u{10FFFF}",
        "line\nbreak\r\n",
        "{\"json\":[]}",
        "\u{1b}[31m",
        "null",
        " lead and trail ",
        "\u{202e}rtl",
        "01a20ce9-72eb-749e-b93e-95d4",
    ];
    match rng.usize(..ODD.len() + 5) {
        0 => "x".repeat(256),
        1 => "x".repeat(257),
        2 => "ü".repeat(200),
        3 => "𝄞".repeat(70),
        4 => format!("a{}", "\u{10FFFF}".repeat(3)),
        place => ODD[place - 5].to_owned(),
    }
}

/// A body of its own, alone.
pub fn body(rng: &mut Rng) -> Vec<u8> {
    let length = match rng.u8(..10) {
        0 => 0,
        1 => rng.usize(..8),
        2..=6 => rng.usize(..2000),
        7 => rng.usize(..12_000),
        8 => 16 * 1024 - 2 + rng.usize(..5),
        _ => rng.usize(16 * 1024..50_000),
    };
    match rng.u8(..6) {
        5 => shown(rng, length),
        0 => (0..length).map(|_| rng.u8(..)).collect(),
        1 => vec![rng.u8(..); length],
        2 => {
            let mut text = "größer als 𝄞 — ".repeat(length / 20 + 1).into_bytes();
            text.truncate(length); // in the middle of a character as often as not
            text
        }
        _ => {
            let mut text = String::new();
            while text.len() < length {
                text.push_str(&format!(
                    "{{\"n\":{},\"text\":\"words and words\"}},",
                    rng.u16(..)
                ));
            }
            text.truncate(length);
            text.into_bytes()
        }
    }
}

/// Some of a few images, among text. Some begin or end alike, and some are no longer than a medium must be.
fn shown(rng: &mut Rng, length: usize) -> Vec<u8> {
    const BEGINNING: usize = 3000;
    let image = |seed: usize, characters: usize| -> Vec<u8> {
        let mut rng = Rng::with_seed(seed as u64);
        (0..characters).map(|_| rng.alphanumeric() as u8).collect()
    };
    let mut body = b"{\"text\":\"".to_vec();
    body.extend(std::iter::repeat_n(b"word ", length / 10).flatten());
    for _ in 0..rng.usize(1..4) {
        let number = rng.usize(..4);
        body.extend(b"\",\"image\":\"");
        body.extend(image(99, BEGINNING));
        body.extend(image(number, 16 * 1024 - BEGINNING + number * 4000));
        body.extend(b"==");
    }
    body.extend(b"\"}");
    body
}
