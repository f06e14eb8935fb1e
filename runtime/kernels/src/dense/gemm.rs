//! A matrix product by blocks that stay in the caches of one core.

use std::cell::RefCell;
use std::ops::Range;

use super::finish::finish;
use super::left::{Tiles, lay_out};
use super::panels::{interleave, spread, widen};
use super::patches::Laid;
use super::product::{Block, Last, THIN, block_product, thin_product, tile_rows};
use super::{Finish, Kind, Patches};
use crate::Level;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::{Bf16s, F16s, F32s, LANES, Line, Simd, Stored, dispatch, with_values};

/// Products that are summed before they meet the others: two panels of so many stay in the first
/// cache. Fixed, as it is part of the order of a sum.
pub(super) const DEPTH: usize = 256;
/// Panels of the second operand that one piece of work takes.
pub(super) const PANELS: usize = 8;
/// Rows of the first operand that one piece of work takes at most: with [`DEPTH`], half of the
/// second cache.
const ROWS: usize = 384;
/// Fewest rows of a piece where rows are cut only to give each thread some work.
const ROWS_MIN: usize = 48;
/// The second operand.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    Packed(Kind, &'a [u8]),
    /// `[inner, columns]`.
    Plain(&'a [f32]),
    /// `[columns, inner]`.
    Transposed(&'a [f32]),
    /// `[inner, columns]`, as an image has them.
    Patches(&'a Patches<'a>),
    /// The same of an image that is laid out.
    Laid(&'a Laid<'a>),
}

/// The first operand.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// `[rows, inner]`.
    Plain(&'a [f32]),
    /// Laid out before.
    Tiles(&'a Tiles),
}

/// What the first operand is multiplied with, and what follows.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) right: Right<'a>,
    pub(super) inner: usize,
    pub(super) columns: usize,
    pub(super) finish: Finish<'a>,
}

/// One product.
pub(super) struct Job<'a> {
    /// The first operand by depths, so that those of one lie together, and there in tiles of
    /// rows: `[depth][tile][DEPTH][rows of the tile]`. Behind them is a vector more, unless there is
    /// one row.
    tiles: &'a [f32],
    right: Right<'a>,
    rows: usize,
    inner: usize,
    pub(super) columns: usize,
    pub(super) finish: Finish<'a>,
    pub(super) out: Shared<'a, f32>,
}

/// Values of a panel that is gathered: a line more than it has, so that a vector may be too much.
pub(super) const fn panel_values(depth: usize) -> usize {
    (depth + 1) * LANES
}

thread_local! {
    static TILES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static PANEL: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// `y = left * right`, where `right` has `inner` by `columns` values in its own order.
pub(super) fn multiply(
    (level, pool): (Level, &Pool),
    left: Left<'_>,
    task: Task<'_>,
    y: &mut [f32],
) {
    let Task { right, inner, columns, finish } = task;
    let len = match left {
        Left::Plain(x) => x.len(),
        Left::Tiles(tiles) => tiles.rows() * inner,
    };
    if inner == 0 || columns == 0 || len == 0 {
        assert!(inner == 0 || y.is_empty(), "y has the wrong size");
        return y.fill(0.0);
    }
    let rows = len / inner;
    assert_eq!(len, rows * inner, "x is not whole rows");
    assert_eq!(y.len(), rows * columns, "y has the wrong size");
    finish.check(rows, columns);
    let job = Job { tiles: &[], right, rows, inner, columns, finish, out: Shared::new(y) };
    match left {
        Left::Tiles(tiles) => {
            by_pieces((level, pool), &Job { tiles: tiles.values(level, inner), ..job });
        }
        Left::Plain(x) if rows == 1 => by_pieces((level, pool), &Job { tiles: x, ..job }),
        Left::Plain(x) => with_values(&TILES, len + LANES, |tiles| {
            lay_out((level, pool), x, inner, &mut tiles[..len]);
            by_pieces((level, pool), &Job { tiles, ..job });
        }),
    }
}

fn by_pieces((level, pool): (Level, &Pool), job: &Job<'_>) {
    let across = job.columns.div_ceil(PANELS * LANES);
    let threads = pool.threads();
    // As few rows' pieces as keep all threads at work, for each gathers its columns again.
    let busy = |down: &usize| {
        let pieces = across * down;
        threads == 1
            || pieces >= 8 * threads
            || pieces >= 2 * threads && pieces.is_multiple_of(threads)
    };
    let least = job.rows.div_ceil(ROWS);
    let most = (job.rows / ROWS_MIN).max(least);
    let down = (least..most).find(busy).unwrap_or(most);
    // Whole tiles, so that a piece starts where a tile does.
    let step = job.rows.div_ceil(down).next_multiple_of(tile_rows(level, usize::MAX));
    let down = job.rows.div_ceil(step);
    pool.run(across * down, &|i| {
        if job.finish.stop.now() {
            return;
        }
        let (column, row) = (i / down * PANELS * LANES, i % down * step);
        let piece = Piece {
            rows: row..job.rows.min(row + step),
            columns: column..job.columns.min(column + PANELS * LANES),
        };
        with_values(&PANEL, PANELS * panel_values(DEPTH), |panels| {
            // SAFETY: `multiply` has checked the sizes; the pieces are disjoint.
            unsafe { run_piece(level, (job, level), &piece, panels) };
        });
    });
}

/// A part of the result.
pub(super) struct Piece {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

dispatch! {
    unsafe fn run_piece(job: (&Job<'_>, Level), piece: &Piece, panels: &mut [f32]) = piece_body
}

#[inline(always)]
unsafe fn piece_body<S: Simd>(
    s: S,
    (job, level): (&Job<'_>, Level),
    piece: &Piece,
    panels: &mut [f32],
) {
    let few = piece.rows.len() <= tile_rows(level, usize::MAX);
    let mut first = 0;
    while first < job.inner {
        let depth = first..job.inner.min(first + DEPTH);
        // SAFETY: the caller's promise; a packed panel holds all of `inner`.
        unsafe {
            match job.right {
                Right::Packed(Kind::F32, bytes) => {
                    job.sweep::<S, F32s>(
                        s,
                        level,
                        piece,
                        (&depth, job.packed::<F32s>(bytes, piece, first)),
                    );
                }
                Right::Packed(Kind::F16, bytes) if few => {
                    job.sweep::<S, F16s>(
                        s,
                        level,
                        piece,
                        (&depth, job.packed::<F16s>(bytes, piece, first)),
                    );
                }
                Right::Packed(Kind::Bf16, bytes) if few => {
                    job.sweep::<S, Bf16s>(
                        s,
                        level,
                        piece,
                        (&depth, job.packed::<Bf16s>(bytes, piece, first)),
                    );
                }
                _ => {
                    job.gather(s, piece, &depth, panels);
                    let data = panels.as_ptr().cast();
                    let stride = panel_values(depth.len()) * size_of::<f32>();
                    job.sweep::<S, F32s>(s, level, piece, (&depth, (data, stride)));
                }
            }
        }
        first = depth.end;
    }
}

impl Job<'_> {
    /// Where the piece's first panel has depth `first`, and how far apart panels are.
    #[inline(always)]
    fn packed<K: Stored>(&self, bytes: &[u8], piece: &Piece, first: usize) -> (*const u8, usize) {
        let stride = self.inner * K::BYTES;
        let panels = piece.columns.end.div_ceil(LANES) - piece.columns.start / LANES;
        let at = piece.columns.start / LANES * stride;
        (bytes[at..at + panels * stride].as_ptr().wrapping_add(first * K::BYTES), stride)
    }

    /// Multiplies one depth of all tiles of rows with all panels.
    #[inline(always)]
    unsafe fn sweep<S: Simd, K: Stored>(
        &self,
        s: S,
        level: Level,
        piece: &Piece,
        (depth, (data, stride)): (&Range<usize>, (*const u8, usize)),
    ) {
        let ends = depth.end == self.inner;
        let simple = self.finish.simple();
        let last = simple.filter(|_| ends);
        let count = piece.columns.len() % LANES;
        let thin = count <= THIN && self.rows > 1 && K::BYTES == size_of::<[f32; LANES]>();
        let end = if thin { piece.columns.end - count } else { piece.columns.end };
        let panel =
            |column: usize| data.wrapping_add((column - piece.columns.start) / LANES * stride);
        let on = |at: *const f32, by: usize| if at.is_null() { at } else { at.wrapping_add(by) };
        let block = |row: usize, columns: &Range<usize>| Block {
            left: self.tiles.as_ptr().wrapping_add(depth.start * self.rows + row * depth.len()),
            right: panel(columns.start),
            stride,
            depth: depth.len(),
            columns: columns.len(),
            out: self
                .out
                .at(row * self.columns..(row + 1) * self.columns)
                .wrapping_add(columns.start),
            out_stride: self.columns,
            first: depth.start == 0,
            last: last.map(|last| Last {
                bias: on(last.bias, row),
                across: on(last.across, columns.start),
                more: on(last.more, row * self.columns + columns.start),
                ..last
            }),
        };
        if end < piece.columns.end {
            let mut row = piece.rows.start;
            while row < piece.rows.end {
                let left = piece.rows.end - row;
                let block = block(row, &(end..piece.columns.end));
                // SAFETY: the tiles, the panel and the results are inside what the caller gave.
                row += unsafe { thin_product(s, (tile_rows(level, left), left), block) };
            }
        }
        let mut row = piece.rows.start;
        while row < piece.rows.end {
            // A tile stays in the first cache while all panels, which the second one has, pass by.
            let rows = tile_rows(level, piece.rows.end - row);
            // Few rows leave registers for another panel.
            let width = if S::WIDE || rows <= 2 { 2 * LANES } else { LANES };
            let mut column = piece.columns.start;
            while column < end {
                let columns = column..end.min(column + width);
                // SAFETY: the tile, the panels and the results are inside what the caller gave.
                unsafe { block_product::<S, K>(s, rows, block(row, &columns)) };
                column = columns.end;
            }
            if ends && simple.is_none() {
                // SAFETY: the piece is the caller's.
                unsafe { finish(s, self, (row..row + rows, piece.columns.clone())) };
            }
            row += rows;
        }
    }

    /// One depth of the piece's panels as f32, `[depth][16]`, [`panel_values`] apart.
    #[inline(always)]
    unsafe fn gather<S: Simd>(&self, s: S, piece: &Piece, depth: &Range<usize>, out: &mut [f32]) {
        let columns = piece.columns.clone();
        if let Right::Patches(patches) = self.right {
            return patches.gather(depth.clone(), columns, out);
        }
        if let Right::Laid(laid) = self.right {
            return laid.gather(depth.clone(), columns, out);
        }
        let plain = if let Right::Plain(values) = self.right { values } else { &[] };
        if !plain.is_empty() {
            // Row by row, for a column alone would touch a page for each of its values.
            for (k, row) in depth.clone().enumerate() {
                let row = &plain[row * self.columns..][columns.clone()];
                spread(row, &mut out[k * LANES..], panel_values(depth.len()));
            }
            return;
        }
        let panels = out.chunks_exact_mut(panel_values(depth.len()));
        for (column, out) in columns.step_by(LANES).zip(panels) {
            let out = &mut out[..depth.len() * LANES];
            match self.right {
                Right::Packed(kind, bytes) => {
                    let at = (column * self.inner + depth.start * LANES) * kind.bytes();
                    let bytes = &bytes[at..at + depth.len() * LANES * kind.bytes()];
                    // SAFETY: both are as long as `depth` lines.
                    unsafe {
                        match kind {
                            Kind::F32 => widen::<S, F32s>(s, bytes, out),
                            Kind::F16 => widen::<S, F16s>(s, bytes, out),
                            Kind::Bf16 => widen::<S, Bf16s>(s, bytes, out),
                        }
                    }
                }
                Right::Transposed(values) => {
                    let rows = column..self.columns.min(column + LANES);
                    interleave(s, (values, self.inner), rows, depth.clone(), out);
                }
                Right::Plain(_) | Right::Patches(_) | Right::Laid(_) => {}
            }
        }
    }
}
