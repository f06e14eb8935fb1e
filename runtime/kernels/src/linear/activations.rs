use super::panel::{COLUMNS, QUADS};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::Level;
use crate::dense::larger;
use crate::level::Kind;
use crate::pool::Pool;

/// The most rows that share one pass over a panel.
pub(super) const TILE: usize = 16;

/// Values that a thread quantises at once.
const PIECE: usize = 64 * 1024;

/// 32 quantised values of a row, in fours, the first in the lowest byte: kernels copy four of them
/// to all lanes at once.
pub(super) type Values = [i32; QUADS];

/// Rows of activations as signed bytes, each 32 with a scale. The buffers are kept between calls.
///
/// Rows are stored in tiles of 16 (the last may have fewer): within a tile the first block of
/// every row, then the second of every row, so that a kernel reads one stream.
#[derive(Debug, Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    blocks: Vec<Block>,
    values: Vec<Values>,
}

/// Goes over rows in tiles, with a function for one block.
macro_rules! rows_by {
    ($x:ident, $columns:ident, $out:ident, $block:path) => {{
        let per_tile = TILE * $columns / COLUMNS;
        let (blocks, values) = $out;
        for (t, x) in $x.chunks(TILE * $columns).enumerate() {
            let rows = x.len() / $columns;
            let (blocks, values) = (&mut blocks[t * per_tile..], &mut values[t * per_tile..]);
            for (row, x) in x.chunks_exact($columns).enumerate() {
                for (b, x) in x.as_chunks::<COLUMNS>().0.iter().enumerate() {
                    blocks[b * rows + row] = $block(x, &mut values[b * rows + row]);
                }
            }
        }
    }};
}

/// What goes with 32 values.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Block {
    /// What a step of the values is worth.
    pub(super) scale: f32,
    /// The values' sum, negative: times the bias of the weights' codes it corrects a product.
    pub(super) sum: i32,
    /// The sums, negative, of the first 16 and of the last 16.
    pub(super) sums: [i32; 2],
    /// The sum times the scale: what an offset of the weights is multiplied with.
    pub(super) total: f32,
    /// The same for the first 16 and the last 16.
    pub(super) totals: [f32; 2],
}

/// Rows that stand together.
pub(super) struct Tile<'a> {
    /// Rows from the one that was asked for to the end of the tile.
    pub(super) rows: usize,
    /// Rows of the whole tile: the distance between a row's blocks.
    stride: usize,
    blocks: &'a [Block],
    values: &'a [Values],
}

impl Tile<'_> {
    /// The first `M` rows' block `index`, of `[Block; M]` and `[Values; M]`.
    #[inline(always)]
    pub(super) fn at<const M: usize>(&self, index: usize) -> (&[Block; M], &[Values; M]) {
        let at = index * self.stride;
        (&self.blocks[at..at + M].as_chunks().0[0], &self.values[at..at + M].as_chunks().0[0])
    }
}

impl Activations {
    /// Quantises `x`, `[rows, columns]`: each 32 values become signed bytes in -127..=127 times a
    /// scale. Values that are not finite give numbers without meaning, and no panic.
    ///
    /// # Panics
    /// When `columns` is not a multiple of 32, or `x` is not whole rows.
    pub fn quantise(&mut self, level: Level, pool: &Pool, x: &[f32], columns: usize) {
        assert_eq!(columns % COLUMNS, 0, "not whole blocks");
        self.rows = x.len().checked_div(columns).unwrap_or(0);
        self.columns = columns;
        assert_eq!(x.len(), self.rows * columns, "x is not whole rows");
        let blocks = x.len() / COLUMNS;
        self.blocks.resize(blocks, Block::default());
        self.values.resize(blocks, [0; QUADS]);
        if x.is_empty() {
            return;
        }
        let tile = TILE * columns;
        if x.len() < 2 * PIECE || pool.threads() == 1 {
            return quantise_rows(level, x, columns, (&mut self.blocks, &mut self.values));
        }
        let tiles = (PIECE / tile).max(1);
        let (x_piece, piece) = (tiles * tile, tiles * tile / COLUMNS);
        let first = (Start(self.blocks.as_mut_ptr()), Start(self.values.as_mut_ptr()));
        pool.run(x.len().div_ceil(x_piece), &|i| {
            let x = &x[i * x_piece..x.len().min((i + 1) * x_piece)];
            // SAFETY: pieces are consecutive and do not overlap, and together are as long as `x`,
            // that is `blocks` long; nothing else uses the buffers until `run` returns.
            let out = unsafe {
                (
                    first.0.part(i * piece, x.len() / COLUMNS),
                    first.1.part(i * piece, x.len() / COLUMNS),
                )
            };
            quantise_rows(level, x, columns, out);
        });
    }

    /// Rows of the last [`Activations::quantise`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The rows from `row` to the end of its tile.
    pub(super) fn tile(&self, row: usize) -> Tile<'_> {
        let (first, within) = (row / TILE * TILE, row % TILE);
        let stride = (self.rows - first).min(TILE);
        let at = first * (self.columns / COLUMNS) + within;
        let (blocks, values) = (&self.blocks[at..], &self.values[at..]);
        Tile { rows: stride - within, stride, blocks, values }
    }
}

/// A buffer whose parts several threads write.
struct Start<T>(*mut T);

// SAFETY: `part`'s caller sees to it that no two threads have the same part.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    /// # Safety
    /// The part is within the buffer, and while it lives nothing else uses that part.
    #[expect(clippy::mut_from_ref, reason = "the caller gives each part once")]
    unsafe fn part(&self, at: usize, len: usize) -> &mut [T] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}

/// Quantises rows, whole tiles and perhaps a last shorter one, into their blocks and values.
fn quantise_rows(level: Level, x: &[f32], columns: usize, out: (&mut [Block], &mut [Values])) {
    match level.0 {
        Kind::Scalar => rows_by!(x, columns, out, quantise_block),
        // SAFETY: a level of this kind exists only if the CPU has the instructions.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => unsafe { quantise_avx2(x, columns, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Vnni => unsafe { quantise_avx512(x, columns, out) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn quantise_avx2(x: &[f32], columns: usize, out: (&mut [Block], &mut [Values])) {
    rows_by!(x, columns, out, avx2::quantise);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn quantise_avx512(x: &[f32], columns: usize, out: (&mut [Block], &mut [Values])) {
    rows_by!(x, columns, out, avx512::quantise);
}

/// The definition of quantising 32 values.
fn quantise_block(x: &[f32; COLUMNS], values: &mut Values) -> Block {
    let largest = x.iter().fold(0f32, |a, b| larger(b.abs(), a));
    let inverse = inverse(largest);
    let mut sums = [0i32; 2];
    for (i, (quad, x)) in values.iter_mut().zip(x.as_chunks::<4>().0).enumerate() {
        let mut bytes = [0; 4];
        for (byte, x) in bytes.iter_mut().zip(x) {
            let value = (x * inverse).round_ties_even() as i8;
            sums[i / 4] += i32::from(value);
            *byte = value.cast_unsigned();
        }
        *quad = i32::from_le_bytes(bytes);
    }
    Block::new(largest, sums)
}

/// What the values are multiplied with, if this is the largest.
#[inline(always)]
pub(super) fn inverse(largest: f32) -> f32 {
    if largest > 0.0 { 127.0 / largest } else { 0.0 }
}

impl Block {
    /// From the largest value, and the sums of the first and the last 16 quantised.
    #[inline(always)]
    pub(super) fn new(largest: f32, sums: [i32; 2]) -> Self {
        let scale = largest / 127.0;
        // What is not finite becomes any integer.
        let sum = sums[0].wrapping_add(sums[1]);
        let totals = [sums[0] as f32 * scale, sums[1] as f32 * scale];
        Self {
            scale,
            sum: sum.wrapping_neg(),
            sums: sums.map(i32::wrapping_neg),
            total: sum as f32 * scale,
            totals,
        }
    }
}
