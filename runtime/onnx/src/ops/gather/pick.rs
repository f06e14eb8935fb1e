use super::counted;
use crate::error::Outcome;
use crate::ops::one;
use crate::ops::slice::chosen_along;
use crate::run::Args;
use crate::tensor::{Value, count, strides};

pub(super) fn gather(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, indices) = (args.tensor(0)?, args.tensor(1)?);
    let axis = x.axis(args.int("axis", 0))?;
    let mut shape = x.shape()[..axis].to_vec();
    shape.extend(indices.shape());
    shape.extend(&x.shape()[axis + 1..]);
    count(&shape)?;
    let chosen = indices.integers()?.into_iter().map(|at| counted(at, x.shape()[axis]));
    let chosen: Vec<usize> = chosen.collect::<Outcome<_>>()?;
    chosen_along(x, axis, &chosen)?.reshaped(shape).map(one)
}

pub(super) fn elements(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, indices) = (args.tensor(0)?, args.tensor(1)?);
    let axis = x.axis(args.int("axis", 0))?;
    let places = places_along(x.shape(), (indices.shape(), &indices.integers()?), axis)?;
    x.take(indices.shape().to_vec(), &places).map(one)
}

/// For each index its place in a shape: its own, but along an axis what it says.
pub(super) fn places_along(
    shape: &[usize],
    (of, indices): (&[usize], &[i64]),
    axis: usize,
) -> Outcome<Vec<usize>> {
    let fits =
        of.len() == shape.len() && (0..of.len()).all(|dim| dim == axis || of[dim] <= shape[dim]);
    if !fits {
        return Err(format!("indices of the shape {of:?} do not fit {shape:?}"));
    }
    let (own, outer) = (strides(of), strides(shape));
    let place = |(at, index): (usize, &i64)| {
        let along = counted(*index, shape[axis])?;
        let of_dim = |dim: usize| if dim == axis { along } else { at / own[dim] % of[dim] };
        Ok((0..shape.len()).map(|dim| of_dim(dim) * outer[dim]).sum())
    };
    indices.iter().enumerate().map(place).collect()
}

/// For each row of indices where in a shape, behind its first `batch` dimensions, it leads.
pub(super) fn starts(
    shape: &[usize],
    (of, indices): (&[usize], &[i64]),
    batch: usize,
) -> Outcome<(Vec<usize>, usize)> {
    let depth = *of.last().ok_or_else(|| "indices without a dimension lead nowhere".to_owned())?;
    let fits = depth > 0
        && batch < of.len()
        && batch.checked_add(depth).is_some_and(|used| used <= shape.len())
        && of[..batch] == shape[..batch];
    if !fits {
        return Err(format!("indices of the shape {of:?} do not fit {shape:?}"));
    }
    let own = strides(shape);
    let behind = shape[batch + depth..].iter().product();
    let rows = indices.len() / depth;
    count(&[rows, behind])?;
    let batches: usize = shape[..batch].iter().product();
    let each = rows / batches.max(1);
    let of_batch: usize = shape[batch..].iter().product();
    let start = |row: usize| {
        let mut place = if batch == 0 { 0 } else { row / each.max(1) * of_batch };
        for (dim, index) in indices[row * depth..(row + 1) * depth].iter().enumerate() {
            place += counted(*index, shape[batch + dim])? * own[batch + dim];
        }
        Ok(place)
    };
    Ok(((0..rows).map(start).collect::<Outcome<_>>()?, behind))
}

pub(super) fn nd(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, indices) = (args.tensor(0)?, args.tensor(1)?);
    let batch = usize::try_from(args.int("batch_dims", 0)).unwrap_or(0);
    let (starts, behind) = starts(x.shape(), (indices.shape(), &indices.integers()?), batch)?;
    let depth = indices.shape().last().copied().unwrap_or(0);
    let mut shape = indices.shape()[..indices.rank() - 1].to_vec();
    shape.extend(&x.shape()[batch + depth..]);
    count(&shape)?;
    let places: Vec<usize> = starts.into_iter().flat_map(|start| start..start + behind).collect();
    x.take(shape, &places).map(one)
}

pub(super) fn compress(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, condition) = (args.tensor(0)?, args.tensor(1)?);
    let flags = condition.flags()?;
    let flat;
    let (x, axis) = match args.maybe_int("axis") {
        Some(axis) => (x, x.axis(axis)?),
        None => {
            flat = x.reshaped(vec![x.len()])?;
            (&flat, 0)
        }
    };
    let kept: Vec<usize> =
        (0..x.shape()[axis]).filter(|at| flags.get(*at) == Some(&true)).collect();
    chosen_along(x, axis, &kept).map(one)
}
