//! Panels of operands that are not packed.

use std::ops::Range;

use crate::simd::{Kernel, LANES, Simd, Stored};

/// Spreads a row over panels that are `stride` values apart.
#[inline(always)]
pub(super) fn spread(row: &[f32], out: &mut [f32], stride: usize) {
    let (whole, rest) = row.as_chunks::<LANES>();
    for (panel, lanes) in whole.iter().enumerate() {
        if let Some(panel) = out[panel * stride..].first_chunk_mut() {
            *panel = *lanes;
        }
    }
    if !rest.is_empty() {
        out[whole.len() * stride..][..rest.len()].copy_from_slice(rest);
    }
}

/// One depth of up to 16 rows of `[rows, inner]` as `[depth][16]`.
#[inline(always)]
pub(super) fn interleave<S: Simd>(
    s: S,
    (values, inner): (&[f32], usize),
    rows: Range<usize>,
    depth: Range<usize>,
    out: &mut [f32],
) {
    let squares = if rows.len() == LANES { depth.len() / LANES } else { 0 };
    let rest = depth.start + squares * LANES..depth.end;
    if squares > 0 {
        let values = &values[rows.start * inner + depth.start..(rows.end - 1) * inner + depth.end];
        let squares = Squares { values, inner, out: &mut out[..squares * LANES * LANES] };
        // SAFETY: the kernel asks for nothing.
        unsafe { s.call(squares) };
    }
    for (lane, row) in rows.enumerate() {
        let mut at = (rest.start - depth.start) * LANES + lane;
        for value in &values[row * inner..][rest.clone()] {
            out[at] = *value;
            at += LANES;
        }
    }
}

/// Squares of 16 by 16 values, from rows that are `inner` values apart.
struct Squares<'a> {
    values: &'a [f32],
    inner: usize,
    out: &'a mut [f32],
}

impl Kernel for Squares<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let out = self.out.as_chunks_mut::<LANES>().0.as_chunks_mut::<LANES>().0;
        for (i, square) in out.iter_mut().enumerate() {
            let mut rows = [s.splat(0.0); LANES];
            for (lane, row) in rows.iter_mut().enumerate() {
                let values = &self.values[lane * self.inner + i * LANES..];
                *row = s.of(values.first_chunk().copied().unwrap_or_default());
            }
            let columns = s.transpose(rows);
            for k in 0..LANES {
                square[k] = s.to_array(columns[k]);
            }
        }
    }
}

/// Lines of 16 values as f32.
#[inline(always)]
pub(super) unsafe fn widen<S: Simd, K: Stored>(s: S, bytes: &[u8], out: &mut [f32]) {
    for (k, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *out = s.to_array(unsafe { K::load(s, bytes.as_ptr().add(k * K::BYTES)) });
    }
}
