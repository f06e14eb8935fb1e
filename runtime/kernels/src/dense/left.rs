//! The first operand of a product, in the order in which kernels read it.

use std::ops::Range;

use super::gemm::DEPTH;
use super::product::tile_rows;
use crate::Level;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::Line;

/// Values that are worth another thread to lay out.
const LAY_VALUES: usize = 1 << 15;

/// A first operand that was laid out before: weights of a convolution.
#[derive(Debug)]
pub struct Tiles {
    lines: Vec<Line>,
    len: usize,
    inner: usize,
    level: Level,
}

impl Tiles {
    /// Lays `[rows, inner]` out for products at a level.
    ///
    /// # Panics
    /// When `x` is not whole rows.
    pub fn new(level: Level, pool: &Pool, x: &[f32], inner: usize) -> Self {
        assert!(inner > 0 && x.len().is_multiple_of(inner), "x is not whole rows");
        // One more, which kernels may read and make nothing of.
        let mut lines = vec![Line::ZERO; x.len().div_ceil(crate::simd::LANES) + 1];
        lay_out((level, pool), x, inner, &mut Line::values(&mut lines)[..x.len()]);
        Self { lines, len: x.len(), inner, level }
    }

    /// Rows of the operand.
    pub fn rows(&self) -> usize {
        self.len / self.inner
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    pub(super) fn values(&self, level: Level, inner: usize) -> &[f32] {
        assert!(self.level == level && self.inner == inner, "the tiles are of another product");
        Line::read(&self.lines)
    }
}

/// Rows `first..` of a tile: as many as one kernel takes at once.
fn tiles(level: Level, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut first = rows.start;
    std::iter::from_fn(move || {
        let count = tile_rows(level, rows.end - first);
        first += count;
        (count > 0).then(|| first - count..first)
    })
}

/// Lays the rows of `x` out in tiles, so that a kernel reads one value of each row side by side.
pub(super) fn lay_out((level, pool): (Level, &Pool), x: &[f32], inner: usize, out: &mut [f32]) {
    let rows = x.len() / inner;
    let largest = tile_rows(level, usize::MAX);
    let step = LAY_VALUES.div_ceil(inner).next_multiple_of(largest);
    let out = Shared::new(out);
    pool.run(rows.div_ceil(step), &|i| {
        for tile in tiles(level, i * step..rows.min((i + 1) * step)) {
            for first in (0..inner).step_by(DEPTH) {
                let depth = DEPTH.min(inner - first);
                let at = first * rows + tile.start * depth;
                // SAFETY: each tile's part of a depth is laid out once.
                let out = unsafe { out.part(at..at + tile.len() * depth) };
                transpose(&x[tile.start * inner + first..], inner, tile.len(), out);
            }
        }
    });
}

/// The first columns of `[rows, inner]` to `[columns, rows]`.
fn transpose(x: &[f32], inner: usize, rows: usize, out: &mut [f32]) {
    match rows {
        12 => turn::<12>(x, inner, out),
        8 => turn::<8>(x, inner, out),
        6 => turn::<6>(x, inner, out),
        4 => turn::<4>(x, inner, out),
        3 => turn::<3>(x, inner, out),
        2 => turn::<2>(x, inner, out),
        _ => turn::<1>(x, inner, out),
    }
}

/// Eight columns at a time, whose values are read side by side.
fn turn<const R: usize>(x: &[f32], inner: usize, out: &mut [f32]) {
    const SIDE: usize = 8;
    let out = out.as_chunks_mut::<R>().0;
    let rows: [&[f32]; R] = std::array::from_fn(|r| &x[r * inner..][..out.len()]);
    let whole = out.len() / SIDE * SIDE;
    let (eights, rest) = out.split_at_mut(whole);
    for (at, out) in eights.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
        for (r, row) in rows.iter().enumerate() {
            let values = row[at * SIDE..].first_chunk::<SIDE>().unwrap_or(&[0.0; SIDE]);
            (0..SIDE).for_each(|k| out[k][r] = values[k]);
        }
    }
    for (k, out) in rest.iter_mut().enumerate() {
        (0..R).for_each(|r| out[r] = rows[r][whole + k]);
    }
}
