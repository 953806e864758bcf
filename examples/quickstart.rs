//! The smallest complete use: open a store, record one request, prove it safe, read it back.
//!
//! `cargo run --example quickstart`
#![allow(clippy::print_stdout)] // An example shows what it did.

use std::{error::Error, time::Duration};

use auditlite::{CanonicalMessage, RequestContext, Store, WireProtocol};

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::builder(std::env::temp_dir().join("auditlite-quickstart.db")).open()?;

    // A request arrives.
    let context = RequestContext::new(WireProtocol::OpenAiChat).user_id("u-17");
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hello?"}]}"#;
    let mut audit = store.recorder().open(context, body)?;
    let id = audit.request_id().to_owned();

    // It was answered, in one piece or many; the writer reads from the bytes what they say. The
    // receipt is proof once it is durable; a gateway need not wait for it.
    audit.chunk(r#"{"choices":[{"message":{"content":"Hello!"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#);
    audit.finish(200)?.wait(Duration::from_secs(5))?;

    // Anyone can read it now, from this process or another one.
    let record = store.reader().get(&id)?;
    let said = store.reader().transcript(&record)?.replies;
    println!("{id} {}: {:?}", record.status, record.model());
    let answer = said.first().map(CanonicalMessage::text);
    println!("{:?} output tokens: {answer:?}", record.output_tokens);
    println!("{:?}", store.close(Duration::from_secs(5)));
    Ok(())
}
