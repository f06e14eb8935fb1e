use super::{Logprobs, TOP_LOGPROBS_MAX};

fn check(logits: &[f32], (chosen, count): (u32, usize), expect: &[(u32, f32)]) {
    let logprobs = Logprobs::of(logits, chosen, count);
    let found: Vec<(u32, f32)> = std::iter::once(&logprobs.chosen)
        .chain(&logprobs.top)
        .map(|c| (c.token, c.logprob))
        .collect();
    let close = |a: f32, b: f32| a.total_cmp(&b).is_eq() || (a - b).abs() < 1e-5;
    let same = found.len() == expect.len()
        && found.iter().zip(expect).all(|(a, b)| a.0 == b.0 && close(a.1, b.1));
    assert!(same, "{found:?}, expected {expect:?}");
}

#[test]
fn they_are_logarithms_of_probabilities() {
    let half = 0.5f32.ln();
    let quarter = 0.25f32.ln();
    let logits = [7.0 + quarter, 7.0 + half, 7.0 + quarter];
    check(&logits, (0, 0), &[(0, quarter)]);
    check(&logits, (1, 2), &[(1, half), (1, half), (0, quarter)]);
    check(&logits, (2, 9), &[(2, quarter), (1, half), (0, quarter), (2, quarter)]);
    let none = f32::NEG_INFINITY;
    check(&[0.0, none, f32::NAN], (1, 3), &[(1, none), (0, 0.0)]);
    check(&[0.0], (5, 1), &[(5, none), (0, 0.0)]);
    let many = vec![1.0; 100];
    assert_eq!(Logprobs::of(&many, 0, 99).top.len(), TOP_LOGPROBS_MAX);
}
