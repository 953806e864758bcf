//! Fuzzing of everything that is decoded from a file: events, segments, payloads, whole files.
//! Part of the crate's own tests, because the decoders are not public; in-process, seeded, on stable Rust.
//! `AUDITLITE_FUZZ_SECONDS` sets how long each test runs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

mod files;

use fastrand::Rng;

use crate::log::{Event, SegmentDecoder, SegmentEncoder, lines};
use crate::payload::{Effort, Encoding, Packer, Unpacker, unpack_alone};
use crate::tests::seeds;

#[path = "../../../tests/support/mutation.rs"]
mod mutation;

use mutation::{corpus, fuzz, mutated};

/// The memory that a decoder may take in addition to the recorded length of its content.
const SLACK_BYTES: usize = 1 << 16;

/// An event that was read is written as a line that reads as the same event.
#[test]
fn an_event_that_is_read_is_written_as_it_was() {
    let inputs = corpus("event_");
    for input in &inputs {
        assert!(
            Event::from_line(input).is_ok(),
            "{}",
            String::from_utf8_lossy(input)
        );
    }
    fuzz("AUDITLITE_FUZZ_EVENT_SEED", |rng| {
        let input = mutated(rng, &inputs);
        let Ok(event) = Event::from_line(&input) else {
            return;
        };
        let mut line = Vec::new();
        event.write_line(&mut line).unwrap();
        let again = Event::from_line(&line).unwrap();
        assert_eq!(again, event);
        let mut second = Vec::new();
        again.write_line(&mut second).unwrap();
        assert_eq!(line, second);
    });
}

/// A segment unpacks to exactly its recorded length, or not at all.
#[test]
fn a_segment_unpacks_to_its_recorded_length_or_not_at_all() {
    let events = corpus("event_");
    let mut encoder = SegmentEncoder::new().unwrap();
    let mut decoder = SegmentDecoder::new().unwrap();
    let mut inputs = Vec::new();
    for count in 1..=events.len() {
        let text = events[..count].concat();
        let (encoding, data) = encoder.encode(&text);
        assert_eq!(
            decoder
                .decode(encoding, data.clone(), text.len() as u64, count as u64)
                .unwrap(),
            text
        );
        inputs.push(data);
    }
    let long = events.concat().repeat(20);
    inputs.push(encoder.encode(&long).1);
    inputs.extend(corpus("frame_"));
    fuzz("AUDITLITE_FUZZ_SEGMENT_SEED", |rng| {
        let data = mutated(rng, &inputs);
        let length = lengths(rng, &data);
        let encoding = rng.i64(-1..4);
        let count = rng.u64(..2 * events.len() as u64);
        if let Ok(text) = decoder.decode(encoding, data, length, count) {
            assert_eq!(text.len() as u64, length);
            assert_eq!(lines(&text).count() as u64, count);
            assert!(text.capacity() <= text.len() + SLACK_BYTES);
            for line in lines(&text) {
                let _ = Event::from_line(line);
            }
        }
    });
}

/// Recorded lengths: what the frame itself says, something near it, or anything.
fn lengths(rng: &mut Rng, data: &[u8]) -> u64 {
    let stated = zstd::zstd_safe::get_frame_content_size(data).ok().flatten();
    match (rng.u8(..8), stated) {
        (0, _) => rng.u64(..),
        (1, _) => data.len() as u64,
        (2, Some(stated)) => stated.wrapping_add(1),
        (_, Some(stated)) => stated.min(1 << 28),
        (_, None) => rng.u64(..1 << 16),
    }
}

/// A payload unpacks to exactly its recorded length, or not at all, whatever its frame says.
#[test]
fn a_payload_unpacks_to_its_recorded_length_or_not_at_all() {
    let bodies = [
        vec![b'a'; 100_000],
        br#"{"messages":[{"role":"user","content":"words"}]}"#.repeat(40),
        (0..=255).collect::<Vec<u8>>(),
    ];
    let mut inputs = corpus("frame_");
    inputs.extend(corpus("delta_"));
    for body in &bodies {
        let mut packer = Packer::new();
        inputs.push(packer.frame(Effort::Level(3), &[], body).unwrap().to_vec());
        // As a delta: five numbers, then the frame.
        for header in [[0_u8, 0, 0, 0, 0], [64, 30, 0, 64, 16], [100, 1, 1, 100, 0]] {
            let prefix = bodies[1].get(..usize::from(header[3])).unwrap();
            let effort = Effort::Prefix { has_huffman: true };
            let frame = packer.frame(effort, prefix, body).unwrap();
            inputs.push([&header, frame].concat());
        }
    }
    fuzz("AUDITLITE_FUZZ_PAYLOAD_SEED", |rng| {
        let data = mutated(rng, &inputs);
        let kept = lengths(rng, &data);
        for encoding in [Encoding::AsIs, Encoding::Zstd, Encoding::Delta] {
            if let Some(content) = unpack_alone(&mut Unpacker::new(), encoding, &data, kept) {
                assert_eq!(content.len() as u64, kept);
                let bound = content.len().max(data.len()) + SLACK_BYTES;
                assert!(content.capacity() <= bound);
            }
        }
        let first = &bodies[rng.usize(..bodies.len())];
        let second = rng
            .bool()
            .then(|| bodies[rng.usize(..bodies.len())].as_slice());
        let length = match rng.bool() {
            true => lengths(rng, data.get(4..).unwrap_or_default())
                .saturating_add(u64::from(data.first().copied().unwrap_or(0))),
            false => kept,
        };
        if let Some(applied) = Unpacker::new().apply(first, second, &data, length) {
            let copied = applied.head + applied.tail;
            assert_eq!((copied + applied.new.len()) as u64, length);
            assert!(copied <= first.len());
            assert!(applied.new.capacity() <= applied.new.len() + SLACK_BYTES);
        }
    });
}

/// Small frames that say they hold, or do hold, very much: refused before memory is taken.
#[test]
fn small_frames_that_hold_very_much_are_refused() {
    let bomb = Packer::new()
        .frame(Effort::Level(19), &[], &vec![0_u8; 200 << 20])
        .unwrap()
        .to_vec();
    assert!(bomb.len() < 100_000);
    let before = resident_peak_kib();
    // What was recorded is less than what the frame holds.
    for kept in [0, 1, 1000, 1 << 20, (200 << 20) - 1] {
        assert_eq!(
            unpack_alone(&mut Unpacker::new(), Encoding::Zstd, &bomb, kept),
            None
        );
        let mut delta = vec![0, 0, 0, 0];
        delta.extend_from_slice(&bomb);
        assert!(Unpacker::new().apply(b"base", None, &delta, kept).is_none());
        assert!(
            SegmentDecoder::new()
                .unwrap()
                .decode(1, bomb.clone(), kept, 1)
                .is_err()
        );
    }
    // What was recorded is absurd, and the frame says the same: nothing is behind it.
    let mut liar = vec![0x28, 0xB5, 0x2F, 0xFD, 0xE0];
    liar.extend_from_slice(&(100_u64 << 20).to_le_bytes());
    liar.extend_from_slice(&[1, 0, 0]);
    assert_eq!(
        zstd::zstd_safe::get_frame_content_size(&liar).unwrap(),
        Some(100 << 20)
    );
    assert_eq!(
        unpack_alone(&mut Unpacker::new(), Encoding::Zstd, &liar, 100 << 20),
        None
    );
    assert!(
        SegmentDecoder::new()
            .unwrap()
            .decode(1, liar, 100 << 20, 1)
            .is_err()
    );
    if let Some((before, after)) = before.zip(resident_peak_kib()) {
        // Other tests run beside this one; the bomb would be 200 MiB.
        assert!(after - before < 150 << 10, "{before} KiB, then {after} KiB");
    }
}

/// Peak of the process's memory, where the system tells.
fn resident_peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
