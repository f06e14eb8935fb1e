//! Linear layers whose weights are signed bytes, for inputs in f32.
//!
//! Every 128 inputs have a scale of their own, of the weights for each output, and of the activations
//! for each row: weights become integers of 8 bits, activations of 16, so that the weights alone are
//! rounded to speak of. Products are integers and sum exactly; a multiplication of 16 bits takes half
//! the time of one in f32, and a weight a quarter of its memory.

use std::cell::RefCell;

use crate::Level;
use crate::dense::{Bias, Finish, activate, larger, put, take};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Inputs that share a scale.
const BLOCK: usize = 128;
/// Rows of activations that meet a panel together.
const ROWS: usize = 6;
/// Bytes of the scales of a block, and of a pair of inputs, for the 16 outputs of a panel.
const SCALES: usize = LANES * 4;
const PAIR: usize = LANES * 2;
/// Activations that pass over a panel while they are near.
const PASS_BYTES: usize = 192 * 1024;
/// Multiplications that are worth a thread's time.
const PIECE: usize = 1 << 18;
/// Pieces for each thread: enough that a delayed thread does not hold up the others.
const PIECES: usize = 4;

thread_local! {
    /// The input of a layer; kept, for fresh memory would cost a page fault a page.
    static INPUT: RefCell<Input> = RefCell::default();
}

/// A matrix of weights, packed by [`pack`].
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// [`packed_bytes`] of them.
    pub packed: &'a [u8],
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
}

const fn panel_bytes(columns: usize) -> usize {
    columns.div_ceil(BLOCK) * SCALES + columns.div_ceil(2) * PAIR
}

/// Bytes of a packed matrix: panels of 16 rows; of each block of 128 columns the scales (f32) of 16
/// rows, then of every two columns both bytes of row 0, of row 1, and so on.
pub const fn packed_bytes(rows: usize, columns: usize) -> usize {
    rows.div_ceil(LANES) * panel_bytes(columns)
}

/// Packs `[rows, columns]`. A loader may pack a matrix piece by piece, each but the last of a multiple
/// of 16 rows, and `packed` then the piece's part.
///
/// # Panics
/// When a size is wrong.
pub fn pack(values: &[f32], rows: usize, columns: usize, packed: &mut [u8]) {
    assert_eq!(values.len(), rows * columns, "values have the wrong size");
    assert_eq!(packed.len(), packed_bytes(rows, columns), "packed has the wrong size");
    packed.fill(0);
    if columns == 0 {
        return;
    }
    let panels = packed.chunks_exact_mut(panel_bytes(columns));
    for (panel, rows) in panels.zip(values.chunks(LANES * columns)) {
        for (lane, row) in rows.chunks_exact(columns).enumerate() {
            pack_row(row, lane, panel);
        }
    }
}

fn pack_row(row: &[f32], lane: usize, panel: &mut [u8]) {
    let blocks = panel.chunks_mut(SCALES + BLOCK / 2 * PAIR);
    for (block, values) in blocks.zip(row.chunks(BLOCK)) {
        let (scales, pairs) = block.split_at_mut(SCALES);
        let most = values.iter().fold(0f32, |most, value| larger(value.abs(), most));
        scales[lane * 4..][..4].copy_from_slice(&(most / 127.0).to_le_bytes());
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        for (pair, values) in pairs.chunks_exact_mut(PAIR).zip(values.chunks(2)) {
            for (byte, value) in pair[lane * 2..].iter_mut().zip(values) {
                *byte = ((value * inverse).round_ties_even() as i8).cast_unsigned();
            }
        }
    }
}

/// One row of a packed matrix.
///
/// # Panics
/// When the row is outside, or `out` is not `columns` long.
pub fn unpack_row(packed: &[u8], columns: usize, row: usize, out: &mut [f32]) {
    assert_eq!(out.len(), columns, "out has the wrong size");
    let (panel, lane) = (row / LANES * panel_bytes(columns), row % LANES);
    let panel = &packed[panel..panel + panel_bytes(columns)];
    let blocks = panel.chunks(SCALES + BLOCK / 2 * PAIR);
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let (scales, pairs) = block.split_at(SCALES);
        let scale = f32::from_le_bytes(scales.as_chunks().0[lane]);
        for (pair, out) in pairs.chunks_exact(PAIR).zip(out.chunks_mut(2)) {
            for (byte, out) in pair[lane * 2..].iter().zip(out) {
                *out = f32::from(byte.cast_signed()) * scale;
            }
        }
    }
}

/// Rows of activations as integers, in tiles of up to six.
#[derive(Debug, Default)]
struct Input {
    /// Of every two columns those of each row, the first in the lower half.
    pairs: Vec<i32>,
    /// By tile, block and row.
    scales: Vec<f32>,
}

/// What all pieces of a call share.
#[derive(Clone, Copy)]
struct Job<'a> {
    x: &'a Input,
    w: Weights<'a>,
    rows: usize,
    finish: Finish<'a>,
    y: &'a Shared<'a, f32>,
}

/// `y = activation(x w^T + bias + sum)`: `x` is `[m, columns]`, `y` is `[m, rows]`.
///
/// A row alone gives the same bits as in a batch, on any number of threads. Values of `x` that are not
/// finite give numbers without meaning.
///
/// # Panics
/// When the sizes do not agree, or the bias is one for each row of `x`.
pub fn linear(
    (level, pool): (Level, &Pool),
    x: &[f32],
    w: &Weights<'_>,
    finish: Finish<'_>,
    y: &mut [f32],
) {
    assert_eq!(w.packed.len(), packed_bytes(w.rows, w.columns), "the weights have the wrong size");
    let rows = x.len().checked_div(w.columns).unwrap_or(0);
    assert_eq!((rows * w.columns, rows * w.rows), (x.len(), y.len()), "x and y do not agree");
    assert!(!matches!(finish.bias, Bias::Rows(_)), "a bias for each row of x");
    finish.check(rows, w.rows);
    if y.is_empty() {
        return;
    }
    let mut input = INPUT.take();
    input.fill((level, pool), x, w.columns);
    let out = Shared::new(y);
    multiply((level, pool), Job { x: &input, w: *w, rows, finish, y: &out });
    INPUT.set(input);
}

/// All panels with all tiles.
fn multiply((level, pool): (Level, &Pool), job: Job<'_>) {
    let tiles = job.rows.div_ceil(ROWS);
    let panels = job.w.rows.div_ceil(LANES);
    let pass = (PASS_BYTES / (2 * job.w.columns * ROWS)).clamp(1, tiles);
    let passes = tiles.div_ceil(pass);
    let worth = job.rows * job.w.rows * job.w.columns / passes / PIECE;
    let most = if pool.threads() == 1 { 1 } else { pool.threads() * PIECES };
    let pieces = worth.min(most.div_ceil(passes)).clamp(1, panels);
    pool.run(passes * pieces, &|i| {
        if job.finish.stop.now() {
            return;
        }
        let (first, piece) = (i / pieces * pass, i % pieces);
        let part = piece * panels / pieces..(piece + 1) * panels / pieces;
        // SAFETY: no two pieces have a panel of a row in common.
        unsafe { multiply_part(level, job, part, first..tiles.min(first + pass)) };
    });
}

impl Input {
    /// Takes in rows.
    fn fill(&mut self, (level, pool): (Level, &Pool), x: &[f32], columns: usize) {
        let (rows, pairs, blocks) =
            (x.len() / columns, columns.div_ceil(2), columns.div_ceil(BLOCK));
        self.pairs.resize(rows * pairs, 0);
        self.scales.resize(rows * blocks, 0.0);
        let (to, scales) = (Shared::new(&mut self.pairs), Shared::new(&mut self.scales));
        let tiles = (PIECE / 8).div_ceil(ROWS * columns);
        pool.run(rows.div_ceil(ROWS * tiles), &|i| {
            let first = i * tiles * ROWS;
            for row in (first..rows.min(first + tiles * ROWS)).step_by(ROWS) {
                let count = ROWS.min(rows - row);
                // SAFETY: a tile is of one piece alone.
                let tile = unsafe {
                    let pairs = to.part(row * pairs..(row + count) * pairs);
                    (pairs, scales.part(row * blocks..(row + count) * blocks))
                };
                // SAFETY: all that is written is in the tile.
                unsafe {
                    fill_tile(level, &x[row * columns..(row + count) * columns], count, tile)
                };
            }
        });
    }
}

dispatch! {
    unsafe fn fill_tile(x: &[f32], rows: usize, tile: (&mut [i32], &mut [f32])) = fill_body
}

#[inline(always)]
unsafe fn fill_body<S: Simd>(
    s: S,
    x: &[f32],
    rows: usize,
    (pairs, scales): (&mut [i32], &mut [f32]),
) {
    let columns = x.len() / rows;
    for row in 0..rows {
        let values = &x[row * columns..(row + 1) * columns];
        let mut block = 0;
        while block * BLOCK < columns {
            let values = &values[block * BLOCK..columns.min((block + 1) * BLOCK)];
            let at = (block * (BLOCK / 2) * rows + row, rows);
            scales[block * rows + row] = fill_block(s, values, at, pairs);
            block += 1;
        }
    }
}

/// Writes the integers of a block of a row; gives what a step of them is worth.
#[inline(always)]
fn fill_block<S: Simd>(
    s: S,
    values: &[f32],
    (mut at, step): (usize, usize),
    pairs: &mut [i32],
) -> f32 {
    const MOST: f32 = i16::MAX as f32;
    let mut most = s.splat(0.0);
    let mut i = 0;
    while i < values.len() {
        let v = take(s, values, i);
        most = s.max(s.max(v, s.sub(s.splat(0.0), v)), most);
        i += LANES;
    }
    let most = s.largest(most);
    let inverse = s.splat(if most > 0.0 { MOST / most } else { 0.0 });
    i = 0;
    while i < values.len() {
        let whole = s.to_pairs(s.mul(take(s, values, i), inverse));
        let count = (values.len() - i).min(LANES).div_ceil(2);
        let mut j = 0;
        while j < count {
            pairs[at] = whole[j];
            at += step;
            j += 1;
        }
        i += LANES;
    }
    most / MOST
}

type Range = std::ops::Range<usize>;

dispatch! {
    unsafe fn multiply_part(job: Job<'_>, panels: Range, tiles: Range) = multiply_body
}

#[inline(always)]
unsafe fn multiply_body<S: Simd>(s: S, job: Job<'_>, panels: Range, tiles: Range) {
    for panel in panels {
        for tile in tiles.clone() {
            let place = (panel, tile * ROWS);
            // SAFETY: the caller's promise; a tile has as many rows as are left.
            unsafe {
                match job.rows - tile * ROWS {
                    6.. => s.call(Tile::<6> { job, place }),
                    5 => s.call(Tile::<5> { job, place }),
                    4 => s.call(Tile::<4> { job, place }),
                    3 => s.call(Tile::<3> { job, place }),
                    2 => s.call(Tile::<2> { job, place }),
                    _ => s.call(Tile::<1> { job, place }),
                }
            }
        }
    }
}

/// A panel with `M` rows.
struct Tile<'a, const M: usize> {
    job: Job<'a>,
    /// The panel, and the first row.
    place: (usize, usize),
}

impl<const M: usize> Kernel for Tile<'_, M> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { job, place: (panel, row) } = self;
        let columns = job.w.columns;
        let (pairs, blocks) = (columns.div_ceil(2), columns.div_ceil(BLOCK));
        let w = &job.w.packed[panel * panel_bytes(columns)..][..panel_bytes(columns)];
        let x = &job.x.pairs[row * pairs..][..M * pairs];
        let scales = &job.x.scales[row * blocks..][..M * blocks];
        let mut totals = [s.splat(0.0); M];
        for block in 0..blocks {
            let first = block * (BLOCK / 2);
            let count = (pairs - first).min(BLOCK / 2);
            let w = &w[block * SCALES + first * PAIR..][..SCALES + count * PAIR];
            let x = &x[first * M..][..count * M];
            let mut sums = [s.zeros(); M];
            for pair in 0..count {
                // SAFETY: both are inside their slices, of `count` pairs each.
                unsafe {
                    let bytes = s.load_pairs(w.as_ptr().add(SCALES + pair * PAIR));
                    for (m, sum) in sums.iter_mut().enumerate() {
                        let value = *x.get_unchecked(pair * M + m);
                        *sum = s.add_pairs(bytes, value, *sum);
                    }
                }
            }
            // SAFETY: a block begins with 16 scales.
            let scale = unsafe { s.load(w.as_ptr().cast()) };
            for m in 0..M {
                let both = s.mul(scale, s.splat(scales[block * M + m]));
                totals[m] = s.fma(s.of_sums(sums[m]), both, totals[m]);
            }
        }
        let used = (job.w.rows - panel * LANES).min(LANES);
        for (m, total) in totals.into_iter().enumerate() {
            let from = panel * LANES;
            let at = (row + m) * job.w.rows + from;
            // SAFETY: a panel of a row is the caller's.
            let out = unsafe { job.y.part(at..at + used) };
            let mut v = total;
            if let Bias::Columns(bias) = job.finish.bias {
                v = s.add(v, take(s, &bias[from..from + used], 0));
            }
            if let Some(sum) = job.finish.sum {
                v = s.add(v, take(s, &sum[at..at + used], 0));
            }
            put(s, activate(s, job.finish.activation, v), out, 0);
        }
    }
}

#[cfg(test)]
mod tests;
