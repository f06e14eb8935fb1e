use crate::Level;
use crate::level::Kind;
use crate::pool::Pool;
use crate::quant::Format;

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod layout;
pub(crate) mod panel;
mod scalar;

pub use activations::Activations;
use activations::{TILE, Tile};
use layout::{Layout, with_layout};
use panel::PANEL;

/// Quantised weights, packed by [`Format::pack`].
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// How the values are stored.
    pub format: Format,
    /// Panels of 16 rows.
    pub packed: &'a [u8],
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
}

/// Activations that pass over a panel while it is near: about half of a second-level cache.
const PASS_BYTES: usize = 256 * 1024;
/// Weights times rows of a piece that is worth a thread's time.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces for each thread: enough that a delayed thread does not hold up the others.
const PIECES: usize = 4;

/// `y[m, n] = sum over k of x[m, k] * w[n, k]`, where `w` are the rows of all `matrices` in order.
///
/// Gives `y`, `[x.rows, rows of all matrices]`. Formats may differ. Each value is summed over the
/// blocks of 32 columns from first to last, whatever the rows of `x` and the number of threads:
/// a row alone gives the same bits as in a batch. The sums within a block are exact integers, so
/// levels differ only by the rounding of one multiply-add for each scale.
///
/// # Panics
/// When the widths of weights and activations do not agree.
pub fn linear(level: Level, pool: &Pool, x: &Activations, matrices: &[Matrix<'_>]) -> Vec<f32> {
    let width: usize = matrices.iter().map(|w| w.rows).sum();
    let len = width.saturating_mul(x.rows());
    for w in matrices {
        assert_eq!(w.columns, x.columns(), "weights of another width");
        let bytes = w.format.packed_bytes(w.rows, w.columns);
        assert_eq!(w.packed.len(), bytes, "weights of another size");
    }
    if len == 0 || x.columns() == 0 {
        return vec![0.0; len];
    }
    // Not cleared, which would take about as long as the smaller layers do.
    let mut y = Vec::with_capacity(len);
    let panels: usize = matrices.iter().map(|w| w.rows.div_ceil(PANEL)).sum();
    let bytes: usize = matrices.iter().map(|w| w.packed.len()).sum();
    let job = Job { level, x, matrices, y: Output { first: y.as_mut_ptr(), width } };
    let pass_rows = (PASS_BYTES / x.columns() / TILE).max(1) * TILE;
    let passes = x.rows().div_ceil(pass_rows);
    let worth = bytes.saturating_mul(x.rows()) / passes / PIECE_BYTES;
    let most = if pool.threads() == 1 { 1 } else { pool.threads() * PIECES };
    let pieces = worth.min(most.div_ceil(passes)).clamp(1, panels);
    pool.run(passes * pieces, &|i| {
        let (pass, piece) = (i / pieces, i % pieces);
        let rows = pass * pass_rows..x.rows().min((pass + 1) * pass_rows);
        job.panels(piece * panels / pieces..(piece + 1) * panels / pieces, rows);
    });
    // SAFETY: `len` values have room, and the pieces together have written every panel of every
    // row, which is all of them.
    unsafe { y.set_len(len) };
    y
}

/// All that the pieces of a call share.
struct Job<'a> {
    level: Level,
    x: &'a Activations,
    matrices: &'a [Matrix<'a>],
    y: Output,
}

/// The output, of which each piece writes other values.
struct Output {
    first: *mut f32,
    width: usize,
}

// SAFETY: `Job::panels` is called for disjoint sets of (panel, row), and a panel of a row is a
// range of the output that no other has.
unsafe impl Sync for Output {}

type Range = std::ops::Range<usize>;

impl Job<'_> {
    /// Panels, counted over all matrices, with some rows of activations.
    fn panels(&self, panels: Range, rows: Range) {
        let (mut first_panel, mut first_output) = (0, 0);
        for w in self.matrices {
            let count = w.rows.div_ceil(PANEL);
            let from = panels.start.clamp(first_panel, first_panel + count) - first_panel;
            let to = panels.end.clamp(first_panel, first_panel + count) - first_panel;
            with_layout!(w.format, L => self.matrix::<L>((w, first_output), from..to, &rows));
            first_panel += count;
            first_output += w.rows;
        }
    }

    fn matrix<L: Layout>(&self, (w, output): (&Matrix<'_>, usize), panels: Range, rows: &Range) {
        let bytes = panel::bytes(&L::SCHEME, w.columns);
        let most = match self.level.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2::ROWS,
            _ => TILE,
        };
        for p in panels {
            let panel = &w.packed[p * bytes..(p + 1) * bytes];
            let used = (w.rows - p * PANEL).min(PANEL);
            let mut row = rows.start;
            while row < rows.end {
                let tile = self.x.tile(row);
                let place = (row, output + p * PANEL, used);
                row += match tile.rows.min(rows.end - row).min(most) {
                    16.. => self.tile::<L, 16>(panel, &tile, place),
                    8.. => self.tile::<L, 8>(panel, &tile, place),
                    4.. => self.tile::<L, 4>(panel, &tile, place),
                    2.. => self.tile::<L, 2>(panel, &tile, place),
                    _ => self.tile::<L, 1>(panel, &tile, place),
                };
            }
        }
    }

    /// One panel with `M` rows; gives `M`.
    fn tile<L: Layout, const M: usize>(
        &self,
        panel: &[u8],
        x: &Tile<'_>,
        (row, output, used): (usize, usize, usize),
    ) -> usize {
        let mut sums = [[0f32; PANEL]; M];
        match self.level.0 {
            Kind::Scalar => scalar::tile::<M>(&L::SCHEME, panel, x, &mut sums),
            // SAFETY: a level of this kind exists only if the CPU has the instructions.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::tile::<L, M>(panel, x, &mut sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { avx512::tile::<L, M>(panel, x, &mut sums) },
        }
        for (m, sums) in sums.iter().enumerate() {
            let at = (row + m) * self.y.width + output;
            let sums = &sums[..used];
            // SAFETY: `y` has room for x.rows times the width; `row + m` is a row of x, and
            // `output + used` is at most the end of this matrix's outputs. No other piece has this
            // panel and row, so nobody else writes or reads here.
            unsafe { self.y.first.add(at).copy_from_nonoverlapping(sums.as_ptr(), used) };
        }
        M
    }
}

#[cfg(test)]
mod tests;
