use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData, activation};
use emberbox_kernels::attention::{BLOCK_TOKENS, Heads, Span};

use super::{Attention, AttentionTensors};
use crate::models::config::Activation;
use crate::models::kv::LayerCache;

/// Added to the score of a token that must not be seen: its share is exactly zero. Shaders need not
/// know infinities.
const HIDDEN: f32 = -1e30;

pub(super) fn norm(x: Tensor<2>, w: Tensor<1>, epsilon: f32) -> Tensor<2> {
    let scale = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt();
    x.div(scale).mul(w.unsqueeze())
}

pub(super) fn gate(x: &Tensor<2>, function: Activation) -> Tensor<2> {
    let width = x.dims()[1] / 2;
    let (gate, up) = (x.clone().narrow(1, 0, width), x.clone().narrow(1, width, width));
    let gate = match function {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => {
            let factor = (2.0 / std::f64::consts::PI).sqrt();
            let cube = gate.clone().powi_scalar(3).mul_scalar(0.044_715);
            let inner = gate.clone().add(cube).mul_scalar(factor).tanh();
            gate.mul_scalar(0.5).mul(inner.add_scalar(1.0))
        }
    };
    gate.mul(up)
}

pub(super) fn attend(
    tensors: &AttentionTensors<'_>,
    (mut key_cache, mut value_cache): (Tensor<4>, Tensor<4>),
    plan: Attention,
    spans: &Arc<Vec<Span>>,
) -> (Tensor<2>, LayerCache) {
    let Heads { query, kv, dims } = plan.heads;
    let mut out = Vec::new();
    let mut first = 0;
    for span in spans.iter() {
        let rows = tensors.qkv.clone().narrow(0, first, span.rows);
        first += span.rows;
        let head = |start: usize, heads: usize| {
            rows.clone().narrow(1, start * dims, heads * dims).reshape([span.rows, heads, dims])
        };
        let (query_norm, key_norm) = (plan.norms[0], plan.norms[1]);
        let prepare = |x: Tensor<3>, (start, len): (usize, usize)| {
            let x = match len {
                0 => x,
                _ => head_norm(x, tensors.norms.clone().narrow(0, start, len), plan.epsilon),
            };
            if plan.rotary { rotate(x, tensors.angles, span.position) } else { x }
        };
        let queries = prepare(head(0, query), (0, query_norm));
        let (keys, values);
        (key_cache, keys) =
            extend(key_cache, &prepare(head(query, kv), (query_norm, key_norm)), span);
        (value_cache, values) = extend(value_cache, &head(query + kv, kv), span);
        out.push(softmax_attend(queries, (keys, values), span.position, plan));
    }
    (Tensor::cat(out, 0), LayerCache::Plain(Box::new((key_cache, value_cache))))
}

/// Normalises `[rows, heads, dims]` over as many values as there are weights.
fn head_norm(x: Tensor<3>, w: Tensor<1>, epsilon: f32) -> Tensor<3> {
    let shape = x.dims();
    let width = w.dims()[0];
    let rows = shape.iter().product::<usize>() / width;
    norm(x.reshape([rows, width]), w, epsilon).reshape(shape)
}

/// `[rows, heads, dims]`: of the values that turn, the first half is paired with the second.
fn rotate(x: Tensor<3>, angles: &Tensor<3>, position: usize) -> Tensor<3> {
    let [rows, _, dims] = x.dims();
    let half = angles.dims()[2];
    let table = |which: usize| {
        let table = angles.clone().slice([which..which + 1, position..position + rows, 0..half]);
        table.reshape([rows, 1, half])
    };
    let (cos, sin) = (table(0), table(1));
    let (a, b) = (x.clone().narrow(2, 0, half), x.clone().narrow(2, half, half));
    let first = a.clone().mul(cos.clone()).sub(b.clone().mul(sin.clone()));
    let mut parts = vec![first, b.mul(cos).add(a.mul(sin))];
    if 2 * half < dims {
        parts.push(x.narrow(2, 2 * half, dims - 2 * half));
    }
    Tensor::cat(parts, 2)
}

/// Writes `[rows, kv, dims]` to the span's blocks; gives the cache and all of the span's tokens,
/// `[tokens, kv, dims]`. The cache is not shared meanwhile, so that no backend has to copy it.
fn extend(mut cache: Tensor<4>, rows: &Tensor<3>, span: &Span) -> (Tensor<4>, Tensor<3>) {
    let [count, kv, dims] = rows.dims();
    let tokens = span.position + count;
    let mut done = 0;
    while done < count {
        let (block, slot) =
            ((span.position + done) / BLOCK_TOKENS, (span.position + done) % BLOCK_TOKENS);
        let len = (BLOCK_TOKENS - slot).min(count - done);
        let value = rows.clone().narrow(0, done, len).swap_dims(0, 1).reshape([1, kv, len, dims]);
        let at = span.blocks[block] as usize;
        cache = cache.slice_assign([at..at + 1, 0..kv, slot..slot + len, 0..dims], value);
        done += len;
    }
    let used = tokens.div_ceil(BLOCK_TOKENS);
    let ids: Vec<i32> = span.blocks[..used].iter().map(|b| b.cast_signed()).collect();
    let ids = Tensor::from_data(TensorData::new(ids, [used]), (&rows.device(), DType::I32));
    let all = cache.clone().select(0, ids).swap_dims(1, 2);
    (cache, all.reshape([used * BLOCK_TOKENS, kv, dims]).narrow(0, 0, tokens))
}

fn softmax_attend(
    queries: Tensor<3>,
    (keys, values): (Tensor<3>, Tensor<3>),
    position: usize,
    plan: Attention,
) -> Tensor<2> {
    let [rows, heads, dims] = queries.dims();
    let [tokens, kv, _] = keys.dims();
    let repeat = |x: Tensor<3>| {
        let x = x.swap_dims(0, 1).reshape([kv, 1, tokens, dims]).repeat_dim(1, heads / kv);
        x.reshape([heads, tokens, dims])
    };
    let mut mask = vec![0f32; rows * tokens];
    for (row, mask) in mask.chunks_exact_mut(tokens).enumerate() {
        let seen = position + row + 1;
        mask[seen..].fill(HIDDEN);
        let hidden = plan.window.map_or(0, |window| seen.saturating_sub(window));
        mask[..hidden].fill(HIDDEN);
    }
    let mask = Tensor::<3>::from_data(TensorData::new(mask, [1, rows, tokens]), &keys.device());
    let scores = queries.swap_dims(0, 1).matmul(repeat(keys).swap_dims(1, 2));
    let mut scores = scores.mul_scalar(plan.scale);
    if let Some(cap) = plan.softcap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    let out = activation::softmax(scores.add(mask), 2).matmul(repeat(values));
    out.swap_dims(0, 1).reshape([rows, heads * dims])
}
