//! One panel with some rows of activations, with AVX-512 and VNNI: one instruction multiplies
//! four columns of 16 rows, unsigned codes by signed activations, and adds.

use std::arch::x86_64::*;

use super::activations::{Block, TILE, Tile, Values, inverse};
use super::layout::Layout;
use super::panel::{COLUMNS, PANEL, QUADS, VECTOR};

/// How far ahead of its use memory is asked for.
const AHEAD: usize = 4096;
const LINE: usize = 64;

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; VECTOR]) -> __m512i {
    // SAFETY: `bytes` is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// 16 halves as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn halves(bytes: &[u8; 2 * PANEL]) -> __m512 {
    // SAFETY: `bytes` is 32 readable bytes, and the load needs no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}

/// 16 signed bytes as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn steps(bytes: &[u8; PANEL]) -> __m512 {
    // SAFETY: `bytes` is 16 readable bytes, and the load needs no alignment.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
}

/// Quantises 32 values.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
pub(super) fn quantise(x: &[f32; COLUMNS], values: &mut Values) -> Block {
    let halves = x.as_chunks::<PANEL>().0;
    // SAFETY: each half is 16 readable floats, and the loads need no alignment.
    let (a, b) =
        unsafe { (_mm512_loadu_ps(halves[0].as_ptr()), _mm512_loadu_ps(halves[1].as_ptr())) };
    let largest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
    let inverse = _mm512_set1_ps(inverse(largest));
    let a = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
    let b = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
    let out = values.as_chunks_mut::<4>().0;
    // SAFETY: each half is 16 writable bytes, and the stores need no alignment.
    unsafe {
        _mm_storeu_si128(out[0].as_mut_ptr().cast(), _mm512_cvtepi32_epi8(a));
        _mm_storeu_si128(out[1].as_mut_ptr().cast(), _mm512_cvtepi32_epi8(b));
    }
    Block::new(largest, [_mm512_reduce_add_epi32(a), _mm512_reduce_add_epi32(b)])
}

/// The bits of a plane that belong to `quad`, moved to `up` in each byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn bits_of(plane: &[u8], bits: u32, up: u32, quad: usize) -> __m512i {
    let per_byte = 8 / bits as usize;
    let vector = load(&plane.as_chunks::<VECTOR>().0[quad / per_byte]);
    if bits == 8 {
        return vector;
    }
    let mask = _mm512_set1_epi8((((1u32 << bits) - 1) << up) as i8);
    let down = (quad % per_byte) as i32 * bits as i32 - up as i32;
    // Shifts are of 16 bits at least; the mask takes away what came from the neighbour.
    let moved = match down {
        0 => vector,
        1.. => _mm512_srl_epi16(vector, _mm_cvtsi32_si128(down)),
        _ => _mm512_sll_epi16(vector, _mm_cvtsi32_si128(-down)),
    };
    _mm512_and_si512(moved, mask)
}

/// The codes of 32 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn codes<L: Layout>(planes: &[u8]) -> [__m512i; QUADS] {
    let low_bits = L::SCHEME.low.bits;
    let (low, high) = planes.split_at(low_bits as usize * VECTOR);
    let mut codes = [_mm512_setzero_si512(); QUADS];
    for (i, code) in codes.iter_mut().enumerate() {
        *code = bits_of(low, low_bits, 0, i);
        if let Some(plane) = L::SCHEME.high {
            *code = _mm512_or_si512(*code, bits_of(high, plane.bits, low_bits, i));
        }
    }
    codes
}

/// Scales and offsets of a block's groups, one group after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn factors<L: Layout>(block: &[u8], scale: __m512, offset: __m512) -> [(__m512, __m512); 2] {
    if !L::STEPS {
        return [(scale, offset); 2];
    }
    let bytes = block[..L::STEPS_BYTES].as_chunks::<PANEL>().0;
    let mut factors = [(scale, offset); 2];
    for (i, factors) in factors.iter_mut().enumerate().take(L::GROUPS) {
        factors.0 = _mm512_mul_ps(scale, steps(&bytes[i]));
        if L::OFFSETS {
            factors.1 = _mm512_mul_ps(offset, steps(&bytes[L::GROUPS + i]));
        }
    }
    factors
}

/// Adds the products of `M` rows with a panel to `sums`, in the order of the columns.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn tile<L: Layout, const M: usize>(
    panel: &[u8],
    x: &Tile<'_>,
    sums: &mut [[f32; PANEL]; M],
) {
    const { assert!(M <= TILE, "more rows than are written out") };
    let mut totals = [_mm512_setzero_ps(); M];
    let blocks = L::SCHEME.block / COLUMNS;
    for (s, span) in panel.chunks_exact(L::SPAN_BYTES).enumerate() {
        let (header, span) = span.split_at(L::HEADER_BYTES);
        let header = header.as_chunks::<{ 2 * PANEL }>().0;
        let scale = halves(&header[0]);
        let offset = if L::OFFSETS { halves(&header[1]) } else { _mm512_setzero_ps() };
        for (b, block) in span.chunks_exact(L::BLOCK_BYTES).enumerate() {
            prefetch(block);
            let codes = codes::<L>(&block[L::STEPS_BYTES..]);
            let factors = factors::<L>(block, scale, offset);
            add_block::<L, M>(&codes, &factors, x, s * blocks + b, &mut totals);
        }
    }
    for (sums, total) in sums.iter_mut().zip(totals) {
        // SAFETY: `sums` is 16 writable floats, and the store needs no alignment.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), total) };
    }
}

/// Adds a block's products, row after row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_block<L: Layout, const M: usize>(
    codes: &[__m512i; QUADS],
    factors: &[(__m512, __m512); 2],
    x: &Tile<'_>,
    index: usize,
    totals: &mut [__m512; M],
) {
    let (blocks, values) = x.at::<M>(index);
    // Written out, as the compiler does not unroll so long a loop, and its sums would not be in
    // registers.
    macro_rules! rows {
        ($($m:literal)*) => {
            $(if $m < M {
                totals[$m] = add_row::<L>(codes, factors, (&blocks[$m], &values[$m]), totals[$m]);
            })*
        };
    }
    rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_row<L: Layout>(
    codes: &[__m512i; QUADS],
    factors: &[(__m512, __m512); 2],
    (x, values): (&Block, &Values),
    mut total: __m512,
) -> __m512 {
    let quads = QUADS / L::GROUPS;
    for (group, factors) in factors.iter().enumerate().take(L::GROUPS) {
        let (sum, offset) =
            if L::GROUPS == 1 { (x.sum, x.total) } else { (x.sums[group], x.totals[group]) };
        // Two chains, as one instruction's result takes several cycles.
        let mut even = _mm512_setzero_si512();
        if L::SCHEME.bias != 0 {
            let bits = _mm_cvtsi32_si128(L::BIAS_BITS as i32);
            even = _mm512_sll_epi32(_mm512_set1_epi32(sum), bits);
        }
        let mut odd = _mm512_setzero_si512();
        for q in (group * quads..(group + 1) * quads).step_by(2) {
            even = _mm512_dpbusd_epi32(even, codes[q], _mm512_set1_epi32(values[q]));
            odd = _mm512_dpbusd_epi32(odd, codes[q + 1], _mm512_set1_epi32(values[q + 1]));
        }
        let product = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
        let scale = _mm512_mul_ps(factors.0, _mm512_set1_ps(x.scale));
        total = _mm512_fmadd_ps(product, scale, total);
        if L::OFFSETS {
            total = _mm512_fnmadd_ps(factors.1, _mm512_set1_ps(offset), total);
        }
    }
    total
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
