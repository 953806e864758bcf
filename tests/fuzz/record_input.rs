//! Fuzzing of what `auditlite record` reads: whatever a line is, it is recorded within the bounds or
//! refused with a reason of one line.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

use super::line::Exchange;

#[path = "../support/mutation.rs"]
mod mutation;
#[path = "../support/seeds.rs"]
mod seeds;

#[test]
fn record_input() {
    let inputs = mutation::corpus("line_");
    for input in &inputs {
        Exchange::parse(input).unwrap();
    }
    mutation::fuzz("AUDITLITE_FUZZ_LINE_SEED", |rng| {
        let input = mutation::mutated(rng, &inputs);
        match Exchange::parse(&input) {
            Ok(exchange) => {
                exchange.context.check().unwrap();
                assert!(exchange.body_bytes() <= 4 * input.len() as u64);
            }
            Err(reason) => {
                assert!(!reason.is_empty());
                assert!(reason.len() <= 1000 + input.len(), "{reason}");
            }
        }
    });
}
