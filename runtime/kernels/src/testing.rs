//! What the tests share.

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
