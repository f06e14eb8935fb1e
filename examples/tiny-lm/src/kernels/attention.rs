//! Causal self-attention over chats of different lengths, with rotary positions, and its gradient.
//!
//! Chats lie one after another in `[tokens, 3 * D_MODEL]` rows of queries, keys and values; nothing
//! is padded. One task is one chat. Keys and values are transposed once per head, so that the inner
//! loops run along positions or along the head, never across lanes.

use crate::config::{D_MODEL, HEAD_DIM, HEADS, ROPE_BASE};
use crate::kernels::{exp, max, sum2, vectorized};
use rayon::prelude::*;

const SCALE: f32 = 0.176_776_7; // 1 / sqrt(HEAD_DIM)
const ROW: usize = 3 * D_MODEL;
type Head = [f32; HEAD_DIM];

/// Cosines and sines of each position, `[position][HEAD_DIM / 2]`.
pub(crate) struct Rotation {
    cos: Vec<[f32; HEAD_DIM / 2]>,
    sin: Vec<[f32; HEAD_DIM / 2]>,
}

impl Rotation {
    /// Angles for positions below `positions`.
    pub(crate) fn new(positions: usize) -> Self {
        let angle = |position: usize, pair: usize| {
            position as f32 / ROPE_BASE.powf(2.0 * pair as f32 / HEAD_DIM as f32)
        };
        let table = |f: fn(f32) -> f32| {
            (0..positions).map(|t| std::array::from_fn(|i| f(angle(t, i)))).collect()
        };
        Self { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// Rotates neighbouring pairs (2i, 2i + 1), which is how GGUF's llama architecture stores
    /// heads; `direction` is 1 forwards and -1 for the gradient.
    #[inline(always)]
    pub(crate) fn rotate(&self, position: usize, direction: f32, head: &mut [f32]) {
        let (cos, sin) = (&self.cos[position], &self.sin[position]);
        for i in 0..HEAD_DIM / 2 {
            let (a, b) = (head[2 * i], head[2 * i + 1]);
            let s = sin[i] * direction;
            head[2 * i] = a * cos[i] - b * s;
            head[2 * i + 1] = b * cos[i] + a * s;
        }
    }
}

/// One head of one chat.
struct Unpacked {
    q: Vec<Head>,
    k: Vec<Head>,
    v: Vec<Head>,
    /// `[HEAD_DIM][tokens]`.
    k_t: Vec<f32>,
    /// `[HEAD_DIM][tokens]`.
    v_t: Vec<f32>,
}

/// Queries (0), keys (1) or values (2) of one head.
#[inline(always)]
fn take(qkv: &[f32], head: usize, part: usize) -> Vec<Head> {
    let start = part * D_MODEL + head * HEAD_DIM;
    let mut rows = vec![[0.0; HEAD_DIM]; qkv.len() / ROW];
    for (row, qkv) in rows.iter_mut().zip(qkv.chunks_exact(ROW)) {
        row.copy_from_slice(&qkv[start..start + HEAD_DIM]);
    }
    rows
}

#[inline(always)]
fn transpose(rows: &[Head]) -> Vec<f32> {
    let n = rows.len();
    let mut out = vec![0.0; n * HEAD_DIM];
    for (t, row) in rows.iter().enumerate() {
        for i in 0..HEAD_DIM {
            out[i * n + t] = row[i];
        }
    }
    out
}

#[inline(always)]
fn unpack(qkv: &[f32], head: usize, rotation: &Rotation) -> Unpacked {
    let (mut q, mut k, v) = (take(qkv, head, 0), take(qkv, head, 1), take(qkv, head, 2));
    for t in 0..q.len() {
        rotation.rotate(t, 1.0, &mut q[t]);
        rotation.rotate(t, 1.0, &mut k[t]);
    }
    let (k_t, v_t) = (transpose(&k), transpose(&v));
    Unpacked { q, k, v, k_t, v_t }
}

/// `out[j] = row · columns[.., j]` for each `j` in `out`.
#[inline(always)]
fn row_times(row: &Head, columns: &[f32], n: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (i, factor) in row.iter().enumerate() {
        let column = &columns[i * n..i * n + out.len()];
        for (o, c) in out.iter_mut().zip(column) {
            *o = factor.mul_add(*c, *o);
        }
    }
}

/// Attention weights of query `t` over positions `0..=t`, into `p`.
#[inline(always)]
fn weights(parts: &Unpacked, t: usize, p: &mut [f32]) {
    let n = parts.q.len();
    let p = &mut p[..=t];
    row_times(&parts.q[t], &parts.k_t, n, p);
    let top = max(p);
    for x in p.iter_mut() {
        *x = exp((*x - top) * SCALE);
    }
    let inverse = 1.0
        / sum2(
            p,
            p,
            #[inline(always)]
            |acc, x, _| acc + x,
        );
    for x in p.iter_mut() {
        *x *= inverse;
    }
}

#[inline(always)]
fn weighted_sum(p: &[f32], rows: &[Head]) -> Head {
    let mut out = [0.0; HEAD_DIM];
    for (p, row) in p.iter().zip(rows) {
        for i in 0..HEAD_DIM {
            out[i] = p.mul_add(row[i], out[i]);
        }
    }
    out
}

#[inline(always)]
fn add_scaled(row: &mut Head, factor: f32, other: &Head) {
    for i in 0..HEAD_DIM {
        row[i] = factor.mul_add(other[i], row[i]);
    }
}

#[inline(always)]
fn forward_chat(qkv: &[f32], rotation: &Rotation, out: &mut [f32]) {
    let n = qkv.len() / ROW;
    let mut p = vec![0.0; n];
    for head in 0..HEADS {
        let parts = unpack(qkv, head, rotation);
        for t in 0..n {
            weights(&parts, t, &mut p);
            let value = weighted_sum(&p[..=t], &parts.v);
            let start = t * D_MODEL + head * HEAD_DIM;
            out[start..start + HEAD_DIM].copy_from_slice(&value);
        }
    }
}

#[inline(always)]
fn backward_chat(qkv: &[f32], dy: &[f32], rotation: &Rotation, d: &mut [f32]) {
    let n = qkv.len() / ROW;
    let (mut p, mut dp) = (vec![0.0; n], vec![0.0; n]);
    for head in 0..HEADS {
        let parts = unpack(qkv, head, rotation);
        let mut dk: Vec<Head> = vec![[0.0; HEAD_DIM]; n];
        let mut dv: Vec<Head> = vec![[0.0; HEAD_DIM]; n];
        for t in 0..n {
            let start = t * D_MODEL + head * HEAD_DIM;
            let dout: Head = std::array::from_fn(|i| dy[start + i]);
            weights(&parts, t, &mut p);
            let (p, dp) = (&p[..=t], &mut dp[..=t]);
            row_times(&dout, &parts.v_t, n, dp);
            let mean = sum2(
                p,
                dp,
                #[inline(always)]
                |acc, x, y| x.mul_add(y, acc),
            );
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = (*dp - mean) * p * SCALE;
            }
            let mut dq = weighted_sum(dp, &parts.k);
            for j in 0..=t {
                add_scaled(&mut dk[j], dp[j], &parts.q[t]);
                add_scaled(&mut dv[j], p[j], &dout);
            }
            rotation.rotate(t, -1.0, &mut dq);
            let start = t * ROW + head * HEAD_DIM;
            d[start..start + HEAD_DIM].copy_from_slice(&dq);
        }
        for t in 0..n {
            rotation.rotate(t, -1.0, &mut dk[t]);
            let start = t * ROW + D_MODEL + head * HEAD_DIM;
            d[start..start + HEAD_DIM].copy_from_slice(&dk[t]);
            d[start + D_MODEL..start + D_MODEL + HEAD_DIM].copy_from_slice(&dv[t]);
        }
    }
}

/// Splits rows of `width` at the chats' lengths.
fn split<'a>(mut rows: &'a mut [f32], lengths: &[usize], width: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(lengths.len());
    for length in lengths {
        let (part, rest) = rows.split_at_mut(length * width);
        parts.push(part);
        rows = rest;
    }
    parts
}

fn starts(lengths: &[usize]) -> Vec<usize> {
    lengths.iter().scan(0, |at, n| Some(std::mem::replace(at, *at + n))).collect()
}

/// Attention of every chat: `qkv` `[tokens, 3 * D_MODEL]` to `[tokens, D_MODEL]`; `lengths` sums up
/// to `tokens`.
pub(crate) fn attention(qkv: &[f32], lengths: &[usize]) -> Vec<f32> {
    let rotation = Rotation::new(lengths.iter().copied().max().unwrap_or(0));
    let mut out = vec![0.0; qkv.len() / 3];
    let parts = split(&mut out, lengths, D_MODEL);
    let tasks = parts.into_par_iter().zip(starts(lengths)).zip(lengths.par_iter());
    tasks.with_max_len(1).for_each(|((out, start), length)| {
        let qkv = &qkv[start * ROW..(start + length) * ROW];
        vectorized(
            #[inline(always)]
            || forward_chat(qkv, &rotation, out),
        );
    });
    out
}

/// Gradient of [`attention`] for `qkv`, given the gradient `dy` of its output.
pub(crate) fn attention_grad(qkv: &[f32], lengths: &[usize], dy: &[f32]) -> Vec<f32> {
    let rotation = Rotation::new(lengths.iter().copied().max().unwrap_or(0));
    let mut d = vec![0.0; qkv.len()];
    let parts = split(&mut d, lengths, ROW);
    let tasks = parts.into_par_iter().zip(starts(lengths)).zip(lengths.par_iter());
    tasks.with_max_len(1).for_each(|((d, start), length)| {
        let qkv = &qkv[start * ROW..(start + length) * ROW];
        let dy = &dy[start * D_MODEL..(start + length) * D_MODEL];
        vectorized(
            #[inline(always)]
            || backward_chat(qkv, dy, &rotation, d),
        );
    });
    d
}
