use super::conv::Window;
use super::{Op, one, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, as_size, count, strides};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Col2Im" => from_columns,
        "MaxUnpool" => unpool,
        _ => return None,
    })
}

/// Adds blocks, one in each column, to where they were cut from an image.
fn from_columns(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, image) = (args.tensor(0)?, args.tensor(1)?.sizes()?);
    let block = args.tensor(2)?.sizes()?;
    let &[batch, rows, columns] = x.shape() else {
        return Err(format!("{:?} has not three dimensions", x.shape()));
    };
    let (area, points) = (count(&image)?, count(&block)?);
    let window = Window::of(args, &image, block)?;
    if !rows.is_multiple_of(points) || columns != count(&window.places)? {
        return Err(format!("{rows} rows and {columns} columns do not fit {:?}", window.places));
    }
    let mut shape = vec![batch, rows / points];
    shape.extend(&image);
    let mut results = vec![0.0; count(&shape)?];
    bounds::work(&[batch, rows, columns, image.len()])?;
    let numbers = x.floats()?;
    for (plane, place) in pairs(batch * (rows / points), columns) {
        window.visit(place, &image, |point, to| {
            results[plane * area + to] += numbers[(plane * points + point) * columns + place];
        });
    }
    Tensor::of_floats(x.kind(), shape, &results).map(one)
}

/// Puts back what `MaxPool` has found; there are zeros elsewhere.
fn unpool(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let (x, indices) = (args.tensor(0)?, args.tensor(1)?);
    let [_, _, spatial @ ..] = x.shape() else {
        return Err(format!("{:?} has no channels", x.shape()));
    };
    let dims = spatial.len();
    let kernel = args.sizes("kernel_shape", (dims, 1))?;
    let strides_of = args.sizes("strides", (dims, 1))?;
    let pads = args.sizes("pads", (2 * dims, 0))?;
    let mut pooled = x.shape()[..2].to_vec();
    for dim in 0..dims {
        let whole = spatial[dim].saturating_sub(1).saturating_mul(strides_of[dim]);
        let around = pads[dim].saturating_add(pads[dims + dim]);
        pooled.push(whole.saturating_add(kernel[dim]).saturating_sub(around));
    }
    let shape = match args.given(2)? {
        Some(shape) => shape.sizes()?,
        None => pooled.clone(),
    };
    let (of_pooled, all) = (count(&pooled)?, count(&shape)?);
    if shape.len() != pooled.len() || indices.len() != x.len() {
        return Err(format!("indices {:?} or a shape {shape:?} do not fit", indices.shape()));
    }
    let (own, outer) = (strides(&pooled), strides(&shape));
    // Behind the elements stands the zero that is elsewhere.
    let zero = Tensor::of_integers(x.kind(), vec![1], &[0])?;
    let both = Tensor::joined(vec![x.len() + 1], &[x, &zero])?;
    let mut from = vec![x.len(); all];
    for (at, index) in indices.integers()?.into_iter().enumerate() {
        let index = as_size(index).ok().filter(|index| *index < of_pooled);
        let index = index.ok_or_else(|| format!("an index leads out of {pooled:?}"))?;
        let along = (0..pooled.len()).map(|dim| (index / own[dim] % pooled[dim], dim));
        let place = along.map(|(at, dim)| (at < shape[dim]).then_some(at * outer[dim]));
        if let Some(place) = place.sum::<Option<usize>>() {
            from[place] = at;
        }
    }
    both.take(shape, &from).map(one)
}
