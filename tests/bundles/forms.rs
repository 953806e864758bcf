//! Oddly written bundles: their content is signed and in the tree, and only its spelling is in question. Both
//! verifiers must judge as docs/format.md says.

mod frames;
mod lines;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::{SigningKey, VerifyingKey, holds, python_holds};
use frames::{odd_frames, odd_ranges, odd_signatures};
use lines::{nested, odd_lines, odd_values};

type Hash = [u8; 32];

/// A bundle of which every part can be written otherwise.
#[derive(Clone)]
pub(crate) struct Form {
    name: String,
    holds: bool,
    head: Vec<u8>,
    /// The note's text.
    text: Vec<u8>,
    /// Lines after the note's empty line, and what ends them.
    signatures: Vec<u8>,
    body: Vec<u8>,
}

fn line(seq: usize) -> Vec<u8> {
    format!(r#"{{"seq":{seq},"at":1764000000000000,"event":"opened","request_id":"r-{seq}"}}"#)
        .into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let digest = Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right);
    digest.finalize().into()
}

/// The root over these leaves, by the letter of RFC 6962.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node(&root(left), &root(right))
        }
    }
}

fn leaves(lines: &[Vec<u8>]) -> Vec<Hash> {
    let leaf = |line: &Vec<u8>| {
        Sha256::new()
            .chain_update([0])
            .chain_update(line)
            .finalize()
            .into()
    };
    lines.iter().map(leaf).collect()
}

fn log() -> Vec<Vec<u8>> {
    (0..EVENTS).map(line).collect()
}

const EVENTS: usize = 8;
const ORIGIN: &str = "auditlite/0199f0a2-6c1e-7cc1-b2f0-6a1a1c9f2a55";

impl Form {
    /// These lines as they are, with their root.
    fn of(name: impl Into<String>, holds: bool, lines: &[Vec<u8>]) -> Self {
        let root = STANDARD.encode(root(&leaves(lines)));
        Self {
            name: name.into(),
            holds,
            head: b"auditlite-bundle/1\n\n".into(),
            text: format!("{ORIGIN}\n{}\n{root}\nat 1764000000000000\n", lines.len()).into(),
            signatures: Vec::new(),
            body: lines
                .iter()
                .flat_map(|line| [line.as_slice(), b"\n"].concat())
                .collect(),
        }
    }

    /// With one line written otherwise, and the root of that.
    fn with_line(holds: bool, seq: usize, odd: impl AsRef<[u8]>) -> Self {
        let mut lines = log();
        lines[seq] = odd.as_ref().into();
        let name = String::from_utf8_lossy(odd.as_ref());
        let name: String = name.chars().take(200).collect();
        Self::of(format!("line {seq}: {name}"), holds, &lines)
    }

    /// With another head, text, signatures or body.
    fn with(name: &str, holds: bool, change: impl FnOnce(&mut Self)) -> Self {
        let mut form = Self::of(name, holds, &log());
        change(&mut form);
        form
    }

    fn bytes(&self) -> Vec<u8> {
        [
            &self.head,
            &self.text,
            b"\n".as_slice(),
            &self.signatures,
            b"\n",
            &self.body,
        ]
        .concat()
    }
}

fn assert_agreed(forms: &[Form], keys: &[VerifyingKey]) {
    let bundles: Vec<Vec<u8>> = forms.iter().map(Form::bytes).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut theirs = Vec::new();
    for piece in bundles.chunks(500) {
        theirs.extend(python_holds(folder.path(), piece, keys.first()));
    }
    let mut wrong = Vec::new();
    for ((form, bundle), theirs) in forms.iter().zip(&bundles).zip(theirs) {
        let ours = holds(bundle, keys);
        if (ours, theirs) != (form.holds, form.holds) {
            wrong.push(format!(
                "auditlite {ours}, verifier.py {theirs}: {}",
                form.name
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        forms.len(),
        wrong.join("\n")
    );
}

#[test]
fn both_verifiers_agree_on_every_odd_line_and_range() {
    let forms = [odd_values(), nested(), odd_lines(), odd_ranges()].concat();
    assert!(forms.len() > 500, "{}", forms.len());
    assert_agreed(&forms, &[]);
}

#[test]
fn both_verifiers_agree_on_every_odd_frame_and_signature() {
    let key = SigningKey::generate("audit.example.com/gateway-1").unwrap();
    assert_agreed(&odd_frames(), &[]);
    assert_agreed(&odd_signatures(&key), &[key.verifying_key()]);
}

/// With a key or a nonce of small order one signature fits every text.
#[test]
fn a_key_that_signs_everything_signs_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let data = [&[1][..], &identity].concat();
    let id = Sha256::new()
        .chain_update("x\n")
        .chain_update(&data)
        .finalize();
    let id: String = id[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let Ok(key) = format!("x+{id}+{}", STANDARD.encode(&data)).parse::<VerifyingKey>() else {
        return;
    };
    let signature = [&key.key_id().to_be_bytes()[..], &identity, &[0; 32]].concat();
    let form = Form::with("a weak key", false, |form| {
        form.signatures = format!("\u{2014} x {}\n", STANDARD.encode(signature)).into();
    });
    assert_agreed(&[form], &[key]);
}
