//! The smallest complete use, and the README's example: open a store, record one request, prove it safe,
//! read it back.
//!
//! `cargo run --example quickstart`, then `auditlite --db audit.db list`
#![allow(clippy::print_stdout)] // An example shows what it did.

use std::{error::Error, time::Duration};

use auditlite::{CanonicalMessage, PriceBook, RequestContext, Store, WireProtocol};

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::builder("audit.db")
        .price_book(PriceBook::built_in())
        .open()?;
    let recorder = store.recorder(); // clone it into your handlers

    // A request arrives: pass its bytes, parse nothing.
    let context = RequestContext::new(WireProtocol::OpenAiChat).user_id("u-17");
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hello?"}]}"#;
    let mut audit = recorder.open(context, body)?;
    let id = audit.request_id().to_owned();

    // The response passes, in one chunk or many. The writer reads model, tokens and cost from them.
    audit.chunk(r#"{"model":"gpt-4o","choices":[{"message":{"content":"Hello!"}}],"#);
    audit.chunk(r#""usage":{"prompt_tokens":9,"completion_tokens":2}}"#);
    let receipt = audit.finish(200)?; // dropped instead: recorded as abandoned
    receipt.wait(Duration::from_secs(5))?; // it survives a power loss now; few gateways need to wait

    // Any process can read it.
    let request = store.reader().get(&id)?;
    println!("{} {:?}", request.status, request.model());
    println!("{:?} output tokens", request.output_tokens);
    let said = store.reader().transcript(&request)?.replies;
    println!("{:?}", said.first().map(CanonicalMessage::text));
    println!("{:?}", store.close(Duration::from_secs(5)));
    Ok(())
}
