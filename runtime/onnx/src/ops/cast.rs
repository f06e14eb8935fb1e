use super::arithmetic::places;
use super::{Op, one};
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::stored::kind_of;
use crate::tensor::{Kind, Tensor, Value, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Cast" => cast,
        "CastLike" => cast_like,
        "QuantizeLinear" => quantize,
        "DequantizeLinear" => dequantize,
        "DynamicQuantizeLinear" => quantize_dynamically,
        _ => return None,
    })
}

fn cast(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let to = kind_of(args.int("to", 0))?;
    args.tensor(0)?.cast(to, args.int("saturate", 1) != 0).map(one)
}

fn cast_like(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let to = args.tensor(1)?.kind();
    args.tensor(0)?.cast(to, args.int("saturate", 1) != 0).map(one)
}

/// The smallest and the largest of a type of integers.
pub(crate) fn range_of(kind: Kind) -> Option<(f64, f64)> {
    Some(match kind {
        Kind::U8 => (0.0, 255.0),
        Kind::I8 => (-128.0, 127.0),
        Kind::U16 => (0.0, 65_535.0),
        Kind::I16 => (-32_768.0, 32_767.0),
        Kind::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        Kind::U4 => (0.0, 15.0),
        Kind::I4 => (-8.0, 7.0),
        Kind::U2 => (0.0, 3.0),
        Kind::I2 => (-2.0, 1.0),
        _ => return None,
    })
}

/// For each element of `x` the place of its scale: one for all, one along an axis, or one for a block.
fn scale_places(args: &Args<'_>, x: &Tensor, scale: &Tensor) -> Outcome<Vec<usize>> {
    if scale.len() == 1 {
        return Ok(vec![0; x.len()]);
    }
    let axis = x.axis(args.int("axis", 1))?;
    if scale.rank() <= 1 {
        if scale.len() != x.shape()[axis] {
            return Err(format!("{} scales are there for {}", scale.len(), x.shape()[axis]));
        }
        let mut shape = vec![1; x.rank()];
        shape[axis] = scale.len();
        return places(&shape, x.shape());
    }
    if scale.rank() != x.rank() || scale.shape()[axis] == 0 {
        return Err(format!("scales of the shape {:?} do not fit", scale.shape()));
    }
    let block = x.shape()[axis].div_ceil(scale.shape()[axis]).max(1);
    let (own, inner) = (strides(x.shape()), strides(scale.shape()));
    let place = |at: usize| {
        let index = |dim: usize| at / own[dim] % x.shape()[dim];
        let of = |dim: usize| if dim == axis { index(dim) / block } else { index(dim) };
        (0..x.rank()).map(|dim| of(dim) * inner[dim]).sum()
    };
    let all: Vec<usize> = (0..x.len()).map(place).collect();
    match all.iter().all(|place| *place < scale.len()) {
        true => Ok(all),
        false => Err(format!("scales of the shape {:?} do not fit", scale.shape())),
    }
}

fn quantize(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, scale) = (args.tensor(0)?, args.tensor(1)?);
    let zero = args.given(2)?;
    let kind = match (zero, args.int("output_dtype", 0)) {
        (Some(zero), _) => zero.kind(),
        (None, 0) => Kind::U8,
        (None, named) => kind_of(named)?,
    };
    let of = scale_places(args, x, scale)?;
    let scales = scale.floats()?;
    let zeros = zero.map(Tensor::floats).transpose()?.unwrap_or_else(|| vec![0.0; scales.len()]);
    if zeros.len() != scales.len() {
        return Err(format!("{} zero points are there for {} scales", zeros.len(), scales.len()));
    }
    let saturates = args.int("saturate", 1) != 0;
    // In the precision that the specification computes in.
    let quotient = |x: f64, scale: f64| f64::from(x as f32 / scale as f32);
    let numbers: Vec<f64> = x
        .floats()?
        .into_iter()
        .zip(of)
        .map(|(x, at)| match range_of(kind) {
            Some((low, high)) => {
                (quotient(x, scales[at]).round_ties_even() + zeros[at]).clamp(low, high)
            }
            None => quotient(x, scales[at]) + zeros[at],
        })
        .collect();
    let shape = x.shape().to_vec();
    let floats = Tensor::of_floats(Kind::F32, shape, &numbers)?;
    floats.cast(kind, saturates).map(one)
}

fn dequantize(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, scale) = (args.tensor(0)?, args.tensor(1)?);
    let of = scale_places(args, x, scale)?;
    let scales = scale.floats()?;
    let zeros = match args.given(2)? {
        Some(zero) => zero.floats()?,
        None => vec![0.0; scales.len()],
    };
    if zeros.len() != scales.len() {
        return Err(format!("{} zero points are there for {} scales", zeros.len(), scales.len()));
    }
    let numbers = x.floats()?.into_iter().zip(of);
    let numbers: Vec<f64> = numbers.map(|(x, at)| (x - zeros[at]) * scales[at]).collect();
    let kind = match args.int("output_dtype", 0) {
        0 => scale.kind(),
        named => kind_of(named)?,
    };
    Tensor::of_floats(kind, x.shape().to_vec(), &numbers).map(one)
}

fn quantize_dynamically(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let numbers = x.floats()?;
    let low = numbers.iter().fold(0f64, |low, x| low.min(*x));
    let high = numbers.iter().fold(0f64, |high, x| high.max(*x));
    let scale = ((high - low) as f32) / 255.0;
    let zero = (-low as f32 / scale).round_ties_even().clamp(0.0, 255.0);
    let bytes = numbers
        .iter()
        .map(|x| ((*x as f32 / scale).round_ties_even() + zero).clamp(0.0, 255.0) as u8);
    let y = Tensor::new(x.shape().to_vec(), bytes.collect())?;
    Ok(vec![y.into(), Tensor::scalar(scale).into(), Tensor::scalar(zero as u8).into()])
}
