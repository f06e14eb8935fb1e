use super::*;

/// A machine whose rows cost next to nothing beside a step, or half of it.
fn rig(speculation: bool, row_ms: f64) -> Rig {
    let mut rig = Rig::new(InferenceOptions { speculation, ..options() });
    rig.generator.budget = Budget::measured([10.0, row_ms], Duration::ZERO);
    rig
}

/// Turns, each of a machine as `rig` has it, until a task is done; how many, and its tokens.
fn steps(rig: &mut Rig, task: &Ask, row_ms: f64) -> (usize, Vec<u32>) {
    let mut client = rig.submit("a", task);
    for turns in 0..1_000 {
        client.fetch(usize::MAX);
        if client.end.is_some() {
            return (turns, client.tokens);
        }
        rig.generator.budget = Budget::measured([10.0, row_ms], Duration::ZERO);
        assert!(rig.turn(), "it sleeps although somebody waits");
    }
    panic!("it never ends");
}

fn tasks() -> impl Iterator<Item = Ask> {
    let prompts = [vec![7; 20], (0..40).collect(), [3, 1, 4, 1, 5].repeat(6)];
    prompts.into_iter().flat_map(|prompt| {
        let seeds = [None, Some(1), Some(2)];
        seeds.map(|seed| Ask { prompt: prompt.clone(), output_max: 90, seed })
    })
}

#[test]
fn drafts_change_nothing_but_the_number_of_steps() {
    let mut fewer = 0;
    for task in tasks() {
        let (plain, expect) = steps(&mut rig(false, 0.01), &task, 0.01);
        let (drafted, tokens) = steps(&mut rig(true, 0.01), &task, 0.01);
        assert_eq!(tokens, expect, "{task:?}");
        assert!(drafted <= plain, "{task:?}: {drafted} of {plain}");
        fewer += usize::from(drafted < plain);
    }
    assert!(fewer > 3, "drafts were right for {fewer} of 9");
}

#[test]
fn blocks_of_tokens_that_were_wrong_are_used_again() {
    let mut rig = rig(true, 0.01);
    for task in tasks() {
        steps(&mut rig, &task, 0.01);
        assert_eq!(rig.free(), rig.blocks);
        let again = steps(&mut rig, &task, 0.01).1;
        assert_eq!(again, Rig::new(options()).alone(&task), "from the cache: {task:?}");
    }
}

#[test]
fn other_payers_do_not_wait_for_drafts() {
    let mut rig = rig(true, 0.01);
    let [mut a, mut b] = ["a", "b"].map(|payer| rig.submit(payer, &ask([7; 8], 60)));
    for turns in 0.. {
        [&mut a, &mut b].into_iter().for_each(|client| client.fetch(usize::MAX));
        rig.generator.budget = Budget::measured([10.0, 0.01], Duration::ZERO);
        match (a.end, b.end) {
            (None, None) => assert!(rig.turn()),
            // One token with every step.
            _ => return assert!(turns >= 60, "{turns}"),
        }
    }
}
