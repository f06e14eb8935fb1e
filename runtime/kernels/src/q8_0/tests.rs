use super::{
    Activations, BLOCK, BLOCK_BYTES, dequantise, linear, pack, packed_bytes, quantise, unpack_row,
};
use crate::Level;

/// Reproducible values in -1..1 (xorshift64*).
pub(crate) fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Every value within `tolerance` of the largest expected value.
pub(crate) fn assert_close(actual: &[f32], expect: &[f32], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expect.len(), "{what}: length");
    let largest = expect.iter().fold(1e-6f32, |a, v| a.max(v.abs()));
    for (i, (a, e)) in actual.iter().zip(expect).enumerate() {
        assert!((a - e).abs() <= tolerance * largest, "{what}: [{i}] is {a}, expected {e}");
    }
}

fn dense(x: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let mut y = Vec::new();
    for x in x.chunks_exact(columns) {
        y.extend(w.chunks_exact(columns).map(|w| x.iter().zip(w).map(|(a, b)| a * b).sum::<f32>()));
    }
    y
}

#[test]
fn every_level_equals_the_scalar() {
    for (m, n, k) in [(1, 16, 32), (1, 1, 64), (2, 17, 96), (7, 33, 32), (13, 48, 192), (8, 31, 64)]
    {
        let x = noise(m * k, 7);
        let weights = pack(&quantise(&noise(n * k, 8)), n);
        assert_eq!(weights.len(), packed_bytes(n, k));
        let mut expect = vec![0.0; m * n];
        let rows = Activations::new(Level::SCALAR, &x, k);
        linear(Level::SCALAR, &rows, &weights, n, &mut expect);
        for level in Level::available() {
            let mut y = vec![f32::NAN; m * n];
            linear(level, &Activations::new(level, &x, k), &weights, n, &mut y);
            assert_close(&y, &expect, 1e-6, &format!("{level:?} {m}x{n}x{k}"));
        }
    }
}

#[test]
fn the_scalar_is_near_the_exact_product() {
    let (m, n, k) = (5, 19, 256);
    let (x, w) = (noise(m * k, 9), noise(n * k, 10));
    let mut y = vec![0.0; m * n];
    let rows = Activations::new(Level::SCALAR, &x, k);
    linear(Level::SCALAR, &rows, &pack(&quantise(&w), n), n, &mut y);
    assert_close(&y, &dense(&x, &w, k), 0.01, "against f32");
}

#[test]
fn extreme_bytes_do_not_saturate() {
    // Scale 1, every weight -128 or 127, every activation at its largest.
    let k = 64;
    for byte in [0x80u8, 0x7F, 0xFF] {
        let mut blocks = Vec::new();
        for _ in 0..2 * k / BLOCK {
            blocks.extend_from_slice(&half::f16::ONE.to_le_bytes());
            blocks.extend(std::iter::repeat_n(byte, BLOCK));
        }
        for sign in [1.0, -1.0] {
            let x = vec![sign * 127.0; k];
            let expect = sign * 127.0 * f32::from(byte.cast_signed()) * k as f32;
            for level in Level::available() {
                let mut y = [0.0; 2];
                linear(level, &Activations::new(level, &x, k), &pack(&blocks, 2), 2, &mut y);
                assert_eq!(y, [expect; 2], "{level:?} {byte:#x} {sign}");
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_do_not_crash() {
    let weights = pack(&quantise(&noise(16 * 32, 1)), 16);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut x = noise(32, 2);
        x[3] = bad;
        for level in Level::available() {
            let mut y = [0.0; 16];
            linear(level, &Activations::new(level, &x, 32), &weights, 16, &mut y);
        }
    }
}

#[test]
fn packing_keeps_every_value() {
    let (rows, columns) = (21, 96);
    let blocks = quantise(&noise(rows * columns, 11));
    let mut expect = vec![0.0; rows * columns];
    dequantise(&blocks, &mut expect);
    let packed = pack(&blocks, rows);
    let mut row = vec![0.0; columns];
    for r in 0..rows {
        unpack_row(&packed, r, &mut row);
        assert_eq!(row, expect[r * columns..(r + 1) * columns], "row {r}");
    }
}

#[test]
fn quantising_is_within_half_a_step() {
    let values = noise(64, 12);
    let blocks = quantise(&values);
    assert_eq!(blocks.len(), 2 * BLOCK_BYTES);
    let mut back = vec![0.0; 64];
    dequantise(&blocks, &mut back);
    assert_close(&back, &values, 0.5 / 127.0 + 1e-3, "round trip");
}
