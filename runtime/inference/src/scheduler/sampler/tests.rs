use super::{Sampler, Sampling};

const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 7 };
const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, f32::NAN];

/// How often each token is chosen in 4000 draws, in per cent.
fn shares(sampling: Sampling) -> Vec<i32> {
    let mut sampler = Sampler::new(sampling);
    let mut counts = vec![0; LOGITS.len()];
    for _ in 0..4_000 {
        counts[sampler.pick(&LOGITS) as usize] += 1;
    }
    counts.iter().map(|count| (count + 20) / 40).collect()
}

fn check(sampling: Sampling, expect: [i32; 5]) {
    let shares = shares(sampling);
    let close = shares.iter().zip(expect).all(|(a, b)| (a - b).abs() <= 3 && (b > 0 || *a == 0));
    assert!(close, "{sampling:?}: {shares:?}, expected {expect:?}");
}

#[test]
fn draws_follow_the_distribution() {
    let warm = Sampling { temperature: 1.0, ..GREEDY };
    check(GREEDY, [0, 100, 0, 0, 0]);
    check(warm, [6, 40, 15, 40, 0]);
    check(Sampling { temperature: 0.5, ..warm }, [1, 47, 6, 47, 0]);
    check(Sampling { top_k: 1, ..warm }, [0, 100, 0, 0, 0]);
    check(Sampling { top_k: 3, ..warm }, [0, 42, 16, 42, 0]);
    check(Sampling { top_k: 99, ..warm }, [6, 40, 15, 40, 0]);
    check(Sampling { top_p: 0.7, ..warm }, [0, 50, 0, 50, 0]);
    check(Sampling { top_p: 0.01, ..warm }, [0, 100, 0, 0, 0]);
}

#[test]
fn a_seed_decides() {
    let draws = |seed| {
        let mut sampler = Sampler::new(Sampling { temperature: 1.0, seed, ..GREEDY });
        (0..50).map(|_| sampler.pick(&LOGITS)).collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
}

#[test]
fn logits_that_are_not_numbers_do_no_harm() {
    for bad in [[f32::NAN; 3], [f32::NEG_INFINITY; 3], [f32::INFINITY; 3]] {
        for temperature in [0.0, 1.0] {
            let picked = Sampler::new(Sampling { temperature, ..GREEDY }).pick(&bad);
            assert!(picked < 3);
        }
    }
}
