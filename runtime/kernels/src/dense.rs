use crate::Level;
use crate::level::at_level;
use crate::pool::Pool;

mod pack;
mod gemm;
mod product;

pub use pack::Kind;

const LANES: usize = 16;
/// Rows of activations that share one pass over a row of weights.
const TILE: usize = 4;

/// A matrix of weights, packed by [`Kind::pack`].
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// How values are stored.
    pub kind: Kind,
    /// [`Kind::packed_bytes`] of them. Fastest on a boundary of 64 bytes.
    pub packed: &'a [u8],
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
}

/// `y[m, n] = sum over k of x[m, k] * w[n, k]`, for weights of any [`Kind`], summed in f32.
///
/// `x` is `[m, columns]`, `y` is `[m, rows]`. Each value of `y` is summed in one order, whatever
/// the number of rows and threads. Sources: Goto and van de Geijn 2008, Van Zee and van de Geijn
/// 2015 (the blocks and their order).
///
/// # Panics
/// When the sizes do not agree.
pub fn packed_linear(level: Level, pool: &Pool, x: &[f32], w: &Weights<'_>, y: &mut [f32]) {
    let size = w.kind.packed_bytes(w.rows, w.columns);
    assert_eq!(w.packed.len(), size, "the weights have the wrong size");
    let right = gemm::Right::Packed(w.kind, w.packed);
    gemm::multiply((level, pool), x, (right, w.columns, w.rows), y);
}

/// The second operand of [`multiply`], row-major f32.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// `[inner, columns]`: the usual product.
    Plain(&'a [f32]),
    /// `[columns, inner]`: the product with the transposed matrix, as in a linear layer.
    Transposed(&'a [f32]),
}

/// `c[m, n] = sum over k of a[m, k] * b[k, n]`, of operands that are not packed.
///
/// `a` is `[m, inner]`, `c` is `[m, n]`. The order of each sum is that of [`packed_linear`].
///
/// # Panics
/// When the sizes do not agree.
pub fn multiply(
    level: Level,
    pool: &Pool,
    (a, inner): (&[f32], usize),
    b: Right<'_>,
    c: &mut [f32],
) {
    let (right, len) = match b {
        Right::Plain(b) => (gemm::Right::Plain(b), b.len()),
        Right::Transposed(b) => (gemm::Right::Transposed(b), b.len()),
    };
    let columns = len.checked_div(inner).unwrap_or(0);
    assert_eq!(columns * inner, len, "b is not whole rows");
    gemm::multiply((level, pool), a, (right, inner, columns), c);
}

at_level! {
    /// `y[m, n] = sum over k of x[m, k] * w[n, k]`, on the calling thread: the first form, which
    /// goes with its last caller.
    ///
    /// `x` is `[m, columns]`, `w` is `[n, columns]`, `y` is `[m, n]`.
    ///
    /// # Panics
    /// When a length is not a multiple of its width, or `y` has another size.
    pub fn linear(x: &[f32], w: &[f32], columns: usize, y: &mut [f32]) = linear_body
}

#[inline(always)]
fn linear_body<const FMA: bool>(x: &[f32], w: &[f32], columns: usize, y: &mut [f32]) {
    let rows = x.len() / columns;
    let outputs = w.len() / columns;
    assert_eq!(x.len(), rows * columns, "x is not whole rows");
    assert_eq!(w.len(), outputs * columns, "w is not whole rows");
    assert_eq!(y.len(), rows * outputs, "y has the wrong size");
    for (n, weights) in w.chunks_exact(columns).enumerate() {
        let whole = rows / TILE * TILE;
        for m in (0..whole).step_by(TILE) {
            let tile = dots::<FMA, TILE>(weights, &x[m * columns..]);
            tile.iter().enumerate().for_each(|(i, value)| y[(m + i) * outputs + n] = *value);
        }
        for m in whole..rows {
            y[m * outputs + n] = dots::<FMA, 1>(weights, &x[m * columns..])[0];
        }
    }
}

#[inline(always)]
pub(crate) fn add_product<const FMA: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FMA { a.mul_add(b, sum) } else { a * b + sum }
}

/// Dot products of one row of weights with the first `M` rows of `x`: the weights are read once.
/// The order of additions does not depend on `M`, so neighbours in a batch change no bit.
#[inline(always)]
fn dots<const FMA: bool, const M: usize>(weights: &[f32], x: &[f32]) -> [f32; M] {
    let columns = weights.len();
    let mut sums = [[0f32; LANES]; M];
    let whole = columns / LANES * LANES;
    for k in (0..whole).step_by(LANES) {
        for (m, sum) in sums.iter_mut().enumerate() {
            let x = &x[m * columns + k..m * columns + k + LANES];
            let w = &weights[k..k + LANES];
            for lane in 0..LANES {
                sum[lane] = add_product::<FMA>(w[lane], x[lane], sum[lane]);
            }
        }
    }
    let mut out = [0f32; M];
    for (m, sum) in sums.iter().enumerate() {
        out[m] = reduce(sum);
        for k in whole..columns {
            out[m] = add_product::<FMA>(weights[k], x[m * columns + k], out[m]);
        }
    }
    out
}

/// The larger of two; unlike `f32::max` it is one instruction, and takes `b` where one is NaN.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Sums in halves, which vectorises; a plain sum would not, for floats do not commute.
#[inline(always)]
pub(crate) fn reduce<const N: usize>(lanes: &[f32; N]) -> f32 {
    let mut lanes = *lanes;
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests;
