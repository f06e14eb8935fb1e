use half::f16;

use super::{BLOCK_TOKENS, Heads};
use crate::simd::{F16s, F32s, I8s, LANES, Simd, Stored};

/// Dimensions that share a scale.
pub(super) const GROUP_DIMS: usize = 32;

/// Bytes of one group's scales for a block's tokens, f16.
const SCALES_BYTES: usize = BLOCK_TOKENS * 2;

/// How a cache stores keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheKind {
    /// As computed.
    F32,
    /// Half the memory; relative error of a value 5e-4. Values over 65,504 are cut off.
    #[default]
    F16,
    /// 8.5 bits a value: integers, with an f16 scale for each token's 32 dimensions.
    Q8_0,
}

/// Bytes of the keys, and again of the values, of one layer's `blocks` blocks.
pub fn cache_bytes(kind: CacheKind, heads: Heads, blocks: usize) -> usize {
    Layout { kind, heads }.block_bytes() * blocks
}

/// Where things are in a cache: `[block][kv head]`, and there
/// - keys `[dims][BLOCK_TOKENS]`: a query meets 16 tokens in one instruction, without a sum
///   across lanes;
/// - values `[BLOCK_TOKENS][dims, padded to whole vectors]`;
/// - then for Q8_0 the scales, `[dims / 32][BLOCK_TOKENS]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) kind: CacheKind,
    pub(super) heads: Heads,
}

impl Layout {
    fn value_bytes(self) -> usize {
        match self.kind {
            CacheKind::F32 => 4,
            CacheKind::F16 => 2,
            CacheKind::Q8_0 => 1,
        }
    }

    /// Bytes of one head of a block before its scales, and the offset of these.
    pub(super) fn scales_at(self) -> usize {
        BLOCK_TOKENS * padded(self.heads) * self.value_bytes()
    }

    /// Bytes of one head of a block, keys or values.
    pub(super) fn head_bytes(self) -> usize {
        let scales = match self.kind {
            CacheKind::Q8_0 => self.heads.dims.div_ceil(GROUP_DIMS) * SCALES_BYTES,
            CacheKind::F32 | CacheKind::F16 => 0,
        };
        self.scales_at() + scales
    }

    pub(super) fn block_bytes(self) -> usize {
        self.heads.kv * self.head_bytes()
    }

    /// Offset of a head of a block.
    pub(super) fn head_at(self, block: usize, kv_head: usize) -> usize {
        (block * self.heads.kv + kv_head) * self.head_bytes()
    }

    /// Stores a token's key, or its value where `Self::VALUES`, in a head of a block.
    ///
    /// # Safety
    /// [`Self::head_bytes`] from `head` on are writable, and this token's are nobody else's.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd, const VALUES: bool>(
        self,
        s: S,
        head: *mut u8,
        token: usize,
        values: &[f32],
    ) {
        // Position of dimension `d`, in values: `first + d * step`.
        let (first, step) =
            if VALUES { (token * padded(self.heads), 1) } else { (token, BLOCK_TOKENS) };
        // SAFETY: `d < dims` and `token < BLOCK_TOKENS`, so each position is inside the head.
        unsafe {
            match self.kind {
                CacheKind::F32 => {
                    let out = head.cast::<f32>();
                    for (d, value) in values.iter().enumerate() {
                        out.add(first + d * step).write_unaligned(*value);
                    }
                }
                CacheKind::F16 => {
                    let out = head.cast::<u16>();
                    for (chunk, values) in values.chunks(LANES).enumerate() {
                        let halves = halves(s, values);
                        for (d, half) in halves.iter().enumerate().take(values.len()) {
                            out.add(first + (chunk * LANES + d) * step).write_unaligned(*half);
                        }
                    }
                }
                CacheKind::Q8_0 => {
                    let out = head.cast::<i8>();
                    let scales = head.add(self.scales_at()).cast::<u16>();
                    for (group, values) in values.chunks(GROUP_DIMS).enumerate() {
                        let (scale, inverse) = group_scale(values);
                        scales.add(group * BLOCK_TOKENS + token).write_unaligned(scale);
                        for (d, value) in values.iter().enumerate() {
                            // `as` saturates.
                            let value = (value * inverse).round_ties_even() as i8;
                            out.add(first + (group * GROUP_DIMS + d) * step).write(value);
                        }
                    }
                }
            }
        }
    }
}

/// Dimensions of a stored value: whole vectors.
pub(super) fn padded(heads: Heads) -> usize {
    heads.dims.next_multiple_of(LANES)
}

/// Up to 16 values as f16, without infinities: these would make NaN of a neighbour's zero weight.
#[inline(always)]
fn halves<S: Simd>(s: S, values: &[f32]) -> [u16; LANES] {
    // The compiler makes one load of the common case, and a call of the other.
    let lanes = values.first_chunk().copied().unwrap_or_else(|| {
        let mut lanes = [0.0; LANES];
        lanes[..values.len()].copy_from_slice(values);
        lanes
    });
    let largest = f16::MAX.to_f32();
    let bounded = s.min(s.splat(largest), s.of(lanes));
    s.to_f16(s.max(s.splat(-largest), bounded))
}

/// The scale of a group as f16, and the inverse of what it rounds to (0 for zeros).
#[inline(always)]
fn group_scale(values: &[f32]) -> (u16, f32) {
    let mut largest = 0f32;
    for value in values {
        largest = crate::dense::larger(value.abs(), largest);
    }
    let scale = f16::from_f32((largest / 127.0).min(f16::MAX.to_f32()));
    let rounded = scale.to_f32();
    (scale.to_bits(), if rounded > 0.0 { 1.0 / rounded } else { 0.0 })
}

/// How the kernels read a kind of cache.
pub(super) trait Read {
    /// Values.
    type As: Stored;
    /// Whether values are integers with scales.
    const SCALED: bool;
}

pub(super) struct ReadF32;
pub(super) struct ReadF16;
pub(super) struct ReadQ8;
/// A Q8_0 block whose integers have become f32; the scales are where they were.
pub(super) struct ReadWidened;

impl Read for ReadF32 {
    type As = F32s;
    const SCALED: bool = false;
}
impl Read for ReadF16 {
    type As = F16s;
    const SCALED: bool = false;
}
impl Read for ReadQ8 {
    type As = I8s;
    const SCALED: bool = true;
}
impl Read for ReadWidened {
    type As = F32s;
    const SCALED: bool = true;
}
