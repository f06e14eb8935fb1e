use super::{Weights, linear, pack, packed_bytes};
use crate::Level;
use crate::dense::{Activation, Bias, Finish};
use crate::pool::Pool;
use crate::testing::{assert_close, noise};

/// Rows, columns and outputs: whole blocks and tiles, and what is left of them.
const SIZES: [(usize, usize, usize); 7] = [
    (1, 1, 1),
    (6, 128, 16),
    (7, 129, 17),
    (13, 384, 50),
    (2, 127, 31),
    (5, 300, 64),
    (40, 260, 33),
];

fn packed(w: &[f32], (outputs, columns): (usize, usize)) -> Vec<u8> {
    let mut packed = vec![0; packed_bytes(outputs, columns)];
    pack(w, outputs, columns, &mut packed);
    packed
}

/// As [`linear`], in f64 and without rounding.
fn exact(x: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let dot = |x: &[f32], w: &[f32]| {
        x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>() as f32
    };
    x.chunks(columns).flat_map(|x| w.chunks(columns).map(move |w| dot(x, w))).collect()
}

#[test]
fn products_are_near_those_without_rounding() {
    for (rows, columns, outputs) in SIZES {
        let (x, w) = (noise(rows * columns, 1), noise(outputs * columns, 2));
        let bytes = packed(&w, (outputs, columns));
        let expect = exact(&x, &w, columns);
        for level in Level::available() {
            let mut y = vec![f32::NAN; rows * outputs];
            let weights = Weights { packed: &bytes, rows: outputs, columns };
            linear((level, &Pool::new(1)), &x, &weights, Finish::default(), &mut y);
            assert_close(
                &y,
                &expect,
                1e-2,
                &format!("{} {rows} {columns} {outputs}", level.name()),
            );
        }
    }
}

/// Weights that are whole multiples of their scale are not rounded.
#[test]
fn whole_weights_are_exact_to_sixteen_bits() {
    let (rows, columns, outputs) = (9, 250, 20);
    let x = noise(rows * columns, 3);
    let w = noise(outputs * columns, 4);
    let mut w: Vec<f32> = w.iter().map(|w| (w * 127.0).round() / 127.0).collect();
    for row in w.chunks_mut(columns) {
        (row[0], row[128]) = (1.0, -1.0);
    }
    let bytes = packed(&w, (outputs, columns));
    let mut y = vec![0.0; rows * outputs];
    let weights = Weights { packed: &bytes, rows: outputs, columns };
    linear((Level::detect(), &Pool::new(2)), &x, &weights, Finish::default(), &mut y);
    assert_close(&y, &exact(&x, &w, columns), 3e-5, "whole weights");
}

#[test]
fn rows_come_back_within_half_a_step() {
    let (columns, outputs) = (301, 18);
    let w = noise(outputs * columns, 11);
    let bytes = packed(&w, (outputs, columns));
    for (row, w) in w.chunks(columns).enumerate() {
        let mut out = vec![0.0; columns];
        super::unpack_row(&bytes, columns, row, &mut out);
        for (found, expect) in out.iter().zip(w) {
            assert!((found - expect).abs() <= 0.501 / 127.0, "{found} for {expect}");
        }
    }
}

#[test]
fn levels_batches_and_threads_give_the_same() {
    for (rows, columns, outputs) in SIZES {
        let (x, w) = (noise(rows * columns, 5), noise(outputs * columns, 6));
        let bytes = packed(&w, (outputs, columns));
        let weights = Weights { packed: &bytes, rows: outputs, columns };
        let (bias, sum) = (noise(outputs, 7), noise(rows * outputs, 8));
        let finish = Finish {
            bias: Bias::Columns(&bias),
            sum: Some(&sum),
            activation: Activation::Gelu,
            ..Finish::default()
        };
        let mut first = vec![0.0; rows * outputs];
        linear((Level::SCALAR, &Pool::new(1)), &x, &weights, finish, &mut first);
        for level in Level::available() {
            let what = format!("{} {rows} {columns} {outputs}", level.name());
            let mut all = vec![0.0; rows * outputs];
            linear((level, &Pool::new(3)), &x, &weights, finish, &mut all);
            assert_close(&all, &first, 1e-5, &what);
            for (row, x) in x.chunks(columns).enumerate() {
                let at = row * outputs..(row + 1) * outputs;
                let mut alone = vec![0.0; outputs];
                let finish = Finish { sum: Some(&sum[at.clone()]), ..finish };
                linear((level, &Pool::new(1)), x, &weights, finish, &mut alone);
                assert_eq!(alone, all[at], "{what}: row {row} alone");
            }
        }
    }
}

#[test]
fn odd_values_do_no_harm() {
    let (columns, outputs) = (130, 3);
    let bytes = packed(&vec![0.0; outputs * columns], (outputs, columns));
    let weights = Weights { packed: &bytes, rows: outputs, columns };
    for value in [0.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, f32::MAX] {
        for level in Level::available() {
            let mut y = vec![1.0; outputs];
            let at = (level, &Pool::new(1));
            linear(at, &vec![value; columns], &weights, Finish::default(), &mut y);
            assert!(!value.is_normal() || y == [0.0; 3], "{value}: {y:?}");
        }
    }
}

/// `cargo test --release -p emberbox-kernels int8 -- --ignored --nocapture`
#[test]
#[ignore = "prints speeds"]
fn speed() {
    for (rows, columns, outputs) in
        [(16, 384, 1536), (512, 384, 1152), (512, 384, 1536), (512, 1536, 384), (512, 768, 3072)]
    {
        let (x, w) = (noise(rows * columns, 9), noise(outputs * columns, 10));
        let bytes = packed(&w, (outputs, columns));
        let weights = Weights { packed: &bytes, rows: outputs, columns };
        let mut plain = vec![0; crate::dense::Kind::F32.packed_bytes(outputs, columns)];
        let stored: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
        crate::dense::Kind::F32.pack(&stored, outputs, columns, &mut plain);
        let dense = crate::dense::Weights {
            kind: crate::dense::Kind::F32,
            packed: &plain,
            rows: outputs,
            columns,
        };
        let mut y = vec![0.0; rows * outputs];
        let operations = 2e-9 * (rows * columns * outputs) as f64;
        let (level, pool) = (Level::detect(), Pool::new(1));
        let ours = crate::speed::fastest(1, 40, || {
            linear((level, &pool), &x, &weights, Finish::default(), &mut y);
        });
        let f32 = crate::speed::fastest(1, 40, || {
            crate::dense::packed_linear(level, &pool, &x, &dense, &mut y);
        });
        println!(
            "{rows} x {columns} x {outputs}: int8 {:.1}, f32 {:.1} Gop/s",
            operations / ours,
            operations / f32
        );
    }
}
