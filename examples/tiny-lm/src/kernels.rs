//! The arithmetic behind the fused operations: plain slices in, plain slices out.
//!
//! Every loop runs inside `pulp`'s dispatch, which compiles it for AVX2 or AVX-512 as well as for
//! the baseline and picks one at run time. Sums keep 16 partial sums, because floating-point
//! addition may not be reordered by the compiler.

pub(crate) mod attention;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows per task when rows are independent: enough work to pay for handing a task over.
const ROWS_PER_TASK: usize = 64;
/// A target that does not count towards the loss.
pub(crate) const IGNORE: u32 = u32::MAX;

/// A closure as `pulp` wants it. Calling it by reference matters: `FnOnce::call_once` would go
/// through a shim that is compiled for the baseline.
struct Vectorized<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Vectorized<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _simd: S) -> R {
        (self.0)()
    }
}

/// Runs `f`, whose closure must be `#[inline(always)]`, compiled for this processor.
pub(crate) fn vectorized<R>(f: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Vectorized(f))
}

/// `e^x` by range reduction and a polynomial of degree 6 (coefficients from Cephes' `expf`). The
/// rounding constant leaves the exponent in the low bits of `t`, which avoids a float-to-int cast.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let t = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 0.166_666_65);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    p * f32::from_bits((t.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// The sum of `f` over both slices, in 16 partial sums.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let n = a.len().min(b.len());
    let (a, b, whole) = (&a[..n], &b[..n], n - n % 16);
    let mut lanes = [0.0_f32; 16];
    let mut at = 0;
    while at < whole {
        let (x, y) = (&a[at..at + 16], &b[at..at + 16]);
        for lane in 0..16 {
            lanes[lane] = f(lanes[lane], x[lane], y[lane]);
        }
        at += 16;
    }
    for i in whole..n {
        lanes[0] = f(lanes[0], a[i], b[i]);
    }
    lanes.iter().sum()
}

/// The dot product.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum2(
        a,
        b,
        #[inline(always)]
        |acc, x, y| x.mul_add(y, acc),
    )
}

/// The largest element.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; 16];
    let chunks = a.chunks_exact(16);
    let tail = chunks.remainder().iter().fold(f32::MIN, |acc, x| acc.max(*x));
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().fold(tail, |acc, x| acc.max(*x))
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// Root-mean-square norm of each row of `x` `[rows, width]`, scaled by `weight` `[width]`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len();
    let mut y = vec![0.0; x.len()];
    let task = ROWS_PER_TASK * width;
    y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| {
        vectorized(
            #[inline(always)]
            || rms_norm_rows(x, weight, eps, y),
        );
    });
    y
}

#[inline(always)]
fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let width = weight.len();
    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let r = inverse_rms(x, eps);
        for i in 0..width {
            y[i] = x[i] * r * weight[i];
        }
    }
}

/// Gradients of [`rms_norm`] for `x` and `weight`, given the gradient `dy` of its output.
pub(crate) fn rms_norm_grad(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let mut dx = vec![0.0; x.len()];
    let task = ROWS_PER_TASK * width;
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(task)
        .zip(x.par_chunks(task))
        .zip(dy.par_chunks(task))
        .map(|((dx, x), dy)| {
            let mut dw = vec![0.0; width];
            vectorized(
                #[inline(always)]
                || rms_norm_grad_rows([x, dy, weight], eps, dx, &mut dw),
            );
            dw
        })
        .collect();
    let mut dw = vec![0.0; width];
    for part in partial {
        for (total, value) in dw.iter_mut().zip(part) {
            *total += value;
        }
    }
    (dx, dw)
}

#[inline(always)]
fn rms_norm_grad_rows([x, dy, weight]: [&[f32]; 3], eps: f32, dx: &mut [f32], dw: &mut [f32]) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
    for ((x, dy), dx) in rows {
        let r = inverse_rms(x, eps);
        for i in 0..width {
            dx[i] = dy[i] * weight[i];
            dw[i] = (dy[i] * r).mul_add(x[i], dw[i]);
        }
        let along = dot(dx, x) * r * r * r / width as f32;
        for i in 0..width {
            dx[i] = dx[i] * r - x[i] * along;
        }
    }
}

/// `silu(gate) * up` for rows that hold the gate's `width` values and then the `up` ones.
pub(crate) fn swiglu(gate_up: &[f32], width: usize) -> Vec<f32> {
    let mut y = vec![0.0; gate_up.len() / 2];
    let (task_in, task_out) = (ROWS_PER_TASK * width * 2, ROWS_PER_TASK * width);
    y.par_chunks_mut(task_out).zip(gate_up.par_chunks(task_in)).for_each(|(y, gate_up)| {
        vectorized(
            #[inline(always)]
            || swiglu_rows(gate_up, width, y),
        );
    });
    y
}

#[inline(always)]
fn swiglu_rows(gate_up: &[f32], width: usize, y: &mut [f32]) {
    for (y, row) in y.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
        let (gate, up) = row.split_at(width);
        for i in 0..width {
            y[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
        }
    }
}

/// Gradient of [`swiglu`] for its input, given the gradient `dy` of its output.
pub(crate) fn swiglu_grad(gate_up: &[f32], width: usize, dy: &[f32]) -> Vec<f32> {
    let mut d = vec![0.0; gate_up.len()];
    let (task_in, task_out) = (ROWS_PER_TASK * width * 2, ROWS_PER_TASK * width);
    let tasks = d.par_chunks_mut(task_in).zip(gate_up.par_chunks(task_in));
    tasks.zip(dy.par_chunks(task_out)).for_each(|((d, gate_up), dy)| {
        vectorized(
            #[inline(always)]
            || {
                let rows = d.chunks_exact_mut(2 * width).zip(gate_up.chunks_exact(2 * width));
                for ((d, row), dy) in rows.zip(dy.chunks_exact(width)) {
                    swiglu_grad_row(row, dy, d);
                }
            },
        );
    });
    d
}

#[inline(always)]
fn swiglu_grad_row(gate_up: &[f32], dy: &[f32], d: &mut [f32]) {
    let width = dy.len();
    let (gate, up) = gate_up.split_at(width);
    let (d_gate, d_up) = d.split_at_mut(width);
    for i in 0..width {
        let s = 1.0 / (1.0 + exp(-gate[i]));
        d_up[i] = dy[i] * gate[i] * s;
        d_gate[i] = dy[i] * up[i] * s * (1.0 - s).mul_add(gate[i], 1.0);
    }
}

/// Cross-entropy of each row of `logits` `[rows, vocab]` with its target, and each row's
/// log-sum-exp. Rows whose target is [`IGNORE`] cost nothing.
pub(crate) fn cross_entropy(logits: &[f32], targets: &[u32]) -> (Vec<f32>, Vec<f32>) {
    let vocab = logits.len() / targets.len().max(1);
    let rows = logits.par_chunks(vocab.max(1)).zip(targets.par_iter()).with_min_len(16);
    rows.map(|(row, target)| {
        if *target == IGNORE {
            return (0.0, 0.0);
        }
        let lse = vectorized(
            #[inline(always)]
            || {
                let top = max(row);
                sum2(
                    row,
                    row,
                    #[inline(always)]
                    |acc, x, _| acc + exp(x - top),
                )
                .ln()
                    + top
            },
        );
        (lse - row[*target as usize], lse)
    })
    .unzip()
}

/// Gradient of the sum of [`cross_entropy`]'s costs, times `scale`.
pub(crate) fn cross_entropy_grad(
    logits: &[f32],
    targets: &[u32],
    lse: &[f32],
    scale: f32,
) -> Vec<f32> {
    let vocab = (logits.len() / targets.len().max(1)).max(1);
    let mut d = vec![0.0; logits.len()];
    let rows = d.par_chunks_mut(vocab).zip(logits.par_chunks(vocab)).with_min_len(16);
    rows.zip(targets.par_iter().zip(lse)).for_each(|((d, row), (target, lse))| {
        if *target == IGNORE {
            return;
        }
        vectorized(
            #[inline(always)]
            || {
                for i in 0..row.len() {
                    d[i] = exp(row[i] - lse) * scale;
                }
            },
        );
        d[*target as usize] -= scale;
    });
    d
}

/// One AdamW step on one parameter, in place.
#[derive(Clone, Copy)]
pub(crate) struct AdamW {
    /// Learning rate of this step.
    pub(crate) rate: f32,
    /// Decay of the first moment.
    pub(crate) beta1: f32,
    /// Decay of the second moment.
    pub(crate) beta2: f32,
    /// Added to the root of the second moment.
    pub(crate) eps: f32,
    /// Decoupled weight decay.
    pub(crate) decay: f32,
    /// Factor on the gradient, from clipping by the global norm.
    pub(crate) grad_scale: f32,
    /// Steps taken, this one included, for the bias correction.
    pub(crate) step: i32,
}

impl AdamW {
    /// Moves `weight` and both moments by one step along `grad`.
    pub(crate) fn apply(&self, weight: &mut [f32], grad: &[f32], moments: [&mut [f32]; 2]) {
        const TASK: usize = 1 << 15;
        let [first, second] = moments;
        let tasks = weight.par_chunks_mut(TASK).zip(grad.par_chunks(TASK));
        let tasks = tasks.zip(first.par_chunks_mut(TASK).zip(second.par_chunks_mut(TASK)));
        tasks.for_each(|((w, g), (m, v))| {
            vectorized(
                #[inline(always)]
                || self.apply_chunk(w, g, m, v),
            )
        });
    }

    #[inline(always)]
    fn apply_chunk(&self, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let correct1 = 1.0 / (1.0 - self.beta1.powi(self.step));
        let correct2 = 1.0 / (1.0 - self.beta2.powi(self.step));
        let keep = 1.0 - self.rate * self.decay;
        let n = w.len();
        let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
        for i in 0..n {
            let grad = g[i] * self.grad_scale;
            m[i] = self.beta1 * m[i] + (1.0 - self.beta1) * grad;
            v[i] = self.beta2 * v[i] + (1.0 - self.beta2) * grad * grad;
            let step = m[i] * correct1 / ((v[i] * correct2).sqrt() + self.eps);
            w[i] = w[i] * keep - self.rate * step;
        }
    }
}

/// The sum of squares of a gradient.
pub(crate) fn sum_of_squares(values: &[f32]) -> f32 {
    values
        .par_chunks(1 << 15)
        .map(|chunk| {
            vectorized(
                #[inline(always)]
                || dot(chunk, chunk),
            )
        })
        .sum()
}
