//! Power loss at every sync point: unsynced writes dropped, kept, reordered and torn, by seed.
//!
//! A binary of its own: its file layer takes the place of SQLite's for the whole process. A scene
//! is played once; before and after each of its syncs it is noted what a power loss then would have
//! to choose from, and what receipts called durable at that moment. Each image is then made, opened
//! and examined. `AUDITLITE_POWER_IMAGES` says how many, `AUDITLITE_POWER_SCENE=NUMBER` replays a scene:
//! the number is its seed; the images of a scene follow from it.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/oracle.rs"]
mod oracle;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/seeds.rs"]
mod seeds;
#[path = "../support/vfs.rs"]
mod vfs;
#[path = "../support/world.rs"]
mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditlite::Overflow;

use oracle::{Accounts, Ledger, Promises, examine, recover};
use random::Random;
use scene::{builder, folder, run_cases, work};
use seeds::number;
use vfs::rule;
use world::{CallKind, Fault, Plan, Snapshot, Span, copy_database};

const PATIENCE: Duration = Duration::from_secs(30);
/// Seeds that are tried at each sync point of a scene.
const SEEDS: u64 = 6;

/// A moment of a scene: what a power loss could find, and what must be found.
struct Moment {
    snapshot: Snapshot,
    promises: Promises,
}

/// Plays a scene and notes its moments. By its seed it begins with a new file, one that was closed,
/// or one that a crash left; and a sync fails now and then, after which its writes are never durable.
fn moments(seed: u64) -> Vec<Moment> {
    let mut random = Random(seed);
    let origin = folder();
    let before = match seed % 3 {
        0 => Promises::default(),
        kind => {
            let made = folder();
            let ledger = Ledger::default();
            let store = builder(&made.path().join("audit.db"), Overflow::Wait(PATIENCE))
                .open()
                .unwrap();
            assert!(work(&store, &ledger, "before", 5, PATIENCE));
            let mut promises = ledger.promises();
            if kind == 1 {
                assert!(store.close(PATIENCE).is_complete);
                promises = ledger.promises();
            }
            // Otherwise as a process that dies here leaves it.
            copy_database(made.path(), origin.path());
            promises
        }
    };
    let rule = rule(origin.path());
    let world = Arc::clone(&rule.world);
    world.keep_journal();
    let ledger = Arc::new(Ledger::default());
    let moments = Arc::new(Mutex::new(Vec::new()));
    {
        let (ledger, moments) = (Arc::clone(&ledger), Arc::clone(&moments));
        world.watch_syncs(move |snapshot| {
            if snapshot.has_choice() {
                let mut promises = ledger.promises();
                promises.extend(&before);
                moments.lock().unwrap().push(Moment { snapshot, promises });
            }
        });
    }
    let path = origin.path().join("audit.db");
    let store = builder(&path, Overflow::Wait(PATIENCE)).open().unwrap();
    if random.below(3) == 0 {
        world.begin(Some(Plan {
            kind: CallKind::Sync,
            number: random.below(20),
            fault: Fault::Error,
            span: Span::Times(1 + random.below(3)),
        }));
    }
    let batches = 8 + random.below(8);
    assert!(work(&store, &ledger, "p", batches, PATIENCE));
    if random.coin() {
        assert!(store.close(PATIENCE).is_complete);
    } else {
        // As a process that ends here: nothing is closed in order. The thread ends by itself.
        world.begin(Some(Plan {
            kind: CallKind::Write,
            number: 0,
            fault: Fault::Error,
            span: Span::UntilCured,
        }));
        drop(store);
    }
    std::mem::take(&mut *moments.lock().unwrap())
}

fn check(moment: &Moment, seed: u64) -> Vec<String> {
    let place = folder();
    moment.snapshot.image(seed, place.path());
    let path = place.path().join("audit.db");
    let mut violations = examine(&path, &moment.promises, Accounts::Open);
    if violations.is_empty() {
        violations = recover(&path, &moment.promises, Accounts::Open, "probe-1");
    }
    violations
}

/// Scenes, each with its number of images; together as many as asked for.
fn scene_of(number: u64, images_each: u64) -> Vec<String> {
    let moments = moments(number);
    assert!(moments.len() >= 10, "a scene has syncs: {}", moments.len());
    let mut violations = Vec::new();
    let mut random = Random(number ^ 0x1111);
    let mut made = 0;
    // Every sync point comes first; then the same ones again with other seeds.
    'all: for _ in 0..SEEDS.max(images_each / moments.len() as u64 + 1) {
        for (index, moment) in moments.iter().enumerate() {
            if made == images_each {
                break 'all;
            }
            made += 1;
            let seed = random.next();
            let found = check(moment, seed);
            if !found.is_empty() {
                violations.push(format!(
                    "sync point {index} of {}, seed {seed}: {}",
                    moments.len(),
                    found.join("; ")
                ));
            }
        }
    }
    violations
}

#[test]
fn what_a_receipt_called_durable_survives_power_loss() {
    const IMAGES_EACH: u64 = 200;
    let images = number("AUDITLITE_POWER_IMAGES", 200);
    let scenes = images.div_ceil(IMAGES_EACH).max(1);
    run_cases(
        &format!("power loss, {IMAGES_EACH} images each"),
        "AUDITLITE_POWER_SCENE",
        scenes,
        |number| scene_of(number, IMAGES_EACH),
    );
}
