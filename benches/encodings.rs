//! The experiment behind the payload encoding: what each way of packing bodies costs and saves.
//!
//! `cargo bench --bench encodings -- --corpus FILE…` prints, for requests and for responses, the
//! ratio (bytes of bodies : bytes packed), the packed bytes of each and the speed. Single-threaded,
//! packing only. Each way sees the bodies in order, and the body before in its conversation. Then how fast
//! a body is told from another: by comparing, and by hashes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::arguments::Arguments;
use common::processor;
use common::traffic::{self, Exchange};
use highway::{HighwayHash, HighwayHasher};
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_128;
use zstd::zstd_safe::{CCtx, CParameter};

/// What a body is packed against.
struct Before<'a> {
    request: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
}

fn main() {
    let arguments = Arguments::read("Ways of packing bodies.");
    let exchanges = traffic::load(&arguments);
    let mut last: HashMap<&str, usize> = HashMap::new();
    let before: Vec<Before<'_>> = exchanges
        .iter()
        .enumerate()
        .map(|(index, exchange)| {
            let last = last.insert(exchange.conversation.as_str(), index);
            Before {
                request: last.map(|last| exchanges[last].request.as_ref()),
                response: last.map(|last| exchanges[last].response.as_ref()),
            }
        })
        .collect();
    requests(&exchanges, &before);
    responses(&exchanges, &before);
    efforts(&exchanges, &before);
    hashing();
}

fn report(what: &str, raw: usize, packed: usize, count: usize, elapsed: Duration) {
    eprintln!(
        "{what:<58} {:>7.1} x {:>9.0} B each {:>8.0} MB/s",
        raw as f64 / packed as f64,
        packed as f64 / count as f64,
        raw as f64 / elapsed.as_secs_f64() / 1e6
    );
}

fn context<'a>(level: i32) -> CCtx<'a> {
    let mut context = CCtx::create();
    context
        .set_parameter(CParameter::CompressionLevel(level))
        .unwrap();
    context
}

fn pack<'a>(context: &mut CCtx<'a>, prefix: &'a [u8], body: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(body.len()));
    if !prefix.is_empty() {
        context.ref_prefix(prefix).unwrap();
    }
    context.compress2(out, body).unwrap()
}

/// Length of the common head.
fn common_head(left: &[u8], right: &[u8]) -> usize {
    const STEP: usize = 1024;
    let blocks = left
        .chunks_exact(STEP)
        .zip(right.chunks_exact(STEP))
        .take_while(|(left, right)| left == right)
        .count();
    let start = blocks * STEP;
    start
        + left[start..]
            .iter()
            .zip(&right[start..])
            .take_while(|(left, right)| left == right)
            .count()
}

/// Length of the common tail: tools and parameters that follow the messages.
fn common_tail(left: &[u8], right: &[u8]) -> usize {
    let pairs = left.iter().rev().zip(right.iter().rev());
    pairs.take_while(|(left, right)| left == right).count()
}

fn requests<'a>(exchanges: &'a [Exchange], before: &'a [Before<'a>]) {
    let raw: usize = exchanges
        .iter()
        .map(|exchange| exchange.request.len())
        .sum();
    let mut out = Vec::new();
    for level in [1, 3] {
        let mut context = context(level);
        let begun = Instant::now();
        let packed = exchanges
            .iter()
            .map(|exchange| pack(&mut context, &[], &exchange.request, &mut out))
            .sum();
        report(
            &format!("requests alone, zstd {level}"),
            raw,
            packed,
            exchanges.len(),
            begun.elapsed(),
        );
    }
    for level in [1, 3] {
        let mut context = context(level);
        let begun = Instant::now();
        let packed = exchanges
            .iter()
            .zip(before)
            .map(|(exchange, before)| {
                pack(
                    &mut context,
                    before.request.unwrap_or_default(),
                    &exchange.request,
                    &mut out,
                )
            })
            .sum();
        report(
            &format!("requests, whole body before as prefix, zstd {level}"),
            raw,
            packed,
            exchanges.len(),
            begun.elapsed(),
        );
    }
    for with_response in [false, true] {
        for window in [0, 4 << 10, 16 << 10, 64 << 10] {
            for level in [1, 3, 6] {
                // Prefixes are put together per body, and must outlive the context: kept.
                let prefixes: Vec<(usize, Vec<u8>)> = exchanges
                    .iter()
                    .zip(before)
                    .map(|(exchange, before)| {
                        let Some(base) = before.request else {
                            return (0, Vec::new());
                        };
                        let head = common_head(base, &exchange.request);
                        let mut prefix = Vec::new();
                        prefix.extend_from_slice(&base[head.saturating_sub(window)..]);
                        if with_response {
                            prefix.extend_from_slice(before.response.unwrap_or_default());
                        }
                        (head, prefix)
                    })
                    .collect();
                let mut context = context(level);
                let begun = Instant::now();
                let mut packed = 0;
                for ((exchange, before), (head, prefix)) in
                    exchanges.iter().zip(before).zip(&prefixes)
                {
                    // The work of finding the head and copying the prefix counts too.
                    if let Some(base) = before.request {
                        let head = common_head(base, &exchange.request);
                        let mut copied = base[head.saturating_sub(window)..].to_vec();
                        if with_response {
                            copied.extend_from_slice(before.response.unwrap_or_default());
                        }
                        std::hint::black_box(copied);
                    }
                    packed += 4 + pack(&mut context, prefix, &exchange.request[*head..], &mut out);
                }
                report(
                    &format!(
                        "requests, head cut, {:>2} KiB before it{}, zstd {level}",
                        window >> 10,
                        if with_response {
                            " + response before"
                        } else {
                            ""
                        }
                    ),
                    raw,
                    packed,
                    exchanges.len(),
                    begun.elapsed(),
                );
            }
        }
    }
}

fn responses<'a>(exchanges: &'a [Exchange], before: &'a [Before<'a>]) {
    let raw: usize = exchanges
        .iter()
        .map(|exchange| exchange.response.len())
        .sum();
    let mut out = Vec::new();
    let mut first: Option<&[u8]> = None;
    for (name, own_request, level) in [
        ("alone", None, 3),
        ("response before as prefix", Some(0), 1),
        ("response before as prefix", Some(0), 3),
        (
            "response before + 4 KiB of the request as prefix",
            Some(4 << 10),
            1,
        ),
        (
            "response before + 4 KiB of the request as prefix",
            Some(4 << 10),
            3,
        ),
        (
            "response before + 16 KiB of the request as prefix",
            Some(16 << 10),
            3,
        ),
        (
            "response before + 16 KiB of the request as prefix",
            Some(16 << 10),
            1,
        ),
        (
            "response before + 64 KiB of the request as prefix",
            Some(64 << 10),
            3,
        ),
    ] {
        let prefixes: Vec<Vec<u8>> = exchanges
            .iter()
            .zip(before)
            .map(|(exchange, before)| {
                let Some(own) = own_request else {
                    return Vec::new();
                };
                let request = &exchange.request;
                let mut prefix = request[request.len().saturating_sub(own)..].to_vec();
                let response = before.response.or(first).unwrap_or_default();
                first = Some(exchange.response.as_ref());
                prefix.extend_from_slice(response);
                prefix
            })
            .collect();
        let mut context = context(level);
        let begun = Instant::now();
        let packed = exchanges
            .iter()
            .zip(&prefixes)
            .map(|(exchange, prefix)| pack(&mut context, prefix, &exchange.response, &mut out))
            .sum();
        report(
            &format!("responses, {name}, zstd {level}"),
            raw,
            packed,
            exchanges.len(),
            begun.elapsed(),
        );
    }
}

/// The shortest match (0: as zstd sees fit), and from how many new bytes on literals are Huffman coded.
const EFFORTS: [(&str, u32, usize); 4] = [
    ("zstd 1", 0, 0),
    ("zstd 1, matches of 6", 6, 0),
    ("the same, Huffman from 1 KiB", 6, 1024),
    ("the same, no Huffman", 6, usize::MAX),
];

/// What packing costs that is all prefix and short new parts, as both sides of the writer's are:
/// 2 KiB before the cut and the response before; the common tail is cut off too.
fn efforts<'a>(exchanges: &'a [Exchange], before: &'a [Before<'a>]) {
    const WINDOW: usize = 2 << 10;
    // Prefix and new part adjoin.
    let jobs: Vec<(Vec<u8>, usize)> = exchanges
        .iter()
        .zip(before)
        .flat_map(|(exchange, before)| {
            let base = before.request?;
            let response = before.response?;
            let body = &exchange.request;
            let head = common_head(base, body);
            let tail = common_tail(&base[head..], &body[head..]);
            let own = body.len().saturating_sub(WINDOW);
            let replaced = &base[head.saturating_sub(WINDOW)..base.len() - tail];
            let request = [replaced, response, &body[head..body.len() - tail]];
            let reply = [&body[own..], response, &exchange.response];
            Some([
                (request.concat(), body.len() - tail - head),
                (reply.concat(), exchange.response.len()),
            ])
        })
        .flatten()
        .collect();
    let raw = jobs.iter().map(|(_, new)| new).sum();
    for (name, min_match, huffman_from) in EFFORTS {
        let mut context = context(1);
        let mut out = Vec::new();
        context
            .set_parameter(CParameter::MinMatch(min_match))
            .unwrap();
        let begun = Instant::now();
        let packed = jobs
            .iter()
            .map(|(job, new)| {
                let (prefix, new) = job.split_at(job.len() - new);
                // At this level, a target length leaves literals as they are.
                let target = u32::from(new.len() < huffman_from);
                context
                    .set_parameter(CParameter::TargetLength(target))
                    .unwrap();
                pack(&mut context, prefix, new, &mut out)
            })
            .sum();
        report(
            &format!("new parts of both, {name}"),
            raw,
            packed,
            jobs.len(),
            begun.elapsed(),
        );
    }
}

/// What is done with a body and the one before it.
type Way<'w> = &'w dyn Fn(&[u8], &[u8]) -> u64;

/// Bodies of a length that agents send, more of them than the processor's caches hold.
const COLD_BODY_BYTES: usize = 83 * 1024;
const COLD_TOTAL_BYTES: usize = 256 << 20;
/// The length of a block that has a fingerprint of its own.
const BLOCK_BYTES: usize = 2048;
/// The best of so many rounds counts: whatever else the machine does only adds.
const HASH_ROUNDS: usize = 9;

/// How fast it can be told that a body begins with the body before: comparing it needs that one in memory, a
/// fingerprint needs 16 bytes a block. Keyed ones are safe against who chooses bodies.
fn hashing() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bodies = vec![0_u8; COLD_TOTAL_BYTES];
    random.fill(&mut bodies);
    let before = bodies.clone();
    let highway_key = highway::Key([1, 2, 3, 4]);
    let blake_key = [7; 32];
    let blocks = |body: &[u8], hash: &dyn Fn(&[u8]) -> u64| {
        let blocks = body.chunks(BLOCK_BYTES);
        blocks.fold(0, |sum, block| sum ^ hash(block))
    };
    let highway_128 = |block: &[u8]| HighwayHasher::new(highway_key).hash128(block)[0];
    let xxh3 = |block: &[u8]| XxHash3_128::oneshot_with_seed(9, block) as u64;
    let blake3 = |block: &[u8]| u64::from(blake3::keyed_hash(&blake_key, block).as_bytes()[0]);
    let sha_256 = |block: &[u8]| u64::from(Sha256::digest(block)[0]);
    let ways: [(&str, Way<'_>); 9] = [
        ("comparing", &|body, before| u64::from(body == before)),
        ("xxh3-128, blocks of 2 KiB", &|body, _| blocks(body, &xxh3)),
        ("xxh3-128, whole", &|body, _| xxh3(body)),
        ("HighwayHash-128, keyed, blocks of 2 KiB", &|body, _| {
            blocks(body, &highway_128)
        }),
        ("HighwayHash-256, keyed, whole", &|body, _| {
            HighwayHasher::new(highway_key).hash256(body)[0]
        }),
        ("BLAKE3, keyed, blocks of 2 KiB", &|body, _| {
            blocks(body, &blake3)
        }),
        ("BLAKE3, keyed, whole", &|body, _| blake3(body)),
        ("SHA-256, blocks of 2 KiB", &|body, _| {
            blocks(body, &sha_256)
        }),
        ("SHA-256, whole", &|body, _| sha_256(body)),
    ];
    let mut best = [f64::MAX; 9];
    let begun = Instant::now();
    let now = || processor::thread_seconds().unwrap_or_else(|| begun.elapsed().as_secs_f64());
    for _ in 0..HASH_ROUNDS {
        for ((_, hash), best) in ways.iter().zip(&mut best) {
            let before_this = now();
            let pairs = bodies
                .chunks(COLD_BODY_BYTES)
                .zip(before.chunks(COLD_BODY_BYTES));
            for (body, before) in pairs {
                std::hint::black_box(hash(body, before));
            }
            *best = (now() - before_this).min(*best);
        }
    }
    for ((name, _), best) in ways.iter().zip(best) {
        let speed = COLD_TOTAL_BYTES as f64 / best / 1e9;
        eprintln!("{name:<58} {speed:>7.2} GB/s");
    }
}
