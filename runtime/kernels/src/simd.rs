//! Sixteen f32 lanes under one name on every instruction set.
//!
//! A kernel is written once, generic over [`Simd`], `#[inline(always)]`, and without closures on
//! its hot path, so that all of it ends up inside the function that enables the instructions.
//! [`dispatch`] defines that function. `Iterator::zip` counts as a closure: loops over two slices
//! go by index. A token of a type that implements [`Simd`] is the proof
//! that the CPU has the instructions.

use std::cell::RefCell;

mod plain;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

pub(crate) use plain::Plain;

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Sixteen values on the boundary of a cache line, which no aligned load then crosses.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Line(#[expect(dead_code, reason = "read as plain values")] [f32; LANES]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);

    /// The same memory as plain values.
    pub(crate) fn values(lines: &mut [Self]) -> &mut [f32] {
        // SAFETY: a line is 16 floats without padding, and the result borrows `lines`.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LANES) }
    }

    /// The same, to read.
    pub(crate) fn read(lines: &[Self]) -> &[f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LANES) }
    }
}

/// Hands out at least `len` values of a thread's own, with anything in them.
pub(crate) fn with_values<R>(
    own: &'static std::thread::LocalKey<RefCell<Vec<Line>>>,
    len: usize,
    f: impl FnOnce(&mut [f32]) -> R,
) -> R {
    own.with(|lines| {
        let mut lines = lines.take();
        if lines.len() * LANES < len {
            lines.resize(len.div_ceil(LANES), Line::ZERO);
        }
        let result = f(Line::values(&mut lines));
        own.set(lines);
        result
    })
}

/// The operations of one instruction set on vectors of [`LANES`] values.
pub(crate) trait Simd: Copy {
    /// A vector.
    type F: Copy;
    /// Of each lane two integers of 16 bits, and one of 32.
    type Pairs: Copy;
    type Sums: Copy;
    /// Whether 32 vector registers hold 16 lanes each: kernels take larger tiles then.
    const WIDE: bool;

    fn splat(self, v: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, fused where the instruction set fuses.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` for whole `n` in -126..=127; anything for others.
    fn pow2(self, n: Self::F) -> Self::F;

    /// # Safety
    /// 64 bytes are readable at `p`; no alignment is needed, here and below.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// # Safety
    /// 64 bytes are writable at `p`.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// # Safety
    /// 32 bytes are readable at `p`: f16.
    unsafe fn load_f16(self, p: *const u8) -> Self::F;
    /// # Safety
    /// 32 bytes are readable at `p`: bf16.
    unsafe fn load_bf16(self, p: *const u8) -> Self::F;
    /// # Safety
    /// 16 bytes are readable at `p`: i8.
    unsafe fn load_i8(self, p: *const u8) -> Self::F;
    /// # Safety
    /// 32 bytes are readable at `p`: pairs of i8.
    unsafe fn load_pairs(self, p: *const u8) -> Self::Pairs;
    fn zeros(self) -> Self::Sums;
    /// To each sum the products of its pair with the halves of `x`, the lower one first.
    fn add_pairs(self, pairs: Self::Pairs, x: i32, sums: Self::Sums) -> Self::Sums;
    fn of_sums(self, sums: Self::Sums) -> Self::F;
    /// Rounds to integers of 16 bits, ties to even: of each two neighbours one value, the first in its
    /// lower half. The values are near enough to zero for that.
    fn to_pairs(self, v: Self::F) -> [i32; LANES / 2];
    /// Rounds to f16, ties to even.
    fn to_f16(self, v: Self::F) -> [u16; LANES];
    /// Asks for a cache line that will be read soon; any address will do.
    fn prefetch(self, p: *const u8);
    /// Runs a kernel as a function of its own.
    ///
    /// # Safety
    /// What the kernel asks for.
    unsafe fn call<K: Kernel>(self, kernel: K);

    /// Lane `i` of vector `j` becomes lane `j` of vector `i`.
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        let mut values = [[0.0; LANES]; LANES];
        for (j, row) in rows.into_iter().enumerate() {
            let row = self.to_array(row);
            for i in 0..LANES {
                values[i][j] = row[i];
            }
        }
        let mut columns = rows;
        for i in 0..LANES {
            columns[i] = self.of(values[i]);
        }
        columns
    }

    #[inline(always)]
    fn to_array(self, v: Self::F) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        // SAFETY: the array is 64 bytes.
        unsafe { self.store(out.as_mut_ptr(), v) };
        out
    }

    #[inline(always)]
    fn of(self, v: [f32; LANES]) -> Self::F {
        // SAFETY: the array is 64 bytes.
        unsafe { self.load(v.as_ptr()) }
    }

    /// Sums the lanes in halves.
    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        crate::dense::reduce(&self.to_array(v))
    }

    #[inline(always)]
    fn largest(self, v: Self::F) -> f32 {
        let mut lanes = self.to_array(v);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = crate::dense::larger(lanes[i], lanes[i + width]);
            }
            width /= 2;
        }
        lanes[0]
    }

    /// `e^x` within 2 units in the last place; 0 and infinity are reached only as about 1e-38 and
    /// 1e38. Source: the expf of Cephes.
    #[inline(always)]
    fn exp(self, x: Self::F) -> Self::F {
        // NaN must come through, so it is the second operand here.
        let x = self.max(self.splat(-87.0), self.min(self.splat(88.0), x));
        let power = self.round(self.mul(x, self.splat(std::f32::consts::LOG2_E)));
        let r = self.fma(power, self.splat(-0.693_359_4), x);
        let r = self.fma(power, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.987_569_1e-4);
        for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = self.fma(p, r, self.splat(c));
        }
        let r1 = self.add(r, self.splat(1.0));
        self.mul(self.pow2(power), self.fma(p, self.mul(r, r), r1))
    }

    /// `tanh(x)` within 4e-7 of itself. Source: the tanhf of Cephes, for what is near zero.
    #[inline(always)]
    fn tanh(self, x: Self::F) -> Self::F {
        let near = self.odd(
            [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1, 1.0],
            0.625,
            x,
        );
        self.either(x, 0.625, near, self.tanh_far(x))
    }

    #[inline(always)]
    fn tanh_far(self, x: Self::F) -> Self::F {
        let size = self.max(self.sub(self.splat(0.0), x), x);
        let e = self.exp(self.add(size, size));
        let one = self.splat(1.0);
        // On both sides of zero, so that little is lost next to -1 as well.
        self.mul(self.sign(x), self.sub(one, self.div(self.splat(2.0), self.add(e, one))))
    }

    /// An odd polynomial, the highest power first, of what is cut at `bound`.
    #[inline(always)]
    fn odd<const N: usize>(self, powers: [f32; N], bound: f32, x: Self::F) -> Self::F {
        let x = self.max(self.splat(-bound), self.min(self.splat(bound), x));
        let square = self.mul(x, x);
        let mut p = self.splat(powers[0]);
        for power in &powers[1..] {
            p = self.fma(p, square, self.splat(*power));
        }
        self.mul(p, x)
    }

    /// `near` where `x` is nearer to zero than `bound`, else `far`. Both must be finite, or NaN for NaN.
    #[inline(always)]
    fn either(self, x: Self::F, bound: f32, near: Self::F, far: Self::F) -> Self::F {
        let size = self.max(self.sub(self.splat(0.0), x), x);
        let inside = self.mul(self.sub(self.splat(bound), size), self.splat(1e30));
        let inside = self.max(self.splat(0.0), self.min(self.splat(1.0), inside));
        self.fma(inside, self.sub(near, far), far)
    }

    /// 1 or -1, and 0 at 0; numbers next to zero are in between.
    #[inline(always)]
    fn sign(self, x: Self::F) -> Self::F {
        let far = self.mul(x, self.splat(1e30));
        self.max(self.splat(-1.0), self.min(self.splat(1.0), far))
    }
}

/// A body that is compiled by itself for each instruction set: where one function has many forms
/// of an inner loop, they would otherwise all be inlined into it.
pub(crate) trait Kernel {
    /// # Safety
    /// What the kernel's constructor asks for.
    unsafe fn run<S: Simd>(self, s: S);
}

/// How 16 neighbouring values lie in memory.
pub(crate) trait Stored {
    /// Bytes of 16 values.
    const BYTES: usize;
    /// # Safety
    /// [`Self::BYTES`] are readable at `p`.
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::F;
}

macro_rules! stored {
    ($name:ident, $bytes:literal, $load:ident) => {
        pub(crate) struct $name;
        impl Stored for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::F {
                // SAFETY: the caller's promise.
                unsafe { s.$load(p.cast()) }
            }
        }
    };
}
stored!(F32s, 64, load);
stored!(F16s, 32, load_f16);
stored!(Bf16s, 32, load_bf16);
stored!(I8s, 16, load_i8);

/// Defines a function that runs one body, generic over [`Simd`], at the caller's level.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        $vis unsafe fn $name(level: $crate::Level, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: the features are those of this function; the rest is the caller's.
                unsafe { $body($crate::simd::x86::Avx2::new(), $($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: as above.
                unsafe { $body($crate::simd::x86::Avx512::new(), $($arg),*) }
            }
            // SAFETY: a level exists only if the CPU has its instructions; the rest is promised
            // by the caller.
            unsafe {
                match level.0 {
                    $crate::level::Kind::Scalar => $body($crate::simd::Plain, $($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::level::Kind::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::level::Kind::Avx512Vnni => avx512($($arg),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests;
