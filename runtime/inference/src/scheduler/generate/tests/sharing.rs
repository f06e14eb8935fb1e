use super::*;

fn run(rig: &mut Rig, payer: &str, task: &Ask) -> (Vec<u32>, usize) {
    let mut client = rig.submit(payer, task);
    rig.finish(&mut [&mut client]);
    let usage = client.usage();
    assert_eq!(usage.input_tokens as usize, task.prompt.len());
    (client.tokens, usage.cached_input_tokens as usize)
}

#[test]
fn a_payer_finds_its_own_prefix_and_nobody_elses() {
    let mut rig = Rig::new(options());
    let task = ask(0..100, 8);
    let (fresh, cached) = run(&mut rig, "a", &task);
    assert_eq!((fresh.len(), cached), (8, 0));
    let longer: Vec<u32> = (0..100).chain(fresh).chain(0..30).collect();
    let mut other = longer.clone();
    other[40] += 1;
    for (payer, task, expect) in [
        ("a", task.clone(), 96),
        ("b", task.clone(), 0),
        // One token at least is computed, so a last block that is whole does not count.
        ("a", ask(0..96, 8), 64),
        ("a", ask(0..20, 8), 0),
        // What was produced is found too: 107 of 108 tokens were computed, three blocks of them.
        ("a", ask(longer.clone(), 8), 96),
        // Then all but the last token of 138 and 7 that were produced.
        ("a", ask(longer, 8), 128),
        ("a", ask(other, 8), 32),
    ] {
        let (tokens, cached) = run(&mut rig, payer, &task);
        assert_eq!(cached, expect, "{payer} {}", task.prompt.len());
        assert_eq!(tokens, Rig::new(options()).alone(&task), "the cache changes nothing");
    }
    assert_eq!(rig.free(), rig.blocks);
}

#[test]
fn sequences_share_the_blocks_of_a_common_prefix() {
    let mut rig = Rig::new(options());
    run(&mut rig, "a", &ask(0..96, 8));
    let [mut first, mut second] = [0, 1].map(|i| rig.submit("a", &ask((0..64).chain([i]), 8)));
    rig.turn();
    // Two in common, and one each.
    assert_eq!(rig.free(), rig.blocks - 4);
    rig.finish(&mut [&mut first, &mut second]);
    assert_eq!([&first, &second].map(|c| c.usage().cached_input_tokens), [64, 64]);
    assert_eq!(rig.free(), rig.blocks);
}

#[test]
fn a_block_is_found_once_it_is_full() {
    let mut rig = Rig::new(InferenceOptions { kv_tokens_max: 512, ..options() });
    let task = ask(0..70, 4);
    let expect = rig.alone(&task);
    let mut clients = Vec::new();
    // 16 tokens are computed with each turn: of the first prompt, then of the second one.
    for (turns, cached) in [(1, 0), (1, 0), (2, 32)] {
        clients.push((rig.submit("a", &task), cached));
        for _ in 0..turns {
            rig.turn();
        }
    }
    for (mut client, cached) in clients {
        rig.finish(&mut [&mut client]);
        assert_eq!((client.usage().cached_input_tokens, &client.tokens), (cached, &expect));
    }
}

#[test]
fn blocks_are_taken_as_they_are_needed() {
    let mut rig = Rig::new(options());
    // Together they may need 14 blocks of 8, but each ends or has little when the others need it.
    let mut clients: Vec<_> = (0..2).map(|i| rig.submit("a", &ask([i; 10], 200))).collect();
    rig.turn();
    rig.turn();
    assert_eq!((rig.running().len(), rig.free()), (2, rig.blocks - 2));
    clients.iter().for_each(|client| client.session.cancel());
    rig.turn();
    assert_eq!((rig.running().len(), rig.free()), (0, rig.blocks));
    clients.iter_mut().for_each(|client| client.fetch(9));
    assert!(clients.iter().all(|c| c.end.unwrap().0 == FinishReason::Cancelled));
}

#[test]
fn who_loses_its_blocks_loses_nothing_else() {
    let mut rig = Rig::new(options());
    let tasks = [ask(0..64, 150), ask(100..164, 150), ask(10..60, 180)];
    let mut clients = [("a", 0), ("b", 1), ("a", 2)].map(|(p, i)| rig.submit(p, &tasks[i]));
    let mut preempted = 0;
    for _ in 0..5_000 {
        rig.turn();
        clients.iter_mut().for_each(|client| client.fetch(usize::MAX));
        preempted += usize::from(!rig.generator.returning.is_empty());
        // The oldest never is.
        assert!(rig.generator.returning.iter().all(|sequence| sequence.holding.age > 1));
    }
    assert!(preempted > 0, "there was room enough");
    for (client, task) in clients.iter().zip(&tasks) {
        assert_eq!(client.tokens, Rig::new(options()).alone(task));
        let usage = client.usage();
        // Its own blocks that it found again are no gift of the cache.
        assert_eq!(
            (usage.input_tokens as usize, usage.cached_input_tokens),
            (task.prompt.len(), 0)
        );
    }
    assert_eq!(rig.free(), rig.blocks);
}

#[test]
fn a_client_that_does_not_fetch_loses_its_blocks_only_under_pressure() {
    let mut rig = Rig::new(InferenceOptions { stream_events_max: 2, ..options() });
    let task = ask([5; 30], 60);
    let mut slow = rig.submit("a", &task);
    while rig.turn() {}
    assert_eq!((rig.running(), rig.free()), (vec!["a"], rig.blocks - 1), "parked, with its block");
    let mut small = rig.submit("b", &ask([9; 30], 10));
    rig.finish(&mut [&mut small]);
    assert_eq!(rig.running(), ["a"]);
    let mut large = rig.submit("b", &ask([9; 230], 20));
    rig.finish(&mut [&mut large]);
    assert!(rig.running().is_empty() && rig.generator.returning.len() == 1);
    rig.finish(&mut [&mut slow]);
    assert_eq!(slow.tokens, Rig::new(options()).alone(&task));
}

#[test]
fn a_client_that_does_not_fetch_loses_its_blocks_first() {
    let mut rig = Rig::new(InferenceOptions { stream_events_max: 2, ..options() });
    let mut slow = rig.submit("light", &ask([5; 30], 60));
    while rig.turn() {}
    let mut others = [1, 2].map(|i| rig.submit("heavy", &ask([i; 20], 120)));
    while rig.generator.returning.is_empty() {
        assert!(rig.turn());
        others.iter_mut().for_each(|client| client.fetch(usize::MAX));
    }
    assert_eq!(rig.generator.returning[0].holding.age, 1, "whatever the others have had");
    let [first, second] = &mut others;
    rig.finish(&mut [&mut slow, first, second]);
}

#[test]
fn texts_and_sequences_take_blocks_from_each_other() {
    let mut rig = Rig::new(options());
    let text: Vec<u32> = (0..200).collect();
    let task = ask(0..60, 150);
    let mut writer = rig.submit("a", &task);
    let mut reader = rig.embed("b", vec![text.clone(), text]);
    let mut again = rig.submit("b", &ask(30..60, 120));
    rig.finish(&mut [&mut writer, &mut reader, &mut again]);
    assert_eq!(reader.usage().input_tokens, 400);
    assert_eq!(writer.tokens, Rig::new(options()).alone(&task));
    assert_eq!(rig.free(), rig.blocks);
}
