use super::{exp, gelu, rms_norm, silu_mul};
use crate::Level;
use crate::q8_0::tests::{assert_close, noise};

#[test]
fn exp_is_close_over_its_range() {
    for i in -8_700..8_800 {
        let x = i as f32 / 100.0;
        let relative = (f64::from(exp::<false>(x)) / f64::from(x).exp() - 1.0).abs();
        assert!(relative < 3e-7, "exp({x}) is off by {relative}");
    }
    assert!(exp::<false>(-1e9) < 1e-37 && exp::<false>(f32::NAN).is_nan());
}

#[test]
fn rms_norm_equals_its_definition_at_every_level() {
    for (rows, width) in [(1, 1), (1, 15), (2, 16), (3, 33), (2, 192)] {
        let (x, weight) = (noise(rows * width, 3), noise(width, 4));
        let mut expect = Vec::new();
        for x in x.chunks_exact(width) {
            let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (mean + 1e-5).sqrt();
            let row = x.iter().zip(&weight);
            expect.extend(row.map(|(x, w)| (f64::from(*x) * scale * f64::from(*w)) as f32));
        }
        for level in Level::available() {
            let mut y = vec![f32::NAN; x.len()];
            rms_norm(level, &x, &weight, 1e-5, &mut y);
            assert_close(&y, &expect, 1e-5, &format!("{level:?} {rows}x{width}"));
        }
    }
}

#[test]
fn silu_mul_equals_its_definition_at_every_level() {
    for (rows, width) in [(1, 1), (2, 17), (3, 64)] {
        let x: Vec<f32> = noise(rows * width * 2, 5).iter().map(|v| v * 20.0).collect();
        let mut expect = Vec::new();
        for x in x.chunks_exact(2 * width) {
            for (gate, up) in x[..width].iter().zip(&x[width..]) {
                let gate = f64::from(*gate);
                expect.push((gate / (1.0 + (-gate).exp()) * f64::from(*up)) as f32);
            }
        }
        for level in Level::available() {
            let mut y = vec![f32::NAN; rows * width];
            silu_mul(level, &x, width, &mut y);
            assert_close(&y, &expect, 1e-5, &format!("{level:?} {rows}x{width}"));
        }
    }
}

/// The error function by its series, which converges everywhere.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn gelu_equals_its_definition_at_every_level() {
    let x: Vec<f32> = (-600..=600).map(|i| i as f32 / 100.0).collect();
    let define = |x: f64| x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
    for level in Level::available() {
        let mut y = vec![f32::NAN; x.len()];
        gelu(level, &x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let expect = define(f64::from(*x));
            assert!((f64::from(*y) - expect).abs() < 1e-6, "{level:?}: gelu({x}) is {y}");
        }
    }
}
