//! The example gateway while its disk is full: it continues to answer, its trail shows the gap
//! afterwards, and `auditlite doctor` explains it in plain words.
//!
//! The disk is a tmpfs of a few megabytes, in a mount namespace of its own (`unshare`). Where the
//! system permits neither, the test says so loudly and checks nothing.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "support/gateway.rs"]
mod gateway;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSIDE: &str = "AUDITLITE_DISK_FULL_INSIDE";
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the gateway may take for a request that takes it milliseconds.
const ANSWER_TIME: Duration = Duration::from_secs(5);

const SHORT_BYTES: usize = 3000;
/// So many of these while the disk is full are more than the store's default capacity of 64 MiB.
const LONG_BYTES: usize = 1_500_000;
const FULL: usize = 70;

/// Commands that run the rest in a mount namespace: as root, else as a user that becomes root in it.
const NAMESPACES: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-r", "-m"]];

fn can_mount(namespace: &[&str], folder: &Path) -> bool {
    let script = format!("mount -t tmpfs -o size=4m tmpfs '{}'", folder.display());
    Command::new(namespace[0])
        .args(&namespace[1..])
        .args(["sh", "-c", &script])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn the_gateway_answers_while_its_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(namespace) = NAMESPACES
        .into_iter()
        .find(|namespace| can_mount(namespace, folder.path()))
    else {
        eprintln!("SKIPPED: neither root nor user namespaces: no small disk can be mounted here");
        return;
    };
    let program = gateway::program();
    let output = Command::new(namespace[0])
        .args(&namespace[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inside", "--nocapture"])
        .env(INSIDE, folder.path())
        .env("AUDITLITE_DISK_FULL_GATEWAY", program)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("doctor explained it"));
}

/// Sends one chat request and returns the answer's status line and how long it took.
fn ask(address: &str, number: usize, bytes: usize) -> (String, Duration) {
    let body = format!(
        r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"question {number} {}"}}]}}"#,
        "and more of it ".repeat(bytes / 15)
    );
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer none\r\n\
         content-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.lines().next().unwrap_or_default().to_owned();
    (status, begun.elapsed())
}

fn ask_many(address: &str, numbers: std::ops::Range<usize>, bytes: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in numbers {
        let (status, took) = ask(address, number, bytes);
        assert_eq!(status, "HTTP/1.1 200 OK", "request {number}");
        assert!(took < ANSWER_TIME, "request {number} took {took:?}");
        slowest = slowest.max(took);
    }
    slowest
}

/// Fills the disk.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1 << 9, 1] {
        while file
            .write(&vec![0; size])
            .is_ok_and(|written| written == size)
        {}
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The part that runs inside of the mount namespace.
#[test]
fn inside() {
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return;
    };
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&folder)
        .status()
        .unwrap();
    assert!(mounted.success());
    let db = folder.join("audit.db");
    let mut gateway = Killed(
        Command::new(std::env::var_os("AUDITLITE_DISK_FULL_GATEWAY").unwrap())
            .args(["--listen", "127.0.0.1:0", "--db"])
            .arg(&db)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(gateway.0.stdout.take().unwrap()).lines();
    let address = lines
        .find_map(|line| {
            line.unwrap()
                .strip_prefix("listening on http://")
                .map(str::to_owned)
        })
        .unwrap();

    let before = ask_many(&address, 0..5, SHORT_BYTES);
    wait_for_requests(&db, 5);
    let balloon = folder.join("balloon");
    fill(&balloon);
    let full = ask_many(&address, 5..FULL, LONG_BYTES);
    println!("slowest answer {before:?} before, {full:?} while the disk is full");
    fs::remove_file(&balloon).unwrap();
    // The writer tries again by itself; nobody has to restart anything.
    wait_for_requests(&db, FULL);
    // Room is looked at a few times a second; then bodies are kept again.
    let begun = Instant::now();
    let mut number = FULL;
    while !is_body_kept(&db, number) {
        assert!(begun.elapsed() < PATIENCE, "bodies are still left out");
        ask_many(&address, number..number + 1, SHORT_BYTES);
        number += 1;
        wait_for_requests(&db, number);
    }

    let asked = Command::new("kill")
        .args(["-INT", &gateway.0.id().to_string()])
        .status();
    assert!(asked.unwrap().success());
    assert!(
        gateway.0.wait().unwrap().success(),
        "the gateway closes in order"
    );
    let last: Vec<String> = lines.map(Result::unwrap).collect();
    println!("{}", last.join("\n"));

    let output = Command::new(env!("CARGO_BIN_EXE_auditlite"))
        .arg("--db")
        .arg(&db)
        .arg("doctor")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "a stated loss is no finding");
    for words in [
        "left out   0 whole requests and ",
        " bodies, because the disk was full or did not keep up; the log states it",
        "the losses lie between ",
        "nothing is wrong",
    ] {
        assert!(text.contains(words), "{words:?}");
    }
    println!("doctor explained it");
}

/// Waits until so many requests have been recorded, whole or without their bodies.
fn wait_for_requests(db: &Path, count: usize) {
    let begun = Instant::now();
    let store = auditlite::ReadOnlyStore::open(db).unwrap();
    let completed = auditlite::RequestFilter::new().statuses([auditlite::Status::Completed]);
    loop {
        let found = store
            .reader()
            .list(&completed, &auditlite::ListOptions::new().limit(1000))
            .map(|page| page.requests.len());
        if found.as_ref().is_ok_and(|&found| found >= count) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{found:?} of {count} requests");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the newest of so many requests came with its body.
fn is_body_kept(db: &Path, count: usize) -> bool {
    let store = auditlite::ReadOnlyStore::open(db).unwrap();
    let reader = store.reader();
    let page = reader
        .list(
            &auditlite::RequestFilter::default(),
            &auditlite::ListOptions::new().limit(1),
        )
        .unwrap();
    let newest = &page.requests[0];
    count > 45
        && reader
            .payload(newest, auditlite::PayloadSide::Request)
            .is_ok()
}
