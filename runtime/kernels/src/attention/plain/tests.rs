use super::{Angles, Batch, Cache, attend};
use crate::Level;
use crate::attention::{BLOCK_TOKENS, Heads, Span};
use crate::q8_0::tests::{assert_close, noise};

/// Causal attention over whole rows in f64, with the rotation applied: the definition.
fn expected(heads: Heads, qkv: &[f32], rope: &(Vec<f32>, Vec<f32>)) -> Vec<f32> {
    let rows: Vec<Vec<f64>> = qkv
        .chunks_exact(heads.row())
        .enumerate()
        .map(|(position, row)| {
            let mut row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let half = heads.dims / 2;
            for head in 0..heads.query + heads.kv {
                for i in 0..half {
                    let at = head * heads.dims + i;
                    let cos = f64::from(rope.0[position * half + i]);
                    let sin = f64::from(rope.1[position * half + i]);
                    let (a, b) = (row[at], row[at + half]);
                    row[at] = a * cos - b * sin;
                    row[at + half] = b * cos + a * sin;
                }
            }
            row
        })
        .collect();
    let mut out = Vec::new();
    for (position, row) in rows.iter().enumerate() {
        for head in 0..heads.query {
            let query = &row[head * heads.dims..][..heads.dims];
            let kv = heads.query + head / (heads.query / heads.kv);
            let weights: Vec<f64> = rows[..=position]
                .iter()
                .map(|past| {
                    let key = &past[kv * heads.dims..][..heads.dims];
                    let dot: f64 = query.iter().zip(key).map(|(a, b)| a * b).sum();
                    (dot / (heads.dims as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            for dim in 0..heads.dims {
                let at = (kv + heads.kv) * heads.dims + dim;
                let value: f64 = weights.iter().zip(&rows).map(|(w, past)| w * past[at]).sum();
                out.push((value / sum) as f32);
            }
        }
    }
    out
}

fn angles(positions: usize, dims: usize) -> (Vec<f32>, Vec<f32>) {
    let angle = |i: usize| (i / (dims / 2)) as f32 * 0.3 / (1.0 + (i % (dims / 2)) as f32);
    let all = positions * dims / 2;
    ((0..all).map(|i| angle(i).cos()).collect(), (0..all).map(|i| angle(i).sin()).collect())
}

/// Runs the rows in the given steps through scattered blocks.
fn run(level: Level, heads: Heads, qkv: &[f32], steps: &[usize]) -> Vec<f32> {
    let rope = angles(128, heads.dims);
    let mut keys = vec![f32::NAN; 8 * heads.block()];
    let mut values = vec![f32::NAN; 8 * heads.block()];
    let mut out = Vec::new();
    let mut position = 0;
    for rows in steps {
        let mut qkv = qkv[position * heads.row()..(position + rows) * heads.row()].to_vec();
        let span = Span { position, rows: *rows, blocks: vec![5, 0, 7] };
        let mut step = vec![f32::NAN; rows * heads.query * heads.dims];
        let batch = Batch {
            heads,
            qkv: &mut qkv,
            angles: Angles { cos: &rope.0, sin: &rope.1 },
            spans: &[span],
        };
        attend(level, batch, Cache { keys: &mut keys, values: &mut values }, &mut step);
        out.extend(step);
        position += rows;
    }
    out
}

#[test]
fn every_level_equals_the_definition_in_any_steps() {
    let tokens = 2 * BLOCK_TOKENS + 3;
    for heads in [
        Heads { query: 4, kv: 2, dims: 16 },
        Heads { query: 3, kv: 3, dims: 6 },
        Heads { query: 3, kv: 1, dims: 34 },
    ] {
        let qkv = noise(tokens * heads.row(), 20);
        let expect = expected(heads, &qkv, &angles(128, heads.dims));
        for level in Level::available() {
            for steps in [vec![tokens], vec![1; tokens], vec![BLOCK_TOKENS, 1, tokens - 33]] {
                let out = run(level, heads, &qkv, &steps);
                assert_close(&out, &expect, 1e-5, &format!("{level:?} {heads:?}"));
            }
        }
    }
}

#[test]
fn sequences_of_a_batch_do_not_see_each_other() {
    let heads = Heads { query: 2, kv: 1, dims: 8 };
    let (a, b) = (noise(40 * heads.row(), 21), noise(5 * heads.row(), 22));
    let level = Level::detect();
    let alone = [run(level, heads, &a, &[40]), run(level, heads, &b, &[5])].concat();
    let rope = angles(128, heads.dims);
    let mut keys = vec![f32::NAN; 4 * heads.block()];
    let mut values = vec![f32::NAN; 4 * heads.block()];
    let spans = [
        Span { position: 0, rows: 40, blocks: vec![3, 1] },
        Span { position: 0, rows: 5, blocks: vec![2] },
    ];
    let mut together = vec![f32::NAN; alone.len()];
    let batch = Batch {
        heads,
        qkv: &mut [a, b].concat(),
        angles: Angles { cos: &rope.0, sin: &rope.1 },
        spans: &spans,
    };
    attend(level, batch, Cache { keys: &mut keys, values: &mut values }, &mut together);
    assert_eq!(together, alone);
}

#[test]
#[should_panic(expected = "too few blocks")]
fn a_span_past_its_blocks_is_refused() {
    let heads = Heads { query: 1, kv: 1, dims: 2 };
    run(Level::SCALAR, heads, &noise(97 * heads.row(), 1), &[97]);
}
