//! AVX2 with F16C, and AVX-512.

use std::arch::x86_64::*;

use super::{Kernel, LANES, Simd};

/// Proof of AVX2, FMA and F16C. A vector is a pair of registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU has AVX2, FMA and F16C.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// Proof of AVX-512 F, BW, DQ and VL, and of what [`Avx2`] proves.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU has AVX-512 F, BW, DQ and VL, AVX2, FMA and F16C.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

macro_rules! pairwise {
    ($($name:ident($($arg:ident),+) = $intrinsic:ident;)+) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::F),+) -> Self::F {
            // SAFETY: the token is the proof of the instructions.
            unsafe { [$intrinsic($($arg[0]),+), $intrinsic($($arg[1]),+)] }
        })+
    };
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type Pairs = [__m256i; 2];
    type Sums = [__m256i; 2];
    const WIDE: bool = false;

    pairwise! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        max(a, b) = _mm256_max_ps;
        min(a, b) = _mm256_min_ps;
        fma(a, b, c) = _mm256_fmadd_ps;
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F {
        // SAFETY: the token is the proof of the instructions, here and below.
        unsafe { [_mm256_set1_ps(v); 2] }
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: as above.
        unsafe { [_mm256_round_ps::<MODE>(a[0]), _mm256_round_ps::<MODE>(a[1])] }
    }
    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        let mut out = n;
        for half in &mut out {
            // SAFETY: as above.
            *half = unsafe {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(*half), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            };
        }
        out
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::F) {
        // SAFETY: the caller's promise, and as above.
        unsafe {
            _mm256_storeu_ps(p, v[0]);
            _mm256_storeu_ps(p.add(8), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe {
            let p: *const __m128i = p.cast();
            [_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128(p.add(1)))]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe {
            let p: *const __m128i = p.cast();
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(1)));
            let low = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low));
            [low, _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high))]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe {
            let bytes = _mm_loadu_si128(p.cast());
            let low = _mm256_cvtepi8_epi32(bytes);
            let high = _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes));
            [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const u8) -> Self::Pairs {
        // SAFETY: the caller's promise, and as above.
        unsafe {
            let p: *const __m128i = p.cast();
            let high = _mm256_cvtepi8_epi16(_mm_loadu_si128(p.add(1)));
            [_mm256_cvtepi8_epi16(_mm_loadu_si128(p)), high]
        }
    }
    #[inline(always)]
    fn zeros(self) -> Self::Sums {
        // SAFETY: as above.
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    fn add_pairs(self, pairs: Self::Pairs, x: i32, sums: Self::Sums) -> Self::Sums {
        // SAFETY: as above.
        unsafe {
            let x = _mm256_set1_epi32(x);
            let low = _mm256_add_epi32(sums[0], _mm256_madd_epi16(pairs[0], x));
            [low, _mm256_add_epi32(sums[1], _mm256_madd_epi16(pairs[1], x))]
        }
    }
    #[inline(always)]
    fn of_sums(self, sums: Self::Sums) -> Self::F {
        // SAFETY: as above.
        unsafe { [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])] }
    }
    #[inline(always)]
    fn to_pairs(self, v: Self::F) -> [i32; LANES / 2] {
        let mut out = [0; LANES / 2];
        // SAFETY: as above, and the array is 32 bytes.
        unsafe {
            let both = _mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1]));
            // Packing works within halves of a vector.
            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), both);
        }
        out
    }
    #[inline(always)]
    fn to_f16(self, v: Self::F) -> [u16; LANES] {
        let mut out = [0u16; LANES];
        // SAFETY: as above, and the array is 32 bytes.
        unsafe {
            let p: *mut __m128i = out.as_mut_ptr().cast();
            _mm_storeu_si128(p, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]));
            _mm_storeu_si128(p.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]));
        }
        out
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
    }
    #[inline(always)]
    unsafe fn call<K: Kernel>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn run<S: Simd, K: Kernel>(s: S, kernel: K) {
            // SAFETY: the promise of `call`'s caller.
            unsafe { kernel.run(s) }
        }
        // SAFETY: as above, and the token is the proof of the instructions.
        unsafe { run(self, kernel) }
    }
}

macro_rules! direct {
    ($($name:ident($($arg:ident),+) = $intrinsic:ident;)+) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::F),+) -> Self::F {
            // SAFETY: the token is the proof of the instructions.
            unsafe { $intrinsic($($arg),+) }
        })+
    };
}

impl Simd for Avx512 {
    type F = __m512;
    type Pairs = __m512i;
    type Sums = __m512i;
    const WIDE: bool = true;

    direct! {
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        max(a, b) = _mm512_max_ps;
        min(a, b) = _mm512_min_ps;
        fma(a, b, c) = _mm512_fmadd_ps;
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F {
        // SAFETY: the token is the proof of the instructions, here and below.
        unsafe { _mm512_set1_ps(v) }
    }
    #[inline(always)]
    fn transpose(self, r: [Self::F; LANES]) -> [Self::F; LANES] {
        let mut out = r;
        // SAFETY: as above.
        unsafe {
            // First four by four within the quarters of a register.
            let mut quarters = r;
            for g in [0, 4, 8, 12] {
                let low = _mm512_unpacklo_ps(r[g], r[g + 1]);
                let high = _mm512_unpackhi_ps(r[g], r[g + 1]);
                let next_low = _mm512_unpacklo_ps(r[g + 2], r[g + 3]);
                let next_high = _mm512_unpackhi_ps(r[g + 2], r[g + 3]);
                quarters[g] = low_pairs(low, next_low);
                quarters[g + 1] = high_pairs(low, next_low);
                quarters[g + 2] = low_pairs(high, next_high);
                quarters[g + 3] = high_pairs(high, next_high);
            }
            // Then the quarters: even ones, odd ones, and again.
            for j in 0..4 {
                let [a, b] = [quarters[j], quarters[4 + j]];
                let [c, d] = [quarters[8 + j], quarters[12 + j]];
                let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
                let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                out[j] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
                out[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
                out[8 + j] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
                out[12 + j] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
            }
        }
        out
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: as above.
        unsafe { _mm512_roundscale_ps::<MODE>(a) }
    }
    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        // SAFETY: as above.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::F) {
        // SAFETY: the caller's promise, and as above.
        unsafe { _mm512_storeu_ps(p, v) };
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise, and as above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const u8) -> Self::Pairs {
        // SAFETY: the caller's promise, and as above.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    fn zeros(self) -> Self::Sums {
        // SAFETY: as above.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    fn add_pairs(self, pairs: Self::Pairs, x: i32, sums: Self::Sums) -> Self::Sums {
        // SAFETY: as above.
        unsafe {
            let x = _mm512_set1_epi32(x);
            _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, x))
        }
    }
    #[inline(always)]
    fn of_sums(self, sums: Self::Sums) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
    #[inline(always)]
    fn to_pairs(self, v: Self::F) -> [i32; LANES / 2] {
        let mut out = [0; LANES / 2];
        // SAFETY: as above, and the array is 32 bytes.
        unsafe {
            let both = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), both);
        }
        out
    }
    #[inline(always)]
    fn to_f16(self, v: Self::F) -> [u16; LANES] {
        let mut out = [0u16; LANES];
        // SAFETY: as above, and the array is 32 bytes.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), halves);
        }
        out
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
    }
    #[inline(always)]
    unsafe fn call<K: Kernel>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run<S: Simd, K: Kernel>(s: S, kernel: K) {
            // SAFETY: the promise of `call`'s caller.
            unsafe { kernel.run(s) }
        }
        // SAFETY: as above, and the token is the proof of the instructions.
        unsafe { run(self, kernel) }
    }
}

/// The lower pairs of each quarter of `a` and `b`.
#[inline(always)]
unsafe fn low_pairs(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))) }
}

/// The upper pairs.
#[inline(always)]
unsafe fn high_pairs(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))) }
}
