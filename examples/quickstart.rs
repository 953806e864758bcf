//! The smallest complete use: open a store, record one request, prove it safe, read it back.
//!
//! `cargo run --example quickstart`
#![allow(clippy::print_stdout)] // An example shows what it did.

use std::{error::Error, time::Duration};

use auditlite::{Completion, PayloadSide, RequestContext, Store, Usage, WireProtocol};

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::builder(std::env::temp_dir().join("auditlite-quickstart.db")).open()?;

    // A request arrives.
    let context = RequestContext::new(WireProtocol::OpenAiChat)
        .user_id("u-17")
        .provider_name("openai")
        .request_model("gpt-4o");
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hello?"}]}"#;
    let audit = store.recorder().open(context, body)?;
    let id = audit.request_id().to_owned();

    // It was answered. The receipt is proof once it is durable; a gateway need not wait for it.
    let answer = r#"{"choices":[{"message":{"role":"assistant","content":"Hello!"}}]}"#;
    let completion = Completion::new()
        .response_body(answer)
        .usage(Usage::new(9, 2))
        .finish_reason("stop")
        .http_status(200);
    audit.complete(completion)?.wait(Duration::from_secs(5))?;

    // Anyone can read it now, from this process or another one.
    let record = store.reader().get(&id)?;
    let response = store.reader().payload(&record, PayloadSide::Response)?;
    println!("{id} {}: {:?}", record.status, record.model());
    println!("{}", String::from_utf8_lossy(&response.bytes));
    println!("{:?}", store.close(Duration::from_secs(5)));
    Ok(())
}
