//! Images as matrices: a column for each place of a window that slides over them.

use std::ops::Range;

use super::gemm::{DEPTH, PANELS, panel_values};
use crate::planes::Planes;
use crate::simd::LANES;

/// Columns that are gathered at a time.
const ROW: usize = 512;

/// How a window slides, vertically and horizontally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its size.
    pub kernel: [usize; 2],
    /// Steps from one place to the next.
    pub stride: [usize; 2],
    /// Steps from one of its values to the next.
    pub dilation: [usize; 2],
    /// Zeros before the image's first row and column.
    pub before: [usize; 2],
    /// Places: the size of the result.
    pub places: [usize; 2],
}

/// An image, and the window that slides over it: a matrix with a row for each value of the window
/// in each channel and a column for each place.
#[derive(Clone, Copy, Debug)]
pub struct Patches<'a> {
    /// `[channels, height, width]`.
    pub image: &'a [f32],
    /// Channels, height, width.
    pub size: [usize; 3],
    /// What slides.
    pub window: Window,
}

impl Patches<'_> {
    /// Rows of the matrix.
    pub fn inner(&self) -> usize {
        self.size[0] * self.window.kernel[0] * self.window.kernel[1]
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.window.places[0] * self.window.places[1]
    }

    pub(super) fn check(&self) {
        let [channels, height, width] = self.size;
        assert_eq!(self.image.len(), channels * height * width, "the image has the wrong size");
        assert!(self.window.stride.iter().all(|stride| *stride > 0), "a stride is zero");
    }

    /// Some rows and columns of the matrix, `[panel][rows][16]`.
    pub(super) fn gather(&self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
        let [kernel_height, kernel_width] = self.window.kernel;
        let panel = panel_values(rows.len());
        let mut buffer = [0.0; ROW];
        let row = &mut buffer[..columns.len().min(ROW)];
        for (k, at) in rows.enumerate() {
            let (channel, tap) =
                (at / (kernel_height * kernel_width), at % (kernel_height * kernel_width));
            self.row(channel, [tap / kernel_width, tap % kernel_width], columns.start, row);
            super::panels::spread(row, &mut out[k * LANES..], panel);
        }
    }

    /// What one value of the window sees at the places from `first` on.
    fn row(&self, channel: usize, tap: [usize; 2], first: usize, out: &mut [f32]) {
        let Window { stride, dilation, before, places, .. } = self.window;
        let [_, height, width] = self.size;
        let image = &self.image[channel * height * width..][..height * width];
        let (mut done, mut place) = (0, first);
        while done < out.len() {
            let (y, x) = (place / places[1], place % places[1]);
            let count = (places[1] - x).min(out.len() - done);
            let out = &mut out[done..done + count];
            let line = (y * stride[0] + tap[0] * dilation[0]).wrapping_sub(before[0]);
            match image.get(line.wrapping_mul(width)..).filter(|_| line < height) {
                Some(rest) => {
                    let shift = tap[1] * dilation[1];
                    spread_line(&rest[..width], (x, stride[1]), (shift, before[1]), out);
                }
                None => out.fill(0.0),
            }
            done += count;
            place += count;
        }
    }
}

/// Values of a line from place `x` on: `line[(x + i) stride + shift - before]`, zeros outside.
#[inline(always)]
fn spread_line(
    line: &[f32],
    (x, stride): (usize, usize),
    (shift, before): (usize, usize),
    out: &mut [f32],
) {
    // The first place that is inside, and the first after.
    let start = before.saturating_sub(shift).div_ceil(stride);
    let end = (line.len() + before).saturating_sub(shift).div_ceil(stride);
    let from = start.clamp(x, x + out.len()) - x;
    let to = end.clamp(x + from, x + out.len()) - x;
    out[..from].fill(0.0);
    out[to..].fill(0.0);
    if from == to {
        return;
    }
    let first = (x + from) * stride + shift - before;
    let out = &mut out[from..to];
    if stride == 1 {
        out.copy_from_slice(&line[first..first + out.len()]);
    } else {
        for (out, value) in out.iter_mut().zip(line[first..].iter().step_by(stride)) {
            *out = *value;
        }
    }
}

/// As [`Patches`], of an image whose planes are laid out.
pub(super) struct Laid<'a> {
    values: &'a [f32],
    planes: Planes,
    /// Where each row of the matrix begins.
    rows: Vec<usize>,
    /// Places side by side.
    across: usize,
}

impl<'a> Laid<'a> {
    pub(super) fn new(values: &'a [f32], planes: Planes, patches: &Patches<'_>) -> Self {
        let taps = planes.taps();
        let of = |channel: usize| {
            let first = channel * planes.values();
            taps.iter().map(move |tap| first + tap)
        };
        let rows = (0..patches.size[0]).flat_map(of).collect();
        Self { values, planes, rows, across: patches.window.places[1] }
    }

    /// As [`Patches::gather`].
    #[inline(always)]
    pub(super) fn gather(&self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
        debug_assert!(rows.len() <= DEPTH, "{rows:?}");
        let rows = &self.rows[rows];
        let mut runs = [(0, 0); PANELS * LANES];
        let count = self.runs(columns, panel_values(rows.len()), &mut runs);
        for (k, row) in rows.iter().enumerate() {
            let out = &mut out[k * LANES..];
            // Whole vectors: what is too much of one is written over by the next.
            for (to, place) in &runs[..count] {
                let from = self.values[row + place..].first_chunk::<LANES>();
                let to = out[*to..].first_chunk_mut::<LANES>();
                to.into_iter().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Places of one panel that lie side by side: where they go, and where the first is seen.
    fn runs(&self, columns: Range<usize>, panel: usize, runs: &mut [(usize, usize)]) -> usize {
        let (mut count, mut at) = (0, 0);
        while at < columns.len() {
            let place = columns.start + at;
            let (row, across) = (place / self.across, place % self.across);
            runs[count] = (at / LANES * panel + at % LANES, self.planes.row(row) + across);
            count += 1;
            at += (self.across - across).min(LANES - at % LANES);
        }
        count
    }
}
