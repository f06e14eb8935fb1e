//! One item: some queries over some pieces of the past.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cache::{Layout, Read, ReadF16, ReadF32, ReadQ8, ReadWidened, padded};
use super::plan::{Group, Item, visible};
use super::products::{Head, add_values, block_scores, tile_queries, widen};
use super::{BLOCK_TOKENS, CacheKind, Heads, Layer, PIECE_TOKENS, Span};
use crate::shared::Shared;
use crate::simd::{LANES, Simd, dispatch};

/// A batch whose rows are in the cache.
pub(super) struct Job<'a> {
    pub(super) layer: &'a Layer<'a>,
    pub(super) layout: Layout,
    pub(super) qkv: &'a [f32],
    pub(super) keys: &'a [u8],
    pub(super) values: &'a [u8],
    pub(super) spans: &'a [Span],
    pub(super) items: &'a [Item],
    pub(super) groups: &'a [Group],
    /// Items of each group that are not done.
    pub(super) lefts: &'a [AtomicUsize],
    pub(super) partials: Shared<'a, f32>,
    pub(super) out: Shared<'a, f32>,
}

/// Values of one query's sums: the weighted values, then the largest score and the weights' sum.
pub(super) fn state_row(heads: Heads) -> usize {
    padded(heads) + LANES
}

/// Values that an item of so many queries needs while it runs.
pub(super) fn scratch_values(heads: Heads, queries: usize) -> usize {
    let aligned_queries = (queries * heads.dims).next_multiple_of(LANES);
    aligned_queries + queries * (PIECE_TOKENS + 2 * state_row(heads)) + BLOCK_TOKENS * padded(heads)
}

dispatch! {
    /// Runs one item.
    ///
    /// # Safety
    /// Everything has been checked by `forward`; the item runs once; `scratch` has
    /// [`scratch_values`].
    pub(super) unsafe fn attend_tile(job: &Job<'_>, item: usize, scratch: &mut [f32]) = attend_any
}

#[inline(always)]
unsafe fn attend_any<S: Simd>(s: S, job: &Job<'_>, item: usize, scratch: &mut [f32]) {
    let item = &job.items[item];
    let queries = item.rows * job.layer.heads.group();
    let (turned, rest) =
        scratch.split_at_mut((queries * job.layer.heads.dims).next_multiple_of(LANES));
    let (scores, rest) = rest.split_at_mut(queries * PIECE_TOKENS);
    let (sums, rest) = rest.split_at_mut(queries * state_row(job.layer.heads));
    let (piece, block) = rest.split_at_mut(queries * state_row(job.layer.heads));
    let mut tile = Tile { job, item, queries, turned, scores, piece, block };
    // SAFETY: the caller's promise; the match gives each kind its reader.
    unsafe {
        match job.layout.kind {
            CacheKind::F32 => tile.attend::<S, ReadF32, ReadF32>(s, sums),
            CacheKind::F16 => tile.attend::<S, ReadF16, ReadF32>(s, sums),
            CacheKind::Q8_0 => tile.attend::<S, ReadQ8, ReadWidened>(s, sums),
        }
    }
}

/// An item and the memory it works in.
struct Tile<'a> {
    job: &'a Job<'a>,
    item: &'a Item,
    queries: usize,
    /// Scaled queries in tiles of [`tile_queries`]: `[tile][dims][queries of the tile]`.
    turned: &'a mut [f32],
    /// `[queries][PIECE_TOKENS]`: scores, then weights.
    scores: &'a mut [f32],
    /// `[queries][state_row]`: the sums of one piece.
    piece: &'a mut [f32],
    /// A block in f32.
    block: &'a mut [f32],
}

impl Tile<'_> {
    #[inline(always)]
    unsafe fn attend<S: Simd, K: Read, W: Read>(&mut self, s: S, sums: &mut [f32]) {
        let row = state_row(self.job.layer.heads);
        self.turn_queries::<S>();
        for piece in self.item.pieces.clone() {
            // SAFETY: the caller's promise.
            unsafe { self.sum_piece::<S, K, W>(s, piece) };
            let first = piece == self.item.pieces.start;
            for (state, piece) in sums.chunks_exact_mut(row).zip(self.piece.chunks_exact(row)) {
                match first {
                    true => begin(state, piece),
                    false => meet(s, state, piece),
                }
            }
        }
        let Some((group, place)) = self.item.part else {
            // SAFETY: this item alone has these queries.
            return unsafe { self.finish(sums) };
        };
        // SAFETY: each item of a group has a place of its own.
        unsafe { self.job.partials.part(place * row..(place + self.queries) * row) }
            .copy_from_slice(sums);
        // Whoever is last sees what all others wrote, and joins the pieces in their order.
        if self.job.lefts[group].fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let Group { first, pieces } = self.job.groups[group];
        let len = self.queries * row;
        // SAFETY: all items of this group are done, and this one is the last.
        let parts = unsafe { self.job.partials.part(first * row..first * row + pieces * len) };
        let (all, others) = parts.split_at_mut(len);
        for other in others.chunks_exact(len) {
            for (state, piece) in all.chunks_exact_mut(row).zip(other.chunks_exact(row)) {
                meet(s, state, piece);
            }
        }
        // SAFETY: as above, so nobody else has these queries.
        unsafe { self.finish(all) };
    }

    /// Lays the queries out for [`block_scores`].
    #[inline(always)]
    fn turn_queries<S: Simd>(&mut self) {
        let Layer { heads, scale, .. } = *self.job.layer;
        let (group, dims) = (heads.group(), heads.dims);
        for first in (0..self.queries).step_by(tile_queries::<S>()) {
            let count = tile_queries::<S>().min(self.queries - first);
            let tile = &mut self.turned[first * dims..(first + count) * dims];
            for q in 0..count {
                let (row, head) = ((first + q) / group, (first + q) % group);
                let at = (self.item.row + row) * heads.row();
                let at = at + (self.item.kv_head * group + head) * dims;
                lay(&self.job.qkv[at..at + dims], scale, &mut tile[q..], count);
            }
        }
    }

    /// Where a block's keys or values are; `ahead` is what is read after them.
    #[inline(always)]
    fn head(&self, cache: &[u8], block: usize, ahead: *const u8) -> Head {
        let block = self.job.spans[self.item.span].blocks[block] as usize;
        let at = self.job.layout.head_at(block, self.item.kv_head);
        let head = &cache[at..at + self.job.layout.head_bytes()];
        let data = head.as_ptr();
        let ahead = if ahead.is_null() { data } else { ahead };
        Head { data, scales: data.wrapping_add(self.job.layout.scales_at()), ahead }
    }

    /// Sums over the tokens of one piece that any of the queries sees.
    #[inline(always)]
    unsafe fn sum_piece<S: Simd, K: Read, W: Read>(&mut self, s: S, piece: usize) {
        let (job, item) = (self.job, self.item);
        let start = piece * PIECE_TOKENS;
        let seen = visible(job.layer, item.position, item.rows);
        let (first, end) = (seen.start.max(start), seen.end.min(start + PIECE_TOKENS));
        let blocks = first / BLOCK_TOKENS..end.div_ceil(BLOCK_TOKENS);
        let null = std::ptr::null();
        for block in blocks.clone() {
            let last = block + 1 == blocks.end;
            let ahead = if last {
                self.head(job.values, blocks.start, null)
            } else {
                self.head(job.keys, block + 1, null)
            };
            let keys = self.head(job.keys, block, ahead.data);
            // SAFETY: the block is one of the span's, which `forward` has checked.
            unsafe { self.score_block::<S, K, W>(s, keys, block * BLOCK_TOKENS - start) };
        }
        let in_piece = blocks.start * BLOCK_TOKENS - start..blocks.end * BLOCK_TOKENS - start;
        self.weigh(s, start, in_piece);
        for block in blocks.clone() {
            let last = block + 1 == blocks.end;
            let ahead = if last { null } else { self.head(job.values, block + 1, null).data };
            let values = self.head(job.values, block, ahead);
            let tokens = (end - block * BLOCK_TOKENS).min(BLOCK_TOKENS);
            let at = block * BLOCK_TOKENS - start;
            // SAFETY: as above.
            unsafe { self.add_block::<S, K, W>(s, (values, tokens), at) };
        }
    }

    /// Scores of all queries on one block. When there are many, the block becomes f32 once.
    #[inline(always)]
    unsafe fn score_block<S: Simd, K: Read, W: Read>(&mut self, s: S, mut keys: Head, at: usize) {
        let dims = self.job.layer.heads.dims;
        let many = self.queries > tile_queries::<S>();
        // SAFETY: the block holds `dims` rows of tokens; each tile has its queries and scores.
        unsafe {
            if many {
                keys.data = widen::<S, K>(s, keys, dims * BLOCK_TOKENS, self.block);
            }
            for first in (0..self.queries).step_by(tile_queries::<S>()) {
                let count = tile_queries::<S>().min(self.queries - first);
                let queries = (self.turned.as_ptr().add(first * dims), count);
                let out = self.scores.as_mut_ptr().add(first * PIECE_TOKENS + at);
                if many {
                    block_scores::<S, W>(s, queries, keys, dims, out);
                } else {
                    block_scores::<S, K>(s, queries, keys, dims, out);
                }
            }
        }
    }

    /// Adds the values of one block's first tokens, weighted, to all queries' sums.
    #[inline(always)]
    unsafe fn add_block<S: Simd, K: Read, W: Read>(
        &mut self,
        s: S,
        (mut values, tokens): (Head, usize),
        at: usize,
    ) {
        let dims = padded(self.job.layer.heads);
        let row = state_row(self.job.layer.heads);
        let many = self.queries > tile_queries::<S>();
        // SAFETY: the block holds `tokens` rows of dimensions; each tile has its weights and sums.
        unsafe {
            if many {
                values.data = widen::<S, K>(s, values, tokens * dims, self.block);
            }
            for first in (0..self.queries).step_by(tile_queries::<S>()) {
                let count = tile_queries::<S>().min(self.queries - first);
                let weights = (self.scores.as_ptr().add(first * PIECE_TOKENS + at), count);
                let out = self.piece.as_mut_ptr().add(first * row);
                if many {
                    add_values::<S, W>(s, weights, (values, tokens), (dims, row), out);
                } else {
                    add_values::<S, K>(s, weights, (values, tokens), (dims, row), out);
                }
            }
        }
    }

    /// Turns scores into weights relative to the largest, and starts the piece's sums.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, s: S, start: usize, tokens: Range<usize>) {
        let row = state_row(self.job.layer.heads);
        let group = self.job.layer.heads.group();
        let states = self.piece.chunks_exact_mut(row);
        for (q, (state, scores)) in
            states.zip(self.scores.chunks_exact_mut(PIECE_TOKENS)).enumerate()
        {
            let seen = visible(self.job.layer, self.item.position + q / group, 1);
            let clamp = |at: usize| at.saturating_sub(start).clamp(tokens.start, tokens.end);
            let (first, end) = (clamp(seen.start) - tokens.start, clamp(seen.end) - tokens.start);
            let scores = &mut scores[tokens.clone()];
            let (largest, sum) = soften(s, scores, first..end, self.job.layer.softcap);
            state.fill(0.0);
            state[row - LANES] = largest;
            state[row - LANES + 1] = sum;
        }
    }

    /// Divides by the weights' sums.
    #[inline(always)]
    unsafe fn finish(&self, sums: &[f32]) {
        let heads = self.job.layer.heads;
        let row = state_row(heads);
        for (q, state) in sums.chunks_exact(row).enumerate() {
            let (index, head) = (self.item.row + q / heads.group(), q % heads.group());
            let at = index * heads.query + self.item.kv_head * heads.group() + head;
            // SAFETY: the caller's promise.
            let out = unsafe { self.job.out.part(at * heads.dims..(at + 1) * heads.dims) };
            let inverse = 1.0 / state[row - LANES + 1];
            let sums = &state[..heads.dims];
            for d in 0..heads.dims {
                out[d] = sums[d] * inverse;
            }
        }
    }
}

/// Scales a query into a column of its tile, which has `count` of them.
#[inline(always)]
fn lay(query: &[f32], scale: f32, column: &mut [f32], count: usize) {
    assert!(query.is_empty() || (query.len() - 1) * count < column.len(), "a short tile");
    for (d, value) in query.iter().enumerate() {
        // SAFETY: checked above for the last `d`.
        unsafe { *column.get_unchecked_mut(d * count) = value * scale };
    }
}

/// Scores become weights `e^(score - largest)`; those outside `seen` become 0. Gives the largest
/// score and the weights' sum.
#[inline(always)]
fn soften<S: Simd>(
    s: S,
    scores: &mut [f32],
    seen: Range<usize>,
    softcap: Option<f32>,
) -> (f32, f32) {
    let (before, after) = (0..seen.start, seen.end..scores.len());
    if let Some(cap) = softcap {
        let (inverse, cap) = (s.splat(1.0 / cap), s.splat(cap));
        for lanes in scores.as_chunks_mut::<LANES>().0 {
            let capped = s.tanh(s.mul(s.of(*lanes), inverse));
            *lanes = s.to_array(s.mul(capped, cap));
        }
    }
    // What lies outside is of no sequence, or of another token's future, and may be anything.
    put(&mut scores[before.clone()], f32::NEG_INFINITY);
    put(&mut scores[after.clone()], f32::NEG_INFINITY);
    let mut largest = s.splat(f32::NEG_INFINITY);
    for lanes in scores.as_chunks::<LANES>().0 {
        largest = s.max(largest, s.of(*lanes));
    }
    let largest = s.largest(largest);
    let base = s.splat(largest);
    for lanes in scores.as_chunks_mut::<LANES>().0 {
        *lanes = s.to_array(s.exp(s.sub(s.of(*lanes), base)));
    }
    put(&mut scores[before], 0.0);
    put(&mut scores[after], 0.0);
    let mut sum = s.splat(0.0);
    for lanes in scores.as_chunks::<LANES>().0 {
        sum = s.add(sum, s.of(*lanes));
    }
    (largest, s.sum(sum))
}

/// Fills what is mostly empty: a call for nothing would cost as much as the rest of a short row.
#[inline(always)]
fn put(scores: &mut [f32], value: f32) {
    if !scores.is_empty() {
        scores.fill(value);
    }
}

/// Takes over the sums of the first piece; nothing of one that the query does not see.
#[inline(always)]
fn begin(state: &mut [f32], piece: &[f32]) {
    let dims = state.len() - LANES;
    if piece[dims] == f32::NEG_INFINITY {
        state.fill(0.0);
        state[dims] = f32::NEG_INFINITY;
    } else {
        state.copy_from_slice(piece);
    }
}

/// Adds the sums of a piece to those of all pieces before it.
#[inline(always)]
fn meet<S: Simd>(s: S, state: &mut [f32], piece: &[f32]) {
    let dims = state.len() - LANES;
    let largest = piece[dims];
    if largest == f32::NEG_INFINITY {
        return;
    }
    let before = state[dims];
    let both = crate::dense::larger(before, largest);
    let keep = s.exp(s.splat(before - both));
    let take = s.exp(s.splat(largest - both));
    let sum = s.fma(s.splat(piece[dims + 1]), take, s.mul(s.splat(state[dims + 1]), keep));
    let pieces = piece[..dims].as_chunks::<LANES>().0;
    let lanes = state[..dims].as_chunks_mut::<LANES>().0;
    for i in 0..pieces.len() {
        let kept = s.mul(s.of(lanes[i]), keep);
        lanes[i] = s.to_array(s.fma(s.of(pieces[i]), take, kept));
    }
    state[dims] = both;
    state[dims + 1] = s.to_array(sum)[0];
}
