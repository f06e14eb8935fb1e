use super::{Slide, slide};
use crate::Level;
use crate::dense::{Activation, Bias, Finish, Patches, Tiles, Window, convolve};
use crate::planes::Planes;
use crate::pool::Pool;
use crate::testing::{assert_close, noise};

const SHAPES: [([usize; 2], [usize; 2]); 6] = [
    ([7, 7], [1, 1]),
    ([14, 10], [2, 3]),
    ([5, 7], [3, 3]),
    ([14, 14], [3, 3]),
    ([9, 40], [5, 2]),
    ([3, 33], [1, 1]),
];

fn windows() -> Vec<([usize; 2], Window)> {
    let mut all = Vec::new();
    for (size, kernel) in SHAPES {
        for (stride, dilation, before) in [
            ([1, 1], [1, 1], [1, 1]),
            ([2, 2], [1, 1], [0, 1]),
            ([1, 3], [2, 1], [2, 0]),
            ([2, 1], [1, 2], [0, 0]),
        ] {
            let places = |i: usize| {
                let reach = (kernel[i] - 1) * dilation[i] + 1;
                (size[i] + 2 * before[i]).checked_sub(reach).map(|rest| rest / stride[i] + 1)
            };
            let (Some(down), Some(across)) = (places(0), places(1)) else { continue };
            all.push((size, Window { kernel, stride, dilation, before, places: [down, across] }));
        }
    }
    all
}

/// What a window sees of a plane; `None` in the padding.
fn seen(
    x: &[f32],
    size: [usize; 2],
    w: &Window,
    place: [usize; 2],
    tap: [usize; 2],
) -> Option<f32> {
    let at = |i: usize| (place[i] * w.stride[i] + tap[i] * w.dilation[i]).checked_sub(w.before[i]);
    let (y, x_at) = (at(0)?, at(1)?);
    (y < size[0] && x_at < size[1]).then(|| x[y * size[1] + x_at])
}

fn each(w: &Window) -> impl Iterator<Item = [usize; 2]> {
    let [rows, columns] = w.places;
    (0..rows).flat_map(move |y| (0..columns).map(move |x| [y, x]))
}

fn taps(w: &Window) -> impl Iterator<Item = [usize; 2]> {
    let [rows, columns] = w.kernel;
    (0..rows).flat_map(move |y| (0..columns).map(move |x| [y, x]))
}

/// The sum of a window's values by weights.
fn weighted(
    plane: &[f32],
    (size, window): ([usize; 2], &Window),
    place: [usize; 2],
    weights: &[f32],
) -> f32 {
    let value = |(tap, w): (_, &f32)| w * seen(plane, size, window, place, tap).unwrap_or(0.0);
    taps(window).zip(weights).map(value).sum()
}

#[test]
fn each_channel_is_weighted_by_its_own() {
    const CHANNELS: usize = 3;
    for level in Level::available() {
        for (size, window) in windows() {
            let plane = size[0] * size[1];
            let x = noise(2 * CHANNELS * plane, 1);
            let count = window.kernel[0] * window.kernel[1];
            let (weights, bias) = (noise(CHANNELS * count, 2), noise(CHANNELS, 3));
            let mut expect = Vec::new();
            for (i, plane) in x.chunks_exact(plane).enumerate() {
                let channel = i % CHANNELS;
                let w = &weights[channel * count..][..count];
                let sums = each(&window).map(|place| weighted(plane, (size, &window), place, w));
                expect.extend(sums.map(|sum| (sum + bias[channel]).max(0.0)));
            }
            let mut y = vec![f32::NAN; expect.len()];
            let weighted =
                Slide::Weighted { weights: &weights, bias: &bias, activation: Activation::Relu };
            let pool = Pool::new(2);
            slide((level, &pool), &x, (CHANNELS, size, window), weighted, &mut y);
            assert_close(&y, &expect, 1e-5, &format!("{level:?} {size:?} {window:?}"));
        }
    }
}

#[test]
fn the_largest_of_a_window_is_never_of_the_padding() {
    for level in Level::available() {
        for (size, window) in windows() {
            let x: Vec<f32> = noise(size[0] * size[1], 4).iter().map(|v| v - 2.0).collect();
            let largest = |place| {
                let seen = taps(&window).filter_map(|tap| seen(&x, size, &window, place, tap));
                seen.fold(f32::NEG_INFINITY, f32::max)
            };
            let expect: Vec<f32> = each(&window).map(largest).collect();
            let mut y = vec![f32::NAN; expect.len()];
            slide((level, &Pool::new(1)), &x, (1, size, window), Slide::Largest, &mut y);
            assert_eq!(y, expect, "{level:?} {size:?} {window:?}");
        }
    }
}

#[test]
fn a_convolution_is_a_product_with_patches() {
    for level in Level::available() {
        for (size, window) in windows() {
            [1, 13, 61].into_iter().for_each(|outputs| check(level, size, window, outputs));
        }
    }
}

#[test]
fn a_window_that_reaches_far_is_not_laid_out() {
    let far = [700, 900];
    let window =
        Window { kernel: [2, 2], stride: [1, 1], dilation: far, before: far, places: [3, 5] };
    let planes = Planes::of([3, 5], window).unwrap();
    assert!(5 * planes.values() > 2 << 20, "{}", planes.values());
    Level::available().into_iter().for_each(|level| check(level, [3, 5], window, 13));
}

fn check(level: Level, size: [usize; 2], window: Window, outputs: usize) {
    const CHANNELS: usize = 5;
    let plane = size[0] * size[1];
    let x = noise(CHANNELS * plane, 5);
    let count = window.kernel[0] * window.kernel[1];
    let weights = noise(outputs * CHANNELS * count, 6);
    let bias = noise(outputs, 7);
    let sum = noise(outputs * window.places[0] * window.places[1], 8);
    let mut expect = Vec::new();
    for (weights, bias) in weights.chunks_exact(CHANNELS * count).zip(&bias) {
        let of = |place: [usize; 2]| {
            let planes = x.chunks_exact(plane).zip(weights.chunks_exact(count));
            planes.map(|(x, w)| weighted(x, (size, &window), place, w)).sum::<f32>()
        };
        expect.extend(each(&window).map(|place| of(place) + bias));
    }
    expect.iter_mut().zip(&sum).for_each(|(value, sum)| *value = (*value + sum).max(0.0));
    let pool = Pool::new(2);
    let tiles = Tiles::new(level, &pool, &weights, CHANNELS * count);
    let patches = Patches { image: &x, size: [CHANNELS, size[0], size[1]], window };
    let mut y = vec![f32::NAN; expect.len()];
    let finish = Finish {
        bias: Bias::Rows(&bias),
        sum: Some(&sum),
        activation: Activation::Relu,
        ..Finish::default()
    };
    convolve((level, &pool), &tiles, &patches, finish, &mut y);
    assert_close(&y, &expect, 1e-5, &format!("{level:?} {size:?} {window:?}"));
}
