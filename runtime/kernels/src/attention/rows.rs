//! New rows: norms, rotation, and the way into the cache.

use std::ops::Range;

use super::cache::Layout;
use super::{BLOCK_TOKENS, Layer, Rope};
use crate::dense::reduce;
use crate::shared::Shared;
use crate::simd::{LANES, Simd, dispatch};

/// Where a row's key and value go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) position: usize,
    pub(super) block: usize,
}

/// The rows to prepare.
pub(super) struct Prepare<'a> {
    pub(super) layer: &'a Layer<'a>,
    pub(super) layout: Layout,
    pub(super) slots: &'a [Slot],
    pub(super) qkv: Shared<'a, f32>,
    pub(super) keys: Shared<'a, u8>,
    pub(super) values: Shared<'a, u8>,
}

dispatch! {
    /// Prepares some rows.
    ///
    /// # Safety
    /// The slots are inside the cache and the angles and all differ; nobody else has these rows.
    pub(super) unsafe fn prepare(job: &Prepare<'_>, rows: Range<usize>) = prepare_body
}

#[inline(always)]
unsafe fn prepare_body<S: Simd>(s: S, job: &Prepare<'_>, rows: Range<usize>) {
    let (layer, layout) = (job.layer, job.layout);
    let heads = layer.heads;
    let width = heads.row();
    for index in rows {
        let Slot { position, block } = job.slots[index];
        // SAFETY: the caller's promise.
        let row = unsafe { job.qkv.part(index * width..(index + 1) * width) };
        let (queries, rest) = row.split_at_mut(heads.query * heads.dims);
        let (keys, values) = rest.split_at_mut(heads.kv * heads.dims);
        for (row, norm) in [(&mut *queries, layer.query_norm), (&mut *keys, layer.key_norm)] {
            if let Some(weight) = norm {
                normalise(s, row, weight, layer.norm_epsilon);
            }
            if let Some(rope) = layer.rope {
                turn(row, heads.dims, rope, position);
            }
        }
        let (token, dims) = (position % BLOCK_TOKENS, heads.dims);
        for kv_head in 0..heads.kv {
            let at = layout.head_at(block, kv_head);
            let at = at..at + layout.head_bytes();
            let head = kv_head * dims..(kv_head + 1) * dims;
            // SAFETY: `at` checks that the head is inside; the slot is this row's alone.
            unsafe {
                let (key, value) = (&keys[head.clone()], &values[head]);
                layout.store::<S, false>(s, job.keys.at(at.clone()), token, key);
                layout.store::<S, true>(s, job.values.at(at), token, value);
            }
        }
    }
}

/// RMS norm in place, over parts as long as `weight`.
#[inline(always)]
fn normalise<S: Simd>(s: S, row: &mut [f32], weight: &[f32], epsilon: f32) {
    for part in row.chunks_exact_mut(weight.len()) {
        let mut squares = s.splat(0.0);
        let (whole, rest) = part.as_chunks::<LANES>();
        for lanes in whole {
            let lanes = s.of(*lanes);
            squares = s.fma(lanes, lanes, squares);
        }
        let mut sum = reduce(&s.to_array(squares));
        for value in rest {
            sum += value * value;
        }
        let scale = 1.0 / (sum / weight.len() as f32 + epsilon).sqrt();
        for i in 0..weight.len() {
            part[i] = part[i] * scale * weight[i];
        }
    }
}

/// The rotary embedding of every head of a row, in place.
#[inline(always)]
fn turn(row: &mut [f32], dims: usize, rope: Rope<'_>, position: usize) {
    let half = rope.dims / 2;
    let cos = &rope.cos[position * half..(position + 1) * half];
    let sin = &rope.sin[position * half..(position + 1) * half];
    for head in row.chunks_exact_mut(dims) {
        let (first, second) = head[..rope.dims].split_at_mut(half);
        for i in 0..half {
            let (a, b) = (first[i], second[i]);
            first[i] = a * cos[i] - b * sin[i];
            second[i] = b * cos[i] + a * sin[i];
        }
    }
}
