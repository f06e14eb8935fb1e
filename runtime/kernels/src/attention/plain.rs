//! The first form, over an f32 cache and without threads: it goes with its last caller.

use super::{BLOCK_TOKENS, Heads, Span};
use crate::dense::{add_product, larger, reduce};
use crate::level::at_level;
use crate::pointwise::exp;

const LANES: usize = 16;

/// One layer's keys and values.
#[derive(Debug)]
pub struct Cache<'a> {
    /// Rotated keys, `[blocks, kv, dims, BLOCK_TOKENS]`: one query meets all tokens of a block in
    /// one pass over the dimensions, without a sum across lanes.
    pub keys: &'a mut [f32],
    /// Values, `[blocks, kv, BLOCK_TOKENS, dims]`.
    pub values: &'a mut [f32],
}

/// Angles of the rotary embedding, each `[positions, dims / 2]`.
#[derive(Clone, Copy, Debug)]
pub struct Angles<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
}

/// A batch of rows for one attention layer.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Sizes.
    pub heads: Heads,
    /// `[rows, query + key + value]`; rotated in place.
    pub qkv: &'a mut [f32],
    /// Rotary angles.
    pub angles: Angles<'a>,
    /// Whose the rows are, in order.
    pub spans: &'a [Span],
}

at_level! {
    /// Rotates queries and keys, stores keys and values in the cache, and attends causally.
    ///
    /// A head's first half pairs with its second half (the convention of Hugging Face). `out` is
    /// `[rows, query * dims]`. Sources: Su et al. 2021 (rotary), Kwon et al. 2023 (paged cache).
    ///
    /// # Panics
    /// When sizes do not agree, a span needs more blocks than it has, or a block or position is
    /// outside the cache or the angles.
    pub fn attend(batch: Batch<'_>, cache: Cache<'_>, out: &mut [f32]) = attend_body
}

#[inline(always)]
fn attend_body<const FMA: bool>(batch: Batch<'_>, cache: Cache<'_>, out: &mut [f32]) {
    let Batch { heads, qkv, angles, spans } = batch;
    let Cache { keys, values } = cache;
    let rows: usize = spans.iter().map(|s| s.rows).sum();
    let out_row = heads.query * heads.dims;
    assert_eq!(qkv.len(), rows * heads.row(), "qkv has the wrong size");
    assert_eq!(out.len(), rows * out_row, "out has the wrong size");
    let mut qkv = qkv.chunks_exact_mut(heads.row());
    let mut out = out.chunks_exact_mut(out_row);
    let mut scores = Vec::new();
    for span in spans {
        assert!(span.position + span.rows <= span.blocks.len() * BLOCK_TOKENS, "too few blocks");
        for position in span.position..span.position + span.rows {
            let (Some(row), Some(out)) = (qkv.next(), out.next()) else { return };
            rotate(heads, row, angles, position);
            let (queries, rest) = row.split_at(out_row);
            let (new_keys, new_values) = rest.split_at(heads.kv * heads.dims);
            append_keys(heads, new_keys, span, position, keys);
            append_values(heads, new_values, span, position, values);
            for head in 0..heads.query {
                let at = head * heads.dims..(head + 1) * heads.dims;
                let kv_head = head / (heads.query / heads.kv);
                let past = Past { heads, kv_head, span, tokens: position + 1 };
                past.attend::<FMA>(&queries[at.clone()], (keys, values), &mut scores, &mut out[at]);
            }
        }
    }
}

#[inline(always)]
fn rotate(heads: Heads, row: &mut [f32], angles: Angles<'_>, position: usize) {
    let half = heads.dims / 2;
    let cos = &angles.cos[position * half..(position + 1) * half];
    let sin = &angles.sin[position * half..(position + 1) * half];
    let rotated = (heads.query + heads.kv) * heads.dims;
    for head in row[..rotated].chunks_exact_mut(heads.dims) {
        let (first, second) = head.split_at_mut(half);
        for i in 0..half {
            let (a, b) = (first[i], second[i]);
            first[i] = a * cos[i] - b * sin[i];
            second[i] = b * cos[i] + a * sin[i];
        }
    }
}

/// Where the cache holds a head of a block.
#[inline(always)]
fn head_at(heads: Heads, block: u32, kv_head: usize) -> std::ops::Range<usize> {
    let len = BLOCK_TOKENS * heads.dims;
    let start = (block as usize * heads.kv + kv_head) * len;
    start..start + len
}

#[inline(always)]
fn append_keys(heads: Heads, row: &[f32], span: &Span, position: usize, cache: &mut [f32]) {
    let block = span.blocks[position / BLOCK_TOKENS];
    for (kv_head, values) in row.chunks_exact(heads.dims).enumerate() {
        let head = &mut cache[head_at(heads, block, kv_head)];
        let column = head.iter_mut().skip(position % BLOCK_TOKENS).step_by(BLOCK_TOKENS);
        column.zip(values).for_each(|(slot, value)| *slot = *value);
    }
}

#[inline(always)]
fn append_values(heads: Heads, row: &[f32], span: &Span, position: usize, cache: &mut [f32]) {
    let block = span.blocks[position / BLOCK_TOKENS];
    for (kv_head, values) in row.chunks_exact(heads.dims).enumerate() {
        let head = &mut cache[head_at(heads, block, kv_head)];
        let at = position % BLOCK_TOKENS * heads.dims;
        head[at..at + heads.dims].copy_from_slice(values);
    }
}

/// Products of one query with the 32 tokens of a block, `[dims, BLOCK_TOKENS]`.
#[inline(always)]
fn block_scores<const FMA: bool>(query: &[f32], keys: &[f32], scale: f32) -> [f32; BLOCK_TOKENS] {
    let mut sums = [0f32; BLOCK_TOKENS];
    for (query, keys) in query.iter().zip(keys.as_chunks::<BLOCK_TOKENS>().0) {
        for token in 0..BLOCK_TOKENS {
            sums[token] = add_product::<FMA>(*query, keys[token], sums[token]);
        }
    }
    sums.map(|sum| sum * scale)
}

/// Adds the weighted values of a block's first tokens to `out`, `LANES` dimensions at a time.
#[inline(always)]
fn add_values<const FMA: bool>(weights: &[f32], values: &[f32], out: &mut [f32]) {
    let dims = out.len();
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    let split = whole.len() * LANES;
    for (chunk, out) in whole.iter_mut().enumerate() {
        let mut sums = *out;
        for (weight, value) in weights.iter().zip(values.chunks_exact(dims)) {
            let value = &value[chunk * LANES..(chunk + 1) * LANES];
            for lane in 0..LANES {
                sums[lane] = add_product::<FMA>(*weight, value[lane], sums[lane]);
            }
        }
        *out = sums;
    }
    for (weight, value) in weights.iter().zip(values.chunks_exact(dims)) {
        for (out, value) in rest.iter_mut().zip(&value[split..]) {
            *out = add_product::<FMA>(*weight, *value, *out);
        }
    }
}

/// What one query may see.
struct Past<'a> {
    heads: Heads,
    kv_head: usize,
    span: &'a Span,
    tokens: usize,
}

impl Past<'_> {
    #[inline(always)]
    fn attend<const FMA: bool>(
        &self,
        query: &[f32],
        (keys, values): (&[f32], &[f32]),
        scores: &mut Vec<[f32; BLOCK_TOKENS]>,
        out: &mut [f32],
    ) {
        let scale = 1.0 / (self.heads.dims as f32).sqrt();
        scores.clear();
        let mut largest = [f32::NEG_INFINITY; BLOCK_TOKENS];
        for (block, tokens) in self.blocks() {
            let keys = &keys[head_at(self.heads, block, self.kv_head)];
            let mut row = block_scores::<FMA>(query, keys, scale);
            // What lies behind the last token is of no sequence, and may be anything.
            row[tokens..].fill(f32::NEG_INFINITY);
            for (largest, score) in largest.iter_mut().zip(row) {
                *largest = larger(*largest, score);
            }
            scores.push(row);
        }
        let largest = largest.into_iter().fold(f32::NEG_INFINITY, larger);
        let mut sums = [0f32; BLOCK_TOKENS];
        for row in scores.iter_mut() {
            for (score, sum) in row.iter_mut().zip(&mut sums) {
                *score = exp::<FMA>(*score - largest);
                *sum += *score;
            }
        }
        out.fill(0.0);
        for ((block, tokens), row) in self.blocks().zip(scores.iter()) {
            let values = &values[head_at(self.heads, block, self.kv_head)];
            add_values::<FMA>(&row[..tokens], values, out);
        }
        let inverse = 1.0 / reduce(&sums);
        out.iter_mut().for_each(|value| *value *= inverse);
    }

    /// The blocks that hold the past, each with the number of its tokens that count.
    #[inline(always)]
    fn blocks(&self) -> impl Iterator<Item = (u32, usize)> {
        let tokens = self.tokens;
        let used = tokens.div_ceil(BLOCK_TOKENS);
        let blocks = self.span.blocks[..used].iter().enumerate();
        blocks.map(move |(i, block)| (*block, (tokens - i * BLOCK_TOKENS).min(BLOCK_TOKENS)))
    }
}

#[cfg(test)]
mod tests;
