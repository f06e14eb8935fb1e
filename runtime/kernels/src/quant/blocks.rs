use half::f16;

use super::{Plane, Scheme, Steps, half_at};

/// The most values that a block of any format has.
pub(crate) const BLOCK_MAX: usize = 256;
/// The most groups that a block of any format has.
pub(crate) const GROUPS_MAX: usize = 16;

/// A block of any format, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// What the values are, before scale and offset.
    pub(crate) codes: [u8; BLOCK_MAX],
    /// The block's scale.
    pub(crate) scale: f16,
    /// What the block's offsets are multiplied with; to be subtracted.
    pub(crate) offset: f16,
    /// Each group's scale; none for a format of one group.
    pub(crate) scales: [i8; GROUPS_MAX],
    /// Each group's offset.
    pub(crate) offsets: [i8; GROUPS_MAX],
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            codes: [0; BLOCK_MAX],
            scale: f16::ZERO,
            offset: f16::ZERO,
            scales: [0; GROUPS_MAX],
            offsets: [0; GROUPS_MAX],
        }
    }
}

impl Scheme {
    /// Q8_0 stores what its codes stand for; all other formats store the codes.
    const fn flip(&self) -> u8 {
        if self.low.bits == 8 { 0x80 } else { 0 }
    }

    /// Q4_1 and Q5_1 add their offset, the others subtract it.
    fn offset_sign(&self, offset: f16) -> f16 {
        if matches!(self.steps, Steps::One) { -offset } else { offset }
    }

    /// The planes, each with its lowest bit's place in the code.
    fn planes(&self) -> impl Iterator<Item = (Plane, u32)> {
        let high = self.high.map(|plane| (plane, self.low.bits));
        [(self.low, 0)].into_iter().chain(high)
    }
}

/// All values of a file's blocks.
#[inline(always)]
pub(super) fn dequantise(scheme: &Scheme, blocks: &[u8], out: &mut [f32]) {
    let mut parts = Parts::default();
    let blocks = blocks.chunks_exact(scheme.bytes);
    for (block, out) in blocks.zip(out.chunks_exact_mut(scheme.block)) {
        parts.read(scheme, block);
        parts.values(scheme, out);
    }
}

impl Parts {
    /// Takes a file's block apart.
    #[inline(always)]
    pub(crate) fn read(&mut self, scheme: &Scheme, block: &[u8]) {
        let codes = &mut self.codes[..scheme.block];
        codes.fill(scheme.flip());
        for (plane, up) in scheme.planes() {
            read_plane(plane, up, block, codes);
        }
        self.scale = half_at(block, scheme.scale_at);
        let offset = scheme.offset_at.map(|at| scheme.offset_sign(half_at(block, at)));
        self.offset = offset.unwrap_or(f16::ZERO);
        match scheme.steps {
            Steps::One => {}
            Steps::Nibbles => {
                for (group, byte) in block[..GROUPS_MAX].iter().enumerate() {
                    self.scales[group] = (byte & 15).cast_signed();
                    self.offsets[group] = (byte >> 4).cast_signed();
                }
            }
            Steps::Sixes => {
                let bytes = &block[96..108];
                for group in 0..GROUPS_MAX {
                    let low = bytes[group % 8] >> (group / 8 * 4) & 15;
                    let high = bytes[8 + group % 4] >> (group / 4 * 2) & 3;
                    self.scales[group] = (low | high << 4).cast_signed() - 32;
                }
            }
            Steps::Pairs => {
                let bytes = &block[4..16];
                for i in 0..4 {
                    let (scale, offset, rest) = (bytes[i], bytes[4 + i], bytes[8 + i]);
                    self.scales[i] = (scale & 63).cast_signed();
                    self.offsets[i] = (offset & 63).cast_signed();
                    self.scales[4 + i] = (rest & 15 | scale >> 6 << 4).cast_signed();
                    self.offsets[4 + i] = (rest >> 4 | offset >> 6 << 4).cast_signed();
                }
            }
            Steps::Bytes => {
                for (scale, byte) in self.scales.iter_mut().zip(&block[192..208]) {
                    *scale = byte.cast_signed();
                }
            }
        }
    }

    /// The reverse of [`Parts::read`]; `block` is zero before.
    pub(crate) fn write(&self, scheme: &Scheme, block: &mut [u8]) {
        for (plane, up) in scheme.planes() {
            write_plane(plane, up, &self.codes[..scheme.block], block);
        }
        block[scheme.scale_at..][..2].copy_from_slice(&self.scale.to_le_bytes());
        if let Some(at) = scheme.offset_at {
            block[at..][..2].copy_from_slice(&scheme.offset_sign(self.offset).to_le_bytes());
        }
        let (scales, offsets) = (self.scales.map(i8::cast_unsigned), self.offsets);
        let offsets = offsets.map(i8::cast_unsigned);
        match scheme.steps {
            // Q8_0 stores what its codes stand for.
            Steps::One if scheme.flip() != 0 => block[2..].iter_mut().for_each(|v| *v ^= 0x80),
            Steps::One => {}
            Steps::Nibbles => {
                for group in 0..GROUPS_MAX {
                    block[group] = scales[group] | offsets[group] << 4;
                }
            }
            Steps::Sixes => {
                let bytes = &mut block[96..108];
                for (group, scale) in scales.iter().enumerate() {
                    let scale = scale.wrapping_add(32);
                    bytes[group % 8] |= (scale & 15) << (group / 8 * 4);
                    bytes[8 + group % 4] |= (scale >> 4) << (group / 4 * 2);
                }
            }
            Steps::Pairs => {
                let bytes = &mut block[4..16];
                for i in 0..4 {
                    bytes[i] = scales[i] | scales[4 + i] >> 4 << 6;
                    bytes[4 + i] = offsets[i] | offsets[4 + i] >> 4 << 6;
                    bytes[8 + i] = scales[4 + i] & 15 | offsets[4 + i] << 4;
                }
            }
            Steps::Bytes => block[192..208].copy_from_slice(&scales),
        }
    }

    /// A group's scale and offset as f32.
    #[inline(always)]
    pub(crate) fn factors(&self, scheme: &Scheme, group: usize) -> (f32, f32) {
        let (scale, offset) = (self.scale.to_f32(), self.offset.to_f32());
        if scheme.steps == Steps::One {
            return (scale, offset);
        }
        (scale * f32::from(self.scales[group]), offset * f32::from(self.offsets[group]))
    }

    /// The block's values.
    #[inline(always)]
    pub(crate) fn values(&self, scheme: &Scheme, out: &mut [f32]) {
        let groups = self.codes[..scheme.block].chunks_exact(scheme.group);
        for (group, (codes, out)) in groups.zip(out.chunks_exact_mut(scheme.group)).enumerate() {
            let (scale, offset) = self.factors(scheme, group);
            for (code, out) in codes.iter().zip(out) {
                *out = scale * (i32::from(*code) - scheme.bias) as f32 - offset;
            }
        }
    }
}

#[inline(always)]
fn read_plane(plane: Plane, up: u32, block: &[u8], codes: &mut [u8]) {
    if let (1, Some(bytes)) = (plane.run, block[plane.at..].first_chunk()) {
        // One bit of each of 32 values in a row.
        let bits = u32::from_le_bytes(*bytes);
        for (i, code) in codes.iter_mut().enumerate() {
            *code ^= ((bits >> i & 1) << up) as u8;
        }
        return;
    }
    let (per_byte, mask) = (8 / plane.bits, u8::MAX >> (8 - plane.bits));
    for (run, codes) in codes.chunks_exact_mut(plane.run).enumerate() {
        let bytes = &block[plane.at + run / per_byte as usize * plane.run..][..plane.run];
        let down = run as u32 % per_byte * plane.bits;
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code ^= (byte >> down & mask) << up;
        }
    }
}

fn write_plane(plane: Plane, up: u32, codes: &[u8], block: &mut [u8]) {
    let (per_byte, mask) = (8 / plane.bits, u8::MAX >> (8 - plane.bits));
    for (run, codes) in codes.chunks_exact(plane.run).enumerate() {
        let bytes = &mut block[plane.at + run / per_byte as usize * plane.run..][..plane.run];
        let down = run as u32 % per_byte * plane.bits;
        for (code, byte) in codes.iter().zip(bytes) {
            *byte |= (code >> up & mask) << down;
        }
    }
}
