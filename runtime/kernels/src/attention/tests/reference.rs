//! Attention as it is defined, in f64, and a way to run the real one on the same case.

use super::super::*;
use crate::testing::noise;

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) heads: Heads,
    pub(super) window: Option<usize>,
    pub(super) softcap: Option<f32>,
    /// Dimensions that turn.
    pub(super) rotary: usize,
    /// 0: none, 1: each head alone, 2: all heads together.
    pub(super) norms: usize,
    pub(super) tokens: usize,
    pub(super) seed: u64,
}

#[derive(Default)]
pub(super) struct Tables {
    cos: Vec<f32>,
    sin: Vec<f32>,
    query_norm: Vec<f32>,
    key_norm: Vec<f32>,
}

const EPSILON: f32 = 1e-5;
const BLOCKS: usize = 40;

impl Case {
    pub(super) fn qkv(&self) -> Vec<f32> {
        noise(self.tokens * self.heads.row(), self.seed).iter().map(|v| v * 2.0).collect()
    }

    pub(super) fn tables(&self) -> Tables {
        let half = (self.rotary / 2).max(1);
        let angle = |i: usize| (i / half) as f32 * 0.3 / (1.0 + (i % half) as f32);
        let norm = |heads: usize, seed| match self.norms {
            0 => Vec::new(),
            1 => noise(self.heads.dims, seed),
            _ => noise(heads * self.heads.dims, seed),
        };
        Tables {
            cos: (0..(self.tokens + 1) * half).map(|i| angle(i).cos()).collect(),
            sin: (0..(self.tokens + 1) * half).map(|i| angle(i).sin()).collect(),
            query_norm: norm(self.heads.query, 7),
            key_norm: norm(self.heads.kv, 8),
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.heads.dims as f32).sqrt()
    }

    pub(super) fn layer<'a>(&self, tables: &'a Tables) -> Layer<'a> {
        let rope = Rope { dims: self.rotary, cos: &tables.cos, sin: &tables.sin };
        Layer {
            heads: self.heads,
            scale: self.scale(),
            window: self.window,
            softcap: self.softcap,
            rope: (self.rotary > 0).then_some(rope),
            query_norm: (self.norms > 0).then_some(&tables.query_norm[..]),
            key_norm: (self.norms > 0).then_some(&tables.key_norm[..]),
            norm_epsilon: EPSILON,
        }
    }

    /// Blocks of sequence `which` of two, scattered over the cache.
    fn blocks(which: usize) -> Vec<u32> {
        (0..BLOCKS / 2).map(|i| ((i * 7 % (BLOCKS / 2)) * 2 + which) as u32).collect()
    }

    /// The kernel's result, with the sequence coming in the given steps.
    pub(super) fn run(
        &self,
        (level, pool): (Level, &Pool),
        kind: CacheKind,
        steps: &[usize],
    ) -> Vec<f32> {
        let tables = self.tables();
        let len = cache_bytes(kind, self.heads, BLOCKS);
        // All ones are NaN in f16 and f32: what was never written must not matter.
        let (mut keys, mut values) = (vec![0xff; len], vec![0xff; len]);
        let qkv = self.qkv();
        let mut result = Vec::new();
        let mut position = 0;
        for rows in steps.iter().copied() {
            let width = self.heads.row();
            let mut qkv = qkv[position * width..(position + rows) * width].to_vec();
            let mut out = vec![f32::NAN; rows * self.heads.query * self.heads.dims];
            let spans = [Span { position, rows, blocks: Self::blocks(0) }];
            let rows_ = Rows { qkv: &mut qkv, spans: &spans, out: &mut out };
            let cache = KvCache { kind, keys: &mut keys, values: &mut values };
            forward(level, pool, &self.layer(&tables), rows_, cache);
            result.extend(out);
            position += rows;
        }
        result
    }

    /// Two sequences of one shape in one batch.
    pub(super) fn together(
        cases: &[&Self; 2],
        (level, pool): (Level, &Pool),
        kind: CacheKind,
    ) -> Vec<f32> {
        let longest = if cases[0].tokens > cases[1].tokens { cases[0] } else { cases[1] };
        let tables = longest.tables();
        let len = cache_bytes(kind, longest.heads, BLOCKS);
        let (mut keys, mut values) = (vec![0xff; len], vec![0xff; len]);
        let mut qkv = [cases[0].qkv(), cases[1].qkv()].concat();
        let rows: usize = cases.iter().map(|c| c.tokens).sum();
        let mut out = vec![f32::NAN; rows * longest.heads.query * longest.heads.dims];
        let span = |i: usize| Span { position: 0, rows: cases[i].tokens, blocks: Self::blocks(i) };
        let spans = [span(0), span(1)];
        let rows = Rows { qkv: &mut qkv, spans: &spans, out: &mut out };
        let cache = KvCache { kind, keys: &mut keys, values: &mut values };
        forward(level, pool, &longest.layer(&tables), rows, cache);
        out
    }

    pub(super) fn expected(&self) -> Vec<f32> {
        let tables = self.tables();
        let Heads { query, kv, dims } = self.heads;
        let rows: Vec<Vec<f64>> = self
            .qkv()
            .chunks_exact(self.heads.row())
            .enumerate()
            .map(|(position, row)| {
                let mut row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
                if self.norms > 0 {
                    let (queries, rest) = row.split_at_mut(query * dims);
                    normalise(queries, &tables.query_norm);
                    normalise(&mut rest[..kv * dims], &tables.key_norm);
                }
                self.turn(&mut row, &tables, position);
                row
            })
            .collect();
        let mut out = Vec::new();
        for position in 0..rows.len() {
            for head in 0..query {
                out.extend(self.attend(&rows, position, head));
            }
        }
        out
    }

    fn turn(&self, row: &mut [f64], tables: &Tables, position: usize) {
        let half = self.rotary / 2;
        for head in 0..self.heads.query + self.heads.kv {
            for i in 0..half {
                let at = head * self.heads.dims + i;
                let cos = f64::from(tables.cos[position * half + i]);
                let sin = f64::from(tables.sin[position * half + i]);
                let (a, b) = (row[at], row[at + half]);
                row[at] = a * cos - b * sin;
                row[at + half] = b * cos + a * sin;
            }
        }
    }

    fn attend(&self, rows: &[Vec<f64>], position: usize, head: usize) -> Vec<f32> {
        let Heads { query, kv, dims } = self.heads;
        let kv_head = query + head / (query / kv);
        let first = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        let seen = &rows[first..=position];
        let scores: Vec<f64> = seen
            .iter()
            .map(|past| {
                let q = &rows[position][head * dims..][..dims];
                let k = &past[kv_head * dims..][..dims];
                let dot: f64 = q.iter().zip(k).map(|(a, b)| a * b).sum();
                let score = dot * f64::from(self.scale());
                self.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            })
            .collect();
        let largest = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let value = |dim: usize| {
            let at = (kv_head + kv) * dims + dim;
            weights.iter().zip(seen).map(|(w, past)| w * past[at]).sum::<f64>() / sum
        };
        (0..dims).map(|dim| value(dim) as f32).collect()
    }
}

fn normalise(values: &mut [f64], weight: &[f32]) {
    for part in values.chunks_exact_mut(weight.len()) {
        let mean = part.iter().map(|v| v * v).sum::<f64>() / part.len() as f64;
        let scale = 1.0 / (mean + f64::from(EPSILON)).sqrt();
        part.iter_mut().zip(weight).for_each(|(v, w)| *v *= scale * f64::from(*w));
    }
}
