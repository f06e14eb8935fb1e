//! What is done with a product while it is still in the caches.

use std::ops::Range;
use std::ptr;

use super::gemm::Job;
use super::product::Last;
use crate::simd::{LANES, Simd};

/// Added to each value of a product, by its row or by its column.
#[derive(Clone, Copy, Debug, Default)]
pub enum Bias<'a> {
    /// Nothing.
    #[default]
    None,
    /// One for each row: the channels of a convolution.
    Rows(&'a [f32]),
    /// One for each column: the outputs of a linear layer.
    Columns(&'a [f32]),
}

/// A function of one value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// The value itself.
    #[default]
    None,
    /// The larger of it and zero.
    Relu,
    /// Between two bounds.
    Clip(f32, f32),
    /// `x` above zero, else `x` times this.
    Leaky(f32),
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x / (1 + e^-x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    Gelu,
    /// Gelu's form with a hyperbolic tangent.
    GeluTanh,
    /// The error function.
    Erf,
    /// `e^x`.
    Exp,
    /// `max(0, min(1, x / 6 + 1 / 2))`, times `x`.
    HardSwish,
    /// `max(0, min(1, a x + b))`.
    HardSigmoid(f32, f32),
}

/// Asked before each piece of a product: whether to leave the rest out.
#[derive(Clone, Copy, Default)]
pub struct Stop<'a>(pub Option<&'a (dyn Fn() -> bool + Sync)>);

impl Stop<'_> {
    /// Whether to end now.
    pub fn now(self) -> bool {
        self.0.is_some_and(|stop| stop())
    }
}

impl std::fmt::Debug for Stop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Stop" } else { "never" })
    }
}

/// `y = activation(product + bias + sum)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// Added by row or column.
    pub bias: Bias<'a>,
    /// Added value by value: what a block of layers was given.
    pub sum: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
    /// When to give up; the result is then anything.
    pub stop: Stop<'a>,
}

impl Finish<'_> {
    pub(crate) fn check(&self, rows: usize, columns: usize) {
        let biases = match self.bias {
            Bias::None => true,
            Bias::Rows(bias) => bias.len() == rows,
            Bias::Columns(bias) => bias.len() == columns,
        };
        assert!(biases, "the bias has the wrong size");
        assert!(
            self.sum.is_none_or(|sum| sum.len() == rows * columns),
            "the sum has the wrong size"
        );
    }

    /// The same as sums and bounds, where it is no more than that.
    pub(super) fn simple(&self) -> Option<Last> {
        let (bias, across) = match self.bias {
            Bias::None => (ptr::null(), ptr::null()),
            Bias::Rows(bias) => (bias.as_ptr(), ptr::null()),
            Bias::Columns(bias) => (ptr::null(), bias.as_ptr()),
        };
        let (low, high) = match self.activation {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Clip(low, high) => (low, high),
            _ => return None,
        };
        let more = self.sum.map_or(ptr::null(), <[f32]>::as_ptr);
        Some(Last { bias, across, more, low, high })
    }
}

/// Finishes some rows and columns, all of whose depths are summed.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(
    s: S,
    job: &Job<'_>,
    (rows, columns): (Range<usize>, Range<usize>),
) {
    for row in rows {
        let at = row * job.columns;
        let range = at + columns.start..at + columns.end;
        // SAFETY: the piece is the caller's.
        let values = unsafe { job.out.part(range.clone()) };
        let by_row = match job.finish.bias {
            Bias::Rows(bias) => bias[row],
            _ => 0.0,
        };
        let by_column = match job.finish.bias {
            Bias::Columns(bias) => &bias[columns.clone()],
            _ => &[],
        };
        let sum = job.finish.sum.map_or(&[][..], |sum| &sum[range]);
        finish_row(s, values, (by_row, by_column, sum), job.finish.activation);
    }
}

#[inline(always)]
fn finish_row<S: Simd>(
    s: S,
    values: &mut [f32],
    (by_row, by_column, sum): (f32, &[f32], &[f32]),
    activation: Activation,
) {
    let by_row = s.splat(by_row);
    let mut at = 0;
    while at < values.len() {
        let mut v = s.add(take(s, values, at), by_row);
        if !by_column.is_empty() {
            v = s.add(v, take(s, by_column, at));
        }
        if !sum.is_empty() {
            v = s.add(v, take(s, sum, at));
        }
        put(s, activate(s, activation, v), values, at);
        at += LANES;
    }
}

/// Up to 16 values from `at` on, then zeros.
#[inline(always)]
pub(crate) fn take<S: Simd>(s: S, x: &[f32], at: usize) -> S::F {
    let x = &x[at..];
    if x.len() >= LANES {
        // SAFETY: there are that many.
        return unsafe { s.load(x.as_ptr()) };
    }
    let mut lanes = [0.0; LANES];
    lanes[..x.len()].copy_from_slice(x);
    s.of(lanes)
}

/// Stores as many lanes as `y` has from `at` on.
#[inline(always)]
pub(crate) fn put<S: Simd>(s: S, v: S::F, y: &mut [f32], at: usize) {
    let y = &mut y[at..];
    if y.len() >= LANES {
        // SAFETY: there are that many. A copy of one length or another would be a call.
        return unsafe { s.store(y.as_mut_ptr(), v) };
    }
    y.copy_from_slice(&s.to_array(v)[..y.len()]);
}

/// The function's values for sixteen. NaN comes through.
#[inline(always)]
pub(crate) fn activate<S: Simd>(s: S, activation: Activation, x: S::F) -> S::F {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    match activation {
        Activation::None => x,
        // `max` and `min` give their second operand where one is NaN.
        Activation::Relu => s.max(zero, x),
        Activation::Clip(low, high) => s.max(s.splat(low), s.min(s.splat(high), x)),
        Activation::Leaky(slope) => {
            let below = s.mul(s.min(zero, x), s.splat(slope));
            s.add(s.max(zero, x), below)
        }
        Activation::Sigmoid => gated(s, one, x),
        Activation::Silu => gated(s, x, x),
        Activation::Tanh => s.tanh(x),
        Activation::Gelu => {
            // Below zero there is no difference that would cancel.
            let size = s.max(s.sub(zero, x), x);
            let rest = rest_of_erf(s, s.mul(size, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
            s.fma(s.mul(size, s.splat(-0.5)), rest, s.max(zero, x))
        }
        Activation::GeluTanh => {
            // 2 * sqrt(2 / pi), and that times 0.044715.
            let (linear, cubic) = (s.splat(1.595_769), s.splat(0.071_354_814));
            gated(s, x, s.mul(x, s.fma(s.mul(x, x), cubic, linear)))
        }
        Activation::Erf => {
            // Its series near zero (Abramowitz and Stegun, 7.1.5).
            let series = [
                -8.548_327e-4,
                5.223_978e-3,
                -2.686_617e-2,
                0.112_837_92,
                -0.376_126_38,
                std::f32::consts::FRAC_2_SQRT_PI,
            ];
            let positive = s.sub(one, rest_of_erf(s, s.max(s.sub(zero, x), x)));
            s.either(x, 0.5, s.odd(series, 0.5, x), s.mul(positive, s.sign(x)))
        }
        Activation::Exp => s.exp(x),
        Activation::HardSwish => {
            let sixth = s.splat(1.0 / 6.0);
            s.mul(x, s.max(zero, s.min(one, s.fma(x, sixth, s.splat(0.5)))))
        }
        Activation::HardSigmoid(a, b) => s.max(zero, s.min(one, s.fma(x, s.splat(a), s.splat(b)))),
    }
}

/// `x / (1 + e^-z)`.
#[inline(always)]
pub(crate) fn gated<S: Simd>(s: S, x: S::F, z: S::F) -> S::F {
    s.div(x, s.add(s.splat(1.0), s.exp(s.sub(s.splat(0.0), z))))
}

/// One less the error function, for `z` of zero and above, within 2e-7 of itself. Source: the
/// Chebyshev fit of Press et al., Numerical Recipes, 6.2.
#[inline(always)]
fn rest_of_erf<S: Simd>(s: S, z: S::F) -> S::F {
    let t = s.div(s.splat(1.0), s.fma(s.splat(0.5), z, s.splat(1.0)));
    let mut p = s.splat(0.170_872_77);
    for c in [
        -0.822_152_23,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ] {
        p = s.fma(p, t, s.splat(c));
    }
    s.mul(t, s.exp(s.sub(p, s.mul(z, z))))
}
