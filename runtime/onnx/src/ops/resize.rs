use super::slice::around;
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Kind, Tensor, Value, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Resize" => resize,
        "Upsample" => |args| {
            let scales = match args.given(1)? {
                Some(scales) => scales.floats()?,
                None => args
                    .floats("scales")
                    .unwrap_or_default()
                    .iter()
                    .map(|s| f64::from(*s))
                    .collect(),
            };
            older(args, &scales).map(one)
        },
        _ => return None,
    })
}

/// How one dimension becomes another.
#[derive(Clone, Copy)]
struct Axis<'a> {
    input: usize,
    output: usize,
    scale: f64,
    /// The part of the input that is looked at, from 0 to 1.
    region: (f64, f64),
    transformation: &'a str,
}

/// How a value is made of its neighbours.
#[derive(Clone, Copy)]
struct Method<'a> {
    mode: &'a str,
    nearest: &'a str,
    cubic: f64,
    antialias: bool,
    excludes_outside: bool,
}

impl Axis<'_> {
    /// Where in the input an element of the output comes from.
    fn origin(&self, at: usize) -> f64 {
        let (at, input, scale) = (at as f64, self.input as f64, self.scale);
        let output = scale * input;
        match self.transformation {
            "align_corners" if output == 1.0 => 0.0,
            "align_corners" => at * (input - 1.0) / (output - 1.0),
            "asymmetric" => at / scale,
            "pytorch_half_pixel" if output == 1.0 => -0.5,
            "tf_crop_and_resize" => {
                let (start, end) = self.region;
                let spans = (end - start) * (input - 1.0);
                start * (input - 1.0)
                    + if output == 1.0 { spans / 2.0 } else { at * spans / (output - 1.0) }
            }
            "half_pixel_symmetric" => {
                let offset = input / 2.0 * (1.0 - self.output as f64 / output);
                offset + (at + 0.5) / scale - 0.5
            }
            _ => (at + 0.5) / scale - 0.5,
        }
    }

    /// Neighbours with their weights; `None` where it lies outside of what may be looked at.
    fn taps(&self, at: usize, method: Method<'_>) -> Option<Vec<(usize, f64)>> {
        let origin = self.origin(at);
        let last = self.input as i64 - 1;
        if self.transformation == "tf_crop_and_resize" && !(0.0..=last as f64).contains(&origin) {
            return None;
        }
        // The left neighbour is left of it, also of a whole number.
        let base = origin.ceil() - 1.0;
        let ratio = origin - base;
        let (first, mut weights) = method.weights(ratio, self.scale);
        let place = |tap: usize| (base as i64).saturating_add(first + tap as i64);
        if method.excludes_outside {
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight *= f64::from(u8::from((0..=last).contains(&place(tap))));
            }
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        let taps = weights.into_iter().enumerate();
        Some(taps.map(|(tap, weight)| (place(tap).clamp(0, last) as usize, weight)).collect())
    }
}

impl Method<'_> {
    /// How far away neighbours have a weight.
    fn reach(self) -> f64 {
        if self.mode == "cubic" { 2.0 } else { 1.0 }
    }

    /// How many neighbours make a value; not many more than there are.
    fn taps(self, axis: Axis<'_>) -> Outcome<usize> {
        let scale = if self.antialias { axis.scale.min(1.0) } else { 1.0 };
        let taps = 2.0 * self.reach() / scale;
        match taps <= 8.0 * (axis.input as f64 + 1.0) {
            true => Ok(taps as usize),
            false => Err(format!("a scale of {} does not fit {}", axis.scale, axis.input)),
        }
    }

    /// The first neighbour, counted from the left one, and the weights from there on.
    fn weights(self, ratio: f64, scale: f64) -> (i64, Vec<f64>) {
        let scale = if self.antialias { scale.min(1.0) } else { 1.0 };
        let kernel = |distance: f64| match self.mode {
            "cubic" => cubic(distance.abs(), self.cubic),
            _ => (1.0 - distance.abs()).max(0.0),
        };
        if self.mode == "nearest" {
            return (0, self.nearest(ratio));
        }
        let first = (-self.reach() / scale).floor() as i64 + 1;
        let last = 2 - first - 1;
        let mut weights: Vec<f64> =
            (first..=last).map(|tap| kernel((tap as f64 - ratio) * scale)).collect();
        if self.antialias {
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        (first, weights)
    }

    fn nearest(self, ratio: f64) -> Vec<f64> {
        let takes_right = match self.nearest {
            _ if ratio == 1.0 => true,
            "round_prefer_ceil" => ratio >= 0.5,
            "floor" => false,
            "ceil" => true,
            _ => ratio > 0.5,
        };
        if takes_right { vec![0.0, 1.0] } else { vec![1.0, 0.0] }
    }
}

/// Keys's kernel ("Cubic convolution interpolation for digital image processing").
pub(crate) fn cubic(x: f64, a: f64) -> f64 {
    match x {
        x if x <= 1.0 => (a + 2.0) * x * x * x - (a + 3.0) * x * x + 1.0,
        x if x < 2.0 => a * x * x * x - 5.0 * a * x * x + 8.0 * a * x - 4.0 * a,
        _ => 0.0,
    }
}

/// One dimension after the other.
fn resized(x: &Tensor, axes: &[Axis<'_>], (method, outside): (Method<'_>, f64)) -> Outcome<Tensor> {
    let mut shape = x.shape().to_vec();
    let mut numbers = x.floats()?;
    for (dim, axis) in axes.iter().enumerate() {
        if axis.input == axis.output && axis.scale == 1.0 && axis.region == (0.0, 1.0) {
            continue;
        }
        if axis.input == 0 {
            return Err("there is nothing to make more of".to_owned());
        }
        let (before, size, behind) = around(&shape, dim);
        shape[dim] = axis.output;
        let mut results = vec![outside; count(&shape)?];
        if axis.output > 0 {
            bounds::work(&[axis.output, method.taps(*axis)?, before, behind])?;
        }
        for at in 0..axis.output {
            let Some(mut taps) = axis.taps(at, method) else { continue };
            // What has no weight may be infinite.
            taps.retain(|(_, weight)| *weight != 0.0);
            for (row, column) in pairs(before, behind) {
                let number = |tap: &usize| numbers[(row * size + tap) * behind + column];
                let sum = taps.iter().map(|(tap, weight)| number(tap) * weight).sum();
                results[(row * axis.output + at) * behind + column] = sum;
            }
        }
        numbers = results;
    }
    let floats = Tensor::of_floats(Kind::F64, shape, &numbers)?;
    if x.kind().is_float() { floats.cast(x.kind(), true) } else { rounded(&floats, x.kind()) }
}

fn rounded(x: &Tensor, kind: Kind) -> Outcome<Tensor> {
    let (low, high) = super::cast::range_of(kind).unwrap_or((f64::MIN, f64::MAX));
    super::math::map(x, |x| x.trunc().clamp(low, high))?.cast(kind, true)
}

/// As it was before it could choose.
fn older(args: &Args<'_>, scales: &[f64]) -> Outcome<Tensor> {
    let x = args.tensor(0)?;
    if scales.len() != x.rank() {
        return Err(format!("{} scales are there for {} dimensions", scales.len(), x.rank()));
    }
    let axis = |(size, scale): (&usize, &f64)| Axis {
        input: *size,
        output: (*size as f64 * scale).floor() as usize,
        scale: *scale,
        region: (0.0, 1.0),
        transformation: "asymmetric",
    };
    let axes: Vec<Axis<'_>> = x.shape().iter().zip(scales).map(axis).collect();
    let mode = args.text("mode", "nearest");
    let method =
        Method { mode, nearest: "floor", cubic: -0.75, antialias: false, excludes_outside: false };
    resized(x, &axes, (method, 0.0))
}

fn resize(args: &Args<'_>) -> Outcome<Vec<Value>> {
    if args.node.version < 11 {
        return older(args, &args.tensor(1)?.floats()?).map(one);
    }
    let x = args.tensor(0)?;
    let dims: Vec<usize> = match args.ints("axes") {
        Some(axes) => x.axes(axes)?,
        None => (0..x.rank()).collect(),
    };
    let transformation = args.text("coordinate_transformation_mode", "half_pixel");
    let mut axes: Vec<Axis<'_>> = x
        .shape()
        .iter()
        .map(|size| Axis {
            input: *size,
            output: *size,
            scale: 1.0,
            region: (0.0, 1.0),
            transformation,
        })
        .collect();
    let numbers = |at: usize| -> Outcome<Option<Vec<f64>>> {
        let given = args.given(at)?.filter(|given| given.len() > 0);
        let numbers = given.map(Tensor::floats).transpose()?;
        match numbers {
            Some(numbers) if numbers.len() < dims.len() => {
                Err(format!("input {at} has {} numbers", numbers.len()))
            }
            numbers => Ok(numbers),
        }
    };
    if let Some(region) = numbers(1)?.filter(|region| region.len() == 2 * dims.len()) {
        for (at, dim) in dims.iter().enumerate() {
            axes[*dim].region = (region[at], region[dims.len() + at]);
        }
    }
    match (numbers(2)?, numbers(3)?) {
        (Some(scales), _) => {
            for (at, dim) in dims.iter().enumerate() {
                axes[*dim].scale = scales[at];
                axes[*dim].output = (scales[at] * axes[*dim].input as f64).floor() as usize;
            }
        }
        (None, Some(sizes)) => {
            let policy = args.text("keep_aspect_ratio_policy", "stretch");
            to_sizes(&mut axes, (&dims, &sizes), policy);
        }
        (None, None) => return Err("scales or sizes are missing".to_owned()),
    }
    let method = Method {
        mode: args.text("mode", "nearest"),
        nearest: args.text("nearest_mode", "round_prefer_floor"),
        cubic: args.float("cubic_coeff_a", -0.75),
        antialias: args.flag("antialias"),
        excludes_outside: args.flag("exclude_outside"),
    };
    resized(x, &axes, (method, args.float("extrapolation_value", 0.0))).map(one)
}

fn to_sizes(axes: &mut [Axis<'_>], (dims, sizes): (&[usize], &[f64]), policy: &str) {
    let scale = |(dim, size): (&usize, &f64)| size / axes[*dim].input as f64;
    let scales: Vec<f64> = dims.iter().zip(sizes).map(scale).collect();
    let common = match policy {
        "not_larger" => Some(scales.iter().copied().fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(scales.iter().copied().fold(0.0, f64::max)),
        _ => None,
    };
    for (at, dim) in dims.iter().enumerate() {
        let axis = &mut axes[*dim];
        axis.scale = common.unwrap_or(scales[at]);
        axis.output = match common {
            Some(scale) => (scale * axis.input as f64 + 0.5).floor() as usize,
            None => sizes[at] as usize,
        };
    }
}
