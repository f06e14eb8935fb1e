//! One panel of packed weights times a few rows of activations.

use std::arch::x86_64::*;

use super::{Activations, BLOCK, GROUPS, PANEL, PANEL_BLOCK_BYTES, SCALES_BYTES};

/// Bytes of a group: four columns of 16 rows.
const GROUP_BYTES: usize = 4 * PANEL;

#[inline]
#[target_feature(enable = "avx2")]
fn load_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: `bytes` is 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_512(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: `bytes` is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Four neighbouring activations as one integer, to be copied to every lane.
#[inline(always)]
fn quad(values: &[i8; BLOCK], group: usize) -> i32 {
    let at = group * 4;
    i32::from_ne_bytes(
        [values[at], values[at + 1], values[at + 2], values[at + 3]].map(|v| v as u8),
    )
}

/// Index of a row's block, and its values.
#[inline(always)]
fn block_of(x: &Activations, row: usize, block: usize) -> (usize, &[i8; BLOCK]) {
    let i = row * x.row_blocks + block;
    (i, &x.values.as_chunks::<BLOCK>().0[i])
}

/// AVX-512 VNNI: 16 rows by 4 columns in one instruction, unsigned weights by signed activations.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn panel_vnni<const M: usize>(
    panel: &[u8],
    x: &Activations,
    first: usize,
) -> [[f32; PANEL]; M] {
    let mut totals = [_mm512_setzero_ps(); M];
    for (b, block) in panel.as_chunks::<PANEL_BLOCK_BYTES>().0.iter().enumerate() {
        let (scales, weights) = block.split_at(SCALES_BYTES);
        let scales = _mm512_cvtph_ps(load_256(&scales.as_chunks::<32>().0[0]));
        let weights = weights.as_chunks::<GROUP_BYTES>().0;
        let mut groups = [_mm512_setzero_si512(); GROUPS];
        for (group, weights) in groups.iter_mut().zip(weights) {
            *group = load_512(weights);
        }
        for (m, total) in totals.iter_mut().enumerate() {
            let (i, values) = block_of(x, first + m, b);
            // Two chains, as one instruction's result takes several cycles.
            let mut even = _mm512_set1_epi32(-128 * x.sums[i]);
            let mut odd = _mm512_setzero_si512();
            for g in (0..GROUPS).step_by(2) {
                even = _mm512_dpbusd_epi32(even, groups[g], _mm512_set1_epi32(quad(values, g)));
                odd =
                    _mm512_dpbusd_epi32(odd, groups[g + 1], _mm512_set1_epi32(quad(values, g + 1)));
            }
            let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            let scale = _mm512_mul_ps(scales, _mm512_set1_ps(x.scales[i]));
            *total = _mm512_fmadd_ps(sum, scale, *total);
        }
    }
    let mut out = [[0f32; PANEL]; M];
    for (out, total) in out.iter_mut().zip(totals) {
        // SAFETY: `out` is 16 writable floats, and the store needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
    }
    out
}

/// AVX2: `maddubs` multiplies unsigned by signed bytes and adds pairs with saturation, so the
/// weight gives its sign to the activation: |w| <= 128 and |x| <= 127 keep a pair's sum in range.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn panel_avx2<const M: usize>(
    panel: &[u8],
    x: &Activations,
    first: usize,
) -> [[f32; PANEL]; M] {
    let mut totals = [[_mm256_setzero_ps(); 2]; M];
    let bias = _mm256_set1_epi8(-128);
    let ones = _mm256_set1_epi16(1);
    for (b, block) in panel.as_chunks::<PANEL_BLOCK_BYTES>().0.iter().enumerate() {
        let (scales, weights) = block.split_at(SCALES_BYTES);
        let scales = halves_to_f32(&scales.as_chunks::<32>().0[0]);
        let weights = weights.as_chunks::<32>().0;
        let mut sums = [[_mm256_setzero_si256(); 2]; M];
        for (part, weight) in weights.iter().enumerate() {
            let (group, half) = (part / 2, part % 2);
            let weight = _mm256_xor_si256(load_256(weight), bias);
            let size = _mm256_abs_epi8(weight);
            for (m, sum) in sums.iter_mut().enumerate() {
                let (_, values) = block_of(x, first + m, b);
                let value = _mm256_sign_epi8(_mm256_set1_epi32(quad(values, group)), weight);
                let pairs = _mm256_maddubs_epi16(size, value);
                sum[half] = _mm256_add_epi32(sum[half], _mm256_madd_epi16(pairs, ones));
            }
        }
        for (m, total) in totals.iter_mut().enumerate() {
            let (i, _) = block_of(x, first + m, b);
            for half in 0..2 {
                let scale = _mm256_mul_ps(scales[half], _mm256_set1_ps(x.scales[i]));
                total[half] =
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[m][half]), scale, total[half]);
            }
        }
    }
    let mut out = [[0f32; PANEL]; M];
    for (out, total) in out.iter_mut().zip(totals) {
        for (out, total) in out.as_chunks_mut::<8>().0.iter_mut().zip(total) {
            // SAFETY: `out` is 8 writable floats, and the store needs no alignment.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), total) };
        }
    }
    out
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves_to_f32(halves: &[u8; 32]) -> [__m256; 2] {
    let halves = load_256(halves);
    [
        _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
        _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
    ]
}
