use super::{Bf16s, F16s, F32s, I8s, LANES, Plain, Simd, Stored};
use crate::Level;
use half::{bf16, f16};

/// What one level makes of 16 values: each conversion, and the functions with a bound.
#[derive(Default, Debug)]
struct Results {
    loads: [[f32; LANES]; 4],
    halves: [u16; LANES],
    exp: [f32; LANES],
    tanh: [f32; LANES],
    sum: f32,
    largest: f32,
    /// The transpose of a matrix whose row `i` is `x * i`.
    columns: [[f32; LANES]; LANES],
}

unsafe fn body<S: Simd>(s: S, x: &[f32; LANES], results: &mut Results) {
    let f16s = x.map(|x| f16::from_f32(x).to_bits());
    let bf16s = x.map(|x| bf16::from_f32(x).to_bits());
    let i8s = x.map(|x| (x * 20.0) as i8);
    let v = s.of(*x);
    // SAFETY: each array has 16 values.
    results.loads = unsafe {
        [
            F32s::load(s, x.as_ptr().cast()),
            F16s::load(s, f16s.as_ptr().cast()),
            Bf16s::load(s, bf16s.as_ptr().cast()),
            I8s::load(s, i8s.as_ptr().cast()),
        ]
        .map(|v| s.to_array(v))
    };
    results.halves = s.to_f16(v);
    results.exp = s.to_array(s.exp(v));
    results.tanh = s.to_array(s.tanh(v));
    results.sum = s.sum(v);
    results.largest = s.largest(v);
    let mut rows = [v; LANES];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = s.mul(v, s.splat(i as f32));
    }
    for (out, column) in results.columns.iter_mut().zip(s.transpose(rows)) {
        *out = s.to_array(column);
    }
}

dispatch! { unsafe fn all(x: &[f32; LANES], results: &mut Results) = body }

#[test]
fn every_level_agrees_with_the_standard_library() {
    for start in [-80.0f32, -4.0, -0.01, 0.0, 3.0, 75.0] {
        let mut x = [0.0; LANES];
        x.iter_mut().enumerate().for_each(|(i, x)| *x = start + i as f32 * 0.77);
        for level in Level::available() {
            let mut r = Results::default();
            // SAFETY: the body needs nothing but its arguments.
            unsafe { all(level, &x, &mut r) };
            assert_eq!(r.loads[0], x);
            assert_eq!(r.loads[1], x.map(|x| f16::from_f32(x).to_f32()));
            assert_eq!(r.loads[2], x.map(|x| bf16::from_f32(x).to_f32()));
            assert_eq!(r.loads[3], x.map(|x| f32::from((x * 20.0) as i8)));
            for (column, x) in r.columns.into_iter().zip(x) {
                assert_eq!(column, std::array::from_fn(|i| x * i as f32));
            }
            assert_eq!(r.halves, x.map(|x| f16::from_f32(x).to_bits()));
            assert_eq!(r.largest, x[LANES - 1]);
            assert!((r.sum - x.iter().sum::<f32>()).abs() < 1e-3);
            for (i, x) in x.into_iter().map(f64::from).enumerate() {
                let off = (f64::from(r.exp[i]) / x.exp() - 1.0).abs();
                assert!(off < 3e-7, "{level:?}: exp({x}) is off by {off}");
                let off = (f64::from(r.tanh[i]) - x.tanh()).abs();
                assert!(off < 2e-7, "{level:?}: tanh({x}) is off by {off}");
            }
        }
    }
}

#[test]
fn exp_passes_nan_and_saturates() {
    for level in Level::available() {
        let mut x = [f32::NAN; LANES];
        (x[1], x[2], x[3]) = (f32::NEG_INFINITY, f32::INFINITY, 0.0);
        let mut r = Results::default();
        // SAFETY: the body needs nothing but its arguments.
        unsafe { all(level, &x, &mut r) };
        assert!(r.exp[0].is_nan() && r.exp[1] < 1e-37 && r.exp[2] > 1e38);
        assert_eq!(r.exp[3], 1.0);
    }
    let _ = Plain;
}
