//! Forward nothing before it is durable: a handler awaits the opening's receipt, and no thread waits.
//!
//! A receipt is a plain future. This runs on tokio; any other executor does as well.
//!
//! `cargo run --example durable_first`
#![allow(clippy::print_stdout)] // An example shows what it did.

use std::{error::Error, time::Duration};

use auditlite::{ReceiptError, Recorder, RequestContext, RequestHandle, Store, WireProtocol};

/// Serves one request: it goes upstream only once the disk has its opening.
pub async fn serve(recorder: &Recorder, body: &'static str) -> Result<String, Box<dyn Error>> {
    let context = RequestContext::new(WireProtocol::OpenAiChat);
    let mut audit = recorder.open(context, body)?;
    let id = audit.request_id().to_owned();
    durable(&audit).await?;

    let response = upstream(body).await;
    audit.chunk(response);
    // The client gets the answer after the end is durable, too. Few gateways need this.
    audit.finish(200)?.await?;
    Ok(id)
}

/// A disk that takes no commits must not hold requests for ever.
async fn durable(audit: &RequestHandle) -> Result<(), Box<dyn Error>> {
    match tokio::time::timeout(Duration::from_secs(5), audit.opened_receipt()).await? {
        // Left out for want of capacity: refuse it here to serve no request without a record.
        Err(ReceiptError::Shed) => Err("too busy to record this request".into()),
        result => Ok(result?),
    }
}

async fn upstream(_body: &str) -> &'static str {
    r#"{"model":"gpt-4o","choices":[{"message":{"role":"assistant","content":"Hello!"}}]}"#
}

/// Serves two requests at once.
pub async fn run(store: &Store) -> Result<(String, String), Box<dyn Error>> {
    let recorder = store.recorder();
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hello?"}]}"#;
    tokio::try_join!(serve(&recorder, body), serve(&recorder, body))
}

/// Opens a store, and serves.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::builder("audit.db").open()?;
    println!("{:?}", run(&store).await?);
    println!("{:?}", store.close(Duration::from_secs(5)));
    Ok(())
}
