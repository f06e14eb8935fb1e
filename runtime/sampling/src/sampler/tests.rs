use super::Sampler;
use crate::options::{BIASES_MAX, Sampling};

const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, f32::NAN];

fn greedy() -> Sampling {
    Sampling { temperature: 0.0, ..Sampling::default() }
}

/// How often each token is chosen in 4000 draws, in per cent.
fn shares(sampling: &Sampling) -> Vec<i32> {
    let mut counts = vec![0; LOGITS.len()];
    for seed in 0..4_000 {
        let mut sampler = Sampler::new(sampling.clone(), seed, &[]);
        counts[sampler.pick(&LOGITS, None) as usize] += 1;
    }
    counts.iter().map(|count| (count + 20) / 40).collect()
}

fn check(sampling: &Sampling, expect: [i32; 5]) {
    let shares = shares(sampling);
    let close = shares.iter().zip(expect).all(|(a, b)| (a - b).abs() <= 3 && (b > 0 || *a == 0));
    assert!(close, "{sampling:?}: {shares:?}, expected {expect:?}");
}

#[test]
fn draws_follow_the_distribution() {
    let warm = Sampling::default;
    check(&greedy(), [0, 100, 0, 0, 0]);
    check(&warm(), [6, 40, 15, 40, 0]);
    check(&Sampling { temperature: 0.5, ..warm() }, [1, 47, 6, 47, 0]);
    check(&Sampling { top_k: 1, ..warm() }, [0, 100, 0, 0, 0]);
    check(&Sampling { top_k: 3, ..warm() }, [0, 42, 16, 42, 0]);
    check(&Sampling { top_k: 99, ..warm() }, [6, 40, 15, 40, 0]);
    check(&Sampling { top_p: 0.7, ..warm() }, [0, 50, 0, 50, 0]);
    check(&Sampling { top_p: 0.01, ..warm() }, [0, 100, 0, 0, 0]);
    check(&Sampling { min_p: 0.3, ..warm() }, [0, 42, 16, 42, 0]);
    check(&Sampling { min_p: 1.0, ..warm() }, [0, 50, 0, 50, 0]);
    check(&Sampling { logit_bias: vec![(1, -100.0), (4, 5.0)], ..warm() }, [9, 0, 24, 67, 0]);
    check(&Sampling { logit_bias: vec![(0, 100.0)], ..greedy() }, [100, 0, 0, 0, 0]);
}

/// What a sampler picks from the same logits, one after the other.
fn picks(sampling: Sampling, prompt: &[u32], logits: &[f32]) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling, 1, prompt);
    (0..5).map(|_| sampler.pick(logits, None)).collect()
}

#[test]
fn penalties_change_what_was_said() {
    let logits = [1.0, 3.0, 2.6, -1.0];
    let check = |sampling: Sampling, prompt: &[u32], expect: [u32; 5]| {
        assert_eq!(picks(sampling.clone(), prompt, &logits), expect, "{sampling:?}");
    };
    check(greedy(), &[1], [1, 1, 1, 1, 1]);
    // Once for each token that was said, however often.
    check(Sampling { presence_penalty: 1.0, ..greedy() }, &[1], [1, 2, 1, 1, 1]);
    // Again each time: 3, 2.6, 2.0, 1.6, then 1.0 and 1.0 and the lower token.
    check(Sampling { frequency_penalty: 1.0, ..greedy() }, &[1], [1, 2, 1, 2, 0]);
    check(Sampling { frequency_penalty: -1.0, ..greedy() }, &[], [1, 1, 1, 1, 1]);
    // The prompt counts here, and 3 becomes 1.5.
    check(Sampling { repetition_penalty: 2.0, ..greedy() }, &[1], [2, 1, 1, 1, 1]);
    check(Sampling { repetition_penalty: 2.0, ..greedy() }, &[1, 2], [1, 1, 1, 1, 1]);
    // Below zero it multiplies: -1 becomes -4, which is less.
    let low = [-1.0, -1.5];
    let sampling = Sampling { repetition_penalty: 4.0, ..greedy() };
    assert_eq!(picks(sampling, &[0], &low), [1, 0, 0, 0, 0]);
}

#[test]
fn a_seed_decides() {
    let draws = |seed| {
        let mut sampler = Sampler::new(Sampling::default(), seed, &[]);
        (0..50).map(|_| sampler.pick(&LOGITS, None)).collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
}

#[test]
fn a_long_tail_is_cut_where_a_full_sort_would_cut_it() {
    let logits: Vec<f32> = (0..5_000_u32).map(|i| ((i * 7_919) % 4_999) as f32 / 900.0).collect();
    for top_p in [0.001, 0.02, 0.3, 0.9, 0.999_999] {
        let mut order: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let weights: Vec<f64> =
            order.iter().map(|(logit, _)| f64::from((logit - order[0].0).exp())).collect();
        let most = f64::from(top_p) * weights.iter().sum::<f64>();
        let mut before = 0.0;
        let short = |weight: &&f64| {
            let needed = before < most;
            before += **weight;
            needed
        };
        let count = weights.iter().take_while(short).count();
        let kept: Vec<u32> = order.iter().map(|(_, id)| *id).take(count).collect();
        let mut sampler = Sampler::new(Sampling { top_p, ..Sampling::default() }, 3, &[]);
        sampler.pick(&logits, None);
        let ids: Vec<u32> = sampler.candidates.iter().map(|(_, id)| *id).collect();
        assert!(ids.len().abs_diff(kept.len()) <= 1, "{top_p}: {} {}", ids.len(), kept.len());
        let shared = ids.len().min(kept.len());
        assert_eq!(ids[..shared], kept[..shared], "{top_p}");
    }
}

#[test]
fn logits_that_are_not_numbers_do_no_harm() {
    for bad in [[f32::NAN; 3], [f32::NEG_INFINITY; 3], [f32::INFINITY; 3]] {
        for sampling in [greedy(), Sampling::default(), Sampling { top_p: 0.5, ..greedy() }] {
            assert!(Sampler::new(sampling, 7, &[]).pick(&bad, None) < 3);
        }
    }
}

#[test]
fn options_out_of_bounds_are_named() {
    let check = |sampling: Sampling, expect: Option<&str>| {
        let field = sampling.check(10).err().map(|invalid| invalid.field);
        assert_eq!(field, expect, "{sampling:?}");
    };
    let with = Sampling::default;
    let nan = f32::NAN;
    check(with(), None);
    check(Sampling { temperature: 2.1, ..with() }, Some("temperature"));
    check(Sampling { temperature: nan, ..with() }, Some("temperature"));
    check(Sampling { top_p: 0.0, ..with() }, Some("top_p"));
    check(Sampling { top_p: nan, ..with() }, Some("top_p"));
    check(Sampling { min_p: -0.1, ..with() }, Some("min_p"));
    check(Sampling { repetition_penalty: 0.0, ..with() }, Some("repetition_penalty"));
    check(Sampling { repetition_penalty: f32::INFINITY, ..with() }, Some("repetition_penalty"));
    check(Sampling { presence_penalty: 2.5, ..with() }, Some("presence_penalty"));
    check(Sampling { frequency_penalty: nan, ..with() }, Some("frequency_penalty"));
    check(Sampling { logit_bias: vec![(9, 100.0)], ..with() }, None);
    check(Sampling { logit_bias: vec![(10, 1.0)], ..with() }, Some("logit_bias"));
    check(Sampling { logit_bias: vec![(9, nan)], ..with() }, Some("logit_bias"));
    check(Sampling { logit_bias: vec![(9, 1.0), (9, 2.0)], ..with() }, Some("logit_bias"));
    let many = vec![(0, 0.0); BIASES_MAX + 1];
    check(Sampling { logit_bias: many, ..with() }, Some("logit_bias"));
}
