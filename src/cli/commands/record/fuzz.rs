//! Fuzzing of the input of `auditlite record`: every line is either recorded, with its changes noted, or refused
//! with a reason of one line.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

use super::line::Exchange;

#[path = "../../../../tests/support/mutation.rs"]
mod mutation;
#[path = "../../../../tests/support/seeds.rs"]
mod seeds;

#[test]
fn every_line_is_recorded_or_refused_with_a_reason() {
    let seen = [
        "request_id",
        "user_id",
        "session_id",
        "conversation_id",
        "trace_id",
        "provider_name",
        "request_model",
        "wire_protocol",
        "request_body",
        "response_body",
        "http_status",
        "started_at",
        "latency_us",
    ];
    let inputs = mutation::corpus("line_");
    for input in &inputs {
        Exchange::parse(input).unwrap();
    }
    mutation::fuzz("AUDITLITE_FUZZ_LINE_SEED", |rng| {
        let input = mutation::mutated(rng, &inputs);
        match Exchange::parse(&input) {
            Ok(exchange) => {
                // Bounds are the recorder's; what no field can hold is noted here.
                let mut adjusted_fields = exchange.context.adjusted_fields.iter();
                assert!(
                    adjusted_fields.all(|name| seen.contains(&name.as_str())),
                    "{:?}",
                    exchange.context.adjusted_fields
                );
                assert!(exchange.body_bytes() <= 4 * input.len() as u64);
            }
            Err(reason) => {
                assert!(!reason.is_empty());
                assert!(reason.len() <= 1000 + input.len(), "{reason}");
            }
        }
    });
}
