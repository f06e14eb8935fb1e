use super::*;

#[test]
fn a_light_payer_comes_before_a_heavy_ones_backlog() {
    let mut rig = Rig::new(InferenceOptions { batch_max: 1, ..options() });
    let mut heavy: Vec<_> = (0..6).map(|i| rig.submit("heavy", &ask([i; 200], 4))).collect();
    rig.turn();
    let mut light = rig.submit("light", &ask([7; 10], 4));
    let mut others: Vec<_> = (0..3).map(|i| rig.submit("other", &ask([i; 10], 4))).collect();
    rig.finish(&mut [&mut light]);
    heavy.iter_mut().for_each(|client| client.fetch(usize::MAX));
    let done = heavy.iter().filter(|client| client.end.is_some()).count();
    assert!(done <= 1, "{done} of the backlog came first");
    rig.finish(&mut heavy.iter_mut().chain(&mut others).collect::<Vec<_>>());
}

#[test]
fn a_full_batch_makes_a_place_for_who_has_none() {
    let mut rig = Rig::new(InferenceOptions { batch_max: 3, ..options() });
    let task = |i| ask([i; 40], 60);
    let mut heavy: Vec<_> = (0..4).map(|i| rig.submit("heavy", &task(i))).collect();
    for _ in 0..8 {
        rig.turn();
    }
    assert_eq!(rig.running(), ["heavy"; 3]);
    let mut light = rig.submit("light", &task(9));
    rig.turn();
    // The newest gave its place, and only that one.
    assert_eq!(rig.running(), ["heavy", "heavy", "light"]);
    assert_eq!(rig.generator.returning[0].holding.age, 3);
    rig.finish(&mut [&mut light]);
    rig.finish(&mut heavy.iter_mut().collect::<Vec<_>>());
    for (i, client) in heavy.iter().enumerate() {
        assert_eq!(client.tokens, Rig::new(options()).alone(&task(i as u32)));
        assert_eq!(client.usage().cached_input_tokens, 0);
    }
}

/// Submits one task after the other, a step between them, and runs until one loses its blocks;
/// gives the number of that one.
fn first_victim(rig: &mut Rig, tasks: &[(&str, Ask)]) -> u64 {
    let mut clients = Vec::new();
    for (payer, ask) in tasks {
        clients.push(rig.submit(payer, ask));
        rig.turn();
    }
    while rig.generator.returning.is_empty() {
        assert!(rig.turn());
        clients.iter_mut().for_each(|client| client.fetch(usize::MAX));
    }
    let victim = rig.generator.returning[0].holding.age;
    rig.finish(&mut clients.iter_mut().collect::<Vec<_>>());
    victim
}

#[test]
fn the_newest_of_who_has_had_most_is_preempted() {
    let task = |i, prompt| ask(vec![i; prompt], 100);
    let tasks = [
        ("heavy", task(1, 20)),
        ("heavy", task(2, 20)),
        ("heavy", task(3, 20)),
        ("light", task(4, 20)),
    ];
    assert_eq!(first_victim(&mut Rig::new(options()), &tasks), 3);
    // The oldest never is, however much its payer has had.
    let tasks = [("heavy", task(1, 120)), ("light", ask(vec![2; 20], 130))];
    assert_eq!(first_victim(&mut Rig::new(options()), &tasks), 2);
}

#[test]
fn a_prompt_does_not_hold_up_who_decodes() {
    let mut rig = Rig::new(options());
    let decoding = rig.submit("a", &ask([1; 4], 30));
    rig.turn();
    let mut prompt = rig.submit("a", &ask([2; 160], 1));
    for turn in 1..=10 {
        rig.turn();
        let produced = rig.generator.running[0].tokens.len() - 4;
        assert_eq!(produced, 1 + turn, "one token with each step");
        prompt.fetch(usize::MAX);
        assert_eq!(prompt.end.is_some(), turn == 10, "16 tokens with each step");
    }
    drop(decoding);
}

#[test]
fn payers_share_a_step() {
    let mut rig = Rig::new(InferenceOptions { kv_tokens_max: 2_048, ..options() });
    let task = |i| ask([i; 4], 200);
    let mut heavy: Vec<_> = (0..20).map(|i| rig.submit("heavy", &task(i))).collect();
    let mut light = rig.submit("light", &task(99));
    while rig.generator.running.iter().any(|s| s.missing() > 1) || rig.running().len() < 21 {
        assert!(rig.turn());
        heavy.iter_mut().chain([&mut light]).for_each(|client| client.fetch(usize::MAX));
    }
    // A step costs 7 ms and 1 ms for each row: alone the light one would take 8, so now 16.
    rig.generator.budget = Budget::measured([7.0, 1.0], Duration::from_millis(100));
    let lights = |sequence: &&Sequence| &**sequence.holding.payer() == "light";
    let own = rig.generator.running.iter().find(lights).unwrap().holding.age;
    let plan = rig.generator.plan();
    assert_eq!(plan.len(), 9);
    assert!(plan.iter().any(|grant| grant.age == own), "the light one has its row");
    // Those who had no row come first the next time.
    let before: Vec<u64> = plan.iter().map(|grant| grant.age).collect();
    rig.turn();
    rig.generator.budget = Budget::measured([7.0, 1.0], Duration::from_millis(100));
    let again = rig.generator.plan();
    let both = again.iter().filter(|grant| before.contains(&grant.age)).count();
    assert_eq!((again.len(), both), (9, 1), "the light one only");
    // A prompt of the heavy one is not held up for good by what it decodes.
    heavy.push(rig.submit("heavy", &ask([7; 90], 1)));
    rig.turn();
    rig.generator.budget = Budget::measured([7.0, 1.0], Duration::from_millis(100));
    let newest = rig.generator.last_age;
    let plan = rig.generator.plan();
    assert!(plan.contains(&plan::Grant { age: newest, rows: 2 }), "{plan:?}");
    heavy[20].session.cancel();
    // Alone, nobody is held back.
    light.session.cancel();
    rig.turn();
    assert_eq!(rig.generator.plan().len(), 20);
}

#[test]
fn deadlines_and_cancellations_take_one_step() {
    let mut rig = Rig::new(InferenceOptions { batch_max: 2, stream_events_max: 3, ..options() });
    let at = Some(rig.now + Duration::from_millis(50));
    let task = ask([1; 40], 100);
    let mut running = rig.submit_until("a", &task, at);
    let mut parked = rig.submit_until("a", &task, at);
    // It gets the place of the one that is parked.
    let mut waiting = rig.submit_until("a", &task, at);
    for _ in 0..12 {
        rig.turn();
        running.fetch(usize::MAX);
    }
    assert_eq!(rig.generator.patience(rig.now), Some(Duration::from_millis(50)));
    rig.now += Duration::from_millis(50);
    let mut late = rig.submit_until("b", &task, at);
    let cancelled = rig.submit("b", &task);
    cancelled.session.cancel();
    assert!(!rig.turn() && rig.running().is_empty(), "one step");
    assert_eq!((rig.free(), rig.generator.patience(rig.now)), (rig.blocks, None));
    for client in [&mut running, &mut parked, &mut waiting, &mut late] {
        client.fetch(usize::MAX);
        assert_eq!(client.end.unwrap().0, FinishReason::Deadline);
    }
    let inputs = [&running, &parked, &waiting, &late].map(|client| client.usage().input_tokens);
    assert_eq!(inputs, [40, 40, 40, 0], "what was done is counted");
    assert!(running.tokens.len() > parked.tokens.len() && !parked.tokens.is_empty());
    // In the prompt phase.
    let long = rig.submit("a", &ask([1; 200], 2));
    rig.turn();
    long.session.cancel();
    rig.turn();
    assert_eq!(rig.free(), rig.blocks);
}
