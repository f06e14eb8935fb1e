//! Windows that slide over each channel of an image by itself.

use std::cell::RefCell;

use crate::Level;
use crate::dense::{Activation, Window, activate, put, take};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::{LANES, Line, Simd, dispatch, with_values};

/// Values that are worth another thread.
const PIECE_VALUES: usize = 1 << 14;

/// What is made of the values in a window.
#[derive(Clone, Copy, Debug)]
pub enum Slide<'a> {
    /// Their sum by weights, `[channels, kernel height, kernel width]`, with what follows it: a
    /// convolution of as many groups as channels.
    Weighted {
        /// The weights.
        weights: &'a [f32],
        /// Added by channel; may be empty.
        bias: &'a [f32],
        /// Applied last.
        activation: Activation,
    },
    /// The largest.
    Largest,
}

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// All planes of some images: channel `i % channels` is that of plane `i`.
struct Job<'a> {
    x: &'a [f32],
    size: [usize; 2],
    channels: usize,
    window: Window,
    slide: Slide<'a>,
    plan: Plan,
    y: Shared<'a, f32>,
}

/// A plane with its padding, each line by the remainders of its places.
#[derive(Clone, Copy)]
struct Plan {
    /// Lines that windows reach.
    lines: usize,
    /// Values of a line with one remainder, and some more for whole vectors.
    width: usize,
}

/// `x` is `[images, channels, height, width]`, `y` the same with the window's places.
///
/// # Panics
/// When the sizes do not agree.
pub fn slide(
    (level, pool): (Level, &Pool),
    x: &[f32],
    (channels, size, window): (usize, [usize; 2], Window),
    slide: Slide<'_>,
    y: &mut [f32],
) {
    let (plane, places) = (size[0] * size[1], window.places[0] * window.places[1]);
    if y.is_empty() || plane == 0 || places == 0 {
        return assert!(y.is_empty(), "there is nothing to slide over");
    }
    let planes = y.len() / places;
    assert!(y.len() == planes * places && x.len() == planes * plane, "the sizes do not agree");
    assert!(planes.is_multiple_of(channels), "the channels have the wrong number");
    if let Slide::Weighted { weights, bias, .. } = slide {
        let taps = window.kernel[0] * window.kernel[1];
        assert_eq!(weights.len(), channels * taps, "the weights have the wrong size");
        assert!(bias.is_empty() || bias.len() == channels, "the bias has the wrong size");
    }
    let reach = |i: usize| {
        (window.places[i] - 1) * window.stride[i] + (window.kernel[i] - 1) * window.dilation[i] + 1
    };
    let width = reach(1).div_ceil(window.stride[1]) + LANES;
    let plan = Plan { lines: reach(0), width };
    let job = Job { x, size, channels, window, slide, plan, y: Shared::new(y) };
    let step = PIECE_VALUES.div_ceil(plane);
    pool.run(planes.div_ceil(step), &|i| {
        let values = plan.lines * window.stride[1] * width;
        with_values(&LINES, values, |lines| {
            for at in i * step..planes.min((i + 1) * step) {
                job.lay_out(at, &mut lines[..values]);
                // SAFETY: the sizes agree, and each plane is one piece's.
                unsafe { plane_of(level, &job, at, &lines[..values]) };
            }
        });
    });
}

impl Job<'_> {
    /// A plane with its padding as `[lines][remainders][width]`.
    fn lay_out(&self, plane: usize, lines: &mut [f32]) {
        let [height, width] = self.size;
        let (stride, before) = (self.window.stride[1], self.window.before);
        lines.fill(match self.slide {
            Slide::Weighted { .. } => 0.0,
            Slide::Largest => f32::NEG_INFINITY,
        });
        let x = &self.x[plane * height * width..][..height * width];
        let line = stride * self.plan.width;
        for (row, values) in x.chunks_exact(width).enumerate() {
            let Some(out) = lines.get_mut((row + before[0]) * line..) else { return };
            let Some(out) = out.get_mut(..line) else { return };
            // What no window reaches is left out.
            let reached = (self.plan.width * stride).saturating_sub(before[1]).min(width);
            if stride == 1 {
                out[before[1]..before[1] + reached].copy_from_slice(&values[..reached]);
                continue;
            }
            for (at, value) in values[..reached].iter().enumerate() {
                let at = at + before[1];
                out[at % stride * self.plan.width + at / stride] = *value;
            }
        }
    }
}

dispatch! {
    unsafe fn plane_of(job: &Job<'_>, plane: usize, lines: &[f32]) = plane_body
}

#[inline(always)]
unsafe fn plane_body<S: Simd>(s: S, job: &Job<'_>, plane: usize, lines: &[f32]) {
    let Window { kernel, stride, dilation, places, .. } = job.window;
    let [rows, columns] = places;
    let taps = kernel[0] * kernel[1];
    let channel = plane % job.channels;
    // SAFETY: the caller's promise.
    let y = unsafe { job.y.part(plane * rows * columns..(plane + 1) * rows * columns) };
    let (weights, start, activation) = match job.slide {
        Slide::Weighted { weights, bias, activation } => {
            let bias = bias.get(channel).copied().unwrap_or(0.0);
            (&weights[channel * taps..][..taps], bias, activation)
        }
        Slide::Largest => (&[][..], f32::NEG_INFINITY, Activation::None),
    };
    let line = stride[1] * job.plan.width;
    for (row, y) in y.chunks_exact_mut(columns).enumerate() {
        let mut at = 0;
        while at < columns {
            let mut sum = s.splat(start);
            let mut tap = 0;
            while tap < taps {
                let down = row * stride[0] + tap / kernel[1] * dilation[0];
                let across = tap % kernel[1] * dilation[1];
                let first = down * line + across % stride[1] * job.plan.width + across / stride[1];
                let values = take(s, lines, first + at);
                sum = match weights.get(tap) {
                    Some(weight) => s.fma(s.splat(*weight), values, sum),
                    None => s.max(values, sum),
                };
                tap += 1;
            }
            put(s, activate(s, activation, sum), y, at);
            at += LANES;
        }
    }
}

#[cfg(test)]
mod tests;
