use half::f16;

use crate::Level;
use crate::dense::larger;
use crate::level::{Kind, at_level};

#[cfg(target_arch = "x86_64")]
mod x86;

/// Values that share one scale.
pub const BLOCK: usize = 32;
/// Bytes of a block in a GGUF file: an f16 scale, then 32 signed bytes.
pub const BLOCK_BYTES: usize = 34;
/// Rows of weights that are computed together.
pub const PANEL: usize = 16;

/// A packed block of a panel: 16 f16 scales, then eight groups of four columns, each with the
/// four bytes of every row. Bytes are stored with 128 added, as VNNI multiplies unsigned by
/// signed.
const PANEL_BLOCK_BYTES: usize = PANEL * (2 + BLOCK);
/// 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;
const GROUPS: usize = BLOCK / 4;
const SCALES_BYTES: usize = 2 * PANEL;

/// Bytes of packed weights for `rows` of `columns`.
pub fn packed_bytes(rows: usize, columns: usize) -> usize {
    rows.div_ceil(PANEL) * (columns / BLOCK) * PANEL_BLOCK_BYTES
}

/// Rearranges GGUF's row-major blocks for [`linear`]. Missing rows of the last panel are zero.
///
/// # Panics
/// When `blocks` is not `rows` times whole blocks.
pub fn pack(blocks: &[u8], rows: usize) -> Vec<u8> {
    let row_blocks = blocks.len() / BLOCK_BYTES / rows;
    assert_eq!(blocks.len(), rows * row_blocks * BLOCK_BYTES, "not whole blocks");
    let mut packed = Vec::with_capacity(packed_bytes(rows, row_blocks * BLOCK));
    let empty = [0u8; BLOCK_BYTES];
    for panel in 0..rows.div_ceil(PANEL) {
        for b in 0..row_blocks {
            let block = |lane: usize| match panel * PANEL + lane {
                row if row < rows => &blocks[(row * row_blocks + b) * BLOCK_BYTES..][..BLOCK_BYTES],
                _ => &empty[..],
            };
            for lane in 0..PANEL {
                packed.extend_from_slice(&block(lane)[..2]);
            }
            for (group, lane) in (0..GROUPS).flat_map(|g| (0..PANEL).map(move |l| (g, l))) {
                let values = &block(lane)[2 + group * 4..][..4];
                packed.extend(values.iter().map(|v| v ^ 0x80));
            }
        }
    }
    packed
}

/// One row of packed weights as f32; for looking up embeddings that share the output's weights.
///
/// # Panics
/// When `row` is not in `packed`, or `out` is not one row.
pub fn unpack_row(packed: &[u8], row: usize, out: &mut [f32]) {
    assert_eq!(out.len() % BLOCK, 0, "not whole blocks");
    let panel_bytes = out.len() / BLOCK * PANEL_BLOCK_BYTES;
    let panel = &packed[row / PANEL * panel_bytes..][..panel_bytes];
    let lane = row % PANEL;
    for (block, out) in panel.chunks_exact(PANEL_BLOCK_BYTES).zip(out.chunks_exact_mut(BLOCK)) {
        let scale = f16::from_le_bytes([block[lane * 2], block[lane * 2 + 1]]).to_f32();
        for (group, out) in out.chunks_exact_mut(4).enumerate() {
            let values = &block[SCALES_BYTES + (group * PANEL + lane) * 4..][..4];
            for (out, value) in out.iter_mut().zip(values) {
                *out = scale * f32::from((value ^ 0x80).cast_signed());
            }
        }
    }
}

/// GGUF blocks to f32, bit for bit as the format defines.
///
/// # Panics
/// When the sizes do not agree.
pub fn dequantise(blocks: &[u8], out: &mut [f32]) {
    assert_eq!(blocks.len() * BLOCK, out.len() * BLOCK_BYTES, "sizes do not agree");
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(out.chunks_exact_mut(BLOCK)) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for (out, value) in out.iter_mut().zip(&block[2..]) {
            *out = scale * f32::from(value.cast_signed());
        }
    }
}

/// f32 to GGUF blocks, rounding half away from zero as llama.cpp's reference does.
///
/// # Panics
/// When `values` is not whole blocks.
pub fn quantise(values: &[f32]) -> Vec<u8> {
    assert_eq!(values.len() % BLOCK, 0, "not whole blocks");
    let mut blocks = Vec::with_capacity(values.len() / BLOCK * BLOCK_BYTES);
    for block in values.chunks_exact(BLOCK) {
        let largest = block.iter().fold(0f32, |a, v| a.max(v.abs()));
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        blocks.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
        blocks.extend(block.iter().map(|v| ((v * inverse).round() as i8).cast_unsigned()));
    }
    blocks
}

/// Activations `[rows, columns]` as signed bytes with a scale for each block.
#[derive(Debug, Default)]
pub struct Activations {
    values: Vec<i8>,
    scales: Vec<f32>,
    /// Sum of each block's values, to take back the 128 that was added to every weight.
    sums: Vec<i32>,
    row_blocks: usize,
}

impl Activations {
    /// Quantises rows of `columns` values.
    ///
    /// # Panics
    /// When `columns` is not whole blocks or `x` not whole rows.
    pub fn new(level: Level, x: &[f32], columns: usize) -> Self {
        assert_eq!(columns % BLOCK, 0, "not whole blocks");
        assert_eq!(x.len() % columns, 0, "not whole rows");
        let blocks = x.len() / BLOCK;
        let mut activations = Self {
            values: vec![0; x.len()],
            scales: vec![0.0; blocks],
            sums: vec![0; blocks],
            row_blocks: columns / BLOCK,
        };
        quantise_rows(level, x, &mut activations);
        activations
    }

    fn rows(&self) -> usize {
        self.scales.len().checked_div(self.row_blocks).unwrap_or(0)
    }
}

at_level! {
    fn quantise_rows(x: &[f32], out: &mut Activations) = quantise_body
}

#[inline(always)]
fn quantise_body<const FMA: bool>(x: &[f32], out: &mut Activations) {
    let Activations { values, scales, sums, .. } = out;
    let (x, _) = x.as_chunks::<BLOCK>();
    let (values, _) = values.as_chunks_mut::<BLOCK>();
    for (((x, values), scale), sum) in x.iter().zip(values).zip(scales).zip(sums) {
        let largest = largest(x);
        *scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        *sum = 0;
        for (value, x) in values.iter_mut().zip(x) {
            // Adding this constant leaves the value, rounded to even, in the lowest bits.
            let shifted = x * inverse + ROUND;
            let rounded = shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
            *value = rounded as i8;
            *sum += i32::from(*value);
        }
    }
}

/// The largest absolute value, found in halves, which vectorises.
#[inline(always)]
fn largest(x: &[f32; BLOCK]) -> f32 {
    let mut lanes = x.map(f32::abs);
    let mut width = BLOCK / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = larger(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// `y[m, n] = sum over k of x[m, k] * w[n, k]`, with `w` packed by [`pack`].
///
/// `y` is `[x.rows, rows]`. The integer sums are exact, so levels differ only by the rounding of
/// one multiply-add for each block.
///
/// # Panics
/// When the sizes do not agree.
pub fn linear(level: Level, x: &Activations, packed: &[u8], rows: usize, y: &mut [f32]) {
    assert_eq!(packed.len(), packed_bytes(rows, x.row_blocks * BLOCK), "weights of another size");
    assert_eq!(y.len(), x.rows() * rows, "y has the wrong size");
    let panel_bytes = x.row_blocks * PANEL_BLOCK_BYTES;
    if panel_bytes == 0 {
        y.fill(0.0);
        return;
    }
    for (p, panel) in packed.chunks_exact(panel_bytes).enumerate() {
        let columns = p * PANEL..rows.min((p + 1) * PANEL);
        let mut first = 0;
        while first < x.rows() {
            first += match x.rows() - first {
                8.. => tile::<8>(level, panel, x, first, &mut |m, row| {
                    store(y, rows, m, &columns, row)
                }),
                4.. => tile::<4>(level, panel, x, first, &mut |m, row| {
                    store(y, rows, m, &columns, row)
                }),
                _ => tile::<1>(level, panel, x, first, &mut |m, row| {
                    store(y, rows, m, &columns, row)
                }),
            };
        }
    }
}

#[inline(always)]
fn store(
    y: &mut [f32],
    width: usize,
    row: usize,
    columns: &std::ops::Range<usize>,
    values: &[f32; PANEL],
) {
    let out = &mut y[row * width + columns.start..row * width + columns.end];
    out.copy_from_slice(&values[..out.len()]);
}

/// One panel with `M` rows of activations from `first`; gives `M`.
#[inline(always)]
fn tile<const M: usize>(
    level: Level,
    panel: &[u8],
    x: &Activations,
    first: usize,
    store: &mut impl FnMut(usize, &[f32; PANEL]),
) -> usize {
    let sums = match level.0 {
        Kind::Scalar => panel_scalar::<M>(panel, x, first),
        // SAFETY: a level of this kind exists only if the CPU has the instructions.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => unsafe { x86::panel_avx2::<M>(panel, x, first) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Vnni => unsafe { x86::panel_vnni::<M>(panel, x, first) },
    };
    for (m, row) in sums.iter().enumerate() {
        store(first + m, row);
    }
    M
}

fn panel_scalar<const M: usize>(panel: &[u8], x: &Activations, first: usize) -> [[f32; PANEL]; M] {
    let mut out = [[0f32; PANEL]; M];
    for (b, block) in panel.chunks_exact(PANEL_BLOCK_BYTES).enumerate() {
        let (scales, weights) = block.split_at(SCALES_BYTES);
        for (m, out) in out.iter_mut().enumerate() {
            let i = (first + m) * x.row_blocks + b;
            let values = &x.values[i * BLOCK..][..BLOCK];
            for (lane, out) in out.iter_mut().enumerate() {
                let sum = dot_lane(weights, values, lane) - 128 * x.sums[i];
                let scale = f16::from_le_bytes([scales[lane * 2], scales[lane * 2 + 1]]).to_f32();
                *out += sum as f32 * (scale * x.scales[i]);
            }
        }
    }
    out
}

fn dot_lane(weights: &[u8], values: &[i8], lane: usize) -> i32 {
    let mut sum = 0;
    for (group, values) in values.chunks_exact(4).enumerate() {
        let weights = &weights[(group * PANEL + lane) * 4..][..4];
        let products = weights.iter().zip(values);
        sum += products.map(|(w, v)| i32::from(*w) * i32::from(*v)).sum::<i32>();
    }
    sum
}

#[cfg(test)]
pub(crate) mod tests;
