//! The two products of attention, on a few queries and one block of the cache.

use std::marker::PhantomData;

use super::cache::{GROUP_DIMS, Read};
use super::{BLOCK_TOKENS, PIECE_TOKENS};
use crate::simd::{F16s, F32s, Kernel, LANES, Simd, Stored};

/// Bytes of 16 f16 scales.
const SCALES: usize = 2 * LANES;

/// A head of a block in memory.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) data: *const u8,
    /// Where the scales are, if the kind has any.
    pub(super) scales: *const u8,
    /// What will be read next: any address.
    pub(super) ahead: *const u8,
}

/// Queries that one call serves at most.
pub(super) const fn tile_queries<S: Simd>() -> usize {
    if S::WIDE { 8 } else { 4 }
}

/// Calls a kernel of so many queries, for `$vectors` vectors at a time.
macro_rules! with_queries {
    ($s:ident, $queries:expr, $kernel:ident, $vectors:literal, $fields:tt) => {
        match $queries {
            1 => $s.call($kernel::<K, 1, $vectors> $fields),
            2 => $s.call($kernel::<K, 2, $vectors> $fields),
            3 => $s.call($kernel::<K, 3, $vectors> $fields),
            4 => $s.call($kernel::<K, 4, $vectors> $fields),
            5 if S::WIDE => $s.call($kernel::<K, 5, $vectors> $fields),
            6 if S::WIDE => $s.call($kernel::<K, 6, $vectors> $fields),
            7 if S::WIDE => $s.call($kernel::<K, 7, $vectors> $fields),
            8 if S::WIDE => $s.call($kernel::<K, 8, $vectors> $fields),
            _ => {}
        }
    };
}

/// Products of `count` queries, `[dims][count]`, with a block's keys: `[count][PIECE_TOKENS]`.
///
/// # Safety
/// `count` is 1..=`tile_queries()`; `queries` and `out` hold them all, `keys` the whole block.
#[inline(always)]
pub(super) unsafe fn block_scores<S: Simd, K: Read>(
    s: S,
    (queries, count): (*const f32, usize),
    keys: Head,
    dims: usize,
    out: *mut f32,
) {
    let read = PhantomData;
    // SAFETY: the caller's promise.
    unsafe {
        if S::WIDE {
            with_queries!(s, count, Score, 2, { queries, keys, dims, out, read });
        } else {
            with_queries!(s, count, Score, 1, { queries, keys, dims, out, read });
        }
    }
}

/// [`block_scores`] of `Q` queries, `V` vectors of tokens at a time.
struct Score<K, const Q: usize, const V: usize> {
    queries: *const f32,
    keys: Head,
    dims: usize,
    out: *mut f32,
    read: PhantomData<K>,
}

impl<K: Read, const Q: usize, const V: usize> Kernel for Score<K, Q, V> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let mut first = 0;
        while first < BLOCK_TOKENS / LANES {
            // SAFETY: the caller's promise.
            let totals = unsafe { self.totals(s, first) };
            for (q, totals) in totals.into_iter().enumerate() {
                // SAFETY: row `q` of `Q`, a block of it.
                unsafe { store(s, totals, self.out.add(q * PIECE_TOKENS + first * LANES)) };
            }
            first += V;
        }
    }
}

impl<K: Read, const Q: usize, const V: usize> Score<K, Q, V> {
    /// Products with the tokens of some vectors.
    #[inline(always)]
    unsafe fn totals<S: Simd>(&self, s: S, first: usize) -> [[S::F; V]; Q] {
        let Self { queries, keys, dims, .. } = *self;
        if !K::SCALED {
            // SAFETY: the caller's promise, here and below.
            return unsafe { dots::<S, K, Q, V>(s, queries, keys, (0..dims, first)) };
        }
        let mut totals = [[s.splat(0.0); V]; Q];
        let mut start = 0;
        while start < dims {
            let end = dims.min(start + GROUP_DIMS);
            let at = (start / GROUP_DIMS * (BLOCK_TOKENS / LANES) + first) * SCALES;
            // SAFETY: dimensions `start..end`, and the scales of this group.
            unsafe {
                let sums = dots::<S, K, Q, V>(s, queries, keys, (start..end, first));
                rescale(s, keys.scales.wrapping_add(at), &sums, &mut totals);
            }
            start = end;
        }
        totals
    }
}

/// Stores vectors side by side.
#[inline(always)]
unsafe fn store<S: Simd, const V: usize>(s: S, vectors: [S::F; V], out: *mut f32) {
    for (v, vector) in vectors.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { s.store(out.add(v * LANES), vector) };
    }
}

/// Products over some dimensions of `Q` queries with `V` vectors of tokens, from vector `first` on.
#[inline(always)]
unsafe fn dots<S: Simd, K: Read, const Q: usize, const V: usize>(
    s: S,
    queries: *const f32,
    keys: Head,
    (dims, first): (std::ops::Range<usize>, usize),
) -> [[S::F; V]; Q] {
    let bytes = <K::As as Stored>::BYTES;
    let mut sums = [[s.splat(0.0); V]; Q];
    for d in dims {
        let at = (d * (BLOCK_TOKENS / LANES) + first) * bytes;
        s.prefetch(keys.ahead.wrapping_add(at));
        // SAFETY: dimension `d` of this block, and of each query.
        unsafe {
            let keys = load::<S, K::As, V>(s, keys.data.add(at));
            add_token(s, queries.add(d * Q), 1, keys, &mut sums);
        }
    }
    sums
}

/// Adds sums of integers, each token's times its scale.
#[inline(always)]
unsafe fn rescale<S: Simd, const Q: usize, const V: usize>(
    s: S,
    scales: *const u8,
    sums: &[[S::F; V]; Q],
    totals: &mut [[S::F; V]; Q],
) {
    for v in 0..V {
        // SAFETY: the caller's promise.
        let scale = unsafe { F16s::load(s, scales.add(v * SCALES)) };
        for q in 0..Q {
            totals[q][v] = s.fma(sums[q][v], scale, totals[q][v]);
        }
    }
}

/// Adds a block's first `tokens` values, weighted by `count` rows of weights
/// (`[count][PIECE_TOKENS]`), to `[count][stride]` sums of `dims` padded dimensions.
///
/// # Safety
/// `count` is 1..=`tile_queries()`; `weights` and `out` hold them all, `values` the whole block.
#[inline(always)]
pub(super) unsafe fn add_values<S: Simd, K: Read>(
    s: S,
    (weights, count): (*const f32, usize),
    (values, tokens): (Head, usize),
    (dims, stride): (usize, usize),
    out: *mut f32,
) {
    let read = PhantomData;
    let mut first = 0;
    // SAFETY: the caller's promise, `LANES` or twice that many dimensions at a time.
    unsafe {
        while first + 2 * LANES <= dims && S::WIDE {
            let at = (first, dims, stride);
            with_queries!(s, count, Add, 2, { weights, values, tokens, at, out, read });
            first += 2 * LANES;
        }
        while first < dims {
            let at = (first, dims, stride);
            with_queries!(s, count, Add, 1, { weights, values, tokens, at, out, read });
            first += LANES;
        }
    }
}

/// [`add_values`] of `Q` queries and `V` vectors of dimensions from a first one on.
struct Add<K, const Q: usize, const V: usize> {
    weights: *const f32,
    values: Head,
    tokens: usize,
    /// First dimension, padded dimensions of a value, and distance of two queries' sums.
    at: (usize, usize, usize),
    out: *mut f32,
    read: PhantomData<K>,
}

impl<K: Read, const Q: usize, const V: usize> Kernel for Add<K, Q, V> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { weights, values, at: (first, dims, stride), out, .. } = self;
        // SAFETY: the caller's promise.
        let scaled = unsafe { scale_weights::<S, K, Q>(s, weights, values, first) };
        let (weights, step) = if K::SCALED {
            (scaled.as_ptr().cast(), BLOCK_TOKENS)
        } else {
            (weights, PIECE_TOKENS)
        };
        let mut sums = [[s.splat(0.0); V]; Q];
        for (q, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `q` of `Q`, whole vectors of its dimensions; here and below.
            *sums = unsafe { load::<S, F32s, V>(s, out.add(q * stride + first).cast()) };
        }
        let size = <K::As as Stored>::BYTES / LANES;
        for t in 0..self.tokens {
            let at = (t * dims + first) * size;
            s.prefetch(values.ahead.wrapping_add(at));
            // SAFETY: token `t` of the block, and of each row of weights.
            unsafe {
                let values = load::<S, K::As, V>(s, values.data.add(at));
                add_token(s, weights.add(t), step, values, &mut sums);
            }
        }
        for (q, sums) in sums.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { store(s, sums, out.add(q * stride + first)) };
        }
    }
}

/// Vectors that lie side by side.
#[inline(always)]
unsafe fn load<S: Simd, K: Stored, const V: usize>(s: S, from: *const u8) -> [S::F; V] {
    let mut vectors = [s.splat(0.0); V];
    for (v, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *vector = unsafe { K::load(s, from.add(v * K::BYTES)) };
    }
    vectors
}

/// Adds one token's values with the weight that it has in each row; or one dimension's keys
/// with what it is in each query.
#[inline(always)]
unsafe fn add_token<S: Simd, const Q: usize, const V: usize>(
    s: S,
    weights: *const f32,
    step: usize,
    values: [S::F; V],
    sums: &mut [[S::F; V]; Q],
) {
    for (q, sums) in sums.iter_mut().enumerate() {
        // SAFETY: row `q` of `Q`.
        let weight = s.splat(unsafe { *weights.add(q * step) });
        for v in 0..V {
            sums[v] = s.fma(weight, values[v], sums[v]);
        }
    }
}

/// A scale belongs to a token and 32 dimensions, so it goes into the weight.
#[inline(always)]
unsafe fn scale_weights<S: Simd, K: Read, const Q: usize>(
    s: S,
    weights: *const f32,
    values: Head,
    first: usize,
) -> [[f32; BLOCK_TOKENS]; Q] {
    let mut scaled = [[0f32; BLOCK_TOKENS]; Q];
    let group = first / GROUP_DIMS * BLOCK_TOKENS * 2;
    for half in 0..if K::SCALED { BLOCK_TOKENS / LANES } else { 0 } {
        // SAFETY: the scales of this group, and a block of weights.
        unsafe {
            let scale = F16s::load(s, values.scales.add(group + half * SCALES));
            for (q, scaled) in scaled.iter_mut().enumerate() {
                let weight = s.load(weights.add(q * PIECE_TOKENS + half * LANES));
                s.store(scaled.as_mut_ptr().add(half * LANES), s.mul(weight, scale));
            }
        }
    }
    scaled
}

/// The first `len` values of a head as f32, in `out`: whole vectors.
///
/// # Safety
/// The head has them.
#[inline(always)]
pub(super) unsafe fn widen<S: Simd, K: Read>(
    s: S,
    head: Head,
    len: usize,
    out: &mut [f32],
) -> *const u8 {
    assert!(len <= out.len(), "the block has no room");
    let out = out.as_mut_ptr();
    // SAFETY: the caller's promise, and as checked.
    unsafe { s.call(Widen::<K> { head, vectors: len / LANES, out, read: PhantomData }) };
    out.cast_const().cast()
}

/// [`widen`]: a function of its own, whose loop keeps its few pointers in registers.
struct Widen<K> {
    head: Head,
    vectors: usize,
    out: *mut f32,
    read: PhantomData<K>,
}

impl<K: Read> Kernel for Widen<K> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        for i in 0..self.vectors {
            let at = i * <K::As as Stored>::BYTES;
            s.prefetch(self.head.ahead.wrapping_add(at));
            // SAFETY: the promise of `widen`.
            unsafe {
                let lanes = K::As::load(s, self.head.data.add(at));
                s.store(self.out.add(i * LANES), lanes);
            }
        }
    }
}
