//! The innermost product: a few rows by one or two panels, in registers.

use std::marker::PhantomData;

use crate::Level;
use crate::level::Kind;
use crate::simd::{Kernel, LANES, Simd, Stored};

/// The next tile of `left` rows: 12 rows of two panels fill 24 of AVX-512's 32 registers, 6 rows
/// of one panel 12 of AVX2's 16.
pub(super) fn tile_rows(level: Level, left: usize) -> usize {
    let wide = level != Level::SCALAR && level.0 != narrow();
    match left {
        12.. if wide => 12,
        8.. if wide => 8,
        6.. => 6,
        5 => 4,
        rows => rows,
    }
}

#[cfg(target_arch = "x86_64")]
fn narrow() -> Kind {
    Kind::Avx2
}
#[cfg(not(target_arch = "x86_64"))]
fn narrow() -> Kind {
    Kind::Scalar
}

/// Where one product's operands are.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// `[depth][rows]`.
    pub(super) left: *const f32,
    /// `[depth][16]`, the second panel `stride` bytes on.
    pub(super) right: *const u8,
    pub(super) stride: usize,
    pub(super) depth: usize,
    /// Columns of the result: up to two panels.
    pub(super) columns: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    /// Whether the result starts here, or is added to.
    pub(super) first: bool,
    /// What follows the last depth.
    pub(super) last: Option<Last>,
}

/// `min(high, max(low, sum + bias + across + more))`.
#[derive(Clone, Copy)]
pub(super) struct Last {
    /// By row, or null.
    pub(super) bias: *const f32,
    /// By column, or null.
    pub(super) across: *const f32,
    /// Where the result's first value has its addend, or null; as far apart as results.
    pub(super) more: *const f32,
    pub(super) low: f32,
    pub(super) high: f32,
}

/// Multiplies a tile of [`tile_rows`] rows.
///
/// # Safety
/// The operands are where `block` says, whole panels of them, and the result is nobody else's.
#[inline(always)]
pub(super) unsafe fn block_product<S: Simd, K: Stored>(s: S, rows: usize, block: Block) {
    // SAFETY: the caller's promise.
    unsafe {
        if block.columns > LANES {
            match rows {
                12 if S::WIDE => s.call(Tile::<K, 12, 2>::of(block)),
                8 if S::WIDE => s.call(Tile::<K, 8, 2>::of(block)),
                6 if S::WIDE => s.call(Tile::<K, 6, 2>::of(block)),
                4 if S::WIDE => s.call(Tile::<K, 4, 2>::of(block)),
                3 if S::WIDE => s.call(Tile::<K, 3, 2>::of(block)),
                2 => s.call(Tile::<K, 2, 2>::of(block)),
                _ => s.call(Tile::<K, 1, 2>::of(block)),
            }
        } else {
            match rows {
                12 if S::WIDE => s.call(Tile::<K, 12, 1>::of(block)),
                8 if S::WIDE => s.call(Tile::<K, 8, 1>::of(block)),
                6 => s.call(Tile::<K, 6, 1>::of(block)),
                4 => s.call(Tile::<K, 4, 1>::of(block)),
                3 => s.call(Tile::<K, 3, 1>::of(block)),
                2 => s.call(Tile::<K, 2, 1>::of(block)),
                _ => s.call(Tile::<K, 1, 1>::of(block)),
            }
        }
    }
}

/// `R` rows by `V` panels.
struct Tile<K, const R: usize, const V: usize> {
    block: Block,
    stored: PhantomData<K>,
}

impl<K, const R: usize, const V: usize> Tile<K, R, V> {
    #[inline(always)]
    fn of(block: Block) -> Self {
        Self { block, stored: PhantomData }
    }
}

impl<K: Stored, const R: usize, const V: usize> Kernel for Tile<K, R, V> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Block { left, right, stride, depth, columns, out, out_stride, first, last } =
            self.block;
        let mut sums = [[s.splat(0.0); V]; R];
        for k in 0..depth {
            // SAFETY: depth `k` of each panel, and of each row.
            unsafe {
                let right = right.add(k * K::BYTES);
                add_depth::<S, K, R, V>(s, left.add(k * R), (right, stride), &mut sums);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let lanes = LANES.min(columns - v * LANES);
                let at = r * out_stride + v * LANES;
                // SAFETY: the first `lanes` columns of this panel and row.
                unsafe {
                    let out = out.add(at);
                    let sum = if first { *sum } else { s.add(some(s, out, lanes), *sum) };
                    let sum = last.map_or(sum, |last| last.of(s, sum, (r, v * LANES, at), lanes));
                    keep(s, sum, out, lanes);
                }
            }
        }
    }
}

/// Most columns for which a vector holds the rows of a tile, and not columns.
pub(super) const THIN: usize = 3;

/// Multiplies a tile of `rows` rows, or more of them out of those that are left, for up to [`THIN`]
/// columns; gives the rows that are done. Each sum has the order that [`block_product`] gives it.
///
/// # Safety
/// As [`block_product`]; behind the last tile a vector can be read.
#[inline(always)]
pub(super) unsafe fn thin_product<S: Simd>(
    s: S,
    (rows, left): (usize, usize),
    block: Block,
) -> usize {
    // Tiles of as many rows lie one after the other.
    let tiles = match block.columns {
        1 if left >= 4 * rows => 4,
        2 if left >= 2 * rows => 2,
        _ => 1,
    };
    // SAFETY: the caller's promise.
    unsafe {
        match (block.columns, tiles) {
            (1, 4) => s.call(Thin::<1, 4> { rows, block }),
            (1, _) => s.call(Thin::<1, 1> { rows, block }),
            (2, 2) => s.call(Thin::<2, 2> { rows, block }),
            (2, _) => s.call(Thin::<2, 1> { rows, block }),
            _ => s.call(Thin::<3, 1> { rows, block }),
        }
    }
    tiles * rows
}

/// `C` columns of `T` tiles.
struct Thin<const C: usize, const T: usize> {
    rows: usize,
    block: Block,
}

impl<const C: usize, const T: usize> Kernel for Thin<C, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Block { left, right, depth, out, out_stride, first, last, .. } = self.block;
        let mut sums = [[s.splat(0.0); C]; T];
        for k in 0..depth {
            // SAFETY: depth `k` of the panel and of each tile, and what lies behind its rows.
            unsafe {
                let right = right.cast::<f32>().add(k * LANES);
                let values: [S::F; C] = std::array::from_fn(|c| s.splat(*right.add(c)));
                for (t, sums) in sums.iter_mut().enumerate() {
                    let rows = s.load(left.add((t * depth + k) * self.rows));
                    (0..C).for_each(|c| sums[c] = s.fma(rows, values[c], sums[c]));
                }
            }
        }
        for (t, c) in (0..T).flat_map(|t| (0..C).map(move |c| (t, c))) {
            let lanes = s.to_array(sums[t][c]);
            for (row, value) in (t * self.rows..).zip(&lanes[..self.rows]) {
                let at = row * out_stride + c;
                // SAFETY: this tile's rows, the block's columns.
                unsafe {
                    let out = out.add(at);
                    let sum = s.splat(if first { *value } else { *out + value });
                    let sum = last.map_or(sum, |last| last.of(s, sum, (row, c, at), 1));
                    keep(s, sum, out, 1);
                }
            }
        }
    }
}

/// Adds the products of one depth.
#[inline(always)]
unsafe fn add_depth<S: Simd, K: Stored, const R: usize, const V: usize>(
    s: S,
    left: *const f32,
    (right, stride): (*const u8, usize),
    sums: &mut [[S::F; V]; R],
) {
    let mut values = [s.splat(0.0); V];
    for (v, values) in values.iter_mut().enumerate() {
        // SAFETY: the caller's promise, panel `v`.
        *values = unsafe { K::load(s, right.add(v * stride)) };
    }
    for (r, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise, row `r`.
        let factor = s.splat(unsafe { *left.add(r) });
        for v in 0..V {
            sums[v] = s.fma(factor, values[v], sums[v]);
        }
    }
}

impl Last {
    /// What follows the sums of the first `lanes` columns from `column` on, the first being result
    /// `at`.
    #[inline(always)]
    unsafe fn of<S: Simd>(
        self,
        s: S,
        mut sum: S::F,
        (row, column, at): (usize, usize, usize),
        lanes: usize,
    ) -> S::F {
        // SAFETY: the caller's promise.
        unsafe {
            if !self.bias.is_null() {
                sum = s.add(sum, s.splat(*self.bias.add(row)));
            }
            if !self.across.is_null() {
                sum = s.add(sum, some(s, self.across.add(column), lanes));
            }
            if !self.more.is_null() {
                sum = s.add(sum, some(s, self.more.add(at), lanes));
            }
        }
        // Either gives its second operand where one is NaN.
        s.max(s.splat(self.low), s.min(s.splat(self.high), sum))
    }
}

/// The first `lanes` of a vector, then zeros.
#[inline(always)]
unsafe fn some<S: Simd>(s: S, from: *const f32, lanes: usize) -> S::F {
    // SAFETY: the caller's promise.
    unsafe {
        if lanes == LANES {
            return s.load(from);
        }
        let mut all = [0.0; LANES];
        (0..lanes).for_each(|lane| all[lane] = *from.add(lane));
        s.of(all)
    }
}

/// Stores the first `lanes` of a vector.
#[inline(always)]
unsafe fn keep<S: Simd>(s: S, sum: S::F, out: *mut f32, lanes: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if lanes == LANES {
            return s.store(out, sum);
        }
        let sum = s.to_array(sum);
        (0..lanes).for_each(|lane| *out.add(lane) = sum[lane]);
    }
}
