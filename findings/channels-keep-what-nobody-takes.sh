#!/usr/bin/env bash
# A message with the sending half of a reply channel in it waits in a queue, and the queue's only receiver is dropped, as
# when a worker thread ends. Whether whoever waits for the reply is told depends on the channel: some drop what is
# queued with the receiver, others keep it until the last sender is gone, and the wait for the reply runs into its timeout.
# crossbeam-channel does the one where it is unbounded and the other where it is bounded.
#
# Seen with crossbeam-channel 0.5.17, flume 0.12.0, async-channel 2.5.0, kanal 0.1.1, tokio 1.54.1 and the standard library:
#   std bounded: told          std unbounded: told
#   tokio bounded: told        tokio unbounded: told
#   crossbeam bounded: waits   crossbeam unbounded: told
#   flume bounded: waits       flume unbounded: waits
#   async bounded: waits       async unbounded: waits
#   kanal bounded: waits       kanal unbounded: waits
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "queued-reply"
version = "0.0.0"
edition = "2021"

[dependencies]
async-channel = "=2.5.0"
crossbeam-channel = "=0.5.17"
flume = { version = "=0.12.0", default-features = false }
kanal = "=0.1.1"
tokio = { version = "=1.54.1", default-features = false, features = ["sync"] }
TOML
cat >src/main.rs <<'RUST'
use std::sync::mpsc::{sync_channel, RecvTimeoutError, SyncSender};
use std::time::Duration;

type Question = SyncSender<()>;

/// Queues a question, drops the receiver, and waits for the answer while the queue's sender is still there.
fn ask<S, R>(name: &str, (sender, receiver): (S, R), send: impl Fn(&S, Question)) {
    let (reply, answer) = sync_channel(1);
    send(&sender, reply);
    drop(receiver);
    let seen = match answer.recv_timeout(Duration::from_millis(300)) {
        Err(RecvTimeoutError::Disconnected) => "told",
        Err(RecvTimeoutError::Timeout) => "waits",
        Ok(()) => "answered",
    };
    println!("{name}: {seen}");
}

fn main() {
    ask("std bounded", sync_channel(4), |s, q| s.send(q).unwrap());
    ask("std unbounded", std::sync::mpsc::channel(), |s, q| s.send(q).unwrap());
    ask("tokio bounded", tokio::sync::mpsc::channel(4), |s, q| s.try_send(q).unwrap());
    ask("tokio unbounded", tokio::sync::mpsc::unbounded_channel(), |s, q| s.send(q).unwrap());
    ask("crossbeam bounded", crossbeam_channel::bounded(4), |s, q| s.send(q).unwrap());
    ask("crossbeam unbounded", crossbeam_channel::unbounded(), |s, q| s.send(q).unwrap());
    ask("flume bounded", flume::bounded(4), |s, q| s.send(q).unwrap());
    ask("flume unbounded", flume::unbounded(), |s, q| s.send(q).unwrap());
    ask("async bounded", async_channel::bounded(4), |s, q| s.try_send(q).unwrap());
    ask("async unbounded", async_channel::unbounded(), |s, q| s.try_send(q).unwrap());
    ask("kanal bounded", kanal::bounded(4), |s, q| assert!(s.try_send(q).unwrap()));
    ask("kanal unbounded", kanal::unbounded(), |s, q| assert!(s.try_send(q).unwrap()));
}
RUST
cargo run --quiet | tee seen
cat >expected <<'TEXT'
std bounded: told
std unbounded: told
tokio bounded: told
tokio unbounded: told
crossbeam bounded: waits
crossbeam unbounded: told
flume bounded: waits
flume unbounded: waits
async bounded: waits
async unbounded: waits
kanal bounded: waits
kanal unbounded: waits
TEXT
if ! diff expected seen; then
    echo "the behaviour has changed" >&2
    exit 1
fi
