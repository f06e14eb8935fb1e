use super::arithmetic::{add, div, mul, sub};
use super::math::map;
use super::reduce::over;
use super::slice::around;
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::fast;
use crate::run::Args;
use crate::tensor::{ELEMENTS_MAX, Kind, Tensor, Value};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Softmax" => |args| match quick_softmax(args)? {
            Some(y) => Ok(one(y)),
            None => softmax(args, probabilities),
        },
        "LogSoftmax" => |args| softmax(args, logarithms),
        "Hardmax" => |args| {
            softmax(args, |all| {
                // The largest is zero here.
                let first = all.iter().position(|x| *x == 0.0);
                for (at, x) in all.iter_mut().enumerate() {
                    *x = f64::from(u8::from(Some(at) == first));
                }
            })
        },
        "BatchNormalization" => batch,
        "InstanceNormalization" => instance,
        "LayerNormalization" => layer,
        "RMSNormalization" => root_mean_square,
        "GroupNormalization" => group,
        "LpNormalization" => lp,
        "MeanVarianceNormalization" => mean_variance,
        "LRN" => local_response,
        _ => return None,
    })
}

/// Logarithms of probabilities, along an axis.
pub(crate) fn log_softmax(x: &Tensor, axis: usize) -> Outcome<Tensor> {
    along(x, around(x.shape(), x.axis(axis as i64)?), logarithms)
}

fn logarithms(all: &mut [f64]) {
    let log = all.iter().map(|x| x.exp()).sum::<f64>().ln();
    all.iter_mut().for_each(|x| *x -= log);
}

/// Probabilities, along an axis.
pub(crate) fn probabilities(all: &mut [f64]) {
    let sum: f64 = all.iter().map(|x| x.exp()).sum();
    all.iter_mut().for_each(|x| *x = x.exp() / sum);
}

/// By the kernel, along the last dimension.
fn quick_softmax(args: &Args<'_>) -> Outcome<Option<Tensor>> {
    let x = args.tensor(0)?;
    let last = x.rank().wrapping_sub(1);
    let axis = args.int("axis", if args.node.version < 13 { 1 } else { -1 });
    if x.rank() == 0 || x.axis(axis)? != last {
        return Ok(None);
    }
    fast::softmax(x)
}

/// Along an axis, with the largest taken from all; up to version 12 along all axes behind it together.
fn softmax(args: &Args<'_>, act: fn(&mut [f64])) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let is_old = args.node.version < 13;
    let axis = x.axis(args.int("axis", if is_old { 1 } else { -1 }));
    let axis = if x.rank() == 0 { 0 } else { axis? };
    let (before, size, behind) = match (x.rank(), is_old) {
        (0, _) => (1, 1, 1),
        (_, true) => {
            let before: usize = x.shape()[..axis].iter().product();
            (before, x.len() / before.max(1), 1)
        }
        (_, false) => around(x.shape(), axis),
    };
    along(x, (before, size, behind), act).map(one)
}

fn along(
    x: &Tensor,
    (before, size, behind): (usize, usize, usize),
    act: fn(&mut [f64]),
) -> Outcome<Tensor> {
    let mut numbers = x.floats()?;
    let mut set = vec![0.0; size];
    for (row, column) in pairs(before, behind) {
        let place = |along: usize| (row * size + along) * behind + column;
        set.iter_mut().enumerate().for_each(|(along, x)| *x = numbers[place(along)]);
        let most = set.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        set.iter_mut().for_each(|x| *x -= most);
        act(&mut set);
        set.iter().enumerate().for_each(|(along, x)| numbers[place(along)] = *x);
    }
    Tensor::of_floats(x.kind(), x.shape().to_vec(), &numbers)
}

/// One number for each channel, in a shape that goes with `x`.
fn by_channel(of: &Tensor, x: &Tensor) -> Outcome<Tensor> {
    let mut shape = vec![1; x.rank().max(2)];
    shape[1] = of.len();
    of.wide()?.reshaped(shape)
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len() as f64
}

fn variance(all: &[f64]) -> f64 {
    let mean = mean(all);
    all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64
}

/// `(x - mean) / sqrt(variance + epsilon)`.
fn standard(x: &Tensor, mean: &Tensor, variance: &Tensor, epsilon: f64) -> Outcome<Tensor> {
    div(&sub(x, mean)?, &map(variance, |v| (v + epsilon).sqrt())?)
}

fn batch(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let (kind, x) = (input.kind(), input.wide()?);
    let of = |at: usize| args.tensor(at).and_then(|of| by_channel(of, &x));
    let (scale, bias, old_mean, old_variance) = (of(1)?, of(2)?, of(3)?, of(4)?);
    let epsilon = args.float("epsilon", 1e-5);
    let scaled = |normal: Tensor| add(&mul(&normal, &scale)?, &bias)?.cast(kind, true);
    if !args.flag("training_mode") {
        return scaled(standard(&x, &old_mean, &old_variance, epsilon)?).map(one);
    }
    let axes: Vec<usize> = (0..x.rank()).filter(|dim| *dim != 1).collect();
    let (new_mean, new_variance) = (over(&x, &axes, true, mean)?, over(&x, &axes, true, variance)?);
    let momentum = args.float("momentum", 0.9);
    let running = |old: &Tensor, new: &Tensor, like: usize| {
        let both = add(&map(old, |x| x * momentum)?, &map(new, |x| x * (1.0 - momentum))?)?;
        let like = args.tensor(like)?;
        both.reshaped(like.shape().to_vec())?.cast(like.kind(), true)
    };
    Ok(vec![
        scaled(standard(&x, &new_mean, &new_variance, epsilon)?)?.into(),
        running(&old_mean, &new_mean, 3)?.into(),
        running(&old_variance, &new_variance, 4)?.into(),
    ])
}

fn instance(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let x = input.wide()?;
    let axes: Vec<usize> = (2..x.rank()).collect();
    let (mean, variance) = (over(&x, &axes, true, mean)?, over(&x, &axes, true, variance)?);
    let normal = standard(&x, &mean, &variance, args.float("epsilon", 1e-5))?;
    let (scale, bias) = (by_channel(args.tensor(1)?, &x)?, by_channel(args.tensor(2)?, &x)?);
    add(&mul(&normal, &scale)?, &bias)?.cast(input.kind(), true).map(one)
}

fn layer(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let axis = input.axis(args.int("axis", -1))?;
    let epsilon = args.float("epsilon", 1e-5);
    let with = (args.tensor(1)?, args.given(2)?);
    if args.outputs() == 1
        && let Some(y) = fast::layer_norm(input, with, (axis, epsilon))?
    {
        return Ok(one(y));
    }
    let x = input.wide()?;
    let axes: Vec<usize> = (axis..x.rank()).collect();
    let (mean, variance) = (over(&x, &axes, true, mean)?, over(&x, &axes, true, variance)?);
    let mut y = mul(&standard(&x, &mean, &variance, epsilon)?, &args.tensor(1)?.wide()?)?;
    if let Some(bias) = args.given(2)? {
        y = add(&y, &bias.wide()?)?;
    }
    let inverse = map(&variance, |v| 1.0 / (v + epsilon).sqrt())?;
    Ok(vec![
        y.cast(input.kind(), true)?.into(),
        mean.cast(Kind::F32, true)?.into(),
        inverse.cast(Kind::F32, true)?.into(),
    ])
}

fn root_mean_square(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let x = input.wide()?;
    let axes: Vec<usize> = (x.axis(args.int("axis", -1))?..x.rank()).collect();
    let epsilon = args.float("epsilon", 1e-5);
    let root = over(&x, &axes, true, |all| {
        (all.iter().map(|x| x * x).sum::<f64>() / all.len() as f64 + epsilon).sqrt()
    })?;
    mul(&div(&x, &root)?, &args.tensor(1)?.wide()?)?.cast(input.kind(), true).map(one)
}

fn group(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let [batch, channels, ..] = *input.shape() else { return Err("it has no channels".to_owned()) };
    let groups = usize::try_from(args.int("num_groups", 1)).unwrap_or(0);
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{channels} channels are not {groups} groups"));
    }
    let each = input.len() / (batch * groups).max(1);
    let x = input.wide()?.reshaped(vec![batch, groups, each])?;
    let (mean, variance) = (over(&x, &[2], true, mean)?, over(&x, &[2], true, variance)?);
    let normal = standard(&x, &mean, &variance, args.float("epsilon", 1e-5))?;
    let normal = normal.reshaped(input.shape().to_vec())?;
    // Up to version 20 there is one scale for each group.
    let spread = |of: &Tensor| -> Outcome<Tensor> {
        let times = channels.checked_div(of.len()).filter(|times| times * of.len() == channels);
        let times = times.ok_or_else(|| format!("{} do not fit {channels} channels", of.len()))?;
        let places: Vec<usize> = (0..channels).map(|at| at / times).collect();
        by_channel(&of.take(vec![channels], &places)?, input)
    };
    let (scale, bias) = (spread(args.tensor(1)?)?, spread(args.tensor(2)?)?);
    add(&mul(&normal, &scale)?, &bias)?.cast(input.kind(), true).map(one)
}

fn lp(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let x = input.wide()?;
    let axis = x.axis(args.int("axis", -1))?;
    let p = args.int("p", 2) as i32;
    let norm = over(&x, &[axis], true, |all| {
        all.iter().map(|x| x.abs().powi(p)).sum::<f64>().powf(1.0 / f64::from(p))
    })?;
    div(&x, &norm)?.cast(input.kind(), true).map(one)
}

fn mean_variance(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let x = input.wide()?;
    let axes = x.axes(args.ints("axes").unwrap_or(&[0, 2, 3]))?;
    let (mean, variance) = (over(&x, &axes, true, mean)?, over(&x, &axes, true, variance)?);
    let root = map(&variance, |v| v.sqrt() + 1e-9)?;
    div(&sub(&x, &mean)?, &root)?.cast(input.kind(), true).map(one)
}

fn local_response(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let input = args.tensor(0)?;
    let (_, channels, behind) = around(input.shape(), input.axis(1)?);
    let size = args.int("size", 1);
    if !(1..=ELEMENTS_MAX as i64).contains(&size) {
        return Err(format!("`size`: {size} is not from 1 to {ELEMENTS_MAX}"));
    }
    bounds::work(&[input.len(), channels.min(size as usize)])?;
    let (alpha, beta) = (args.float("alpha", 1e-4), args.float("beta", 0.75));
    let bias = args.float("bias", 1.0);
    let numbers = input.floats()?;
    let value = |at: usize| {
        let (row, channel, column) =
            (at / (channels * behind), at / behind % channels, at % behind);
        let first = (channel as i64 - (size - 1) / 2).max(0) as usize;
        let last = (channel as i64 + size / 2).min(channels as i64 - 1) as usize;
        let squares =
            (first..=last).map(|c| numbers[(row * channels + c) * behind + column].powi(2));
        numbers[at] / (bias + alpha / size as f64 * squares.sum::<f64>()).powf(beta)
    };
    let results: Vec<f64> = (0..numbers.len()).map(value).collect();
    Tensor::of_floats(input.kind(), input.shape().to_vec(), &results).map(one)
}
