use crate::dense::{add_product, reduce};
use crate::level::at_level;

const LANES: usize = 16;

at_level! {
    /// Root-mean-square normalisation: `y = x / sqrt(mean(x^2) + epsilon) * weight`, by row.
    ///
    /// `x` and `y` are `[rows, weight.len()]`. Source: Zhang and Sennrich 2019.
    ///
    /// # Panics
    /// When the sizes do not agree.
    pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) = rms_norm_body
}

#[inline(always)]
fn rms_norm_body<const FMA: bool>(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    let width = weight.len();
    assert_eq!(x.len(), y.len(), "x and y differ in size");
    assert_eq!(x.len() % width, 0, "x is not whole rows");
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let mut sums = [0f32; LANES];
        let (whole, rest) = x.as_chunks::<LANES>();
        for chunk in whole {
            for lane in 0..LANES {
                sums[lane] = add_product::<FMA>(chunk[lane], chunk[lane], sums[lane]);
            }
        }
        let squares = reduce(&sums) + rest.iter().map(|v| v * v).sum::<f32>();
        let scale = 1.0 / (squares / width as f32 + epsilon).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * scale * w;
        }
    }
}

at_level! {
    /// The gated activation of Llama's feed-forward: `y = silu(gate) * up`.
    ///
    /// A row of `x` is `[gate, up]`, each of `width`; `y` is `[rows, width]`.
    ///
    /// # Panics
    /// When the sizes do not agree.
    pub fn silu_mul(x: &[f32], width: usize, y: &mut [f32]) = silu_mul_body
}

#[inline(always)]
fn silu_mul_body<const FMA: bool>(x: &[f32], width: usize, y: &mut [f32]) {
    assert_eq!(x.len(), 2 * y.len(), "x is not twice y");
    assert_eq!(y.len() % width, 0, "y is not whole rows");
    for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
        let (gate, up) = x.split_at(width);
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate / (1.0 + exp::<FMA>(-gate)) * up;
        }
    }
}

at_level! {
    /// The activation of BERT: `y = x / 2 * (1 + erf(x / sqrt(2)))`, erf within 2e-7.
    ///
    /// Sources: Hendrycks and Gimpel 2016; Abramowitz and Stegun, 7.1.26.
    ///
    /// # Panics
    /// When the sizes do not agree.
    pub fn gelu(x: &[f32], y: &mut [f32]) = gelu_body
}

#[inline(always)]
fn gelu_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y differ in size");
    for (y, x) in y.iter_mut().zip(x) {
        let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let t = 1.0 / add_product::<FMA>(0.327_591_1, z, 1.0);
        let mut p = 1.061_405_4;
        for c in [-1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
            p = add_product::<FMA>(p, t, c);
        }
        let erf = 1.0 - p * t * exp::<FMA>(-z * z);
        *y = 0.5 * (x + x.abs() * erf);
    }
}

/// `e^x` within 2 units in the last place, in a form that vectorises; 0 and infinity are reached
/// only as about 1e-38 and 1e38. Source: the expf of Cephes.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let power = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = add_product::<FMA>(power, -0.693_359_4, x);
    let r = add_product::<FMA>(power, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = add_product::<FMA>(p, r, c);
    }
    let mantissa = add_product::<FMA>(p, r * r, r + 1.0);
    // `as` saturates and takes NaN to 0, so the shift stays in range for any input.
    f32::from_bits(((power as i32 + 127) << 23) as u32) * mantissa
}

#[cfg(test)]
mod tests;
