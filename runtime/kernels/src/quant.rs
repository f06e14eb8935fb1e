use half::f16;

use crate::linear::layout::{Layout, with_layout};
use crate::linear::panel::{self, PANEL};

mod blocks;
mod encode;

pub(crate) use blocks::Parts;

/// A block format of GGUF. Names and layouts are those of the `ggml` library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32 values of 4 bits, one scale.
    Q4_0,
    /// 32 values of 4 bits, one scale and one offset.
    Q4_1,
    /// 32 values of 5 bits, one scale.
    Q5_0,
    /// 32 values of 5 bits, one scale and one offset.
    Q5_1,
    /// 32 values of 8 bits, one scale.
    Q8_0,
    /// 256 values of 2 bits, a scale and an offset of 4 bits for each 16.
    Q2K,
    /// 256 values of 3 bits, a scale of 6 bits for each 16.
    Q3K,
    /// 256 values of 4 bits, a scale and an offset of 6 bits for each 32.
    Q4K,
    /// 256 values of 5 bits, a scale and an offset of 6 bits for each 32.
    Q5K,
    /// 256 values of 6 bits, a scale of 8 bits for each 16.
    Q6K,
}

/// A value is `scale * (code - bias) - offset`, where both scale and offset may be a product of
/// the block's number and a small integer of the value's group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheme {
    /// Values of a block.
    pub(crate) block: usize,
    /// Bytes of a block.
    pub(crate) bytes: usize,
    /// Values that share one scale.
    pub(crate) group: usize,
    /// What a code has more than the value it stands for.
    pub(crate) bias: i32,
    /// How the groups' scales are kept.
    pub(crate) steps: Steps,
    /// Where the block's scale is, an f16.
    pub(crate) scale_at: usize,
    /// Where the block's offset is, an f16, if there are offsets.
    pub(crate) offset_at: Option<usize>,
    /// The codes' low bits.
    pub(crate) low: Plane,
    /// The codes' bits above those.
    pub(crate) high: Option<Plane>,
}

/// How the scales (and offsets) of groups are kept within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// There are none: the block is one group.
    One,
    /// Q2_K: 16 bytes, the scale low and the offset high.
    Nibbles,
    /// Q3_K: 16 scales of 6 bits, 32 more than they stand for.
    Sixes,
    /// Q4_K and Q5_K: 8 scales and 8 offsets of 6 bits.
    Pairs,
    /// Q6_K: 16 signed bytes.
    Bytes,
}

/// Some bits of all codes of a block: runs of `run` bytes, each with the bits of `8 / bits` runs of
/// values, the first lowest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plane {
    pub(crate) at: usize,
    pub(crate) run: usize,
    pub(crate) bits: u32,
}

const fn plane(at: usize, run: usize, bits: u32) -> Plane {
    Plane { at, run, bits }
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 10] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Values of a block: rows of a matrix are whole blocks.
    pub const fn block(self) -> usize {
        self.scheme().block
    }

    /// Bytes of a block in a file.
    pub const fn block_bytes(self) -> usize {
        self.scheme().bytes
    }

    /// The name in GGUF's documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    pub(crate) const fn scheme(self) -> Scheme {
        let small = Scheme {
            block: 32,
            bytes: 18,
            group: 32,
            bias: 8,
            steps: Steps::One,
            scale_at: 0,
            offset_at: None,
            low: plane(2, 16, 4),
            high: None,
        };
        let with_offset = Scheme { bytes: 20, bias: 0, offset_at: Some(2), ..small };
        let large = Scheme {
            block: 256,
            bytes: 144,
            bias: 0,
            steps: Steps::Pairs,
            offset_at: Some(2),
            low: plane(16, 32, 4),
            ..small
        };
        let sixteens = Scheme { group: 16, offset_at: None, ..large };
        match self {
            Self::Q4_0 => small,
            Self::Q4_1 => Scheme { low: plane(4, 16, 4), ..with_offset },
            Self::Q5_0 => {
                let (low, high) = (plane(6, 16, 4), Some(plane(2, 1, 1)));
                Scheme { bytes: 22, bias: 16, low, high, ..small }
            }
            Self::Q5_1 => {
                let (low, high) = (plane(8, 16, 4), Some(plane(4, 1, 1)));
                Scheme { bytes: 24, low, high, ..with_offset }
            }
            Self::Q8_0 => Scheme { bytes: 34, bias: 128, low: plane(2, 32, 8), ..small },
            Self::Q2K => {
                let (low, offset_at) = (plane(16, 32, 2), Some(82));
                let steps = Steps::Nibbles;
                Scheme { bytes: 84, steps, scale_at: 80, offset_at, low, ..sixteens }
            }
            Self::Q3K => {
                let (low, high) = (plane(32, 32, 2), Some(plane(0, 32, 1)));
                let steps = Steps::Sixes;
                Scheme { bytes: 110, bias: 4, steps, scale_at: 108, low, high, ..sixteens }
            }
            Self::Q4K => large,
            Self::Q5K => {
                let (low, high) = (plane(48, 32, 4), Some(plane(16, 32, 1)));
                Scheme { bytes: 176, low, high, ..large }
            }
            Self::Q6K => {
                let (low, high) = (plane(0, 64, 4), Some(plane(128, 32, 2)));
                let steps = Steps::Bytes;
                Scheme { bytes: 210, bias: 32, steps, scale_at: 208, low, high, ..sixteens }
            }
        }
    }

    /// A file's blocks to f32, bit for bit as the `gguf` package for Python does it.
    ///
    /// # Panics
    /// When the sizes do not agree.
    pub fn dequantise(self, blocks: &[u8], out: &mut [f32]) {
        let scheme = self.scheme();
        assert_eq!(blocks.len() % scheme.bytes, 0, "not whole blocks");
        assert_eq!(blocks.len() / scheme.bytes * scheme.block, out.len(), "sizes do not agree");
        // Compiled for each format: its shifts and lengths are then constants.
        with_layout!(self, L => blocks::dequantise(&L::SCHEME, blocks, out));
    }

    /// f32 to blocks. The rounding of Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 is that of the reference;
    /// the other formats are valid and near, but without `ggml`'s search for the best scales.
    ///
    /// # Panics
    /// When `values` is not whole blocks.
    pub fn quantise(self, values: &[f32]) -> Vec<u8> {
        let scheme = self.scheme();
        assert_eq!(values.len() % scheme.block, 0, "not whole blocks");
        let mut blocks = vec![0; values.len() / scheme.block * scheme.bytes];
        let out = blocks.chunks_exact_mut(scheme.bytes);
        for (values, out) in values.chunks_exact(scheme.block).zip(out) {
            encode::parts(&scheme, values).write(&scheme, out);
        }
        blocks
    }

    /// Bytes of a packed matrix.
    ///
    /// # Panics
    /// When `columns` is not whole blocks.
    pub fn packed_bytes(self, rows: usize, columns: usize) -> usize {
        let scheme = self.scheme();
        assert_eq!(columns % scheme.block, 0, "not whole blocks");
        rows.div_ceil(PANEL) * panel::bytes(&scheme, columns)
    }

    /// Rearranges `rows` of a file's blocks for [`crate::linear::linear`], 16 rows to a panel.
    /// Panels are independent and in order: a loader may pack pieces of a matrix one by one or on
    /// several threads, if all but the last are a multiple of 16 rows. The rows that the last
    /// panel lacks are zero.
    ///
    /// # Panics
    /// When the sizes do not agree.
    pub fn pack(self, blocks: &[u8], rows: usize, columns: usize, packed: &mut [u8]) {
        let scheme = self.scheme();
        let row_bytes = columns / scheme.block * scheme.bytes;
        assert_eq!(packed.len(), self.packed_bytes(rows, columns), "packed has the wrong size");
        assert_eq!(blocks.len(), rows * row_bytes, "blocks have the wrong size");
        if columns == 0 {
            return;
        }
        let panels = packed.chunks_exact_mut(panel::bytes(&scheme, columns));
        for (rows, packed) in blocks.chunks(PANEL * row_bytes).zip(panels) {
            with_layout!(self, L => panel::pack(&L::SCHEME, rows, row_bytes, packed));
        }
    }

    /// One row of a packed matrix, the same values as [`Format::dequantise`] gives; for looking up
    /// embeddings that share the output's weights.
    ///
    /// # Panics
    /// When `row` is not in `packed`, or `out` is not one row.
    pub fn unpack_row(self, packed: &[u8], columns: usize, row: usize, out: &mut [f32]) {
        let scheme = self.scheme();
        assert_eq!(columns % scheme.block, 0, "not whole blocks");
        assert_eq!(out.len(), columns, "out has the wrong size");
        let bytes = panel::bytes(&scheme, columns);
        let panel = &packed[row / PANEL * bytes..][..bytes];
        let mut parts = Parts::default();
        for (span, out) in out.chunks_exact_mut(scheme.block).enumerate() {
            panel::unpack(&scheme, panel, (span, row % PANEL), &mut parts);
            parts.values(&scheme, out);
        }
    }
}

/// The f16 at `at`.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests;
