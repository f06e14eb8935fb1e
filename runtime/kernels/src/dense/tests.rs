use super::linear;
use crate::Level;
use crate::q8_0::tests::{assert_close, noise};

/// The definition, in f64.
fn expected(x: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let mut y = Vec::new();
    for x in x.chunks_exact(columns) {
        for w in w.chunks_exact(columns) {
            let sum: f64 = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            y.push(sum as f32);
        }
    }
    y
}

#[test]
fn every_level_equals_the_definition() {
    for (rows, outputs, columns) in [(1, 1, 1), (1, 7, 33), (3, 5, 64), (4, 16, 31), (9, 20, 100)] {
        let x = noise(rows * columns, 1);
        let w = noise(outputs * columns, 2);
        let expect = expected(&x, &w, columns);
        for level in Level::available() {
            let mut y = vec![f32::NAN; rows * outputs];
            linear(level, &x, &w, columns, &mut y);
            assert_close(&y, &expect, 1e-5, &format!("{level:?} {rows}x{outputs}x{columns}"));
        }
    }
}
