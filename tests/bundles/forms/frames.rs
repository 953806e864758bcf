//! All that is no event's line: ranges, the head, the checkpoint and its signatures, written oddly.

use auditlite::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use ed25519_dalek::Signer;
use sha2::{Digest as _, Sha256};

use super::{Form, Hash, ORIGIN, leaves, line, log, node, root};

/// What stands for events 2 to 4, two hashes: of 2 and 3 together, and of 4.
#[rustfmt::skip] // tables
pub(super) fn odd_ranges() -> Vec<Form> {
    let leaves = leaves(&log());
    let hashes = [root(&leaves[2..4]), leaves[4]].concat();
    let good = STANDARD.encode(&hashes);
    let with = |holds: bool, range: &str| {
        Form::with(&format!("range: {range}"), holds, |form| {
            let lines = log();
            let text = |lines: &[Vec<u8>]| -> Vec<u8> {
                lines
                    .iter()
                    .flat_map(|line| [line.as_slice(), b"\n"].concat())
                    .collect()
            };
            form.body = [
                text(&lines[..2]),
                range.into(),
                b"\n".into(),
                text(&lines[5..]),
            ]
            .concat();
        })
    };
    let one = |leaf: &Hash| STANDARD.encode(leaf);
    let mut forms = vec![
        with(true, &format!("@2 5 {good}")),
        with(
            true,
            &format!(
                "@2 4 {}\n@4 5 {}",
                one(&root(&leaves[2..4])),
                one(&leaves[4])
            ),
        ),
        with(
            true,
            &format!(
                "@2 3 {}\n@3 4 {}\n@4 5 {}",
                one(&leaves[2]),
                one(&leaves[3]),
                one(&leaves[4])
            ),
        ),
        with(false, &format!("@2 5 {}", STANDARD_NO_PAD.encode(&hashes))),
        with(false, &format!("@2 5 {good}=")),
        with(
            false,
            &format!("@2 5 {}", good.trim_end_matches('=').to_owned() + "="),
        ),
        // The last character before the padding has bits that stand for nothing.
        with(false, &format!("@2 5 {}", other_bits(&good))),
        with(false, &format!("@2 5 {}", STANDARD.encode(&hashes[..32]))),
        with(
            false,
            &format!(
                "@2 5 {}",
                STANDARD.encode([hashes.as_slice(), &[0; 32]].concat())
            ),
        ),
        with(false, &format!("@2 5 {}", STANDARD.encode(&hashes[..63]))),
        with(
            false,
            &format!(
                "@2 5 {}",
                STANDARD.encode([leaves[2], leaves[3], leaves[4]].concat())
            ),
        ),
        with(
            false,
            &format!(
                "@2 5 {}",
                STANDARD.encode([leaves[4], root(&leaves[2..4])].concat())
            ),
        ),
        with(false, "@2 5 "), with(false, "@2 5"), with(false, "@2"), with(false, "@"), with(false, "@ "),
        with(false, "@  "), with(false, "@2 2 "), with(false, "@5 2 "), with(false, &format!("@2 5 {good}\n@5 5 ")),
        with(false, &format!("@1 5 {good}")), with(false, &format!("@3 5 {good}")),
        with(false, &format!("@2 6 {good}")), with(false, &format!("@2 4 {good}")),
    ];
    if URL_SAFE.encode(&hashes) != good {
        forms.push(with(false, &format!("@2 5 {}", URL_SAFE.encode(&hashes))));
    }
    for (begin, end) in [
        ("02", "5"), ("2", "05"), ("+2", "5"), ("2", "+5"), ("-2", "5"), (" 2", "5"), ("2", " 5"), ("2 ", "5"),
        ("2.0", "5"), ("2e0", "5"), ("0x2", "5"), ("2", "5.0"), ("\u{662}", "5"), ("２", "5"), ("", "5"), ("2", ""),
        ("2", "5,"), ("\"2\"", "5"), ("2", "18446744073709551621"), ("2", "18446744073709551615"),
    ] {
        forms.push(with(false, &format!("@{begin} {end} {good}")));
    }
    for (before, between, after) in [
        ("@", "\t", ""), ("@", " ", " "), ("@", " ", "\r"), ("@", " ", "\t"), (" @", " ", ""), ("@@", " ", ""),
        ("@", " ", " x"), ("@", " ", "\0"), ("\u{feff}@", " ", ""), ("#", " ", ""), ("", " ", ""),
        ("@", "\u{a0}", ""), ("@", ",", ""), ("＠", " ", ""),
    ] {
        forms.push(with(
            false,
            &format!("{before}2{between}5{between}{good}{after}"),
        ));
    }
    let (left, right) = good.split_at(20);
    for inside in [" ", "\t", "\r", "-", "=", "\0", "\u{e9}"] {
        forms.push(with(false, &format!("@2 5 {left}{inside}{right}")));
    }
    // A size at the end of all numbers, and events beyond it.
    let nodes: Vec<Hash> = (0..64).map(|number| [number; 32]).collect();
    let whole = nodes
        .iter()
        .rev()
        .copied()
        .reduce(|right, left| node(&left, &right))
        .unwrap();
    let mut range = b"@0 18446744073709551615 ".to_vec();
    range.extend(STANDARD.encode(nodes.concat()).into_bytes());
    range.push(b'\n');
    let of = |root: &Hash, body: Vec<u8>, name: &str, holds: bool| {
        Form::with(name, holds, |form| {
            form.text = format!("{ORIGIN}\n{}\n{}\n", u64::MAX, STANDARD.encode(root)).into();
            form.body = body;
        })
    };
    forms.push(of(&whole, range.clone(), "the largest range", true));
    for more in [
        &line(usize::MAX)[..],
        b"@18446744073709551615 18446744073709551616 ",
        b"",
    ] {
        forms.push(of(
            &whole, [&range, more, b"\n"].concat(), "beyond the largest range", false,
        ));
    }
    // As a sum that does not overflow would have it.
    let leaf: Hash = Sha256::new()
        .chain_update([0])
        .chain_update(line(usize::MAX))
        .finalize()
        .into();
    let beyond = nodes
        .iter()
        .rev()
        .copied()
        .fold(leaf, |right, left| node(&left, &right));
    forms.push(of(
        &beyond, [&range, &line(usize::MAX)[..], b"\n"].concat(), "one event too many", false,
    ));
    forms
}

/// The same bytes in base64, with bits set that stand for nothing.
fn other_bits(good: &str) -> String {
    let digits = good.trim_end_matches('=');
    let (head, last) = digits.split_at(digits.len() - 1);
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').collect();
    let at = alphabet
        .iter()
        .position(|digit| last.starts_with(*digit))
        .unwrap();
    let padding = good.len() - digits.len();
    assert!(padding > 0 && at % 4 == 0, "there are such bits");
    format!("{head}{}{}", alphabet[at + 1], "=".repeat(padding))
}

#[rustfmt::skip] // tables
pub(super) fn odd_frames() -> Vec<Form> {
    let lines = log();
    let root = STANDARD.encode(root(&leaves(&lines)));
    let mut forms = vec![
        Form::of("as it should be", true, &lines),
        Form::of("no events", true, &[]),
    ];
    let head = |holds: bool, head: &[u8]| {
        Form::with(&format!("head {}", head.escape_ascii()), holds, |form| {
            form.head = head.into()
        })
    };
    forms.extend([
        head(false, b""),
        head(false, b"auditlite-bundle/1\n"),
        head(false, b"auditlite-bundle/1\n\n\n"),
        head(false, b"auditlite-bundle/2\n\n"),
        head(false, b"auditlite-bundle/1 \n\n"),
        head(false, b" auditlite-bundle/1\n\n"),
        head(false, b"auditlite-bundle/1\r\n\r\n"),
        head(false, b"auditlite-bundle/1\n\r\n"),
        head(false, b"auditlite-bundle/1\n \n"),
        head(false, b"auditlite-bundle/01\n\n"),
        head(false, b"AUDITLITE-BUNDLE/1\n\n"),
        head(false, b"\xef\xbb\xbfauditlite-bundle/1\n\n"),
        head(false, b"\nauditlite-bundle/1\n\n"),
        head(false, b"auditlite-bundle/1\0\n\n"),
        head(false, b"\n\n"),
    ]);
    let text = |holds: bool, text: String| {
        Form::with(&format!("text {text:?}"), holds, |form| {
            form.text = text.into()
        })
    };
    for size in [
        "08", "+8", "-8", "8.0", "8e0", " 8", "8 ", "\u{668}", "８", "", "7", "9", "0", "18446744073709551624",
        "0x8", "8\r", "8\t", "8_", "eight",
    ] {
        forms.push(text(false, format!("{ORIGIN}\n{size}\n{root}\n")));
    }
    let bytes = STANDARD.decode(&root).unwrap();
    for odd in [
        root.trim_end_matches('=').to_owned(), format!("{root}="), format!("{root} "), format!(" {root}"),
        format!("{root}\r"), other_bits(&root), root.to_lowercase(), String::new(), STANDARD.encode(&bytes[..31]),
        STANDARD.encode([bytes.as_slice(), b"x"].concat()),
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(), root.replace('=', "%3D"),
        root.replacen(char::is_alphabetic, "-", 1), format!("{root}{root}"),
    ] {
        forms.push(text(false, format!("{ORIGIN}\n8\n{odd}\n")));
    }
    for (holds, more) in [
        (true, String::new()), (true, "at 1\n".into()), (true, "at x\n".into()), (true, "at 1\nat 2\n".into()),
        (true, "x\n".repeat(16)), (false, "x\n".repeat(17)), (false, "\n".into()), (false, "x\n\n".into()),
        (false, "\nx\n".into()), (true, "at \u{7f}\u{85}\u{2028}\u{feff}\n".into()), (false, "a\tb\n".into()),
        (false, "a\rb\n".into()), (false, "a\0b\n".into()),
        (false, "\u{1b}[2J\n".into()),
        (true, " \n".into()), (true, "\u{a0}\n".into()), (false, format!("{}\n", "x".repeat(128 * 1024))),
        (true, format!("{}\n", "x".repeat(100_000))), (false, "\r\n".into()),
    ] {
        forms.push(text(holds, format!("{ORIGIN}\n8\n{root}\n{more}")));
    }
    // How long a note may be, to the byte: with its text's last newline and the empty line after it.
    for (holds, length) in [(true, 128 * 1024), (false, 128 * 1024 + 1)] {
        let begin = format!("{ORIGIN}\n8\n{root}\n");
        let rest = length - begin.len() - 2;
        forms.push(text(holds, format!("{begin}{}\n", "x".repeat(rest))));
    }
    for (holds, begin) in [
        (true, "some.other/log"), (true, "ü"), (true, " "), (false, ""), (false, "a\tb"), (false, "\r"),
    ] {
        forms.push(text(holds, format!("{begin}\n8\n{root}\n")));
    }
    forms.push(text(false, String::new()));
    forms.push(text(false, format!("{ORIGIN}\n8\n")));
    forms.push(text(false, format!("{ORIGIN}\n8\n{root}")));
    forms.push(Form::with("text is not UTF-8", false, |form| {
        form.text = [form.text.as_slice(), b"\xff\n"].concat();
    }));
    let body = |name: &str, holds: bool, change: &dyn Fn(&mut Vec<u8>)| {
        Form::with(name, holds, |form| change(&mut form.body))
    };
    forms.extend([
        body("no last newline", false, &|body| {
            body.truncate(body.len() - 1)
        }),
        body("an empty line at the end", false, &|body| body.push(b'\n')),
        body("two empty lines at the end", false, &|body| {
            body.extend(b"\n\n")
        }),
        body("an empty line at the beginning", false, &|body| {
            body.insert(0, b'\n')
        }),
        body("NUL at the end", false, &|body| body.push(0)),
        body("a space at the end", false, &|body| body.push(b' ')),
        body("a carriage return at the end", false, &|body| {
            body.push(b'\r')
        }),
        body("another event", false, &|body| {
            body.extend([&line(8)[..], b"\n"].concat())
        }),
        body("the last event again", false, &|body| {
            body.extend([&line(7)[..], b"\n"].concat())
        }),
        body("garbage at the end", false, &|body| body.extend(b"x\n")),
        body("another bundle at the end", false, &|body| {
            body.extend(b"auditlite-bundle/1\n\n")
        }),
        body("nothing", false, &|body| body.clear()),
        body("an empty range at the end", false, &|body| {
            body.extend(b"@8 8 \n")
        }),
        body("CRLF", false, &|body| {
            *body = String::from_utf8(body.clone())
                .unwrap()
                .replace('\n', "\r\n")
                .into()
        }),
        body("carriage returns only", false, &|body| {
            *body = String::from_utf8(body.clone())
                .unwrap()
                .replace('\n', "\r")
                .into()
        }),
        body("in parentheses", false, &|body| {
            *body = [b"[", body.as_slice(), b"]\n"].concat()
        }),
    ]);
    forms
}

/// Signature lines; a good one is there unless it says otherwise.
#[rustfmt::skip] // tables
pub(super) fn odd_signatures(key: &SigningKey) -> Vec<Form> {
    let (name, secret) = secret_of(key);
    let other = SigningKey::generate("other").unwrap();
    let lines = log();
    let text = Form::of("", true, &lines).text;
    let id = key.verifying_key().key_id().to_be_bytes();
    let signature = secret.sign(&text).to_bytes();
    let line = |name: &str, data: &[u8]| format!("\u{2014} {name} {}\n", STANDARD.encode(data));
    let good = line(&name, &[&id[..], &signature].concat());
    let theirs = {
        let (name, secret) = secret_of(&other);
        let id = other.verifying_key().key_id().to_be_bytes();
        line(&name, &[&id[..], &secret.sign(&text).to_bytes()].concat())
    };
    let unknown = |name: &str| line(name, &[1; 68]);
    let mut wrong = signature;
    wrong[5] ^= 1;
    let wrong = line(&name, &[&id[..], &wrong].concat());
    let data = good.trim_end().rsplit(' ').next().unwrap().to_owned();
    let mut forms = Vec::new();
    let mut add = |holds: bool, what: &str, lines: String| {
        forms.push(Form::with(&format!("signatures: {what}"), holds, |form| {
            form.signatures = lines.into();
        }));
    };
    add(true, "one", good.clone());
    add(true, "twice the same", good.repeat(2));
    add(true, "64", good.repeat(64));
    add(false, "65", good.repeat(65));
    add(true, "63 others", unknown("x").repeat(63) + &good);
    add(true, "another before", theirs.clone() + &good);
    add(true, "another after", good.clone() + &theirs);
    add(
        true,
        "same name, another key",
        good.clone() + &unknown(&name),
    );
    add(false, "only another", theirs.clone());
    add(false, "none", String::new());
    add(false, "wrong", wrong.clone());
    add(false, "wrong after right", good.clone() + &wrong);
    add(false, "wrong before right", wrong + &good);
    add(
        false,
        "under another name",
        line("x", &[&id[..], &signature].concat()),
    );
    add(
        false,
        "longer",
        line(&name, &[&id[..], &signature, &[0]].concat()),
    );
    add(
        false,
        "shorter",
        line(&name, &[&id[..], &signature[..63]].concat()),
    );
    add(false, "empty", line(&name, &id));
    add(true, "of another kind", good.clone() + &line("x", &[1; 5]));
    add(
        true,
        "long, of another kind",
        good.clone() + &line("x", &[1; 3000]),
    );
    // S + L is the same number to those who do not look: RFC 8032 demands that they do.
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10_u8,
    ];
    let mut malleable = signature;
    let mut carry = 0_u16;
    for (byte, more) in malleable[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(more);
        *byte = (carry & 0xff) as u8;
        carry >>= 8;
    }
    add(
        false,
        "not the smallest",
        line(&name, &[&id[..], &malleable].concat()),
    );
    let names = [
        (true, "y".repeat(256)), (false, "y".repeat(257)), (true, "ü/🦀".into()), (true, "\u{200b}".into()),
        (true, "\u{ad}".into()), (true, "\u{feff}".into()), (false, String::new()), (false, "a b".into()),
        (false, "a+b".into()), (false, "a\tb".into()), (false, "a\u{a0}b".into()), (false, "a\u{85}b".into()),
        (false, "a\u{7f}b".into()), (false, "a\u{9f}b".into()), (false, "a\u{2003}b".into()),
        (false, "a\u{2028}b".into()), (false, "a\u{3000}b".into()), (false, "\u{1f}".into()),
        (false, "a\rb".into()), (true, "a\u{180e}b".into()),
    ];
    for (holds, odd) in names {
        add(
            holds,
            &format!("a name {odd:?}"),
            good.clone() + &unknown(&odd),
        );
    }
    for odd in [
        data.trim_end_matches('=').to_owned(), format!("{data}="), format!("{data} "), format!("{data}\r"),
        format!("{data}\t"), format!(" {data}"), other_bits(&data), String::new(), "=".into(), "A".into(),
        "AAAA".into(), "AAAAA".into(), "AAAAAA==".into(), "!!!!".into(), data.replacen(char::is_alphabetic, "_", 1),
        format!("{data} x"),
    ] {
        add(
            false,
            &format!("data {odd:?}"),
            format!("\u{2014} {name} {odd}\n"),
        );
    }
    for start in [
        "- ", "-- ", "\u{2013} ", "\u{2014}", " \u{2014} ", "\u{2014}  ", "\u{2014}\u{a0}", "\u{2014}\t", "",
        "\u{feff}\u{2014} ", "\u{2015} ",
    ] {
        add(
            false,
            &format!("start {start:?}"),
            format!("{start}{name} {data}\n"),
        );
        add(
            false,
            &format!("good, and start {start:?}"),
            format!("{good}{start}{name} {data}\n"),
        );
    }
    add(false, "a line of text", format!("{good}x\n"));
    add(false, "carriage return", good.replace('\n', "\r\n"));
    add(false, "an empty line between", format!("{good}\n{good}"));
    for form in &mut forms {
        form.holds &= !form.signatures.is_empty();
    }
    forms
}

fn secret_of(key: &SigningKey) -> (String, ed25519_dalek::SigningKey) {
    let text = key.to_secret_text();
    let mut parts = text.trim_start_matches("PRIVATE+KEY+").splitn(3, '+');
    let (name, _, data) = (parts.next().unwrap(), parts.next(), parts.next().unwrap());
    let data = STANDARD.decode(data).unwrap();
    (
        name.to_owned(),
        ed25519_dalek::SigningKey::from_bytes(data[1..].try_into().unwrap()),
    )
}
