use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "GridSample" => sample,
        "AffineGrid" => affine,
        _ => return None,
    })
}

/// Places of elements with their weights.
pub(crate) type Taps = Vec<(usize, f64)>;

/// How a value between elements is made of them.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What stands beyond the edge.
#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How a grid looks into a tensor.
#[derive(Clone, Copy)]
struct Look {
    mode: Mode,
    padding: Padding,
    /// Whether -1 and 1 are the middles of the outermost elements, not their edges.
    corners: bool,
}

impl Look {
    fn of(args: &Args<'_>) -> Outcome<Self> {
        let mode = match args.text("mode", "linear") {
            "nearest" => Mode::Nearest,
            "linear" | "bilinear" => Mode::Linear,
            "cubic" | "bicubic" => Mode::Cubic,
            other => return Err(format!("there is no mode `{other}`")),
        };
        let padding = match args.text("padding_mode", "zeros") {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            other => return Err(format!("there is no padding `{other}`")),
        };
        Ok(Self { mode, padding, corners: args.flag("align_corners") })
    }

    /// How many elements along a dimension make a value.
    fn reach(self) -> usize {
        match self.mode {
            Mode::Nearest => 1,
            Mode::Linear => 2,
            Mode::Cubic => 4,
        }
    }

    /// From -1 to 1, as a place among so many elements.
    fn origin(self, at: f64, size: usize) -> f64 {
        let size = size as f64;
        match self.corners {
            true => (at + 1.0) / 2.0 * (size - 1.0),
            false => ((at + 1.0) * size - 1.0) / 2.0,
        }
    }

    /// A place that lies beyond the edge, led back to where the padding has it.
    fn led_back(self, at: f64, size: usize) -> f64 {
        let last = size as f64 - 1.0;
        let (low, high) = if self.corners { (0.0, last) } else { (-0.5, last + 0.5) };
        let is_within = at >= low && at <= high;
        match self.padding {
            Padding::Border if !is_within => at.clamp(0.0, last),
            Padding::Reflection if !is_within => reflected(at, low, high),
            _ => at,
        }
    }

    /// The elements along one dimension that make the value at a place.
    fn along(self, at: f64, size: usize) -> Taps {
        // In the precision of grids, so that the middle between two elements is met.
        let at = f64::from(self.origin(at, size) as f32);
        let at = if self.mode == Mode::Nearest { at.round_ties_even() } else { at };
        let at = self.led_back(at, size);
        let (first, weights) = match self.mode {
            Mode::Nearest => (at.trunc(), vec![1.0]),
            Mode::Linear => (at.floor(), vec![1.0 - (at - at.floor()), at - at.floor()]),
            Mode::Cubic => (at.floor() - 1.0, cubic(at - at.floor())),
        };
        let last = size as f64 - 1.0;
        let places = weights.into_iter().enumerate().filter_map(|(tap, weight)| {
            let at = first + tap as f64;
            let at = if self.padding == Padding::Zeros { at } else { self.led_back(at, size) };
            let is_beyond = self.padding == Padding::Zeros && !(at >= 0.0 && at <= last);
            (!is_beyond).then(|| (at.clamp(0.0, last) as usize, weight))
        });
        places.collect()
    }
}

fn reflected(at: f64, low: f64, high: f64) -> f64 {
    let span = high - low;
    if span <= 0.0 {
        return low;
    }
    let beyond = (at - low).rem_euclid(2.0 * span);
    low + beyond.min(2.0 * span - beyond)
}

/// Weights of four neighbours by Keys's kernel, of which the second is so far before the place.
fn cubic(ratio: f64) -> Vec<f64> {
    let kernel = |distance: f64| super::resize::cubic(distance, -0.75);
    vec![kernel(1.0 + ratio), kernel(ratio), kernel(1.0 - ratio), kernel(2.0 - ratio)]
}

/// What several dimensions' elements make together.
fn crossed(dims: impl Iterator<Item = (Taps, usize)>) -> Taps {
    dims.fold(vec![(0, 1.0)], |taps, (along, stride)| {
        let with = |(place, weight): (usize, f64)| {
            along.iter().map(move |(at, of)| (place + at * stride, weight * of))
        };
        taps.into_iter().flat_map(with).collect()
    })
}

/// The elements that make the value at a place, linearly; there are zeros beyond the edge.
pub(crate) fn linear(at: &[f64], shape: &[usize]) -> Taps {
    let own = strides(shape);
    let dims = at.iter().zip(shape).zip(own).map(|((at, size), stride)| {
        let (low, last) = (at.floor(), *size as f64 - 1.0);
        let taps = [(low, 1.0 - (at - low)), (low + 1.0, at - low)];
        let within = taps.into_iter().filter(|(place, _)| *place >= 0.0 && *place <= last);
        (within.map(|(place, weight)| (place as usize, weight)).collect(), stride)
    });
    crossed(dims)
}

fn sample(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, grid) = (args.tensor(0)?, args.tensor(1)?);
    let look = Look::of(args)?;
    let ([batch, channels, spatial @ ..], [items, of_grid @ .., dims]) = (x.shape(), grid.shape())
    else {
        return Err(format!("{:?} has no channels, or {:?} no places", x.shape(), grid.shape()));
    };
    if batch != items || *dims != spatial.len() || of_grid.len() != *dims || spatial.contains(&0) {
        return Err(format!("a grid of the shape {:?} does not fit {:?}", grid.shape(), x.shape()));
    }
    let mut shape = vec![*batch, *channels];
    shape.extend(of_grid);
    let mut results = vec![0.0; count(&shape)?];
    let places: usize = of_grid.iter().product();
    let taps = count(&vec![look.reach(); *dims])?;
    bounds::work(&[*batch, places, taps, channels.saturating_add(*dims)])?;
    let (numbers, at) = (x.floats()?, grid.floats()?);
    let own = strides(spatial);
    let area: usize = spatial.iter().product();
    for (item, place) in pairs(*batch, places) {
        // The innermost dimension comes first.
        let at = at[(item * places + place) * dims..][..*dims].iter().rev();
        let along = at.zip(spatial).zip(&own);
        let taps = crossed(along.map(|((at, size), own)| (look.along(*at, *size), *own)));
        for channel in 0..*channels {
            let plane = item * channels + channel;
            let numbers = &numbers[plane * area..(plane + 1) * area];
            let sum = taps.iter().map(|(from, weight)| numbers[*from] * weight).sum();
            results[plane * places + place] = sum;
        }
    }
    Tensor::of_floats(x.kind(), shape, &results).map(one)
}

/// Places from -1 to 1, moved by a matrix.
fn affine(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (theta, size) = (args.tensor(0)?, args.tensor(1)?.sizes()?);
    let (&[batch, rows, columns], [_, _, spatial @ ..]) = (theta.shape(), &size[..]) else {
        return Err("matrices [batch, dimensions, dimensions + 1] are expected".to_owned());
    };
    let dims = spatial.len();
    if rows != dims || columns != dims + 1 {
        return Err(format!("matrices of {rows} by {columns} do not fit {dims} dimensions"));
    }
    let mut shape = vec![batch];
    shape.extend(spatial);
    shape.push(dims);
    let mut results = Vec::with_capacity(count(&shape)?);
    bounds::work(&[batch, spatial.iter().product(), dims, columns])?;
    let (own, numbers) = (strides(spatial), theta.floats()?);
    let corners = args.flag("align_corners");
    let origin = |at: usize, size: usize| match corners {
        true if size > 1 => 2.0 * at as f64 / (size as f64 - 1.0) - 1.0,
        true => 0.0,
        false => (2.0 * at as f64 + 1.0) / size as f64 - 1.0,
    };
    for (item, place) in pairs(batch, spatial.iter().product()) {
        let along =
            (0..dims).rev().map(|dim| origin(place / own[dim] % spatial[dim], spatial[dim]));
        let along: Vec<f64> = along.chain([1.0]).collect();
        for row in numbers[item * rows * columns..][..rows * columns].chunks(columns) {
            results.push(row.iter().zip(&along).map(|(of, at)| of * at).sum());
        }
    }
    Tensor::of_floats(theta.kind(), shape, &results).map(one)
}
