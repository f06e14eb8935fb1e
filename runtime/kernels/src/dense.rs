use std::cell::RefCell;

use crate::Level;
use crate::planes::Planes;
use crate::pool::Pool;
use crate::simd::{Line, with_values};

mod finish;
mod gemm;
mod left;
mod pack;
mod panels;
mod patches;
mod product;

pub use finish::{Activation, Bias, Finish, Stop};
pub use left::Tiles;
pub use pack::Kind;
pub use patches::{Patches, Window};

pub(crate) use finish::{activate, gated, put, take};
use gemm::Task;
use patches::Laid;

/// Values to which an image may be laid out for a window, for each that it and the weights have, and
/// besides: the window may reach far beyond it.
const LAID_TIMES: usize = 4;
const LAID_MIN: usize = 1 << 20;
/// Values that are worth another thread to lay out.
const LAID_PIECE: usize = 1 << 15;

thread_local! {
    static IMAGE: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

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
    let task = Task { right, inner: w.columns, columns: w.rows, finish: Finish::default() };
    gemm::multiply((level, pool), gemm::Left::Plain(x), task, y);
}

/// As [`packed_linear`], and what follows a layer.
///
/// # Panics
/// When the sizes do not agree.
pub fn finished_linear(
    (level, pool): (Level, &Pool),
    x: &[f32],
    w: &Weights<'_>,
    finish: Finish<'_>,
    y: &mut [f32],
) {
    let size = w.kind.packed_bytes(w.rows, w.columns);
    assert_eq!(w.packed.len(), size, "the weights have the wrong size");
    let right = gemm::Right::Packed(w.kind, w.packed);
    let task = Task { right, inner: w.columns, columns: w.rows, finish };
    gemm::multiply((level, pool), gemm::Left::Plain(x), task, y);
}

/// A convolution of one image: `y[m, place] = sum over k of w[m, k] * patches[k, place]`.
///
/// # Panics
/// When the sizes do not agree.
pub fn convolve(
    (level, pool): (Level, &Pool),
    w: &Tiles,
    patches: &Patches<'_>,
    finish: Finish<'_>,
    y: &mut [f32],
) {
    patches.check();
    let (inner, columns) = (patches.inner(), patches.columns());
    let plain = Window {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: patches.window.dilation,
        before: [0, 0],
        places: [patches.size[1], patches.size[2]],
    };
    let multiply = |right: gemm::Right<'_>, y: &mut [f32]| {
        let task = Task { right, inner, columns, finish };
        gemm::multiply((level, pool), gemm::Left::Tiles(w), task, y);
    };
    // The matrix of a window of one value is the image.
    if patches.window == plain {
        return multiply(gemm::Right::Plain(patches.image), y);
    }
    let [channels, height, width] = patches.size;
    let size = patches.image.len() + w.rows() * inner;
    let planes = Planes::of([height, width], patches.window).filter(|planes| {
        let values = planes.values().checked_mul(channels);
        values.is_some_and(|values| values <= LAID_TIMES * size + LAID_MIN)
    });
    let Some(planes) = planes else { return multiply(gemm::Right::Patches(patches), y) };
    with_values(&IMAGE, channels * planes.values(), |values| {
        let values = &mut values[..channels * planes.values()];
        let step = LAID_PIECE.div_ceil(planes.values());
        pool.parts(values, step * planes.values(), &|i, out| {
            out.fill(0.0);
            let images = patches.image[i * step * height * width..].chunks_exact(height * width);
            let planes_out = out.chunks_exact_mut(planes.values());
            planes_out.zip(images).for_each(|(out, image)| planes.fill(image, out));
        });
        multiply(gemm::Right::Laid(&Laid::new(values, planes, patches)), y);
    });
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
    let task = Task { right, inner, columns, finish: Finish::default() };
    gemm::multiply((level, pool), gemm::Left::Plain(a), task, c);
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
