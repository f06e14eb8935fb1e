use super::{Op, one};
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Kind, Tensor, Value, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "ReduceSum" => |args| reduce(args, |all| all.iter().sum()),
        "ReduceMean" => |args| reduce(args, |all| all.iter().sum::<f64>() / all.len() as f64),
        "ReduceMax" => {
            |args| reduce(args, |all| all.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        "ReduceMin" => |args| reduce(args, |all| all.iter().copied().fold(f64::INFINITY, f64::min)),
        "ReduceProd" => |args| reduce(args, |all| all.iter().product()),
        "ReduceL1" => |args| reduce(args, |all| all.iter().map(|x| x.abs()).sum()),
        "ReduceL2" => |args| reduce(args, |all| all.iter().map(|x| x * x).sum::<f64>().sqrt()),
        "ReduceSumSquare" => |args| reduce(args, |all| all.iter().map(|x| x * x).sum()),
        "ReduceLogSum" => |args| reduce(args, |all| all.iter().sum::<f64>().ln()),
        "ReduceLogSumExp" => |args| reduce(args, log_sum_exp),
        _ => return None,
    })
}

fn log_sum_exp(all: &[f64]) -> f64 {
    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        return most;
    }
    all.iter().map(|x| (x - most).exp()).sum::<f64>().ln() + most
}

fn reduce(args: &Args<'_>, act: fn(&[f64]) -> f64) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let axes = args.listed("axes", 1)?.unwrap_or_default();
    if axes.is_empty() && args.flag("noop_with_empty_axes") {
        // Each number is a set of its own.
        let numbers: Vec<f64> = x.floats()?.into_iter().map(|x| act(&[x])).collect();
        return Tensor::of_floats(x.kind(), x.shape().to_vec(), &numbers).map(one);
    }
    let axes: Vec<usize> = match axes.is_empty() {
        true => (0..x.rank()).collect(),
        false => x.axes(&axes)?,
    };
    over(x, &axes, args.int("keepdims", 1) != 0, act).map(one)
}

/// The numbers along some dimensions as one.
pub(crate) fn over(
    x: &Tensor,
    axes: &[usize],
    keeps: bool,
    act: impl Fn(&[f64]) -> f64,
) -> Outcome<Tensor> {
    let own = strides(x.shape());
    let kept: Vec<usize> = (0..x.rank()).filter(|dim| !axes.contains(dim)).collect();
    let shape_of = |dims: &[usize]| dims.iter().map(|dim| x.shape()[*dim]).collect::<Vec<_>>();
    let steps_of = |dims: &[usize]| dims.iter().map(|dim| own[*dim]).collect::<Vec<_>>();
    let outer_shape = shape_of(&kept);
    let outer = count(&outer_shape)?;
    let inner_shape = shape_of(axes);
    let inner = count(&inner_shape)?;
    let starts = super::arithmetic::walk(&outer_shape, &steps_of(&kept), outer);
    let within = super::arithmetic::walk(&inner_shape, &steps_of(axes), inner);
    let numbers = x.floats()?;
    let mut set = vec![0.0; inner];
    let results: Vec<f64> = starts
        .into_iter()
        .map(|start| {
            for (number, place) in set.iter_mut().zip(&within) {
                *number = numbers[start + place];
            }
            act(&set)
        })
        .collect();
    let shape = match keeps {
        true => {
            (0..x.rank()).map(|dim| if axes.contains(&dim) { 1 } else { x.shape()[dim] }).collect()
        }
        false => outer_shape,
    };
    match x.kind() {
        // What there is none of has a bound of its own in each type of integers.
        kind if !kind.is_float() && kind != Kind::Bool => {
            Tensor::of_data(shape, crate::tensor::from_floats(kind, &results, true)?)
        }
        kind => Tensor::of_floats(kind, shape, &results),
    }
}
