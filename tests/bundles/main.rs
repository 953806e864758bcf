//! Bundles and proofs: a part of a log can be verified without the database, and two verifiers that share no code
//! agree on every bundle.
//!
//! The second one is `tests/verifier.py`, written from docs/format.md with Python's standard library
//! alone. Mutations print their seed; `AUDITLITE_BUNDLE_SEED` replays one,
//! `AUDITLITE_BUNDLE_MUTATIONS` asks for more.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

mod forms;
#[path = "../support/seeds.rs"]
mod seeds;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use auditlite::{
    BundleError, BundleOptions, BundleSignature, Completion, EraseSelector, ReadOnlyStore,
    RequestContext, SigningKey, Store, VerifyingKey, verify_bundle, verify_consistency_proof,
    verify_inclusion_proof,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const PATIENCE: Duration = Duration::from_secs(60);

struct Trail {
    folder: tempfile::TempDir,
    key: SigningKey,
}

impl Trail {
    fn recorded(sessions: u32) -> Self {
        let trail = Self {
            folder: tempfile::tempdir().unwrap(),
            key: SigningKey::generate("test").unwrap(),
        };
        for session in 0..sessions {
            let store = Store::builder(trail.path())
                .signing_key(trail.key.clone())
                .open()
                .unwrap();
            for number in 0..7 {
                let context =
                    RequestContext::new("openai.chat").request_id(format!("r-{session}-{number}"));
                let audit = store.recorder().open(context, "question").unwrap();
                if number % 3 == 0 {
                    store.flush(PATIENCE).unwrap();
                }
                audit
                    .complete(Completion::new().response_body("answer"))
                    .unwrap();
            }
            assert!(store.close(PATIENCE).is_complete);
        }
        trail
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    fn store(&self) -> ReadOnlyStore {
        ReadOnlyStore::open(self.path()).unwrap()
    }

    fn vkey(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    fn bundle(&self, options: &BundleOptions) -> Vec<u8> {
        let mut bundle = Vec::new();
        self.store().write_bundle(options, &mut bundle).unwrap();
        bundle
    }

    /// Every kind of choice.
    fn bundles(&self) -> Vec<Vec<u8>> {
        let of = |seqs| BundleOptions::new().seqs(seqs);
        let of_request =
            BundleOptions::new().opened_seq(self.store().reader().get("r-0-3").unwrap().opened_seq);
        [
            BundleOptions::default(),
            of(0..=0),
            of(5..=11),
            of(30..=10_000),
            of(900..=1000),
            of_request,
        ]
        .iter()
        .map(|options| self.bundle(options))
        .collect()
    }
}

fn holds(bundle: &[u8], keys: &[VerifyingKey]) -> bool {
    verify_bundle(bundle, keys).is_ok_and(|report| report.findings.is_empty())
}

/// What the Python verifier says of each bundle.
fn python_holds(folder: &Path, bundles: &[Vec<u8>], key: Option<&VerifyingKey>) -> Vec<bool> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifier.py");
    let mut command = Command::new("python3");
    command.arg(&script);
    if let Some(key) = key {
        command.arg("--key").arg(key.to_string());
    }
    for (number, bundle) in bundles.iter().enumerate() {
        let path = folder.join(format!("bundle-{number}"));
        std::fs::write(&path, bundle).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let verdicts: Vec<bool> = text.lines().map(|line| line.starts_with("good ")).collect();
    assert_eq!(verdicts.len(), bundles.len(), "{text}{errors}");
    assert_eq!(output.status.success(), verdicts.iter().all(|holds| *holds));
    verdicts
}

#[test]
fn the_python_verifier_knows_the_published_vectors() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifier.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).arg("--self-test").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn bundles_of_every_choice_hold_for_both_verifiers() {
    let trail = Trail::recorded(3);
    let bundles = trail.bundles();
    for (bundle, events) in bundles.iter().zip([48, 1, 7, 18, 0, 2]) {
        let report = verify_bundle(bundle.as_slice(), &[trail.vkey()]).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert_eq!(report.signature, BundleSignature::Valid);
        assert_eq!((report.events, report.size), (events, 48));
        assert_eq!(report.left_out + report.events, 48);
        assert!(holds(bundle, &[]));
        let unchecked = verify_bundle(bundle.as_slice(), &[]).unwrap();
        assert_eq!(unchecked.signature, BundleSignature::NotChecked);
    }
    let folder = tempfile::tempdir().unwrap();
    let everywhere = vec![true; bundles.len()];
    assert_eq!(
        python_holds(folder.path(), &bundles, Some(&trail.vkey())),
        everywhere
    );
    assert_eq!(python_holds(folder.path(), &bundles, None), everywhere);
    // Another key's holder learns that it is not his.
    let stranger = SigningKey::generate("test").unwrap().verifying_key();
    assert!(
        bundles
            .iter()
            .all(|bundle| !holds(bundle, std::slice::from_ref(&stranger)))
    );
    let nowhere = vec![false; bundles.len()];
    assert_eq!(
        python_holds(folder.path(), &bundles, Some(&stranger)),
        nowhere
    );
}

/// What was erased is left out by its hashes, and nothing else changes: not even for a bundle of a
/// range that it lies in.
#[test]
fn bundles_of_a_log_with_lines_taken_out_hold_for_both_verifiers() {
    let trail = Trail::recorded(3);
    let store = Store::builder(trail.path())
        .signing_key(trail.key.clone())
        .open()
        .unwrap();
    for id in ["r-0-3", "r-1-5"] {
        let report = store.erase(&EraseSelector::Request(id.to_owned()), "why");
        assert_eq!(report.unwrap().requests, 1);
    }
    assert!(store.close(PATIENCE).is_complete);
    let bundles = trail.bundles();
    // Opened, erased twice, closed; two lines of each of the two are gone.
    let size = 48 + 4;
    let report = verify_bundle(bundles[0].as_slice(), &[trail.vkey()]).unwrap();
    assert_eq!(
        (report.events, report.left_out, report.size),
        (size - 4, 4, size)
    );
    for bundle in &bundles {
        let report = verify_bundle(bundle.as_slice(), &[trail.vkey()]).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
    let folder = tempfile::tempdir().unwrap();
    let both = python_holds(folder.path(), &bundles, Some(&trail.vkey()));
    assert_eq!(both, vec![true; bundles.len()]);
}

/// Names that are cut to their bound, or cleaned, do not become one name twice in a line.
#[test]
fn whatever_a_gateway_tells_is_written_strictly() {
    let trail = Trail::recorded(0);
    let store = Store::builder(trail.path()).open().unwrap();
    let long = "k".repeat(128);
    let mut context =
        RequestContext::new("\u{0}\u{feff}\u{ffff}").temperature(f64::MIN_POSITIVE / 4.0);
    for key in [
        &long,
        "a\u{0}",
        "a\u{fffd}",
        "",
        "seq",
        "\u{1b}\"\\",
        "\u{2028}",
    ] {
        for value in ["1", "\u{0}", "\u{fffe}\u{10ffff}\r\n"] {
            context = context
                .attribute(key, value)
                .attribute(format!("{long}{value}"), value);
        }
    }
    let audit = store.recorder().open(context, "").unwrap();
    audit
        .complete(Completion::new().response_id("\u{0}\""))
        .unwrap();
    assert!(store.close(PATIENCE).is_complete);
    let bundle = trail.bundle(&BundleOptions::default());
    let report = verify_bundle(bundle.as_slice(), &[]).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.events, 4);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(python_holds(folder.path(), &[bundle], None), [true]);
}

fn mutated(bundle: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bundle.to_vec();
    let at = random.random_range(0..bytes.len());
    let lines: Vec<&[u8]> = bundle.split_inclusive(|&byte| byte == b'\n').collect();
    let line = random.random_range(0..lines.len());
    let joined = |lines: Vec<&[u8]>| lines.concat();
    match random.random_range(0..8) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes.truncate(at),
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, random.random()),
        4 => {
            let mut lines = lines;
            lines.remove(line);
            return joined(lines);
        }
        // A signature that is there twice changes nothing.
        5 if lines[line].starts_with("\u{2014}".as_bytes()) => {}
        5 => {
            let mut lines = lines;
            lines.insert(random.random_range(0..=lines.len()), lines[line]);
            return joined(lines);
        }
        6 => {
            let mut lines = lines;
            let with = random.random_range(0..lines.len());
            lines.swap(line, with);
            return joined(lines);
        }
        _ => {
            // Spliced with a bundle of another log under the same key.
            let theirs: Vec<&[u8]> = other.split_inclusive(|&byte| byte == b'\n').collect();
            let mut lines = lines;
            lines[line] = theirs[random.random_range(0..theirs.len())];
            return joined(lines);
        }
    }
    bytes
}

#[test]
fn no_mutation_of_a_bundle_holds_and_both_verifiers_agree() {
    let seed = seeds::seed("AUDITLITE_BUNDLE_SEED");
    let mutations = seeds::number("AUDITLITE_BUNDLE_MUTATIONS", 300);
    let mut random = StdRng::seed_from_u64(seed);
    let trail = Trail::recorded(2);
    let other = Trail {
        key: trail.key.clone(),
        ..Trail::recorded(1)
    };
    let (bundles, foreign) = (trail.bundles(), other.bundle(&BundleOptions::default()));
    let mut tampered = Vec::new();
    while (tampered.len() as u64) < mutations {
        let bundle = &bundles[random.random_range(0..bundles.len())];
        let mutation = mutated(bundle, &foreign, &mut random);
        if mutation != *bundle {
            tampered.push(mutation);
        }
    }
    let keys = [trail.vkey()];
    let ours: Vec<bool> = tampered.iter().map(|bundle| holds(bundle, &keys)).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut theirs = Vec::new();
    for piece in tampered.chunks(500) {
        theirs.extend(python_holds(folder.path(), piece, Some(&keys[0])));
    }
    for (number, bundle) in tampered.iter().enumerate() {
        let text = || String::from_utf8_lossy(bundle).into_owned();
        assert_eq!(ours[number], theirs[number], "they disagree on\n{}", text());
        assert!(!ours[number], "this holds, and should not\n{}", text());
    }
}

#[test]
fn single_events_and_earlier_checkpoints_are_proved() {
    let trail = Trail::recorded(3);
    let store = trail.store();
    let keys = [trail.vkey()];
    let whole = String::from_utf8(trail.bundle(&BundleOptions::default())).unwrap();
    let lines: Vec<&str> = whole.lines().filter(|line| line.starts_with('{')).collect();
    for (seq, line) in lines.iter().enumerate() {
        let seq = seq as u64;
        let proof = store.inclusion_proof(seq).unwrap();
        assert!(proof.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {seq}\n")));
        assert_eq!(
            verify_inclusion_proof(line.as_bytes(), &proof, &keys),
            Some(seq)
        );
        let other = line.replace("seq", "seg");
        assert_eq!(
            verify_inclusion_proof(other.as_bytes(), &proof, &keys),
            None
        );
        assert_eq!(verify_inclusion_proof(line.as_bytes(), &proof, &[]), None);
        let moved = proof.replacen(&format!("index {seq}"), &format!("index {}", seq + 1), 1);
        assert_eq!(verify_inclusion_proof(line.as_bytes(), &moved, &keys), None);
    }
    let beyond = store.inclusion_proof(lines.len() as u64);
    assert!(matches!(beyond, Err(BundleError::NoCheckpoint)));

    let connection = rusqlite::Connection::open(trail.path()).unwrap();
    let mut statement = connection
        .prepare("SELECT size, note FROM checkpoints")
        .unwrap();
    let notes: Vec<(i64, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(notes.len(), 3);
    for (size, note) in &notes {
        let proof = store
            .consistency_proof(u64::try_from(*size).unwrap())
            .unwrap();
        assert!(verify_consistency_proof(note, &proof, &keys));
        for (other_size, other) in &notes {
            assert_eq!(
                verify_consistency_proof(other, &proof, &keys),
                size == other_size
            );
        }
        assert!(!verify_consistency_proof(note, &proof, &[]));
    }
}

#[test]
fn a_log_without_a_checkpoint_has_no_bundle_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path).open().unwrap();
    store.flush(PATIENCE).unwrap();
    let reader = ReadOnlyStore::open(&path).unwrap();
    let result = reader.write_bundle(&BundleOptions::default(), &mut Vec::new());
    assert!(matches!(result, Err(BundleError::NoCheckpoint)));
    store.close(PATIENCE);
    let mut bundle = Vec::new();
    let summary = reader
        .write_bundle(&BundleOptions::default(), &mut bundle)
        .unwrap();
    assert_eq!((summary.events, summary.size, summary.uncovered), (2, 2, 0));
    let report = verify_bundle(bundle.as_slice(), &[]).unwrap();
    assert_eq!(report.signature, BundleSignature::None);
}
