//! Streams that stop anywhere: nothing panics, and what was read of one that stopped before its end is marked so.
//!
//! Each recorded stream is cut after each of its events and at random bytes; `AUDITLITE_CORPUS_FULL` takes all streams
//! and 1,000 bytes of each. `AUDITLITE_CUTS_SEED` replays a run.

use auditlite::{ParsedResponse, ResponseParser, Usage, WireProtocol};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::corpus::{Exchange, exchanges};
use crate::seeds;

/// Cuts of one stream after its events, at most: the first, the last, and some between.
const EVENTS_MAX: usize = 400;

#[test]
fn what_was_read_of_a_stream_that_stops_is_marked() {
    let seed = seeds::seed("AUDITLITE_CUTS_SEED");
    let mut random = StdRng::seed_from_u64(seed);
    let is_full = std::env::var_os("AUDITLITE_CORPUS_FULL").is_some();
    let mut all = exchanges();
    all.retain(|exchange| exchange.is_supported() && exchange.status < 400);
    let (mut streams, mut cuts, mut partial, mut lowered) = (0, 0, 0, 0);
    for (number, exchange) in all.iter().enumerate() {
        let whole = ParsedResponse::parse(&exchange.protocol(), &exchange.response);
        if !whole.is_streamed || (!is_full && number % 10 != 0) {
            continue;
        }
        streams += 1;
        let random_cuts = if is_full { 1000 } else { 20 };
        for at in places(&exchange.response, random_cuts, &mut random) {
            cuts += 1;
            let head = &exchange.response[..at];
            let cut = ParsedResponse::parse(&exchange.protocol(), head);
            lowered += u64::from(check(exchange, at, &cut, &whole));
            partial += u64::from(cut.is_usage_partial);
        }
        check_pieces(exchange, &mut random);
    }
    eprintln!(
        "{streams} streams, {cuts} cuts, {partial} with partial usage, {lowered} of them with a count that the \
         provider lowered later; seed {seed}"
    );
    assert!(streams == 0 || (streams > 20 && partial > 100));
    assert!(lowered <= partial / 50, "{lowered} of {partial}");
}

/// Ends of events, and random bytes.
fn places(body: &[u8], random_cuts: usize, random: &mut StdRng) -> Vec<usize> {
    let mut ends: Vec<usize> = (1..=body.len())
        .filter(|at| {
            let head = &body[..*at];
            head.ends_with(b"\n\n") || head.ends_with(b"\r\n\r\n") || head.ends_with(b"}\n")
        })
        .collect();
    while ends.len() > EVENTS_MAX {
        ends.remove(random.random_range(1..ends.len() - 1));
    }
    ends.extend((0..random_cuts).map(|_| random.random_range(0..=body.len())));
    ends
}

/// Whether a count is above that of the whole response because the provider itself states less later. Some streams of
/// Gemini do: they state an estimate of the input until the last event, or leave out there what they counted before.
fn check(exchange: &Exchange, at: usize, cut: &ParsedResponse, whole: &ParsedResponse) -> bool {
    let name = format!(
        "{} cut at {at} of {}",
        exchange.name,
        exchange.response.len()
    );
    let mut is_lowered = false;
    let has_stopped = cut.is_broken_off || cut.error.is_some() || cut.unparsed > 0;
    if let Some(usage) = cut.usage {
        let all = whole.usage.unwrap_or_default();
        if cut.is_usage_partial {
            is_lowered = !is_at_most(&usage, &all);
            assert!(
                !is_lowered || exchange.protocol() == WireProtocol::GeminiGenerate,
                "{name}: {usage:?} of {all:?}"
            );
            assert!(
                has_stopped,
                "{name}: partial usage of a response that is whole"
            );
        } else {
            assert_eq!(usage, all, "{name}: not marked as partial");
        }
    }
    // Nothing stands for a whole answer that is none. (One server sends texts after its finish reason.)
    if !has_stopped && cut.is_streamed {
        assert_eq!(cut.finish_reasons, whole.finish_reasons, "{name}");
        assert_eq!(cut.tool_calls(), whole.tool_calls(), "{name}");
    }
    is_lowered
}

/// Whether no count is above that of the whole response.
fn is_at_most(usage: &Usage, whole: &Usage) -> bool {
    [
        (usage.input_tokens, whole.input_tokens),
        (usage.output_tokens, whole.output_tokens),
        (usage.cache_read_input_tokens, whole.cache_read_input_tokens),
        (
            usage.cache_write_input_tokens,
            whole.cache_write_input_tokens,
        ),
        (usage.reasoning_output_tokens, whole.reasoning_output_tokens),
    ]
    .into_iter()
    .all(|(some, all)| some <= all)
}

/// The marks do not depend on how the bytes come.
fn check_pieces(exchange: &Exchange, random: &mut StdRng) {
    let at = random.random_range(0..=exchange.response.len());
    let head = &exchange.response[..at];
    let protocol = exchange.protocol();
    let whole = ParsedResponse::parse(&protocol, head);
    for piece_bytes in [1, 7] {
        let mut parser = ResponseParser::new(&protocol);
        head.chunks(piece_bytes)
            .for_each(|piece| parser.feed(piece));
        assert!(
            parser.finish() == whole,
            "{} cut at {at}, by {piece_bytes}",
            exchange.name
        );
    }
}
