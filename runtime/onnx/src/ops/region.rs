use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, as_size, count};

pub(super) fn find(name: &str) -> Option<Op> {
    (name == "RoiAlign").then_some(align)
}

/// One region along one dimension.
#[derive(Clone, Copy)]
struct Span {
    start: f64,
    /// Of one element of the output.
    length: f64,
    /// Points of one element of the output.
    points: usize,
    /// Elements of the input.
    size: usize,
}

impl Span {
    fn of((start, end): (f64, f64), size: usize, region: Region) -> Self {
        let offset = if region.half_pixel { 0.5 } else { 0.0 };
        let length = (end - start) * region.scale;
        let length = if region.half_pixel { length } else { length.max(1.0) };
        let length = length / region.parts as f64;
        let points = match region.ratio {
            0 => length.ceil() as usize,
            ratio => ratio,
        };
        Self { start: start * region.scale - offset, length, points, size }
    }

    /// The two neighbours of a point with their weights; none far outside.
    fn taps(self, part: usize, point: usize) -> Option<[(usize, f64); 2]> {
        let at = (point as f64 + 0.5) / self.points as f64 + part as f64;
        let at = self.start + at * self.length;
        if at < -1.0 || at > self.size as f64 {
            return None;
        }
        let last = self.size.checked_sub(1)?;
        let at = at.clamp(0.0, last as f64);
        let low = at.floor();
        let first = (low as usize).min(last);
        Some([(first, 1.0 - (at - low)), ((first + 1).min(last), at - low)])
    }
}

/// How regions are cut.
#[derive(Clone, Copy)]
struct Region {
    scale: f64,
    half_pixel: bool,
    ratio: usize,
    /// Elements of the output along the dimension.
    parts: usize,
}

fn align(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, regions, items) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let (&[batch, channels, height, width], &[number, 4]) = (x.shape(), regions.shape()) else {
        return Err("four dimensions and regions [regions, 4] are expected".to_owned());
    };
    let size = |name: &str, default: i64| as_size(args.int(name, default));
    let (rows, columns) = (size("output_height", 1)?, size("output_width", 1)?);
    let takes_max = args.text("mode", "avg") == "max";
    let usual = if args.node.version < 16 { "output_half_pixel" } else { "half_pixel" };
    let region = |parts: usize| -> Outcome<Region> {
        let half_pixel = args.text("coordinate_transformation_mode", usual) == "half_pixel";
        let scale = args.float("spatial_scale", 1.0);
        Ok(Region { scale, half_pixel, ratio: size("sampling_ratio", 0)?, parts })
    };
    let items = items.sizes()?;
    if height * width == 0 {
        return Err(format!("{:?} has nothing in it", x.shape()));
    }
    if items.len() != number || items.iter().any(|item| *item >= batch) {
        return Err(format!("{number} regions do not fit {} of {batch} images", items.len()));
    }
    let shape = vec![number, channels, rows, columns];
    let mut results = vec![0.0; count(&shape)?];
    let (numbers, corners) = (x.floats()?, regions.floats()?);
    for (at, item) in items.into_iter().enumerate() {
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|corner: usize| corners[at * 4 + corner]);
        let down = Span::of((top, bottom), height, region(rows)?);
        let across = Span::of((left, right), width, region(columns)?);
        count(&[down.points, across.points, 4])?;
        bounds::work(&[rows, columns, down.points, across.points, channels, 4])?;
        let points = (down.points * across.points).max(1) as f64;
        for (row, column) in pairs(rows, columns) {
            let taps = taps((down, row), (across, column));
            for channel in 0..channels {
                let plane = &numbers[(item * channels + channel) * height * width..];
                let weighed = |(y, x, weight): &(usize, usize, f64)| plane[y * width + x] * weight;
                let all = taps.iter().map(weighed);
                let result = match takes_max {
                    true => all.reduce(f64::max).unwrap_or(0.0),
                    false => all.sum::<f64>() / points,
                };
                results[((at * channels + channel) * rows + row) * columns + column] = result;
            }
        }
    }
    Tensor::of_floats(x.kind(), shape, &results).map(one)
}

/// All elements of the input, with their weights, that one element of the output is made of.
fn taps((down, row): (Span, usize), (across, column): (Span, usize)) -> Vec<(usize, usize, f64)> {
    let mut taps = Vec::new();
    for (y, x) in pairs(down.points, across.points) {
        let (Some(y), Some(x)) = (down.taps(row, y), across.taps(column, x)) else {
            // A point far outside is zero.
            taps.push((0, 0, 0.0));
            continue;
        };
        taps.extend(pairs(2, 2).map(|(a, b)| (y[a].0, x[b].0, y[a].1 * x[b].1)));
    }
    taps
}
