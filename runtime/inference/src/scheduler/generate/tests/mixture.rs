use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A client, what it asked, and how it behaves.
struct Visitor {
    client: Client,
    ask: Ask,
    /// Turns until it cancels.
    patience: usize,
    /// It fetches one event in so many turns.
    every: usize,
}

impl Visitor {
    fn turn(&mut self, turn: usize) {
        match self.every {
            1 => self.client.fetch(usize::MAX),
            every if turn.is_multiple_of(every) => self.client.fetch(1),
            _ => {}
        }
        if self.patience == 0 {
            self.client.session.cancel();
        }
        self.patience = self.patience.saturating_sub(1);
    }
}

/// A task with a prompt that others begin with too.
fn any_ask(random: &mut StdRng) -> Ask {
    let common = random.random_range(0..3);
    let mut prompt = vec![common; random.random_range(1..90)];
    prompt.extend((0..random.random_range(0..20)).map(|_| random.random_range(0..250u32)));
    let output_max = random.random_range(1..=159 - prompt.len());
    let seed = random.random_bool(0.5).then(|| random.random_range(0..4));
    Ask { prompt, output_max: output_max.min(random.random_range(1..70)), seed }
}

fn arrive(rig: &Rig, random: &mut StdRng) -> Visitor {
    let ask = any_ask(random);
    let payer = ["a", "b", "c"][random.random_range(0..3)];
    let patience = if random.random_bool(0.2) { random.random_range(0..40) } else { usize::MAX };
    let every = if random.random_bool(0.3) { random.random_range(2..20) } else { 1 };
    Visitor { client: rig.submit(payer, &ask), ask, patience, every }
}

/// Serves random visitors with a cache of five blocks and three places.
fn serve(seed: u64, alone: &mut HashMap<Ask, Vec<u32>>, reference: &mut Rig) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut rig = Rig::new(InferenceOptions {
        kv_tokens_max: 160,
        batch_max: 3,
        stream_events_max: 2,
        speculation: random.random_bool(0.5),
        prefill_tokens_max: random.random_range(1..40),
        ..options()
    });
    let mut visitors: Vec<Visitor> = Vec::new();
    // However the machine's rows compare with its steps.
    let each = random.random_range(0.01..2.0);
    for turn in 0..30_000 {
        rig.generator.budget = Budget::measured([7.0, each], Duration::ZERO);
        if visitors.len() < 24 && random.random_bool(0.1) {
            visitors.push(arrive(&rig, &mut random));
        }
        for visitor in &mut visitors {
            visitor.turn(turn);
        }
        rig.turn();
        if visitors.len() == 24 && visitors.iter().all(|v| v.client.end.is_some()) {
            break;
        }
    }
    for Visitor { client, ask, patience, .. } in &visitors {
        let Some((reason, usage)) = client.end else { panic!("seed {seed}: never ended: {ask:?}") };
        assert!(usage.cached_input_tokens <= usage.input_tokens);
        let expect = alone.entry(ask.clone()).or_insert_with(|| reference.alone(ask));
        if *patience > 0 {
            assert_eq!((reason, client.tokens.len()), (FinishReason::Length, ask.output_max));
            assert_eq!(usage.input_tokens as usize, ask.prompt.len());
        }
        assert_eq!(client.tokens, expect[..client.tokens.len()], "seed {seed}: {ask:?}");
    }
    assert_eq!(visitors.len(), 24);
    rig.turn();
    assert_eq!(rig.free(), rig.blocks, "seed {seed}: a block is lost");
}

#[test]
fn all_come_to_their_ends_and_get_what_they_would_alone() {
    let mut alone = HashMap::new();
    // Chunks as large as they come.
    let mut reference = Rig::new(InferenceOptions { prefill_tokens_max: 512, ..options() });
    for seed in 0..24 {
        serve(seed, &mut alone, &mut reference);
    }
}
