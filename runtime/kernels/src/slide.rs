//! Windows that slide over each channel of an image by itself.

use std::cell::RefCell;

use crate::Level;
use crate::dense::{Activation, Window, activate, put};
use crate::planes::Planes;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::{LANES, Line, Simd, dispatch, with_values};

/// Values that are worth another thread.
const PIECE_VALUES: usize = 1 << 14;
/// Vectors of places that are summed side by side.
const SIDE: usize = 4;

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
    planes: Planes,
    taps: Vec<usize>,
    /// The furthest of them.
    reach: usize,
    channels: usize,
    places: [usize; 2],
    slide: Slide<'a>,
    y: Shared<'a, f32>,
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
    let count = y.len() / places;
    assert!(y.len() == count * places && x.len() == count * plane, "the sizes do not agree");
    assert!(count.is_multiple_of(channels), "the channels have the wrong number");
    let padding = match slide {
        Slide::Largest => f32::NEG_INFINITY,
        Slide::Weighted { weights, bias, .. } => {
            let taps = window.kernel[0] * window.kernel[1];
            assert_eq!(weights.len(), channels * taps, "the weights have the wrong size");
            assert!(bias.is_empty() || bias.len() == channels, "the bias has the wrong size");
            0.0
        }
    };
    let planes = Planes::of(size, window);
    let Some(planes) = planes else { return assert!(planes.is_some(), "the window is too large") };
    let (values, taps) = (planes.values(), planes.taps());
    let reach = taps.iter().copied().max().unwrap_or(0);
    let job =
        Job { planes, taps, reach, channels, places: window.places, slide, y: Shared::new(y) };
    // A few pieces for each thread.
    let step = PIECE_VALUES.div_ceil(plane).max(count / (8 * pool.threads()));
    pool.run(count.div_ceil(step), &|i| {
        with_values(&LINES, values, |lines| {
            let lines = &mut lines[..values];
            // Planes leave the padding as it is.
            lines.fill(padding);
            for at in i * step..count.min((i + 1) * step) {
                job.planes.fill(&x[at * plane..][..plane], lines);
                // SAFETY: the sizes agree, and each plane is one piece's.
                unsafe { plane_of(level, &job, at, lines) };
            }
        });
    });
}

dispatch! {
    unsafe fn plane_of(job: &Job<'_>, plane: usize, lines: &[f32]) = plane_body
}

#[inline(always)]
unsafe fn plane_body<S: Simd>(s: S, job: &Job<'_>, plane: usize, lines: &[f32]) {
    let [rows, columns] = job.places;
    // SAFETY: the caller's promise.
    let y = unsafe { job.y.part(plane * rows * columns..(plane + 1) * rows * columns) };
    let channel = plane % job.channels;
    let (weights, start, activation) = match job.slide {
        Slide::Weighted { weights, bias, activation } => {
            let bias = bias.get(channel).copied().unwrap_or(0.0);
            (&weights[channel * job.taps.len()..][..job.taps.len()], bias, activation)
        }
        Slide::Largest => (&[][..], f32::NEG_INFINITY, Activation::None),
    };
    let across = columns.div_ceil(LANES);
    let vectors = rows * across;
    let mut first = 0;
    while first < vectors {
        // The last ones are done again where too few are left.
        let from = [0, 1, 2, 3].map(|i: usize| {
            let vector = (first + i).min(vectors - 1);
            (vector / across, vector % across * LANES)
        });
        let seen = from.map(|(row, at)| job.planes.row(row) + at);
        let end = seen.into_iter().max().unwrap_or(0) + job.reach + LANES;
        // SAFETY: `lines` ends behind what is seen last.
        let sums = unsafe { sums(s, &lines[..end], (&job.taps, weights), seen, start) };
        for ((row, at), sum) in from.into_iter().zip(sums).take(vectors - first) {
            // What is too much of it is written over by the next row.
            put(s, activate(s, activation, sum), y, row * columns + at);
        }
        first += SIDE;
    }
}

/// What some vectors of places make of their windows.
///
/// # Safety
/// The furthest tap of the last vector is in `lines`.
#[inline(always)]
unsafe fn sums<S: Simd>(
    s: S,
    lines: &[f32],
    (taps, weights): (&[usize], &[f32]),
    seen: [usize; SIDE],
    start: f32,
) -> [S::F; SIDE] {
    let mut sums = [s.splat(start); SIDE];
    // SAFETY: the caller's promise.
    let values = |at: usize| unsafe { s.load(lines.as_ptr().wrapping_add(at)) };
    if weights.is_empty() {
        for tap in taps {
            for (sum, seen) in sums.iter_mut().zip(seen) {
                *sum = s.max(values(seen + tap), *sum);
            }
        }
        return sums;
    }
    for (tap, weight) in taps.iter().zip(weights) {
        let weight = s.splat(*weight);
        for (sum, seen) in sums.iter_mut().zip(seen) {
            *sum = s.fma(weight, values(seen + tap), *sum);
        }
    }
    sums
}

#[cfg(test)]
mod tests;
