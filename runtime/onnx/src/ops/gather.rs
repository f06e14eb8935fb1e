use std::cmp::Ordering;

use super::search::SORT_STEPS;
use super::slice::around;
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, count, strides};

/// Picking: `Gather` and its kind.
mod pick;
/// Putting: `ScatterElements` and its kind.
mod put;

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Gather" => pick::gather,
        "GatherElements" => pick::elements,
        "GatherND" => pick::nd,
        "Scatter" | "ScatterElements" => put::elements,
        "ScatterND" => put::nd,
        "TensorScatter" => put::cache,
        "Compress" => pick::compress,
        "OneHot" => put::one_hot,
        "NonZero" => non_zero,
        "ReverseSequence" => reverse,
        "CumSum" => cumulate,
        "ArgMax" => |args| best(args, Ordering::Greater),
        "ArgMin" => |args| best(args, Ordering::Less),
        "TopK" => top,
        _ => return None,
    })
}

/// A number that counts from the end where it is negative.
fn counted(at: i64, size: usize) -> Outcome<usize> {
    let place = if at < 0 { at + size as i64 } else { at };
    match usize::try_from(place) {
        Ok(place) if place < size => Ok(place),
        _ => Err(format!("there is no place {at} of {size}")),
    }
}

fn non_zero(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let own = strides(x.shape());
    let numbers = x.floats()?;
    let places: Vec<usize> = (0..x.len()).filter(|at| numbers[*at] != 0.0).collect();
    count(&[x.rank(), places.len()])?;
    let mut rows = Vec::with_capacity(x.rank() * places.len());
    for (step, size) in own.iter().zip(x.shape()) {
        rows.extend(places.iter().map(|at| (at / step % size) as i64));
    }
    Tensor::new(vec![x.rank(), places.len()], rows).map(one)
}

fn reverse(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, lengths) = (args.tensor(0)?, args.tensor(1)?.sizes()?);
    let time = x.axis(args.int("time_axis", 0))?;
    let batch = x.axis(args.int("batch_axis", 1))?;
    let own = strides(x.shape());
    if lengths.len() != x.shape()[batch] {
        return Err(format!("{} lengths are there for {}", lengths.len(), x.shape()[batch]));
    }
    let place = |at: usize| {
        let (t, b) = (at / own[time] % x.shape()[time], at / own[batch] % x.shape()[batch]);
        let length = lengths[b].min(x.shape()[time]);
        if t < length { at - t * own[time] + (length - 1 - t) * own[time] } else { at }
    };
    let places: Vec<usize> = (0..x.len()).map(place).collect();
    x.take(x.shape().to_vec(), &places).map(one)
}

fn cumulate(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let axis = x.axis(args.tensor(1)?.integer()?)?;
    let (before, size, behind) = around(x.shape(), axis);
    let (exclusive, backwards) = (args.flag("exclusive"), args.flag("reverse"));
    let numbers = x.floats()?;
    let mut sums = vec![0.0; numbers.len()];
    for (row, column) in pairs(before, behind) {
        let mut sum = 0.0;
        for step in 0..size {
            let along = if backwards { size - 1 - step } else { step };
            let at = (row * size + along) * behind + column;
            sums[at] = if exclusive { sum } else { sum + numbers[at] };
            sum += numbers[at];
        }
    }
    Tensor::of_floats(x.kind(), x.shape().to_vec(), &sums).map(one)
}

/// The shape without an axis, or with 1 there.
pub(crate) fn without(shape: &[usize], axis: usize, keeps: bool) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if keeps {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    shape
}

fn best(args: &Args<'_>, better: Ordering) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let axis = x.axis(args.int("axis", 0))?;
    let (before, size, behind) = around(x.shape(), axis);
    let takes_last = args.flag("select_last_index");
    let numbers = x.floats()?;
    let mut places = Vec::with_capacity(before * behind);
    for (row, column) in pairs(before, behind) {
        let of = |along: usize| numbers[(row * size + along) * behind + column];
        let mut found = 0;
        for along in 1..size {
            let ordering = of(along).total_cmp(&of(found));
            if ordering == better || (takes_last && of(along) == of(found)) {
                found = along;
            }
        }
        places.push(found as i64);
    }
    Tensor::new(without(x.shape(), axis, args.int("keepdims", 1) != 0), places).map(one)
}

fn top(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let wanted = match args.given(1)? {
        Some(k) => k.integer()?,
        None => args.int("k", 0),
    };
    let axis = x.axis(args.int("axis", -1))?;
    let (before, size, behind) = around(x.shape(), axis);
    let wanted = usize::try_from(wanted).ok().filter(|k| *k <= size);
    let wanted = wanted.ok_or_else(|| format!("so many are not there of {size}"))?;
    let largest = args.int("largest", 1) != 0;
    let numbers = x.floats()?;
    let mut shape = x.shape().to_vec();
    shape[axis] = wanted;
    let all = count(&shape)?;
    bounds::work(&[x.len(), SORT_STEPS])?;
    let (mut places, mut indices) = (vec![0; all], vec![0i64; all]);
    for (row, column) in pairs(before, behind) {
        let place = |along: usize| (row * size + along) * behind + column;
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|a, b| {
            let ordering = numbers[place(*a)].total_cmp(&numbers[place(*b)]);
            if largest { ordering.reverse() } else { ordering }
        });
        for (rank, along) in order.into_iter().take(wanted).enumerate() {
            let at = (row * wanted + rank) * behind + column;
            places[at] = place(along);
            indices[at] = along as i64;
        }
    }
    Ok(vec![x.take(shape.clone(), &places)?.into(), Tensor::new(shape, indices)?.into()])
}
