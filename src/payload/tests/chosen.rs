//! A campaign of bodies that are chosen to deceive the planner: whatever they are, each comes back.
//!
//! `AUDITLITE_CHOSEN_CASES` sets how many cases there are, each of some hundred bodies; `AUDITLITE_CHOSEN_SEED`
//! is the seed of the first one, and the others count on from it.

use super::*;
use crate::tests::seeds;

const CONVERSATIONS: u64 = 10;
const STEPS: usize = 250;
const BLOCK: usize = 2048;
const BODY_BYTES_MAX: usize = 48 * 1024;

/// Conversations, the body that each of them ended with, and what is to be done next.
struct Attack {
    random: Random,
    model: Model,
    cache_bytes: usize,
    last: Vec<Vec<u8>>,
    /// The rows of each conversation's last request and response.
    last_ids: Vec<Option<(i64, Option<i64>)>>,
    /// Bodies that were packed against others of their conversation before the last opening.
    continued: u64,
}

impl Attack {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // From nothing, over fingerprints of one body or of all, to all bodies whole.
        let sizes = [0, 6_000, 30_000, 60_000, 120_000, 250_000, 1 << 24];
        let cache_bytes = sizes[random.below(sizes.len() as u64) as usize];
        Self {
            last: (0..CONVERSATIONS).map(|_| fresh(&mut random)).collect(),
            last_ids: vec![None; CONVERSATIONS as usize],
            model: Model::new(cache_bytes),
            cache_bytes,
            continued: 0,
            random,
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.restart(),
            1 => {
                let ids = self.model.next_id.cast_unsigned();
                let id = 1 + self.random.below(ids).cast_signed();
                self.model.conversations.forget(vec![(id, id + 3)]);
                // What is removed is no conversation's to go on with.
                for ids in &mut self.last_ids {
                    if ids.is_some_and(|(request, _)| request <= id + 3) {
                        *ids = None;
                    }
                }
            }
            _ => self.record(),
        }
    }

    /// The store is opened again; some conversations are read back.
    fn restart(&mut self) {
        self.continued += self.model.conversations.counts().continued;
        self.model.conversations = DeltaPlanner::new(self.cache_bytes);
        for which in 0..CONVERSATIONS as usize {
            let Some((id, response)) = self.last_ids[which] else {
                continue;
            };
            if self.random.below(2) == 0 {
                continue;
            }
            let mut rows = 0;
            let body = self.model.read(id, &mut rows);
            let depth = rows as u32 - 1;
            let bytes = body.len() as u64;
            let resumed = Resumed {
                id,
                place: ChainPlace {
                    depth,
                    bytes,
                    keyframe_depth: depth,
                },
                keyframe: Keyframe {
                    id,
                    depth,
                    chain_bytes: bytes,
                    common: body.len(),
                },
                response: response.map(|id| (id, self.model.read(id, &mut 0).into())),
                body: body.into(),
            };
            let name = format!("c-{which}");
            let planner = &mut self.model.conversations;
            planner.resume(Domain::default(), &name, resumed);
        }
    }

    fn record(&mut self) {
        let which = self.random.below(CONVERSATIONS) as usize;
        let body = self.next_body(which);
        if body.is_empty() {
            return;
        }
        // Some are under the name of another, or under none.
        let named = match self.random.below(12) {
            0 => Some(self.random.below(CONVERSATIONS) as usize),
            1 | 2 => None,
            _ => Some(which),
        };
        let name = named.map(|number| format!("c-{number}"));
        let bytes = Bytes::from(body.clone());
        let (request, key) = self.model.request(name.as_deref(), &bytes);
        let response = (self.random.below(3) > 0).then(|| {
            // Quotes the request, or is it.
            let quoted = self.random.below(body.len() as u64) as usize;
            let response = Bytes::from(body[quoted..].to_vec());
            self.model.response(request, key.as_ref(), &response)
        });
        if let Some(number) = named {
            self.last_ids[number] = Some((request, response));
        }
        self.last[which] = body;
    }

    /// A body that resembles the last one of its conversation, or of another.
    fn next_body(&mut self, which: usize) -> Vec<u8> {
        let other = self.random.below(CONVERSATIONS) as usize;
        let other = self.last[other].clone();
        let mut body = self.last[which].clone();
        if body.len() < 2 * BLOCK {
            return fresh(&mut self.random);
        }
        let at = self.place(body.len());
        match self.random.below(22) {
            // What a conversation does.
            0..=4 => self.append(&mut body),
            5 => {
                let tail = body.split_off(at);
                self.append(&mut body);
                body.extend_from_slice(&tail);
            }
            // One byte, one bit, two bytes that change places: at the edge of a block, or in it.
            6 | 7 => body[at] ^= 1 << self.random.below(8),
            8 => {
                let distance = [1, 8, 16, 32, BLOCK][self.random.below(5) as usize];
                let second = (at + distance).min(body.len() - 1);
                body.swap(at, second);
            }
            9 => {
                let second = (at + 1 + self.random.below(64) as usize).min(body.len() - 1);
                body[at] = body[at].wrapping_add(1);
                body[second] = body[second].wrapping_sub(1);
            }
            10 => body.truncate(at),
            11 => body.extend_from_within(..),
            // Everything behind a place is shifted, by whole blocks or by nearly as much.
            12 => {
                let count = [1, 7, BLOCK - 1, BLOCK, BLOCK + 1][self.random.below(5) as usize];
                let inserted: Vec<u8> = body.iter().copied().cycle().take(count).collect();
                body.splice(at..at, inserted);
            }
            13 => {
                let end = (at + BLOCK).min(body.len());
                body.drain(at..end);
            }
            // Blocks change places, or come from another conversation.
            14 => {
                let blocks = body.len() / BLOCK;
                let first = self.random.below(blocks as u64) as usize * BLOCK;
                let second = self.random.below(blocks as u64) as usize * BLOCK;
                for offset in 0..BLOCK {
                    body.swap(first + offset, second + offset);
                }
            }
            15 => {
                let start = at / BLOCK * BLOCK;
                let end = (start + BLOCK).min(body.len()).min(other.len());
                if start < end {
                    body[start..end].copy_from_slice(&other[start..end]);
                }
            }
            // The head of one and the tail of another.
            16 => {
                body.truncate(at);
                body.extend_from_slice(other.get(at..).unwrap_or_default());
            }
            17 => {
                let tail = body.split_off(at);
                body = other.get(..at).unwrap_or(&other).to_vec();
                body.extend_from_slice(&tail);
            }
            // The same end behind another beginning, of the same length or of another.
            18 => {
                let tail = body.split_off(body.len() - body.len() / 3);
                let length = body.len() - [0, 1, 64, BLOCK][self.random.below(4) as usize];
                body = self.random.text(length as u64).into_bytes();
                body.truncate(length);
                body.extend_from_slice(&tail);
            }
            19 => body = other,
            20 => body = vec![body[at]; body.len()],
            _ => body = fresh(&mut self.random),
        }
        body.truncate(BODY_BYTES_MAX);
        body
    }

    /// A place in a body: often where a block begins or ends, counted from the start or from the end, or near
    /// what is kept of the end.
    fn place(&mut self, length: usize) -> usize {
        let blocks = (length / BLOCK) as u64;
        let block = self.random.below(blocks + 1) as usize * BLOCK;
        let near = self.random.below(3) as usize;
        let place = match self.random.below(6) {
            0 | 1 => (block + near).saturating_sub(1),
            2 => (length - block + near).saturating_sub(1),
            3 => length - 1 - self.random.below(1200) as usize,
            _ => self.random.below(length as u64) as usize,
        };
        place.min(length - 1)
    }

    fn append(&mut self, body: &mut Vec<u8>) {
        let count = [1, 40, 500, BLOCK as u64, 5000][self.random.below(5) as usize];
        body.extend_from_slice(self.random.text(count).as_bytes());
    }
}

/// A body like no other, or one of equal blocks; some have tools behind their messages.
fn fresh(random: &mut Random) -> Vec<u8> {
    let length = 4 * BLOCK as u64 + random.below(20_000);
    let mut body = match random.below(4) {
        0 => vec![b'a' + random.below(3) as u8; length as usize],
        1 => random.text(BLOCK as u64).into_bytes()[..BLOCK].repeat(8),
        _ => random.text(length).into_bytes(),
    };
    if random.below(3) == 0 {
        body.extend_from_slice(b",\"tools\":[");
        body.extend_from_slice(random.text(6000).as_bytes());
    }
    body
}

#[test]
fn bodies_that_were_chosen_to_be_taken_for_others_come_back() {
    let cases = seeds::number("AUDITLITE_CHOSEN_CASES", 25);
    let first = seeds::seed("AUDITLITE_CHOSEN_SEED");
    let (mut bodies, mut continued) = (0, 0);
    for case in 0..cases {
        let seed = first.wrapping_add(case);
        eprintln!("AUDITLITE_CHOSEN_SEED={seed}");
        let mut attack = Attack::new(seed);
        for _ in 0..STEPS {
            attack.step();
        }
        attack.model.check_all();
        bodies += attack.model.bodies.len();
        continued += attack.continued + attack.model.conversations.counts().continued;
    }
    println!("{cases} cases, {bodies} bodies, {continued} of them packed against others");
    assert!(continued > bodies as u64 / 4);
}
