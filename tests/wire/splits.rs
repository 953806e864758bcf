//! Where a response is cut into chunks makes no difference.

use auditlite::{ParsedResponse, ResponseParser};

use crate::corpus::samples;

/// Longest response that is split at every byte.
const SPLIT_BYTES_MAX: usize = 4 * 1024;

#[test]
fn a_response_may_be_cut_anywhere() {
    let mut counts = std::collections::BTreeMap::new();
    for exchange in samples(3) {
        let body = &exchange.response;
        if body.len() > SPLIT_BYTES_MAX {
            continue;
        }
        let protocol = exchange.protocol();
        let whole = ParsedResponse::parse(&protocol, body);
        let chunked = |chunks: &[&[u8]]| {
            let mut parser = ResponseParser::new(&protocol);
            chunks.iter().for_each(|chunk| parser.feed(chunk));
            parser.finish()
        };
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert!(chunked(&bytes) == whole, "{} byte by byte", exchange.name);
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            assert!(
                chunked(&[head, tail]) == whole,
                "{} cut at {at}",
                exchange.name
            );
        }
        *counts.entry(exchange.wire).or_insert(0) += 1;
    }
    eprintln!("split at every byte: {counts:?}");
    assert!(counts.is_empty() || counts.len() == 7, "{counts:?}");
}
