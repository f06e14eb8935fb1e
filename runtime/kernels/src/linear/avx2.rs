//! One panel with some rows of activations, with AVX2.
//!
//! `maddubs` multiplies unsigned by signed bytes and adds pairs with saturation to 16 bits. Codes of
//! up to 6 bits are small enough that some pairs' sums fit; a code of 8 bits gives its sign to the
//! activation, and its pairs are widened at once.

use std::arch::x86_64::*;

use super::activations::{Block, TILE, Tile, Values, inverse};
use super::layout::Layout;
use super::panel::{COLUMNS, PANEL, QUADS, VECTOR};

/// Bytes of a vector: a quad of 8 rows.
const HALF: usize = VECTOR / 2;
/// The rows that are faster together than apart: their sums fit the 16 registers.
pub(super) const ROWS: usize = 8;
/// How far ahead of its use memory is asked for.
const AHEAD: usize = 4096;
const LINE: usize = 64;

/// Two halves of a panel's rows.
type Halves<T> = [T; 2];

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; HALF]) -> __m256i {
    // SAFETY: `bytes` is 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// 16 halves as f32.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves(bytes: &[u8; HALF]) -> Halves<__m256> {
    let bytes = load(bytes);
    [
        _mm256_cvtph_ps(_mm256_castsi256_si128(bytes)),
        _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(bytes)),
    ]
}

/// 16 signed bytes as f32.
#[inline]
#[target_feature(enable = "avx2")]
fn steps(bytes: &[u8; PANEL]) -> Halves<__m256> {
    // SAFETY: `bytes` is 16 readable bytes, and the load needs no alignment.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    [widen(bytes), widen(_mm_unpackhi_epi64(bytes, bytes))]
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen(bytes: __m128i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
}

/// Four neighbouring activations, in all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn quad(values: &Values, quad: usize) -> __m256i {
    _mm256_set1_epi32(values[quad])
}

/// Quantises 32 values.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn quantise(x: &[f32; COLUMNS], values: &mut Values) -> Block {
    let mut parts = [_mm256_setzero_ps(); 4];
    let mut most = _mm256_setzero_ps();
    for (part, x) in parts.iter_mut().zip(x.as_chunks::<8>().0) {
        // SAFETY: `x` is 8 readable floats, and the load needs no alignment.
        *part = unsafe { _mm256_loadu_ps(x.as_ptr()) };
        most = _mm256_max_ps(most, _mm256_andnot_ps(_mm256_set1_ps(-0.0), *part));
    }
    let most = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps::<1>(most));
    let most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    let largest = _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
    let inverse = _mm256_set1_ps(inverse(largest));
    let mut whole = [_mm256_setzero_si256(); 4];
    for (whole, part) in whole.iter_mut().zip(parts) {
        *whole = _mm256_cvtps_epi32(_mm256_mul_ps(part, inverse));
    }
    let [a, b, c, d] = whole;
    // Packing works within halves of a vector; the permutation puts the fours in order.
    let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    // SAFETY: `values` is 32 writable bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), bytes) };
    Block::new(largest, [sum(_mm256_add_epi32(a, b)), sum(_mm256_add_epi32(c, d))])
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(lanes: __m256i) -> i32 {
    let lanes = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let lanes = _mm_add_epi32(lanes, _mm_unpackhi_epi64(lanes, lanes));
    _mm_cvtsi128_si32(_mm_add_epi32(lanes, _mm_shuffle_epi32::<1>(lanes)))
}

/// The bits of a plane that belong to `quad` of half the rows, moved to `up` in each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn bits_of(plane: &[u8], (bits, up): (u32, u32), quad: usize, half: usize) -> __m256i {
    let per_byte = 8 / bits as usize;
    let vector = load(&plane.as_chunks::<HALF>().0[quad / per_byte * 2 + half]);
    if bits == 8 {
        return vector;
    }
    let mask = _mm256_set1_epi8((((1u32 << bits) - 1) << up) as i8);
    let down = (quad % per_byte) as i32 * bits as i32 - up as i32;
    // Shifts are of 16 bits at least; the mask takes away what came from the neighbour.
    let moved = match down {
        0 => vector,
        1.. => _mm256_srl_epi16(vector, _mm_cvtsi32_si128(down)),
        _ => _mm256_sll_epi16(vector, _mm_cvtsi32_si128(-down)),
    };
    _mm256_and_si256(moved, mask)
}

#[inline]
#[target_feature(enable = "avx2")]
fn code<L: Layout>(planes: &[u8], quad: usize, half: usize) -> __m256i {
    let low_bits = L::SCHEME.low.bits;
    let (low, high) = planes.split_at(low_bits as usize * VECTOR);
    let code = bits_of(low, (low_bits, 0), quad, half);
    match L::SCHEME.high {
        Some(plane) => _mm256_or_si256(code, bits_of(high, (plane.bits, low_bits), quad, half)),
        None => code,
    }
}

/// Scales and offsets of a block's groups.
#[inline]
#[target_feature(enable = "avx2")]
fn factors<L: Layout>(
    block: &[u8],
    scale: Halves<__m256>,
    offset: Halves<__m256>,
) -> [(Halves<__m256>, Halves<__m256>); 2] {
    let mut factors = [(scale, offset); 2];
    if !L::STEPS {
        return factors;
    }
    let bytes = block[..L::STEPS_BYTES].as_chunks::<PANEL>().0;
    for (i, factors) in factors.iter_mut().enumerate().take(L::GROUPS) {
        let scales = steps(&bytes[i]);
        factors.0 = [_mm256_mul_ps(scale[0], scales[0]), _mm256_mul_ps(scale[1], scales[1])];
        if L::OFFSETS {
            let offsets = steps(&bytes[L::GROUPS + i]);
            factors.1 =
                [_mm256_mul_ps(offset[0], offsets[0]), _mm256_mul_ps(offset[1], offsets[1])];
        }
    }
    factors
}

/// Runs a statement for each of `M` rows. Written out, as the compiler does not unroll so long a
/// loop, and its sums would not be in registers.
macro_rules! rows {
    ($count:ident, $row:ident => $body:expr) => {
        rows!(@ $count, $row => $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $count:ident, $row:ident => $body:expr, $($m:literal)*) => {
        $(if $m < $count {
            const $row: usize = $m;
            $body;
        })*
    };
}

/// Adds the products of `M` rows with a panel to `sums`, in the order of the columns.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tile<L: Layout, const M: usize>(
    panel: &[u8],
    x: &Tile<'_>,
    sums: &mut [[f32; PANEL]; M],
) {
    let mut totals = [[_mm256_setzero_ps(); M]; 2];
    let blocks = L::SCHEME.block / COLUMNS;
    for (s, span) in panel.chunks_exact(L::SPAN_BYTES).enumerate() {
        let (header, span) = span.split_at(L::HEADER_BYTES);
        let header = header.as_chunks::<HALF>().0;
        let scale = halves(&header[0]);
        let offset = if L::OFFSETS { halves(&header[1]) } else { scale };
        for (b, block) in span.chunks_exact(L::BLOCK_BYTES).enumerate() {
            prefetch(block);
            let (factors, planes) = (factors::<L>(block, scale, offset), &block[L::STEPS_BYTES..]);
            let x = x.at::<M>(s * blocks + b);
            let parts = factors.iter().enumerate().take(L::GROUPS);
            for (group, (scale, offset)) in parts {
                add_group::<L, M>(planes, (scale[0], offset[0]), x, (group, 0), &mut totals[0]);
                add_group::<L, M>(planes, (scale[1], offset[1]), x, (group, 1), &mut totals[1]);
            }
        }
    }
    for (m, sums) in sums.iter_mut().enumerate() {
        for (sums, totals) in sums.as_chunks_mut::<8>().0.iter_mut().zip(&totals) {
            // SAFETY: `sums` is 8 writable floats, and the store needs no alignment.
            unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), totals[m]) };
        }
    }
}

/// Quads whose products fit 16 bits together: 2 * 127 * 63 * 2 < 2^15, and so on.
const fn together<L: Layout>() -> usize {
    let high = match L::SCHEME.high {
        Some(plane) => plane.bits,
        None => 0,
    };
    match L::SCHEME.low.bits + high {
        8 => 1,
        6 => 2,
        5 => 4,
        _ => 8,
    }
}

/// Products of 4 columns of 8 rows, as sums of pairs of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply<L: Layout>(code: __m256i, value: __m256i) -> __m256i {
    if L::SCHEME.low.bits < 8 {
        return _mm256_maddubs_epi16(code, value);
    }
    let code = _mm256_xor_si256(code, _mm256_set1_epi8(-128));
    _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(value, code))
}

/// Adds the products of a group's columns with half of the panel's rows.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_group<L: Layout, const M: usize>(
    planes: &[u8],
    (scale, offset): (__m256, __m256),
    (blocks, values): (&[Block; M], &[Values; M]),
    (group, half): (usize, usize),
    totals: &mut [__m256; M],
) {
    const { assert!(M <= TILE, "more rows than are written out") };
    let quads = QUADS / L::GROUPS;
    let mut sums = [_mm256_setzero_si256(); M];
    let ones = _mm256_set1_epi16(1);
    let together = const { together::<L>() };
    for first in (group * quads..(group + 1) * quads).step_by(together) {
        let mut pairs = [_mm256_setzero_si256(); M];
        for q in first..(first + together).min((group + 1) * quads) {
            let code = code::<L>(planes, q, half);
            rows!(M, ROW => {
                let product = multiply::<L>(code, quad(&values[ROW], q));
                pairs[ROW] = _mm256_add_epi16(pairs[ROW], product);
            });
        }
        rows!(M, ROW => {
            sums[ROW] = _mm256_add_epi32(sums[ROW], _mm256_madd_epi16(pairs[ROW], ones));
        });
    }
    rows!(M, ROW => {
        totals[ROW] = add_product::<L>(sums[ROW], (scale, offset), (&blocks[ROW], group), totals[ROW]);
    });
}

/// Adds an integer product, as a number, to the sum of a row.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_product<L: Layout>(
    product: __m256i,
    (scale, offset): (__m256, __m256),
    (x, group): (&Block, usize),
    total: __m256,
) -> __m256 {
    let (sum, offset_by) =
        if L::GROUPS == 1 { (x.sum, x.total) } else { (x.sums[group], x.totals[group]) };
    // `multiply` has taken the bias from codes of 8 bits.
    let biased = L::SCHEME.bias != 0 && L::SCHEME.low.bits != 8;
    let bias = _mm256_set1_epi32(if biased { sum << L::BIAS_BITS } else { 0 });
    let product = _mm256_cvtepi32_ps(_mm256_add_epi32(product, bias));
    let total = _mm256_fmadd_ps(product, _mm256_mul_ps(scale, _mm256_set1_ps(x.scale)), total);
    if !L::OFFSETS {
        return total;
    }
    _mm256_fnmadd_ps(offset, _mm256_set1_ps(offset_by), total)
}

#[inline]
#[target_feature(enable = "sse")]
fn prefetch(block: &[u8]) {
    for line in (0..block.len()).step_by(LINE) {
        // A hint only: it may lie behind the panel or the matrix.
        let address = block.as_ptr().wrapping_add(AHEAD + line);
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}
