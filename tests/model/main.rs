//! Random sequences of everything that a gateway and its readers do, compared step by step with a
//! model in memory: statuses, places in the log, lists, statistics, and every body byte for byte,
//! across restarts, kills, erasing, pruning, caps, switched-off and deferred capture, small capacities, and
//! long conversations with a name or without, followed within much memory or little.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `AUDITLITE_MODEL_SEQUENCES` | how many sequences | 40 |
//! | `AUDITLITE_MODEL_LENGTH` | operations of each | 200 |
//! | `AUDITLITE_MODEL_SEED` | seed of the first one; the others count on from it | random |
//!
//! A sequence that fails is made shorter, and printed with what repeats it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

mod ending;
mod expected;
mod machine;
mod opening;
mod operation;
mod reading;
mod removing;
#[path = "../support/seeds.rs"]
mod seeds;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use machine::{Machine, Resumed};
use operation::{Operation, Style, sequence};

/// Most runs that making a sequence shorter takes.
const SHRINK_RUNS_MAX: usize = 300;

fn run(seed: u64, operations: &[Operation]) -> Resumed {
    let mut machine = Machine::new(Style::of(seed), seed);
    for operation in operations {
        machine.apply(*operation);
    }
    machine.check_everything(&mut Rng::with_seed(seed));
    machine.count_resumed();
    machine.resumed
}

fn try_run(seed: u64, operations: &[Operation]) -> Option<Resumed> {
    catch_unwind(AssertUnwindSafe(|| run(seed, operations))).ok()
}

/// Leaves out whatever is not needed to fail: halves first, single operations last.
fn shrink(seed: u64, mut operations: Vec<Operation>) -> Vec<Operation> {
    let mut runs = 0;
    let mut size = operations.len() / 2;
    while size > 0 && runs < SHRINK_RUNS_MAX {
        let mut at = 0;
        while at < operations.len() && runs < SHRINK_RUNS_MAX {
            let mut shorter = operations.clone();
            shorter.drain(at..(at + size).min(operations.len()));
            runs += 1;
            if try_run(seed, &shorter).is_none() {
                operations = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    operations
}

#[test]
fn a_store_says_what_a_model_says() {
    let sequences = seeds::number("AUDITLITE_MODEL_SEQUENCES", 40);
    let length = seeds::number("AUDITLITE_MODEL_LENGTH", 200) as usize;
    let first = seeds::seed("AUDITLITE_MODEL_SEED");
    let (mut after_openings, mut after_evictions) = (0, 0);
    // A few sequences have a memory so little that conversations are let go. Where none of them went on, more are run.
    for number in 0..sequences.saturating_mul(20) {
        if number >= sequences && (after_openings > 0 && after_evictions > 0 || sequences < 40) {
            break;
        }
        let seed = first.wrapping_add(number);
        let operations = sequence(seed, length);
        if let Some(resumed) = try_run(seed, &operations) {
            after_openings += resumed.after_openings;
            after_evictions += resumed.after_evictions;
            continue;
        }
        println!("sequence {seed} fails; making it shorter");
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let shorter = shrink(seed, operations);
        std::panic::set_hook(hook);
        println!(
            "AUDITLITE_MODEL_SEED={seed} AUDITLITE_MODEL_SEQUENCES=1 AUDITLITE_MODEL_LENGTH={length} repeats it"
        );
        println!("{} operations are enough: {shorter:#?}", shorter.len());
        run(seed, &shorter);
        panic!("sequence {seed} failed, but its shorter form does not any more");
    }
    println!(
        "went on: {after_openings} times after an opening, {after_evictions} after an eviction"
    );
    if sequences >= 40 && length >= 200 {
        assert!(after_openings > 0 && after_evictions > 0);
    }
}
