//! The definition.

use half::{bf16, f16};

use super::{Kernel, LANES, Simd};

/// No instructions beyond the target's baseline. The compiler vectorises what it can.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

macro_rules! lanewise {
    ($($name:ident($($arg:ident),+) = $value:expr;)+) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::F),+) -> Self::F {
            let mut out = [0.0; LANES];
            for i in 0..LANES {
                $(let $arg = $arg[i];)+
                out[i] = $value;
            }
            out
        })+
    };
}

impl Simd for Plain {
    type F = [f32; LANES];
    type Pairs = [[i8; 2]; LANES];
    type Sums = [i32; LANES];
    const WIDE: bool = false;

    lanewise! {
        add(a, b) = a + b;
        sub(a, b) = a - b;
        mul(a, b) = a * b;
        div(a, b) = a / b;
        max(a, b) = if a > b { a } else { b };
        min(a, b) = if a < b { a } else { b };
        fma(a, b, c) = a * b + c;
        round(a) = a.round_ties_even();
        pow2(n) = f32::from_bits(((n as i32).wrapping_add(127) << 23) as u32);
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F {
        [v; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::F) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::F>().write_unaligned(v) };
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise.
        let bits = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise.
        let bits = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        bits.map(|bits| bf16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const u8) -> Self::F {
        // SAFETY: the caller's promise.
        let values = unsafe { p.cast::<[i8; LANES]>().read_unaligned() };
        values.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const u8) -> Self::Pairs {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::Pairs>().read_unaligned() }
    }
    #[inline(always)]
    fn zeros(self) -> Self::Sums {
        [0; LANES]
    }
    #[inline(always)]
    fn add_pairs(self, pairs: Self::Pairs, x: i32, sums: Self::Sums) -> Self::Sums {
        let mut out = sums;
        for i in 0..LANES {
            let [a, b] = pairs[i];
            out[i] += i32::from(a) * i32::from(x as i16) + i32::from(b) * (x >> 16);
        }
        out
    }
    #[inline(always)]
    fn of_sums(self, sums: Self::Sums) -> Self::F {
        sums.map(|sum| sum as f32)
    }
    #[inline(always)]
    fn to_pairs(self, v: Self::F) -> [i32; LANES / 2] {
        let mut out = [0; LANES / 2];
        for i in 0..LANES / 2 {
            let (low, high) = (v[2 * i].round_ties_even(), v[2 * i + 1].round_ties_even());
            out[i] = i32::from((low as i16).cast_unsigned()) | i32::from(high as i16) << 16;
        }
        out
    }
    #[inline(always)]
    fn to_f16(self, v: Self::F) -> [u16; LANES] {
        v.map(|v| f16::from_f32(v).to_bits())
    }
    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
    #[inline(never)]
    unsafe fn call<K: Kernel>(self, kernel: K) {
        // SAFETY: the caller's promise.
        unsafe { kernel.run(self) }
    }
}
