use half::f16;

use super::{Parts, Scheme, Steps};

impl Scheme {
    fn code_max(&self) -> f32 {
        let bits = self.low.bits + self.high.map_or(0, |high| high.bits);
        ((1u32 << bits) - 1) as f32
    }

    /// The largest scale of a group.
    fn step_max(&self) -> f32 {
        match self.steps {
            Steps::One => 1.0,
            Steps::Nibbles => 15.0,
            Steps::Pairs => 63.0,
            Steps::Sixes => 31.0,
            Steps::Bytes => 127.0,
        }
    }
}

/// One block of values as codes, scales and offsets.
pub(super) fn parts(scheme: &Scheme, values: &[f32]) -> Parts {
    let mut parts = Parts::default();
    let groups = || values.chunks_exact(scheme.group);
    match (scheme.steps, scheme.offset_at) {
        (Steps::One, None) => {
            let scale = symmetric(scheme, values);
            parts.scale = f16::from_f32(scale);
            fill_codes(scheme, &mut parts, values, 0, (scale, 0.0));
        }
        (Steps::One, Some(_)) => {
            let (scale, offset) = affine(scheme, values);
            (parts.scale, parts.offset) = (f16::from_f32(scale), f16::from_f32(offset));
            fill_codes(scheme, &mut parts, values, 0, (scale, offset));
        }
        (_, None) => {
            let scales: Vec<f32> = groups().map(|values| symmetric(scheme, values)).collect();
            (parts.scale, parts.scales) = steps(scheme, &scales);
        }
        (_, Some(_)) => {
            // An offset is subtracted, and has no sign: a group above zero begins at zero.
            let found = groups().map(|values| affine(scheme, values));
            let (scales, offsets): (Vec<f32>, Vec<f32>) = found.unzip();
            (parts.scale, parts.scales) = steps(scheme, &scales);
            (parts.offset, parts.offsets) = steps(scheme, &offsets);
        }
    }
    if scheme.steps != Steps::One {
        for (group, values) in groups().enumerate() {
            let factors = parts.factors(scheme, group);
            fill_codes(scheme, &mut parts, values, group, factors);
        }
    }
    parts
}

/// The scale that maps the value of largest size to an end of the codes.
fn symmetric(scheme: &Scheme, values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |a, b| if b.abs() > a.abs() { *b } else { a });
    if scheme.low.bits == 8 { largest.abs() / 127.0 } else { largest / -scheme.bias as f32 }
}

/// Scale, and what is to be subtracted.
fn affine(scheme: &Scheme, values: &[f32]) -> (f32, f32) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let least = if scheme.steps == Steps::One { least } else { least.min(0.0) };
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max).max(least);
    ((most - least) / scheme.code_max(), -least)
}

/// One number for the block, and a small integer for each group.
fn steps(scheme: &Scheme, factors: &[f32]) -> (f16, [i8; 16]) {
    let most = factors.iter().fold(0f32, |a, b| a.max(b.abs()));
    let scale = f16::from_f32(most / scheme.step_max());
    let inverse = inverse(scale.to_f32());
    let max = scheme.step_max();
    let mut steps = [0; 16];
    for (step, factor) in steps.iter_mut().zip(factors) {
        *step = (factor * inverse).round().clamp(-max, max) as i8;
    }
    (scale, steps)
}

fn inverse(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}

fn fill_codes(
    scheme: &Scheme,
    parts: &mut Parts,
    values: &[f32],
    group: usize,
    (scale, offset): (f32, f32),
) {
    let inverse = inverse(scale);
    let codes = &mut parts.codes[group * scheme.group..][..scheme.group];
    for (code, value) in codes.iter_mut().zip(values) {
        let steps = (value + offset) * inverse;
        // The reference rounds Q8_0 half away from zero, and the others half up.
        let rounded = match scheme.low.bits {
            8 => steps.round() + scheme.bias as f32,
            _ => (steps + (scheme.bias as f32 + 0.5)).trunc(),
        };
        *code = rounded.clamp(0.0, scheme.code_max()) as u8;
    }
}
