use std::f64::consts::{PI, TAU};

use super::slice::around;
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::stored::kind_of;
use crate::tensor::{Tensor, Value, as_size, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "DFT" => fourier,
        "STFT" => short_time,
        "HannWindow" => |args| window(args, |at| (at * PI).sin().powi(2)),
        "HammingWindow" => {
            |args| window(args, |at| 25.0 / 46.0 - (1.0 - 25.0 / 46.0) * (at * TAU).cos())
        }
        "BlackmanWindow" => {
            |args| window(args, |at| 0.42 - 0.5 * (at * TAU).cos() + 0.08 * (at * 2.0 * TAU).cos())
        }
        "MelWeightMatrix" => mel,
        _ => return None,
    })
}

type Complex = (f64, f64);

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// On the circle, a part of the way around it.
fn turned(part: f64) -> Complex {
    let (sine, cosine) = (part * TAU).sin_cos();
    (cosine, sine)
}

/// The discrete Fourier transform: halves as long as there are two of the same length, and then the
/// sums themselves.
fn transformed(x: &[Complex], sign: f64) -> Vec<Complex> {
    let size = x.len();
    if size.is_multiple_of(2) && size > 0 {
        let every_other = |from: usize| x.iter().skip(from).step_by(2).copied().collect::<Vec<_>>();
        let (even, odd) = (every_other(0), every_other(1));
        let (even, odd) = (transformed(&even, sign), transformed(&odd, sign));
        let half = size / 2;
        let value = |k: usize| {
            let odd = times(odd[k % half], turned(sign * k as f64 / size as f64));
            let even = even[k % half];
            (even.0 + odd.0, even.1 + odd.1)
        };
        return (0..size).map(value).collect();
    }
    let circle: Vec<Complex> = (0..size).map(|at| turned(sign * at as f64 / size as f64)).collect();
    let value = |k: usize| {
        let all = x.iter().enumerate().map(|(n, x)| times(*x, circle[n * k % size]));
        all.fold((0.0, 0.0), |sum, x| (sum.0 + x.0, sum.1 + x.1))
    };
    (0..size).map(value).collect()
}

/// Asks for the steps of so many transforms of so many numbers.
fn work_of(transforms: usize, size: usize) -> Outcome<()> {
    let halvings = size.max(1).trailing_zeros();
    let rest = size >> halvings;
    bounds::work(&[transforms, size, rest.saturating_add(usize::try_from(halvings).unwrap_or(0))])
}

/// How many numbers a transform gives.
fn bins(size: usize, one_sided: bool) -> usize {
    if one_sided { size / 2 + 1 } else { size }
}

fn fourier(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let (signal, parts) = match x.shape() {
        [signal @ .., parts @ (1 | 2)] if !signal.is_empty() => (signal, *parts),
        shape => return Err(format!("{shape:?} has neither real nor complex numbers")),
    };
    // Counted with the last dimension, which it cannot be.
    let named = match args.given(2)? {
        Some(axis) => axis.integer()?,
        None => args.int("axis", if args.node.version < 20 { 1 } else { -2 }),
    };
    let axis = x.axis(named)?;
    if axis == signal.len() {
        return Err("the last dimension is that of the numbers' parts".to_owned());
    }
    let size = match args.given(1)? {
        Some(size) => as_size(size.integer()?)?,
        None => signal[axis],
    };
    let (inverse, one_sided) = (args.flag("inverse"), args.flag("onesided"));
    let (before, there, behind) = around(signal, axis);
    let bins = bins(size, one_sided).min(size);
    let mut shape = signal.to_vec();
    shape[axis] = bins;
    shape.push(2);
    let mut results = vec![0.0; count(&shape)?];
    count(&[before, size, behind])?;
    work_of(before.saturating_mul(behind), size)?;
    let numbers = x.floats()?;
    let scale = if inverse { 1.0 / size as f64 } else { 1.0 };
    for (row, column) in pairs(before, behind) {
        let number = |at: usize| {
            let place = ((row * there + at) * behind + column) * parts;
            let part = |part: usize| if part < parts { numbers[place + part] } else { 0.0 };
            if at < there { (part(0), part(1)) } else { (0.0, 0.0) }
        };
        let set: Vec<Complex> = (0..size).map(number).collect();
        let all = transformed(&set, if inverse { 1.0 } else { -1.0 });
        for (bin, (real, imaginary)) in all.into_iter().take(bins).enumerate() {
            let to = ((row * bins + bin) * behind + column) * 2;
            (results[to], results[to + 1]) = (real * scale, imaginary * scale);
        }
    }
    Tensor::of_floats(x.kind(), shape, &results).map(one)
}

/// Transforms of pieces of a signal, one beginning so many steps behind the other.
fn short_time(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let &[batch, length, parts @ (1 | 2)] = x.shape() else {
        return Err(format!("{:?} is not [batch, length, 1 or 2]", x.shape()));
    };
    let step = as_size(args.tensor(1)?.integer()?)?;
    let weights = args.given(2)?.map(Tensor::floats).transpose()?;
    let size = match (args.given(3)?, &weights) {
        (Some(size), _) => as_size(size.integer()?)?,
        (None, Some(weights)) => weights.len(),
        (None, None) => length,
    };
    let room = length.checked_sub(size).filter(|_| step > 0 && size > 0);
    let room = room.ok_or_else(|| format!("{size} by steps of {step} do not fit {length}"))?;
    let frames = room / step + 1;
    let bins = bins(size, args.int("onesided", 1) != 0);
    let shape = vec![batch, frames, bins, 2];
    let mut results = Vec::with_capacity(count(&shape)?);
    work_of(batch.saturating_mul(frames), size)?;
    let numbers = x.floats()?;
    for (item, frame) in pairs(batch, frames) {
        let number = |at: usize| {
            let weight = weights.as_ref().map_or(1.0, |all| all.get(at).copied().unwrap_or(0.0));
            let place = (item * length + frame * step + at) * parts;
            let part = |part: usize| if part < parts { numbers[place + part] } else { 0.0 };
            (part(0) * weight, part(1) * weight)
        };
        let set: Vec<Complex> = (0..size).map(number).collect();
        let all = transformed(&set, -1.0).into_iter().take(bins);
        results.extend(all.flat_map(|(real, imaginary)| [real, imaginary]));
    }
    Tensor::of_floats(x.kind(), shape, &results).map(one)
}

/// Weights by their places in a window, from 0 to 1.
fn window(args: &Args<'_>, weight: fn(f64) -> f64) -> Outcome<Vec<Value>> {
    let size = as_size(args.tensor(0)?.integer()?)?;
    let kind = kind_of(args.int("output_datatype", 1))?;
    let periodic = args.int("periodic", 1) != 0;
    let whole = if periodic { size } else { size.saturating_sub(1) }.max(1) as f64;
    let weights = (0..count(&[size])?).map(|at| weight(at as f64 / whole));
    Tensor::of_floats(kind, vec![size], &weights.collect::<Vec<f64>>()).map(one)
}

/// Triangles over the numbers of a transform, evenly apart on the mel scale.
fn mel(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let size = |at: usize| args.tensor(at).and_then(Tensor::integer).and_then(as_size);
    let (bands, length, rate) = (size(0)?, size(1)?, size(2)?);
    let edge =
        |at: usize| Ok::<f64, String>(2595.0 * (1.0 + args.tensor(at)?.number()? / 700.0).log10());
    let (low, high) = (edge(3)?, edge(4)?);
    if low > high {
        return Err("the lower edge lies above the upper one".to_owned());
    }
    let kind = kind_of(args.int("output_datatype", 1))?;
    let bins = length / 2 + 1;
    let mut weights = vec![0.0; count(&[bins, bands])?];
    let step = (high - low) / (bands as f64 + 2.0);
    let bin = |edge: usize| -> Outcome<usize> {
        let hertz = 700.0 * (10f64.powf((edge as f64 * step + low) / 2595.0) - 1.0);
        let bin = ((length as f64 + 1.0) * hertz / rate as f64).floor();
        match bin >= 0.0 && bin < bins as f64 {
            true => Ok(bin as usize),
            false => Err(format!("{hertz} hertz are beyond the {bins} bins of {rate} hertz")),
        }
    };
    for band in 0..bands {
        let (first, middle, last) = (bin(band)?, bin(band + 1)?, bin(band + 2)?);
        for at in first..last.max(middle + 1) {
            let (rises, falls) = ((middle - first) as f64, last.saturating_sub(middle) as f64);
            weights[at * bands + band] = match at {
                at if at < middle => (at - first) as f64 / rises,
                at if at == middle => 1.0,
                at => (last - at) as f64 / falls,
            };
        }
    }
    Tensor::of_floats(kind, vec![bins, bands], &weights).map(one)
}
