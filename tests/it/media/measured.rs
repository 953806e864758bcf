//! What media cost and save, for the tables in `docs/performance.md`:
//!
//! ```text
//! cargo test --all-features --test it media::measured -- --ignored --nocapture
//! ```

use super::{Recorded, body, image, said, shown, words};
use crate::support::{Folder, sqlite};

/// Processor time of this process, in milliseconds.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    (ticks(12) + ticks(13)) * 10
}

/// Conversations of three turns, each with one of the images in its first. Returns bytes of the file, and the processor
/// time of each conversation in microseconds. Without their key, media stay in bodies, as they did before there were
/// any.
fn measure(conversations: u64, images: &[String], has_media: bool) -> (u64, u64) {
    let mut recorded = Recorded::with(Folder::new());
    recorded.close();
    if !has_media {
        sqlite(&recorded.folder)
            .execute("DELETE FROM media_key", [])
            .unwrap();
    }
    recorded.reopen();
    let bodies: Vec<Vec<String>> = (0..conversations)
        .map(|number| {
            let image = images[number as usize % images.len()].as_str();
            let mut messages = vec![said("system", &words(number, 3000))];
            messages.push(shown("what is it?", &[image]));
            let turns = (0..3).map(|turn| {
                let body = body(&messages);
                messages.push(said("user", &words(number * 10 + turn, 500)));
                body
            });
            turns.collect()
        })
        .collect();
    let begun = processor_ms();
    for (number, turns) in bodies.into_iter().enumerate() {
        for (turn, body) in turns.into_iter().enumerate() {
            recorded.turn(&format!("c{number}"), turn, body, "{}".to_owned());
        }
    }
    recorded.flush();
    let spent = processor_ms() - begun;
    let bytes = recorded.file_bytes();
    recorded.check();
    (bytes, spent * 1000 / conversations)
}

#[test]
#[ignore = "a measurement; docs/performance.md has its figures"]
fn what_media_cost_and_save() {
    for has_media in [false, true] {
        let what = if has_media {
            "stored once"
        } else {
            "in bodies"
        };
        let (bytes, _) = measure(8, &[image(1, 786_000)], has_media);
        eprintln!("{what}: 786 KB in 8 conversations: {bytes} bytes");
        for (name, count) in [("the same", 1), ("each its own", 64)] {
            let images: Vec<_> = (0..count).map(|seed| image(seed, 1 << 20)).collect();
            let mut times: Vec<_> = (0..3).map(|_| measure(64, &images, has_media)).collect();
            times.sort_by_key(|(_, time)| *time);
            let (bytes, time) = times[1];
            eprintln!("{what}: 1 MiB in 64 conversations, {name}: {bytes} bytes, {time} us each");
        }
    }
}
