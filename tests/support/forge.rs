//! Forged removals: removed lines that no event records, records of removals that did not happen, and changed records.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use rand::rngs::StdRng;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use zstd::bulk::Decompressor;

struct Segment {
    first_seq: i64,
    lines: Vec<String>,
}

fn segments(connection: &Connection) -> Vec<Segment> {
    let dictionary = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/log/dictionary_2.txt"
    ));
    let dictionary = dictionary.unwrap();
    let mut statement = connection
        .prepare("SELECT first_seq, length, encoding, data FROM log_segments ORDER BY first_seq")
        .unwrap();
    let rows = statement.query_map([], |row| {
        let (length, encoding, data): (i64, i64, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let length = length as usize;
        let text = match encoding {
            0 => data,
            1 => zstd::bulk::decompress(&data, length).unwrap(),
            _ => Decompressor::with_dictionary(&dictionary)
                .unwrap()
                .decompress(&data, length)
                .unwrap(),
        };
        let text = String::from_utf8(text).unwrap();
        Ok(Segment {
            first_seq: row.get(0)?,
            lines: text.lines().map(str::to_owned).collect(),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn write(connection: &Connection, segment: &Segment) {
    let text: String = segment
        .lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    connection
        .execute(
            "UPDATE log_segments SET length = ?2, encoding = 0, data = ?3 WHERE first_seq = ?1",
            params![segment.first_seq, text.len() as i64, text.as_bytes()],
        )
        .unwrap();
}

fn removed(line: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(line.as_bytes());
    format!("#{}", STANDARD.encode(hasher.finalize()))
}

/// One forged removal; says which.
pub fn forge(connection: &Connection, random: &mut StdRng) -> String {
    let mut segments = segments(connection);
    let mut places = Vec::new();
    for (segment, lines) in segments.iter().enumerate() {
        places.extend((0..lines.lines.len()).map(|line| (segment, line)));
    }
    let place = places[random.random_range(0..places.len())];
    let (at, line) = place;
    let end: i64 = segments
        .last()
        .map(|last| last.first_seq + last.lines.len() as i64)
        .unwrap();
    let seq = segments[at].first_seq + line as i64;
    let segment = &mut segments[at];
    let text = segment.lines[line].clone();
    match random.random_range(0..6) {
        // A line is gone, and its leaf stays.
        0 if text.starts_with('{') => {
            segment.lines[line] = removed(&text);
            write(connection, segment);
            format!("the line of seq {seq} taken out")
        }
        // The same, with its rows and its content, and a row that says why.
        1 if text.starts_with('{') => {
            segment.lines[line] = removed(&text);
            write(connection, segment);
            let kind = ["erased", "metadata", "content"][random.random_range(0..3)];
            connection
                .execute(
                    "INSERT OR IGNORE INTO removals VALUES (?1, ?2, ?2, ?3, 0)",
                    params![kind, seq, end - 1],
                )
                .unwrap();
            for sql in [
                "DELETE FROM requests WHERE opened_seq = ?1",
                "DELETE FROM payloads WHERE payload_id BETWEEN ?1 * 4 AND ?1 * 4 + 3",
            ] {
                connection.execute(sql, [seq]).unwrap();
            }
            format!("seq {seq} taken out with everything, a row says {kind}")
        }
        // A statement of what is not missing, at the end of the log.
        2 => {
            let (from, to) = (random.random_range(0..end), end);
            let line = match random.random_range(0..2) {
                0 => format!(
                    "{{\"seq\":{end},\"at\":1,\"event\":\"pruned\",\"what\":\"content\",\"from\":{from},\"to\":{to}}}\n"
                ),
                _ => format!(
                    "{{\"seq\":{end},\"at\":1,\"event\":\"pruned\",\"what\":\"metadata\",\"from\":{from},\"to\":{to},\"requests\":1}}\n"
                ),
            };
            connection
                .execute(
                    "INSERT INTO log_segments (first_seq, count, length, encoding, data, tree) \
                     SELECT ?1, 1, ?2, 0, ?3, tree FROM log_segments ORDER BY first_seq DESC LIMIT 1",
                    params![end, line.len() as i64, line.as_bytes()],
                )
                .unwrap();
            connection
                .execute("DELETE FROM payloads WHERE payload_id >= ?1 * 4", [from])
                .unwrap();
            format!("a forged event: {line}")
        }
        // What a statement says is changed.
        3 => {
            let statement = places.iter().find(|(segment, line)| {
                let line = &segments[*segment].lines[*line];
                line.contains("\"event\":\"pruned\"") || line.contains("\"event\":\"erased\"")
            });
            let Some(&(at, line)) = statement else {
                return "nothing".to_owned();
            };
            let segment = &mut segments[at];
            let digit = ["0", "1", "2", "3"][random.random_range(0..4)];
            let changed = segment.lines[line].replacen(digit, "4", 9);
            segment.lines[line] = changed;
            write(connection, segment);
            format!(
                "{digit} changed to 4 in the statement at line {line} of {}",
                segment.first_seq
            )
        }
        // A hash in a line's place is another one.
        4 if text.starts_with('#') => {
            segment.lines[line] = removed("something else");
            write(connection, segment);
            format!("another hash in the place of seq {seq}")
        }
        // An event in the place of a line that was taken out.
        5 if text.starts_with('#') => {
            segment.lines[line] = format!(
                "{{\"seq\":{seq},\"at\":1,\"event\":\"opened\",\"request_id\":\"x\",\"request_body\":{{\"length\":0}}}}"
            );
            write(connection, segment);
            format!("an event made up for seq {seq}")
        }
        // Content is gone, and nothing else.
        _ => {
            let sql = "DELETE FROM payloads WHERE payload_id = (SELECT payload_id FROM payloads \
                       LIMIT 1 OFFSET ?1)";
            let changed = connection
                .execute(sql, [random.random_range(0..20)])
                .unwrap();
            format!("{changed} payloads deleted")
        }
    }
}
