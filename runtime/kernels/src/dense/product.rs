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
}

/// Multiplies a tile of [`tile_rows`] rows.
///
/// # Safety
/// The operands are where `block` says, whole panels of them, and the result is nobody else's.
#[inline(always)]
pub(super) unsafe fn block_product<S: Simd, K: Stored>(s: S, rows: usize, block: Block) {
    // SAFETY: the caller's promise.
    unsafe {
        if S::WIDE && block.columns > LANES {
            match rows {
                12 => s.call(Tile::<K, 12, 2>::of(block)),
                8 => s.call(Tile::<K, 8, 2>::of(block)),
                6 => s.call(Tile::<K, 6, 2>::of(block)),
                4 => s.call(Tile::<K, 4, 2>::of(block)),
                3 => s.call(Tile::<K, 3, 2>::of(block)),
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
        let Block { left, right, stride, depth, columns, out, out_stride, first } = self.block;
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
                // SAFETY: the first `lanes` columns of this panel and row.
                unsafe { keep(s, *sum, out.add(r * out_stride + v * LANES), lanes, first) };
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

/// Stores, or adds, the first `lanes` of a vector.
#[inline(always)]
unsafe fn keep<S: Simd>(s: S, sum: S::F, out: *mut f32, lanes: usize, first: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if lanes == LANES {
            let sum = if first { sum } else { s.add(s.load(out), sum) };
            return s.store(out, sum);
        }
        let sum = s.to_array(sum);
        for (lane, sum) in sum.iter().enumerate().take(lanes) {
            let out = out.add(lane);
            *out = if first { *sum } else { *out + sum };
        }
    }
}
