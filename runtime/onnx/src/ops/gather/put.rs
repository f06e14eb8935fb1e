use super::counted;
use super::pick::{places_along, starts};
use crate::error::Outcome;
use crate::ops::one;
use crate::run::Args;
use crate::tensor::{Kind, Tensor, Value, axis_of, count, strides};

/// Puts updates to their places, one after the other.
fn put(x: &Tensor, updates: &Tensor, (places, how): (&[usize], &str)) -> Outcome<Tensor> {
    if updates.len() != places.len() {
        return Err(format!("{} updates are there for {} places", updates.len(), places.len()));
    }
    if how == "none" {
        // What comes last stays.
        let both = Tensor::joined(vec![x.len() + updates.len()], &[x, updates])?;
        let mut from: Vec<usize> = (0..x.len()).collect();
        places.iter().enumerate().for_each(|(at, place)| from[*place] = x.len() + at);
        return both.take(x.shape().to_vec(), &from);
    }
    let (mut numbers, updates) = (x.floats()?, updates.floats()?);
    for (place, update) in places.iter().zip(updates) {
        let number = &mut numbers[*place];
        *number = match how {
            "add" => *number + update,
            "mul" => *number * update,
            "max" => number.max(update),
            "min" => number.min(update),
            other => return Err(format!("there is no reduction `{other}`")),
        };
    }
    Tensor::of_floats(x.kind(), x.shape().to_vec(), &numbers)
}

pub(super) fn elements(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, indices, updates) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let axis = x.axis(args.int("axis", 0))?;
    let places = places_along(x.shape(), (indices.shape(), &indices.integers()?), axis)?;
    put(x, updates, (&places, args.text("reduction", "none"))).map(one)
}

pub(super) fn nd(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, indices, updates) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let (starts, behind) = starts(x.shape(), (indices.shape(), &indices.integers()?), 0)?;
    let places: Vec<usize> = starts.into_iter().flat_map(|start| start..start + behind).collect();
    put(x, updates, (&places, args.text("reduction", "none"))).map(one)
}

/// Writes new entries into a cache, for each of a batch from its own place on.
pub(super) fn cache(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, update) = (args.tensor(0)?, args.tensor(1)?);
    let axis = x.axis(args.int("axis", -2))?;
    let size = x.shape()[axis];
    let firsts = match args.given(2)? {
        Some(firsts) => firsts.integers()?,
        None => vec![0; x.shape().first().copied().unwrap_or(0)],
    };
    let circular = args.text("mode", "linear") == "circular";
    let (own, outer) = (strides(update.shape()), strides(x.shape()));
    let place = |at: usize| {
        let index = |dim: usize| at / own[dim] % update.shape()[dim];
        let first = firsts.get(index(0)).copied().unwrap_or(0);
        let along = first.saturating_add(index(axis) as i64);
        let along = if circular { along.rem_euclid(size.max(1) as i64) } else { along };
        let along = counted(along, size)?;
        let of_dim = |dim: usize| if dim == axis { along } else { index(dim) };
        Ok((0..x.rank()).map(|dim| of_dim(dim) * outer[dim]).sum())
    };
    let mut like = update.shape().iter().zip(x.shape()).enumerate();
    let fits = update.rank() == x.rank() && like.all(|(dim, (a, b))| dim == axis || a == b);
    if !fits {
        let (update, x) = (update.shape(), x.shape());
        return Err(format!("an update of the shape {update:?} does not fit a cache of {x:?}"));
    }
    let places: Vec<usize> = (0..update.len()).map(place).collect::<Outcome<_>>()?;
    put(x, update, (&places, "none")).map(one)
}

pub(super) fn one_hot(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (indices, values) = (args.tensor(0)?, args.tensor(2)?);
    let depth = usize::try_from(args.tensor(1)?.integer()?).map_err(|_error| "a negative depth")?;
    let axis = axis_of(args.int("axis", -1), indices.rank() + 1)?;
    let mut shape = indices.shape().to_vec();
    shape.insert(axis, depth);
    let all = count(&shape)?;
    let hot: Vec<i64> = indices.cast(Kind::I64, true)?.integers()?;
    let behind: usize = shape[axis + 1..].iter().product();
    let place = |at: usize| {
        let (row, along, column) = (at / (depth * behind), at / behind % depth, at % behind);
        let index = hot[row * behind + column];
        let index = if index < 0 { index + depth as i64 } else { index };
        usize::from(index == along as i64)
    };
    let places: Vec<usize> = (0..all).map(place).collect();
    if values.len() != 2 {
        return Err("two values must be given".to_owned());
    }
    values.take(shape, &places).map(one)
}
