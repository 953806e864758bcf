//! Conversations that are followed without being held in full.

use super::*;

const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// Conversations that take turns, each with a history of its own. Returns what the last turns took.
fn take_turns(model: &mut Model, random: &mut Random, conversations: usize, turns: usize) -> usize {
    let mut histories: Vec<String> = (0..conversations).map(|_| random.text(30_000)).collect();
    let mut before = 0;
    for turn in 0..turns {
        if turn == 1 {
            before = model.packed_bytes;
        }
        for (number, history) in histories.iter_mut().enumerate() {
            history.push_str(&random.text(500));
            let body = format!(
                "{{\"messages\":[\"{history}\"],\"tools\":\"{}\"}}",
                "t".repeat(5000)
            );
            let name = format!("c-{number}");
            let (request, key) = model.request(Some(&name), &Bytes::from(body));
            let answer = random.text(300);
            history.push_str(&answer);
            let answer = Bytes::from(format!("{{\"id\":{turn},\"text\":\"{answer}\"}}"));
            model.response(request, key.as_ref(), &answer);
        }
    }
    model.packed_bytes - before
}

#[test]
fn many_conversations_at_once_are_packed_as_well_as_few() {
    let turns = 8;
    let mut few = Model::new(CACHE_BYTES);
    let few_bytes = take_turns(&mut few, &mut Random(1), 8, turns) / 8;
    // Four times as many as their cache could hold in full.
    let count = 10 * CACHE_BYTES / 35_000;
    let mut many = Model::new(3 * CACHE_BYTES);
    let many_bytes = take_turns(&mut many, &mut Random(2), count, turns) / count;
    assert!(
        many_bytes <= few_bytes * 102 / 100,
        "{many_bytes} bytes each in place of {few_bytes}"
    );
    let counts = many.conversations.counts();
    let bodies = u64::try_from(count * turns).unwrap();
    assert_eq!(counts.alone, bodies / 8, "each began once");
    few.check_all();
    for id in (1..many.next_id).step_by(97) {
        assert_eq!(many.read(id, &mut 0), many.bodies[&id]);
    }
}

#[test]
fn unnamed_conversations_are_recognised_however_many_there_are() {
    let mut random = Random(5);
    let system = random.text(4000);
    let mut histories = vec![String::new(); 60];
    let mut model = Model::new(CACHE_BYTES);
    let mut raw_bytes = 0;
    for turn in 0..60 * 12 {
        let history = &mut histories[turn % 60];
        history.push_str(&random.text(2500));
        let body = Bytes::from(format!(
            "{{\"system\":\"{system}\",\"messages\":\"{history}\"}}"
        ));
        raw_bytes += body.len();
        let (request, key) = model.request(None, &body);
        model.response(request, key.as_ref(), &Bytes::from(random.text(200)));
    }
    let counts = model.conversations.counts();
    assert_eq!(counts.alone + counts.shared_head, 60, "each began once");
    let ratio = raw_bytes / model.packed_bytes;
    assert!(ratio > 8, "{ratio} x");
    model.check_all();
}

#[test]
fn bodies_that_are_built_from_the_blocks_of_others_come_back() {
    for seed in 1..=6_u64 {
        eprintln!("seed {seed}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut model = Model::new([90_000, 200_000][(seed % 2) as usize]);
        // Blocks that differ in one bit, at either end or in the middle; some are equal.
        let first = random.text(2048).into_bytes()[..2048].to_vec();
        let mut pool = vec![first.clone(), vec![b'a'; 2048], vec![b'a'; 2048]];
        for position in [0, 1, 1023, 1024, 2046, 2047] {
            let mut near = first.clone();
            near[position] ^= 1;
            pool.push(near);
        }
        let mut bodies: Vec<Vec<u8>> = vec![Vec::new(); 12];
        for _ in 0..500 {
            let which = random.below(12) as usize;
            let body = &mut bodies[which];
            for _ in 0..=random.below(3) {
                let block = &pool[random.below(pool.len() as u64) as usize];
                match random.below(8) {
                    // Near-collisions in the middle.
                    0 if body.len() > 4096 => {
                        let at = random.below(body.len() as u64) as usize;
                        body[at] ^= 1;
                    }
                    1 => body.truncate(random.below(body.len() as u64 + 1) as usize),
                    2 => body.truncate(body.len() / 2048 * 2048),
                    3 => {
                        // Shifted by less than a block.
                        body.truncate(body.len().saturating_sub(7));
                        body.extend_from_slice(block);
                    }
                    4 => {
                        let end = body[body.len() / 2..].to_vec();
                        body.extend_from_slice(&end);
                        body.truncate(60_000);
                    }
                    _ => body.extend_from_slice(block),
                }
            }
            if body.is_empty() {
                continue;
            }
            let body = Bytes::from(body.clone());
            // Conversations continue each other's bodies, too.
            let name = format!("c-{}", (which as u64 + random.below(2)) % 12);
            let name = (random.below(4) > 0).then_some(name.as_str());
            let (request, key) = model.request(name, &body);
            if random.below(2) == 0 {
                model.response(request, key.as_ref(), &body);
            }
        }
        model.check_all();
    }
}

#[test]
fn a_block_that_is_taken_for_another_is_found_out() {
    let mut random = Random(11);
    let mut planner: DeltaPlanner<EndNote> = DeltaPlanner::new(8 * 1024);
    planner.blind();
    let mut is_found = false;
    for number in 0..64_i64 {
        let body = Bytes::from(random.text(20_000));
        let mut arena = Vec::new();
        let name = Some("c");
        let (planned, key) =
            planner.request(Domain::default(), name, number, &body, None, &mut arena);
        if number > 0 && key.is_none() {
            assert_eq!(planned.sha256, sha256(&body));
            assert!(planned.delta.is_none() && arena.is_empty());
            assert_eq!(planner.held_bytes(), 0, "nothing that was kept is trusted");
            is_found = true;
        }
    }
    assert!(is_found);
}

#[test]
fn what_is_removed_is_no_base_any_more_and_the_rest_is() {
    let mut random = Random(13);
    let mut model = Model::new(CACHE_BYTES);
    let mut histories: Vec<String> = (0..40).map(|_| random.text(60_000)).collect();
    let (mut removed, mut ids) = (Vec::new(), Vec::new());
    for turn in 0..3 {
        for (number, history) in histories.iter_mut().enumerate() {
            history.push_str(&random.text(300));
            let before = model.packed_bytes;
            let (request, key) =
                model.request(Some(&format!("c-{number}")), &Bytes::from(history.clone()));
            let is_removed = removed.contains(&number);
            let bases = model.rows[&request].bases;
            assert!(turn > 0 || bases.is_none());
            let base_ids = bases
                .into_iter()
                .flat_map(|bases| [Some(bases.first), bases.second]);
            assert!(base_ids.flatten().all(|id| !ids.contains(&id)));
            if !is_removed && turn > 0 {
                assert!(model.packed_bytes - before < 2000, "it goes on");
            }
            let response = model.response(request, key.as_ref(), &Bytes::from(random.text(300)));
            if turn == 1 && number % 4 == 0 {
                // Either of the two is enough.
                let id = if number % 8 == 0 { request } else { response };
                removed.push(number);
                ids.push(id);
                model
                    .conversations
                    .forget(vec![(0, 0), (id, id), (1 << 40, 1 << 41)]);
            }
        }
    }
    assert_eq!(removed.len(), 10);
    model.check_all();
}

#[test]
fn a_conversation_that_was_read_back_goes_on() {
    let mut random = Random(17);
    let mut model = Model::new(CACHE_BYTES);
    let mut history = random.text(20_000);
    let (request, key) = model.request(Some("c"), &Bytes::from(history.clone()));
    let answer = Bytes::from(random.text(500));
    let response = model.response(request, key.as_ref(), &answer);
    model.conversations = DeltaPlanner::new(CACHE_BYTES);
    let name = "c";
    assert!(!model.conversations.is_followed(Domain::default(), name));
    let place = ChainPlace {
        depth: 0,
        bytes: history.len() as u64,
        keyframe_depth: 0,
    };
    let keyframe = Keyframe {
        id: request,
        depth: 0,
        chain_bytes: history.len() as u64,
        common: history.len(),
    };
    let resumed = Resumed {
        id: request,
        body: history.clone().into_bytes().into(),
        place,
        keyframe,
        response: Some((response, answer.to_vec().into())),
    };
    model.conversations.resume(Domain::default(), name, resumed);
    history.push_str(&random.text(200));
    let (next, _) = model.request(Some("c"), &Bytes::from(history));
    let bases = model.rows[&next].bases.unwrap();
    assert_eq!((bases.first, bases.second), (request, Some(response)));
    model.check_all();
}

#[test]
fn bodies_of_two_domains_do_not_build_on_each_other() {
    let mut random = Random(19);
    let body = Bytes::from(random.text(20_000));
    let mut planner: DeltaPlanner<EndNote> = DeltaPlanner::new(CACHE_BYTES);
    for (id, domain, is_alone) in [(1, 0, true), (2, 1, true), (3, 1, false), (4, 0, false)] {
        for (id, name) in [(10 * id, Some("c")), (10 * id + 1, None)] {
            let mut arena = Vec::new();
            let (planned, _) = planner.request(Domain(domain), name, id, &body, None, &mut arena);
            let base = planned.delta.map(|delta| delta.bases.first);
            // The unnamed one finds the named one's body by its head.
            let is_first = is_alone && id % 10 == 0;
            assert_eq!(base.is_none(), is_first, "{id}");
            if let Some(base) = base {
                assert_eq!([1, 4].contains(&(base / 10)), [1, 4].contains(&(id / 10)));
            }
        }
    }
}

#[test]
fn a_conversation_whose_keyframe_is_removed_goes_on_until_it_would_go_back() {
    let mut random = Random(23);
    let mut model = Model::new(CACHE_BYTES);
    let mut history = random.text(20_000);
    let (mut first_turns, mut resumable) = (Vec::new(), Vec::new());
    for turn in 0..80 {
        history.push_str(&random.text(100));
        let (request, key) = model.request(Some("c"), &Bytes::from(history.clone()));
        model.response(request, key.as_ref(), &Bytes::from(random.text(100)));
        match model.rows[&request].bases {
            None => first_turns.push(turn),
            Some(bases) => assert!(turn <= 3 || bases.first > 2, "it is gone"),
        }
        if turn == 3 {
            model.conversations.forget(vec![(1, 2)]);
            assert!(model.conversations.has_let_go());
        }
        if !model.conversations.is_followed(Domain::default(), "c") {
            resumable.push(turn);
        }
    }
    // Before it begins again where its chain ends, it can be read back.
    let [0, again] = first_turns[..] else {
        panic!("{first_turns:?}")
    };
    assert_eq!(resumable, [again - 1]);
    model.check_all();
}
