//! Conversations, deltas and chains against a model: whatever happens, every body comes back.
#![allow(clippy::cast_possible_truncation, clippy::string_slice)] // Small random numbers.

use std::collections::HashMap;

use bytes::Bytes;

use super::*;

mod chosen;
mod following;

/// A stored payload as the table holds it.
struct Row {
    length: u64,
    encoding: Encoding,
    bases: Option<Bases>,
    data: Vec<u8>,
}

/// Where the messages of a body end.
#[derive(Debug, Clone)]
struct EndNote(Option<usize>);

impl EndNote {
    fn of(body: &[u8]) -> Self {
        const TOOLS: &[u8] = b",\"tools\"";
        let mut windows = body.windows(TOOLS.len());
        Self(windows.rposition(|bytes| bytes == TOOLS))
    }
}

impl Note for EndNote {
    fn held_bytes(&self) -> usize {
        0
    }

    fn messages_end(&self) -> Option<usize> {
        self.0
    }
}

struct Model {
    conversations: DeltaPlanner<EndNote>,
    rows: HashMap<i64, Row>,
    bodies: HashMap<i64, Bytes>,
    next_id: i64,
    packed_bytes: usize,
}

impl Model {
    fn new(cache_bytes: usize) -> Self {
        Self {
            conversations: DeltaPlanner::new(cache_bytes),
            rows: HashMap::new(),
            bodies: HashMap::new(),
            next_id: 1,
            packed_bytes: 0,
        }
    }

    fn store(&mut self, id: i64, body: &Bytes, planned: Planned, texts: &[u8]) {
        assert_eq!(planned.sha256, sha256(body), "resumed digests are digests");
        let content = match planned.delta {
            Some(delta) => Content::Delta(delta),
            None => Content::Alone(body.clone()),
        };
        let length = body.len() as u64;
        let payload = PayloadPlan {
            length,
            sha256: planned.sha256,
            salt: [0; 32],
            kept: length,
            head: None,
            content,
            media: None,
        };
        let packed = payload.pack(&mut Packer::new(), texts);
        let data = packed.data.unwrap();
        self.packed_bytes += data.len();
        self.rows.insert(
            id,
            Row {
                length,
                encoding: packed.encoding,
                bases: packed.bases,
                data,
            },
        );
        self.bodies.insert(id, body.clone());
    }

    fn request(&mut self, conversation: Option<&str>, body: &Bytes) -> (i64, Option<Key>) {
        let id = self.next_id;
        self.next_id += 1;
        let mut texts = Vec::new();
        let mut annotate = |_, _| Some(EndNote::of(body));
        let (planned, key) = self.conversations.request(
            Domain::default(),
            conversation,
            id,
            body,
            Some(&mut annotate),
            &mut texts,
        );
        self.store(id, body, planned, &texts);
        (id, key)
    }

    fn response(&mut self, request: i64, key: Option<&Key>, body: &Bytes) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut texts = Vec::new();
        let planned = self
            .conversations
            .response(key, request, id, body, &mut texts);
        self.store(id, body, planned, &texts);
        id
    }

    /// Decodes without remembering anything; also how many rows it took.
    fn read(&self, id: i64, rows: &mut usize) -> Vec<u8> {
        *rows += 1;
        let row = &self.rows[&id];
        let Some(bases) = row.bases else {
            return unpack_alone(&mut Unpacker::new(), row.encoding, &row.data, row.length)
                .unwrap();
        };
        assert!(bases.first < id && bases.second.is_none_or(|second| second < id));
        // The recursion of a test: each base once, so that it stays small.
        let mut memo = HashMap::new();
        self.read_into(id, &mut memo);
        *rows = memo.len();
        memo.remove(&id).unwrap()
    }

    fn read_into(&self, id: i64, memo: &mut HashMap<i64, Vec<u8>>) {
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            let row = &self.rows[&top];
            let bases: Vec<i64> = row
                .bases
                .into_iter()
                .flat_map(|bases| [Some(bases.first), bases.second])
                .flatten()
                .collect();
            if let Some(missing) = bases.iter().find(|base| !memo.contains_key(base)) {
                stack.push(*missing);
                continue;
            }
            let content = match row.bases {
                None => {
                    unpack_alone(&mut Unpacker::new(), row.encoding, &row.data, row.length).unwrap()
                }
                Some(bases) => {
                    let first = &memo[&bases.first];
                    let second = bases.second.map(|second| memo[&second].as_slice());
                    let applied = Unpacker::new()
                        .apply(first, second, &row.data, row.length)
                        .unwrap();
                    let tail = &first[first.len() - applied.tail..];
                    [&first[..applied.head], &applied.new, tail].concat()
                }
            };
            memo.insert(top, content);
            stack.pop();
        }
    }

    fn check_all(&self) -> usize {
        let mut most = 0;
        for (id, body) in &self.bodies {
            let mut rows = 0;
            assert_eq!(&self.read(*id, &mut rows), body, "payload {id}");
            most = most.max(rows);
        }
        most
    }
}

/// The same in every run of a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn text(&mut self, bytes: u64) -> String {
        let mut text = String::new();
        while (text.len() as u64) < bytes {
            text.push_str(&format!("{:x} ", self.below(5000)));
        }
        text
    }
}

#[test]
fn random_conversations_come_back_whatever_the_cache_forgets() {
    for seed in 1..=15_u64 {
        eprintln!("seed {seed}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // From a cache that holds nothing to one that holds everything.
        let mut model = Model::new([0, 5_000, 60_000, 120_000, 1 << 24][(seed % 5) as usize]);
        let systems: Vec<String> = (0..3).map(|_| random.text(3000)).collect();
        let mut histories: Vec<String> = vec![String::new(); 6];
        let mut unanswered: Vec<(i64, Option<Key>)> = Vec::new();
        for _ in 0..300 {
            let which = random.below(6) as usize;
            match random.below(20) {
                // A history that is cut or edited in the middle.
                0 => {
                    let keep = random.below(histories[which].len() as u64 + 1) as usize;
                    let keep = histories[which].floor_char_boundary(keep);
                    histories[which].truncate(keep);
                }
                1 => histories[which] = random.text(2000),
                _ => {
                    let length = random.below(3000);
                    histories[which].push_str(&random.text(length));
                }
            }
            let name = format!("c-{which}");
            // Some conversations have no name; some put their tools behind the history.
            let name = (which < 4).then_some(name.as_str());
            let system = &systems[which % 3];
            let body = if which.is_multiple_of(2) {
                format!(
                    "{{\"system\":\"{system}\",\"history\":\"{}\"}}",
                    histories[which]
                )
            } else {
                format!(
                    "{{\"history\":\"{}\",\"tools\":\"{system}\"}}",
                    histories[which]
                )
            };
            let body = match random.below(30) {
                0 => Bytes::new(),
                1 => Bytes::from_static(b"{}"),
                2 => Bytes::from(vec![0_u8; 200_000]),
                _ => Bytes::from(body),
            };
            if body.is_empty() {
                continue; // an empty body has no payload
            }
            unanswered.push(model.request(name, &body));
            // Answers come in any order, or never.
            while unanswered.len() > random.below(4) as usize {
                let place = random.below(unanswered.len() as u64) as usize;
                let (request, key) = unanswered.swap_remove(place);
                let length = random.below(1500);
                let quote = histories[which].len().saturating_sub(300);
                let quote = histories[which].floor_char_boundary(quote);
                let answer = format!(
                    "{{\"id\":{request},\"text\":\"{}{}\"}}",
                    &histories[which][quote..],
                    random.text(length)
                );
                model.response(request, key.as_ref(), &Bytes::from(answer));
            }
        }
        let most = model.check_all();
        assert!(most <= 200, "a chain of {most} rows");
    }
}

#[test]
fn a_long_conversation_is_stored_once_and_its_chains_stay_short() {
    let mut random = Random(42);
    let mut model = Model::new(1 << 24);
    let mut history = random.text(4000);
    let mut raw_bytes = 0;
    for turn in 0..400 {
        history.push_str(&random.text(600));
        let body = Bytes::from(format!("{{\"messages\":\"{history}\"}}"));
        raw_bytes += body.len();
        let (request, key) = model.request(Some("c"), &body);
        let answer = random.text(400);
        history.push_str(&answer);
        let answer = Bytes::from(format!("{{\"id\":{turn},\"text\":\"{answer}\"}}"));
        raw_bytes += answer.len();
        model.response(request, key.as_ref(), &answer);
    }
    let most = model.check_all();
    assert!((90..=130).contains(&most), "a chain of {most} rows");
    let ratio = raw_bytes / model.packed_bytes;
    assert!(ratio > 100, "{ratio} x");
}

#[test]
fn an_unnamed_conversation_is_recognised_among_others_with_its_head() {
    let mut random = Random(7);
    let system = random.text(4000);
    let mut histories = [String::new(), String::new(), String::new()];
    let mut model = Model::new(1 << 24);
    let mut raw_bytes = 0;
    for turn in 0..90 {
        let history = &mut histories[turn % 3];
        history.push_str(&random.text(1000));
        let body = Bytes::from(format!(
            "{{\"system\":\"{system}\",\"messages\":\"{history}\"}}"
        ));
        raw_bytes += body.len();
        let (request, key) = model.request(None, &body);
        model.response(request, key.as_ref(), &Bytes::from(random.text(200)));
    }
    model.check_all();
    let ratio = raw_bytes / model.packed_bytes;
    // New parts are random words of less than 1 KiB, whose literals are stored as they are.
    assert!(ratio > 12, "{ratio} x");
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let mut random = Random(3);
    let mut model = Model::new(100_000);
    for number in 0..500 {
        let length = random.below(8000);
        let body = Bytes::from(random.text(length));
        if body.is_empty() {
            continue;
        }
        let (request, key) = model.request(Some(&format!("c-{number}")), &body);
        model.response(request, key.as_ref(), &body);
        // A fifth is the allocator's.
        assert!(model.conversations.held_bytes() <= 80_000);
    }
    model.check_all();
}

#[test]
fn damaged_deltas_are_refused() {
    let mut random = Random(9);
    let first = Bytes::from(random.text(5000));
    let second = Bytes::from(format!("{}{}", random.text(2000), random.text(3000)));
    let mut model = Model::new(1 << 20);
    model.request(Some("c"), &first);
    let (id, _) = model.request(Some("c"), &second);
    let row = &model.rows[&id];
    assert_eq!(row.encoding, Encoding::Delta);
    for position in 0..row.data.len().min(60) {
        for bit in 0..8 {
            let mut data = row.data.clone();
            data[position] ^= 1 << bit;
            // Refused, or a content of the recorded length that its digest gives away.
            if let Some(applied) = Unpacker::new().apply(&first, None, &data, row.length) {
                let length = applied.head + applied.new.len() + applied.tail;
                assert_eq!(length as u64, row.length);
            }
        }
        assert!(
            Unpacker::new()
                .apply(&first, None, &row.data[..position], row.length)
                .is_none()
        );
    }
    assert!(
        Unpacker::new()
            .apply(&first, None, &row.data, row.length + 1)
            .is_none()
    );
    assert!(
        Unpacker::new()
            .apply(&first, None, &row.data, u64::MAX)
            .is_none()
    );
}
