//! Planes of an image with their padding, laid out for windows that slide over them.

use crate::dense::Window;
use crate::simd::LANES;

/// Where the values of a plane are laid out: `[lines][remainders][width]`, each line by the
/// remainders of its columns by the window's stride, so that a tap of the window sees neighbouring
/// values at neighbouring places. Behind each there are as many as a vector has.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    size: [usize; 2],
    window: Window,
    lines: usize,
    width: usize,
}

impl Planes {
    /// A plan for planes of a size; nothing where it would be larger than memory can be.
    pub fn of(size: [usize; 2], window: Window) -> Option<Self> {
        let reach = |i: usize| {
            let places = window.places[i].saturating_sub(1).checked_mul(window.stride[i])?;
            let kernel = window.kernel[i].saturating_sub(1).checked_mul(window.dilation[i])?;
            places.checked_add(kernel)?.checked_add(1)
        };
        let (lines, stride) = (reach(0)?, window.stride[1]);
        let width = reach(1)?.checked_next_multiple_of(stride)? / stride;
        let width = width.checked_add(LANES)?;
        lines.checked_mul(stride)?.checked_mul(width)?;
        Some(Self { size, window, lines, width })
    }

    /// Values of a plane that is laid out.
    pub fn values(&self) -> usize {
        self.lines * self.line()
    }

    fn line(&self) -> usize {
        self.window.stride[1] * self.width
    }

    /// Where the first place of a row of places sees the window's first tap.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> usize {
        row * self.window.stride[0] * self.line()
    }

    /// How far from there it sees each tap.
    pub(crate) fn taps(&self) -> Vec<usize> {
        let Window { kernel, stride, dilation, .. } = self.window;
        let tap = |at: usize| {
            let (down, across) = (at / kernel[1] * dilation[0], at % kernel[1] * dilation[1]);
            down * self.line() + across % stride[1] * self.width + across / stride[1]
        };
        (0..kernel[0] * kernel[1]).map(tap).collect()
    }

    /// Lays a plane out in memory that has the padding's value wherever there is padding.
    pub(crate) fn fill(&self, x: &[f32], out: &mut [f32]) {
        let (stride, before) = (self.window.stride[1], self.window.before);
        // What no window reaches is left out.
        let reached = (self.width * stride).saturating_sub(before[1]).min(self.size[1]);
        let rows =
            x.chunks_exact(self.size[1]).zip(out.chunks_exact_mut(self.line()).skip(before[0]));
        for (values, line) in rows {
            let values = &values[..reached];
            match stride {
                1 => line[before[1]..][..reached].copy_from_slice(values),
                2 => halve(values, line.split_at_mut(self.width), before[1]),
                _ => (before[1]..).zip(values).for_each(|(at, value)| {
                    line[at % stride * self.width + at / stride] = *value;
                }),
            }
        }
    }
}

/// Even and odd columns, of which `before` are padding.
fn halve(values: &[f32], (even, odd): (&mut [f32], &mut [f32]), before: usize) {
    let (first, second) = match before % 2 {
        0 => (&mut even[before / 2..], &mut odd[before / 2..]),
        _ => (&mut odd[before / 2..], &mut even[before / 2 + 1..]),
    };
    let (pairs, rest) = values.as_chunks::<2>();
    for ((pair, first), second) in pairs.iter().zip(&mut *first).zip(second) {
        (*first, *second) = (pair[0], pair[1]);
    }
    if let [last] = rest {
        first[pairs.len()] = *last;
    }
}
