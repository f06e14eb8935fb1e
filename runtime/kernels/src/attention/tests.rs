use super::*;
use crate::testing::{assert_close, noise};

mod reference;
mod speed;

use reference::Case;

const KINDS: [(CacheKind, f32); 3] =
    [(CacheKind::F32, 1e-5), (CacheKind::F16, 2e-3), (CacheKind::Q8_0, 2e-2)];

/// A case that is different in everything for each seed.
fn arbitrary(seed: u64) -> Case {
    let numbers = noise(16, seed + 1000);
    let pick = |i: usize, of: &[usize]| of[((numbers[i] + 1.0) / 2.0 * of.len() as f32) as usize];
    let kv = pick(0, &[1, 2, 3]);
    let dims = pick(1, &[2, 6, 16, 32, 34, 64, 80, 128, 256]);
    let heads = Heads { query: kv * pick(2, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 16]), kv, dims };
    Case {
        heads,
        window: [None, None, Some(1), Some(7), Some(31), Some(32), Some(100), Some(300)]
            [pick(3, &[0, 1, 2, 3, 4, 5, 6, 7])],
        softcap: [None, None, Some(5.0)][pick(4, &[0, 1, 2])],
        rotary: [0, dims, dims / 4 * 2][pick(5, &[0, 1, 2])],
        norms: pick(6, &[0, 1, 2]),
        tokens: pick(7, &[1, 2, 31, 32, 33, 64, 65, 200, 256, 257, 300, 530]),
        seed,
    }
}

#[test]
fn every_level_and_kind_equals_the_definition() {
    for seed in 0..40 {
        let case = arbitrary(seed);
        let expect = case.expected();
        for (kind, tolerance) in KINDS {
            for level in Level::available() {
                let out = case.run((level, &Pool::new(1)), kind, &[case.tokens]);
                assert_close(&out, &expect, tolerance, &format!("{level:?} {kind:?} {case:?}"));
            }
        }
    }
}

#[test]
fn steps_and_threads_change_no_bit() {
    for seed in 40..70 {
        let case = arbitrary(seed);
        let n = case.tokens;
        let (kind, _) = KINDS[seed as usize % 3];
        for level in Level::available() {
            let whole = case.run((level, &Pool::new(1)), kind, &[n]);
            let third = n.div_ceil(3);
            let mut steps = vec![third, 0, (n - third).min(1), (n - third).saturating_sub(1)];
            steps.retain(|rows| *rows > 0 || n > 2);
            for (threads, steps) in [(3, vec![n]), (1, steps.clone()), (3, steps), (3, vec![1; n])]
            {
                let out = case.run((level, &Pool::new(threads)), kind, &steps);
                assert!(out == whole, "{threads} threads, {steps:?}, {level:?} {case:?}");
            }
        }
    }
}

#[test]
fn sequences_of_a_batch_do_not_see_each_other() {
    let case = Case { tokens: 290, ..arbitrary(3) };
    let other = Case { seed: 99, tokens: 37, ..case };
    for (kind, _) in KINDS {
        for level in Level::available() {
            let alone = [&case, &other].map(|c| c.run((level, &Pool::new(1)), kind, &[c.tokens]));
            let together = Case::together(&[&case, &other], (level, &Pool::new(3)), kind);
            assert_eq!(together, alone.concat(), "{level:?} {kind:?}");
        }
    }
}

#[test]
fn nothing_is_done_for_zero_rows() {
    let case = Case { tokens: 1, ..arbitrary(1) };
    assert!(case.run((Level::detect(), &Pool::new(3)), CacheKind::F16, &[0]).is_empty());
}

#[test]
fn values_over_the_range_of_f16_are_cut_off() {
    let heads = Heads { query: 1, kv: 1, dims: 2 };
    let mut qkv = vec![0.0, 0.0, 1.0, 1.0, 1e9, -1e9];
    let mut out = vec![0.0; 2];
    let len = cache_bytes(CacheKind::F16, heads, 1);
    let (mut keys, mut values) = (vec![0; len], vec![0; len]);
    let cache = KvCache { kind: CacheKind::F16, keys: &mut keys, values: &mut values };
    let span = [Span { position: 0, rows: 1, blocks: vec![0] }];
    let tables = reference::Tables::default();
    let layer = Layer { heads, ..arbitrary(0).layer(&tables) };
    let layer = Layer { rope: None, query_norm: None, key_norm: None, ..layer };
    let rows = Rows { qkv: &mut qkv, spans: &span, out: &mut out };
    forward(Level::detect(), &Pool::new(1), &layer, rows, cache);
    assert_eq!(out, [65504.0, -65504.0]);
}

fn forward_over(spans: &[Span]) {
    let case = Case { rotary: 0, norms: 0, window: None, ..arbitrary(0) };
    let tables = case.tables();
    let rows: usize = spans.iter().map(|s| s.rows).sum();
    let mut qkv = vec![0.0; rows * case.heads.row()];
    let mut out = vec![0.0; rows * case.heads.query * case.heads.dims];
    let len = cache_bytes(CacheKind::F16, case.heads, 4);
    let (mut keys, mut values) = (vec![0; len], vec![0; len]);
    let cache = KvCache { kind: CacheKind::F16, keys: &mut keys, values: &mut values };
    let rows = Rows { qkv: &mut qkv, spans, out: &mut out };
    forward(Level::detect(), &Pool::new(1), &case.layer(&tables), rows, cache);
}

#[test]
#[should_panic(expected = "too few blocks")]
fn a_span_past_its_blocks_is_refused() {
    forward_over(&[Span { position: 30, rows: 3, blocks: vec![0] }]);
}

#[test]
#[should_panic(expected = "a block outside the cache")]
fn a_block_outside_the_cache_is_refused() {
    forward_over(&[Span { position: 40, rows: 1, blocks: vec![4, 1] }]);
}

#[test]
#[should_panic(expected = "two spans would write one block")]
fn a_block_with_two_writers_is_refused() {
    let span = |position| Span { position, rows: 1, blocks: vec![position as u32 / 32, 3] };
    forward_over(&[span(32), span(40)]);
}
