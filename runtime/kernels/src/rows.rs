use std::ops::Range;

use crate::Level;
use crate::dense::{Activation, activate, gated, put};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::{LANES, Simd, dispatch};

/// Values that are worth another thread.
const PIECE_VALUES: usize = 1 << 14;

/// Scale and shift after a normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// `[width]`: the width of a row.
    pub weight: &'a [f32],
    /// `[width]`, for [`layer_norm`] alone.
    pub bias: Option<&'a [f32]>,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// What to do with rows.
#[derive(Clone, Copy)]
enum Op<'a> {
    RmsNorm(Norm<'a>),
    AddRmsNorm(Norm<'a>),
    LayerNorm(Norm<'a>),
    AddLayerNorm(Norm<'a>),
    Softmax,
    SiluMul,
    GeluTanhMul,
    Gelu,
    Add,
}

/// Rows to work on: `x` and `y` have `rows` rows, of these widths.
struct Job<'a> {
    op: Op<'a>,
    x: &'a [f32],
    x_width: usize,
    y: Shared<'a, f32>,
    y_width: usize,
    /// Only for [`Op::AddRmsNorm`] and [`Op::AddLayerNorm`]: as `y`.
    sum: Option<Shared<'a, f32>>,
}

/// `y = x / sqrt(mean(x^2) + epsilon) * weight`, by row. Source: Zhang and Sennrich 2019.
///
/// # Panics
/// When the sizes do not agree; here and below.
pub fn rms_norm(level: Level, pool: &Pool, x: &[f32], norm: Norm<'_>, y: &mut [f32]) {
    let width = norm.weight.len();
    run((level, pool), Op::RmsNorm(norm), (x, width), (y, width), None);
}

/// Adds `x` to `sum`, the residual stream, and gives its [`rms_norm`] in `y`.
pub fn add_rms_norm(
    level: Level,
    pool: &Pool,
    (x, sum): (&[f32], &mut [f32]),
    norm: Norm<'_>,
    y: &mut [f32],
) {
    let width = norm.weight.len();
    run((level, pool), Op::AddRmsNorm(norm), (x, width), (y, width), Some(sum));
}

/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias`, by row. Source: Ba et al. 2016.
pub fn layer_norm(level: Level, pool: &Pool, x: &[f32], norm: Norm<'_>, y: &mut [f32]) {
    let width = norm.weight.len();
    assert!(norm.bias.is_none_or(|b| b.len() == width), "the bias has the wrong size");
    run((level, pool), Op::LayerNorm(norm), (x, width), (y, width), None);
}

/// Adds `x` to `sum`, and gives the [`layer_norm`] of that in `y`.
pub fn add_layer_norm(
    level: Level,
    pool: &Pool,
    (x, sum): (&[f32], &mut [f32]),
    norm: Norm<'_>,
    y: &mut [f32],
) {
    let width = norm.weight.len();
    assert!(norm.bias.is_none_or(|b| b.len() == width), "the bias has the wrong size");
    run((level, pool), Op::AddLayerNorm(norm), (x, width), (y, width), Some(sum));
}

/// `y = e^x / sum(e^x)`, by row of `width`. A weight below `e^-87` of the largest is about 1e-38.
pub fn softmax(level: Level, pool: &Pool, x: &[f32], width: usize, y: &mut [f32]) {
    run((level, pool), Op::Softmax, (x, width), (y, width), None);
}

/// `y = silu(gate) * up`: Llama's feed-forward. A row of `x` is `[gate, up]`, each of `width`.
pub fn silu_mul(level: Level, pool: &Pool, x: &[f32], width: usize, y: &mut [f32]) {
    run((level, pool), Op::SiluMul, (x, 2 * width), (y, width), None);
}

/// `y = gelu(gate) * up` with the tanh form of gelu: Gemma's feed-forward. As [`silu_mul`].
pub fn gelu_tanh_mul(level: Level, pool: &Pool, x: &[f32], width: usize, y: &mut [f32]) {
    run((level, pool), Op::GeluTanhMul, (x, 2 * width), (y, width), None);
}

/// `y = x / 2 * (1 + erf(x / sqrt(2)))`, BERT's activation. Source: Hendrycks and Gimpel 2016.
pub fn gelu(level: Level, pool: &Pool, x: &[f32], y: &mut [f32]) {
    // Values stand alone, so a row is any number of them.
    run((level, pool), Op::Gelu, (x, LANES), (y, LANES), None);
}

/// `y = y + x`.
pub fn add(level: Level, pool: &Pool, x: &[f32], y: &mut [f32]) {
    run((level, pool), Op::Add, (x, LANES), (y, LANES), None);
}

fn run(
    (level, pool): (Level, &Pool),
    op: Op<'_>,
    (x, x_width): (&[f32], usize),
    (y, y_width): (&mut [f32], usize),
    sum: Option<&mut [f32]>,
) {
    assert!(sum.as_ref().is_none_or(|s| s.len() == y.len()), "the sum has the wrong size");
    if y.is_empty() || y_width == 0 {
        return assert!(x.is_empty() && y.is_empty(), "x is not as large as y");
    }
    assert_eq!(x.len() * y_width, y.len() * x_width, "x is not as large as y");
    if !matches!(op, Op::Gelu | Op::Add) {
        assert_eq!(y.len() % y_width, 0, "y is not whole rows");
    }
    let rows = y.len().div_ceil(y_width);
    let step = PIECE_VALUES.div_ceil(x_width);
    let sum = sum.map(Shared::new);
    let job = Job { op, x, x_width, y: Shared::new(y), y_width, sum };
    pool.run(rows.div_ceil(step), &|i| {
        // SAFETY: the sizes agree, and each piece has rows of its own.
        unsafe { piece(level, &job, i * step..rows.min((i + 1) * step)) };
    });
}

dispatch! {
    unsafe fn piece(job: &Job<'_>, rows: Range<usize>) = piece_body
}

#[inline(always)]
unsafe fn piece_body<S: Simd>(s: S, job: &Job<'_>, rows: Range<usize>) {
    let len = job.x.len() / job.x_width * job.y_width + job.x.len() % job.x_width;
    for row in rows {
        let start = row * job.y_width;
        // Only where values stand alone is a last row shorter.
        let at = start..len.min(start + job.y_width);
        let x = &job.x[row * job.x_width..];
        let x = &x[..x.len().min(job.x_width)];
        // SAFETY: the caller's promise.
        let y = unsafe { job.y.part(at.clone()) };
        match job.op {
            Op::RmsNorm(norm) => rms_row(s, x, norm, y),
            Op::AddRmsNorm(norm) => {
                let Some(sum) = &job.sum else { return };
                // SAFETY: the caller's promise.
                let sum = unsafe { sum.part(at) };
                add_row(s, x, sum);
                rms_row(s, sum, norm, y);
            }
            Op::AddLayerNorm(norm) => {
                let Some(sum) = &job.sum else { return };
                // SAFETY: the caller's promise.
                let sum = unsafe { sum.part(at) };
                add_row(s, x, sum);
                layer_row(s, sum, norm, y);
            }
            Op::LayerNorm(norm) => layer_row(s, x, norm, y),
            Op::Softmax => softmax_row(s, x, y),
            Op::SiluMul => silu_row(s, x, y),
            Op::GeluTanhMul => gelu_tanh_row(s, x, y),
            Op::Gelu => gelu_row(s, x, y),
            Op::Add => add_row(s, x, y),
        }
    }
}

/// Up to 16 values from `at` on, then `fill`.
#[inline(always)]
fn take<S: Simd>(s: S, x: &[f32], at: usize, fill: f32) -> S::F {
    let x = &x[at..];
    if x.len() >= LANES {
        // SAFETY: there are that many.
        return unsafe { s.load(x.as_ptr()) };
    }
    let mut lanes = [fill; LANES];
    lanes[..x.len()].copy_from_slice(x);
    s.of(lanes)
}

#[inline(always)]
fn add_row<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    let mut at = 0;
    while at < y.len() {
        let sum = s.add(take(s, x, at, 0.0), take(s, y, at, 0.0));
        put(s, sum, y, at);
        at += LANES;
    }
}

#[inline(always)]
fn rms_row<S: Simd>(s: S, x: &[f32], norm: Norm<'_>, y: &mut [f32]) {
    let mut squares = s.splat(0.0);
    let mut at = 0;
    while at < x.len() {
        let lanes = take(s, x, at, 0.0);
        squares = s.fma(lanes, lanes, squares);
        at += LANES;
    }
    let scale = s.splat(1.0 / (s.sum(squares) / x.len() as f32 + norm.epsilon).sqrt());
    let mut at = 0;
    while at < x.len() {
        let lanes = s.mul(take(s, x, at, 0.0), scale);
        put(s, s.mul(lanes, take(s, norm.weight, at, 0.0)), y, at);
        at += LANES;
    }
}

#[inline(always)]
fn layer_row<S: Simd>(s: S, x: &[f32], norm: Norm<'_>, y: &mut [f32]) {
    let mut sum = s.splat(0.0);
    let mut at = 0;
    while at < x.len() {
        sum = s.add(sum, take(s, x, at, 0.0));
        at += LANES;
    }
    let mean = s.sum(sum) / x.len() as f32;
    let shift = s.splat(mean);
    let mut squares = s.splat(0.0);
    let mut at = 0;
    while at < x.len() {
        // What fills the last vector must be no distance from the mean.
        let lanes = s.sub(take(s, x, at, mean), shift);
        squares = s.fma(lanes, lanes, squares);
        at += LANES;
    }
    let scale = s.splat(1.0 / (s.sum(squares) / x.len() as f32 + norm.epsilon).sqrt());
    let mut at = 0;
    while at < x.len() {
        let lanes = s.mul(s.sub(take(s, x, at, 0.0), shift), scale);
        let bias = norm.bias.map_or(s.splat(0.0), |bias| take(s, bias, at, 0.0));
        put(s, s.fma(lanes, take(s, norm.weight, at, 0.0), bias), y, at);
        at += LANES;
    }
}

#[inline(always)]
fn softmax_row<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    let mut largest = s.splat(f32::NEG_INFINITY);
    let mut at = 0;
    while at < x.len() {
        largest = s.max(largest, take(s, x, at, f32::NEG_INFINITY));
        at += LANES;
    }
    let largest = s.splat(s.largest(largest));
    let mut sums = [0f32; LANES];
    let mut sum = s.splat(0.0);
    let mut at = 0;
    while at < x.len() {
        let power = s.exp(s.sub(take(s, x, at, f32::NEG_INFINITY), largest));
        put(s, power, y, at);
        if at + LANES <= x.len() {
            sum = s.add(sum, power);
        } else {
            sums[..x.len() - at].copy_from_slice(&y[at..]);
        }
        at += LANES;
    }
    let inverse = s.splat(1.0 / s.sum(s.add(sum, s.of(sums))));
    let mut at = 0;
    while at < x.len() {
        put(s, s.mul(take(s, y, at, 0.0), inverse), y, at);
        at += LANES;
    }
}

#[inline(always)]
fn silu_row<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    let (gate, up) = x.split_at(y.len());
    let mut at = 0;
    while at < y.len() {
        let gate = take(s, gate, at, 0.0);
        put(s, s.mul(gated(s, gate, gate), take(s, up, at, 0.0)), y, at);
        at += LANES;
    }
}

/// `(1 + tanh(u)) / 2` is the logistic function of `2u`, which cancels nothing.
#[inline(always)]
fn gelu_tanh_row<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    // 2 * sqrt(2 / pi), and that times 0.044715.
    let (linear, cubic) = (s.splat(1.595_769), s.splat(0.071_354_814));
    let (gate, up) = x.split_at(y.len());
    let mut at = 0;
    while at < y.len() {
        let gate = take(s, gate, at, 0.0);
        let z = s.mul(gate, s.fma(s.mul(gate, gate), cubic, linear));
        put(s, s.mul(gated(s, gate, z), take(s, up, at, 0.0)), y, at);
        at += LANES;
    }
}

#[inline(always)]
fn gelu_row<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    let mut at = 0;
    while at < y.len() {
        put(s, activate(s, Activation::Gelu, take(s, x, at, 0.0)), y, at);
        at += LANES;
    }
}

#[cfg(test)]
mod tests;
