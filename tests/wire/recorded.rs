//! Every recorded exchange through a store that is told nothing but protocol, path and status: what
//! is read back is what the parsers found, which `agreement` compares with an independent reading.
//!
//! A fifth of them, unless `AUDITLITE_CORPUS_FULL` is set.

use std::time::Duration;

use auditlite::{
    Overflow, ParsedResponse, PayloadSide, ReadOnlyStore, RequestContext, RequestSummary, Status,
    Store, Usage, VerifyOptions,
};
use bytes::Bytes;

use crate::corpus::exchanges;

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn what_a_store_reads_of_recorded_exchanges_is_what_they_say() {
    let mut exchanges = exchanges();
    if std::env::var_os("AUDITLITE_CORPUS_FULL").is_none() {
        // Neighbours are of the same recording; each of them is sampled.
        let mut number = 0;
        exchanges.retain(|_| {
            number += 1;
            number % 5 == 1
        });
    }
    if exchanges.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::builder(&path)
        .overflow(Overflow::Wait(PATIENCE))
        .open()
        .unwrap();
    let recorder = store.recorder();
    for (number, exchange) in exchanges.iter().enumerate() {
        let context = RequestContext::new(exchange.wire.as_str())
            .request_id(format!("{number:06}"))
            .url_path(&exchange.path)
            // Exchanges of a recording belong together, so that bodies meet what came before them.
            .conversation_id(exchange.name.split(':').next().unwrap());
        let mut audit = recorder.open(context, exchange.request.clone()).unwrap();
        let response = Bytes::from(exchange.response.clone());
        let mut rest = response.clone();
        while !rest.is_empty() {
            let length = (1 + rest.len() / 3).min(rest.len());
            audit.chunk(rest.split_to(length));
        }
        audit.finish(exchange.status).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let (mut usages, mut calls_seen, mut failed) = (0, 0, 0);
    for (number, exchange) in exchanges.iter().enumerate() {
        let name = &exchange.name;
        let found = reader.get(&format!("{number:06}")).unwrap();
        for (side, body) in [
            (PayloadSide::Request, &exchange.request),
            (PayloadSide::Response, &exchange.response),
        ] {
            if !body.is_empty() {
                assert_eq!(&reader.payload(&found, side).unwrap().bytes, body, "{name}");
            }
        }
        if !exchange.is_supported() {
            continue;
        }
        let protocol = exchange.protocol();
        let request = RequestSummary::parse(&protocol, &exchange.path, &exchange.request);
        assert_eq!(found.request_model, request.model, "{name}");
        assert_eq!(found.max_tokens, request.max_tokens, "{name}");
        assert_eq!(found.temperature, request.temperature, "{name}");
        assert_eq!(found.top_p, request.top_p, "{name}");
        assert_eq!(found.is_streaming, request.is_streaming, "{name}");

        let response = ParsedResponse::parse(&protocol, &exchange.response);
        let mut usage = Usage::default();
        usage.input_tokens = found.input_tokens;
        usage.output_tokens = found.output_tokens;
        usage.cache_read_input_tokens = found.cache_read_input_tokens;
        usage.cache_write_input_tokens = found.cache_write_input_tokens;
        usage.reasoning_output_tokens = found.reasoning_output_tokens;
        usages += u64::from(response.usage.is_some());
        assert_eq!(usage, response.usage.unwrap_or_default(), "{name}");
        assert_eq!(found.response_model, response.response_model, "{name}");
        assert_eq!(found.response_id, response.response_id, "{name}");
        assert_eq!(found.finish_reasons, response.finish_reasons, "{name}");
        let calls = reader.tool_calls(&found).unwrap();
        let expected = response.tool_calls();
        assert_eq!(calls.len(), expected.len(), "{name}");
        for (call, expected) in calls.iter().zip(&expected) {
            assert_eq!(call.tool_name, expected.tool_name, "{name}");
            assert_eq!(call.tool_call_id, expected.tool_call_id, "{name}");
            assert_eq!(
                call.input.as_deref(),
                Some(expected.input.as_str()),
                "{name}"
            );
            calls_seen += 1;
        }
        let is_fine = exchange.status < 400 && response.error.is_none() && !response.is_broken_off;
        let status = if is_fine {
            Status::Completed
        } else {
            Status::Failed
        };
        assert_eq!(found.status, status, "{name}");
        assert_eq!(found.error_type.is_some(), !is_fine, "{name}");
        failed += u64::from(!is_fine);
    }
    eprintln!(
        "{} exchanges: {usages} with usage, {calls_seen} tool calls, {failed} that failed",
        exchanges.len()
    );
    assert!(usages > 0 && calls_seen > 0 && failed > 0);
    assert!(store.close(PATIENCE).is_complete);
    let store = ReadOnlyStore::open(path).unwrap();
    assert_eq!(
        store.verify(&VerifyOptions::default()).unwrap().findings,
        []
    );
}
