use half::{bf16, f16};

use crate::simd::LANES;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
}

impl Kind {
    /// Bytes of one value.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Bytes of a packed matrix: panels of 16 rows, `[rows / 16][columns][16]`.
    pub const fn packed_bytes(self, rows: usize, columns: usize) -> usize {
        rows.next_multiple_of(LANES) * columns * self.bytes()
    }

    /// Packs `[rows, columns]` little-endian values. A loader may pack a matrix piece by piece,
    /// each but the last of a multiple of 16 rows, and `packed` then the piece's part.
    ///
    /// # Panics
    /// When a size is wrong.
    pub fn pack(self, values: &[u8], rows: usize, columns: usize, packed: &mut [u8]) {
        assert_eq!(values.len(), rows * columns * self.bytes(), "values have the wrong size");
        assert_eq!(packed.len(), self.packed_bytes(rows, columns), "packed has the wrong size");
        match self {
            Self::F32 => interleave::<4>(values, columns, packed),
            Self::F16 | Self::Bf16 => interleave::<2>(values, columns, packed),
        }
    }

    /// One row of a packed matrix.
    ///
    /// # Panics
    /// When the row is outside, or `out` is not `columns` long.
    pub fn unpack_row(self, packed: &[u8], columns: usize, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), columns, "out has the wrong size");
        let size = self.bytes();
        let panel = row / LANES * columns * LANES * size;
        let panel = &packed[panel..panel + columns * LANES * size];
        for (out, values) in out.iter_mut().zip(panel.chunks_exact(LANES * size)) {
            let value = &values[row % LANES * size..][..size];
            *out = match *value {
                [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                [a, b] if self == Self::F16 => f16::from_le_bytes([a, b]).to_f32(),
                [a, b] => bf16::from_le_bytes([a, b]).to_f32(),
                _ => 0.0,
            };
        }
    }
}

/// Panels of rows whose values have `SIZE` bytes; rows that a last panel lacks are zeros.
fn interleave<const SIZE: usize>(values: &[u8], columns: usize, packed: &mut [u8]) {
    if columns == 0 {
        return;
    }
    let panels = packed.chunks_exact_mut(columns * LANES * SIZE);
    for (panel, rows) in panels.zip(values.chunks(columns * LANES * SIZE)) {
        panel.fill(0);
        let panel = panel.as_chunks_mut::<SIZE>().0;
        for (lane, row) in rows.chunks_exact(columns * SIZE).enumerate() {
            let lanes = panel.iter_mut().skip(lane).step_by(LANES);
            lanes.zip(row.as_chunks::<SIZE>().0).for_each(|(slot, value)| *slot = *value);
        }
    }
}
