//! An audited reverse proxy for APIs of language models.
//!
//! `cargo run --release --example gateway` needs nothing else: it starts a built-in upstream and
//! the gateway on the loopback interface, has a few conversations with itself, and prints the
//! recorded trail. `cargo run --release --example gateway -- --help` tells how to put it in front
//! of a real upstream.
//!
//! What belongs to auditlite is in `proxy.rs` (a request is opened) and `audited_body.rs` (it
//! ends); the rest is what any gateway has.
#![allow(clippy::print_stderr)] // A program tells on standard error why it stops.
#![allow(clippy::indexing_slicing)] // Of `serde_json::Value`s by key, which never panics.

mod args;
mod audited_body;
mod demo;
mod forward;
mod other_apis;
mod proxy;
mod server;
mod trail;
mod upstream;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use auditlite::{CloseReport, PriceBook, Recorder, Redaction, Store, Timestamp};

use crate::args::{Args, Mode};
use crate::forward::{Client, Upstream};
use crate::proxy::Gateway;
use crate::server::{Server, Signals};

/// How long requests in flight may take to end after a signal; then they are dropped, and
/// recorded as abandoned.
const GRACE: Duration = Duration::from_secs(10);
/// How long the store may take to write what it has taken in.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Dollars per million tokens. Other models are recorded without a cost.
const PRICES: &str = r#"{"prices":[
    {"provider":"openai","model":"gpt-4o","input":2.5,"output":10.0,"cache_read":1.25},
    {"provider":"openai","model":"gpt-4o-20*","input":2.5,"output":10.0,"cache_read":1.25},
    {"provider":"openai","model":"gpt-4o-mini*","input":0.15,"output":0.6,"cache_read":0.075},
    {"provider":"anthropic","model":"claude-sonnet-4*","input":3.0,"output":15.0,"cache_read":0.3,"cache_write":3.75},
    {"provider":"gcp.gemini","model":"gemini-2.5-pro","input":1.25,"output":10.0,"cache_read":0.125},
    {"provider":"openai","model":"text-embedding-3-small","input":0.02,"output":0.0}
]}"#;

fn main() -> ExitCode {
    let outcome = match Args::read() {
        Ok(Args {
            mode: Mode::Help, ..
        }) => io::stdout()
            .write_all(args::HELP.as_bytes())
            .map_err(Into::into),
        Ok(args) => run(args),
        Err(error) => {
            eprintln!("error: {error}\n\nFor the options, try --help.");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", audited_body::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let mut builder = Store::builder(&args.db)
        .price_book(PriceBook::from_json(PRICES)?)
        .log_ends_at_info(true);
    if args.redacts {
        // Upstreams like to repeat a key that they refuse.
        builder = builder.redaction(Redaction::credentials("credentials-1"));
    }
    let store = builder.open()?;
    let started_at = Timestamp::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let is_demo = matches!(args.mode, Mode::Demo);
    let outcome = runtime.block_on(serve(args, &store));
    // Drops what is still in flight, so that the store learns of it before it closes.
    runtime.shutdown_timeout(Duration::from_secs(2));

    let shown = match outcome {
        Ok(()) if is_demo => show(&store, started_at),
        other => other,
    };
    let report = store.close(CLOSE_TIMEOUT);
    // What went wrong before says more than a pipe that broke meanwhile.
    shown?;
    print_report(&report)?;
    if !report.is_complete {
        return Err("the store could not write everything in time".into());
    }
    Ok(())
}

/// Serves until a signal, or until the demo is over.
async fn serve(args: Args, store: &Store) -> Result<(), Box<dyn Error>> {
    let (listen, upstream) = match args.mode {
        Mode::Serve { listen, upstream } => (listen, upstream),
        Mode::Help | Mode::Demo => return demo(args.provider_name, store).await,
    };
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    // Before the line that tells scripts to begin, so that no signal is missed.
    let mut signals = Signals::new()?;
    let gateway = start(&listen, upstream, args.provider_name, store.recorder()).await?;
    announce(&gateway, store.path())?;
    signals.next().await;
    gateway.stop(GRACE, &mut signals).await?;
    Ok(())
}

async fn demo(provider_name: Option<String>, store: &Store) -> Result<(), Box<dyn Error>> {
    let gateway = start("127.0.0.1:0", None, provider_name, store.recorder()).await?;
    demo::run(gateway.address).await?;
    gateway.stop(GRACE, &mut Signals::new()?).await?;
    Ok(())
}

/// Starts the gateway, in front of the built-in upstream where no other is given.
async fn start(
    listen: &str,
    upstream: Option<Upstream>,
    provider_name: Option<String>,
    recorder: Recorder,
) -> Result<Server, Box<dyn Error>> {
    let mut upstream = match upstream {
        Some(upstream) => upstream,
        None => {
            let built_in = Server::start("127.0.0.1:0", upstream::router()).await?;
            let mut upstream: Upstream = format!("http://{}", built_in.address).parse()?;
            upstream.provider_name = None;
            upstream
        }
    };
    if let Some(name) = provider_name {
        upstream.provider_name = Some(name);
    }
    let client = Client::for_upstream(&upstream)
        .map_err(|error| format!("no certificates to check the upstream's with: {error}"))?;
    let gateway = Gateway {
        recorder,
        client,
        upstream,
    };
    Server::start(listen, proxy::router(gateway))
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}").into())
}

fn announce(gateway: &Server, db: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{}", gateway.address)?;
    writeln!(out, "recording to {}", db.display())?;
    out.flush()
}

/// Prints what the demo has left in the store, as anyone could read it.
fn show(store: &Store, since: Timestamp) -> Result<(), Box<dyn Error>> {
    store.flush(CLOSE_TIMEOUT)?;
    writeln!(io::stdout(), "\nThe trail, read back:\n")?;
    let newest = trail::print(&store.reader(), since)?;

    let cli = "cargo run --features cli --bin auditlite -- --db";
    let db = store.path().display();
    let mut out = io::stdout().lock();
    writeln!(out, "\nIt is in {db}. To look at it:\n")?;
    writeln!(out, "  {cli} {db} list")?;
    if let Some(id) = newest.first() {
        writeln!(out, "  {cli} {db} show {id}")?;
    }
    writeln!(out, "\nTo record your own traffic:\n")?;
    writeln!(
        out,
        "  cargo run --release --example gateway -- --upstream https://api.openai.com\n"
    )?;
    Ok(())
}

fn print_report(report: &CloseReport) -> io::Result<()> {
    writeln!(
        io::stdout(),
        "closed: {} events committed, {} lost; shed: {} requests, {} bodies; {} left open",
        report.committed_events,
        report.lost_events,
        report.shed_lifecycles,
        report.shed_payloads,
        report.open_requests,
    )
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
