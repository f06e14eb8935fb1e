use crate::dense::{add_product, dot};
use crate::level::at_level;
use crate::pointwise::exp;

/// Tokens in one block of the KV cache.
pub const BLOCK_TOKENS: usize = 32;

/// Sizes of an attention layer. Query heads share key heads in groups of `heads / kv_heads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub kv: usize,
    /// Values of one head.
    pub dims: usize,
}

impl Heads {
    /// Values in one row of queries, keys and values together.
    pub fn row(self) -> usize {
        (self.query + 2 * self.kv) * self.dims
    }

    /// Values in one block of the cache, keys or values: `[kv, BLOCK_TOKENS, dims]`.
    pub fn block(self) -> usize {
        self.kv * BLOCK_TOKENS * self.dims
    }
}

/// The rows of one sequence in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Position in its sequence of the first row.
    pub position: usize,
    /// Number of rows.
    pub rows: usize,
    /// The sequence's blocks in the cache, enough for `position + rows` tokens.
    pub blocks: Vec<u32>,
}

/// One layer's keys and values, each `[blocks, kv, BLOCK_TOKENS, dims]`.
#[derive(Debug)]
pub struct Cache<'a> {
    /// Keys, already rotated.
    pub keys: &'a mut [f32],
    /// Values.
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
            append(heads, new_keys, span, position, keys);
            append(heads, new_values, span, position, values);
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

/// Where the cache holds a token of a head.
#[inline(always)]
fn slot(heads: Heads, block: u32, kv_head: usize, token: usize) -> usize {
    ((block as usize * heads.kv + kv_head) * BLOCK_TOKENS + token) * heads.dims
}

#[inline(always)]
fn append(heads: Heads, row: &[f32], span: &Span, position: usize, cache: &mut [f32]) {
    let block = span.blocks[position / BLOCK_TOKENS];
    for (kv_head, values) in row.chunks_exact(heads.dims).enumerate() {
        let at = slot(heads, block, kv_head, position % BLOCK_TOKENS);
        cache[at..at + heads.dims].copy_from_slice(values);
    }
}

#[inline(always)]
fn add_scaled<const FMA: bool>(weight: f32, value: &[f32], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(value) {
        *out = add_product::<FMA>(weight, *value, *out);
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
        scores: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let dims = self.heads.dims;
        let scale = 1.0 / (dims as f32).sqrt();
        scores.clear();
        let mut largest = f32::NEG_INFINITY;
        for (block, tokens) in self.blocks() {
            let at = slot(self.heads, block, self.kv_head, 0);
            for key in keys[at..at + tokens * dims].chunks_exact(dims) {
                let score = dot::<FMA>(query, key) * scale;
                largest = largest.max(score);
                scores.push(score);
            }
        }
        for score in scores.iter_mut() {
            *score = exp::<FMA>(*score - largest);
        }
        let inverse = 1.0 / scores.iter().sum::<f32>();
        out.fill(0.0);
        let mut weights = scores.iter();
        for (block, tokens) in self.blocks() {
            let at = slot(self.heads, block, self.kv_head, 0);
            let values = values[at..at + tokens * dims].chunks_exact(dims);
            for (value, weight) in values.zip(weights.by_ref()) {
                let weight = weight * inverse;
                add_scaled::<FMA>(weight, value, out);
            }
        }
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
